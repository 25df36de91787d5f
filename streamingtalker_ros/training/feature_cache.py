# SPDX-License-Identifier: Apache-2.0
"""Precomputed log-mel features of a corpus: each clip clean and, optionally, in augmented variants.

The features of a whole clip equal those of a stream, the running level included, which features of an
isolated window would not. A training step then only gathers rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from streamingtalker_ros.audio.augmentation import augment
from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.child_processes import worker_pool
from streamingtalker_ros.model.blendshape.features import LogMel, normalize_log_mel
from streamingtalker_ros.process import progress_bar

CACHE_DTYPE = torch.float16
MAX_BABBLE_CLIPS = 40  # clips from which background babble is drawn

Array = npt.NDArray[np.float32]


class HasAudio(Protocol):
    """Anything with `pcm` (n,) float32 at 16 kHz."""

    pcm: Array


@dataclass
class CachedFeatures:
    """Features of one variant of a clip's audio.

    Attributes:
        mels: (n, columns, mels) float16 normalised log-mel.
        loudness: (n,) float32 loudness over the level, nepers.
        level: (n,) float32 running level, nepers of power.
    """

    mels: torch.Tensor
    loudness: torch.Tensor
    level: torch.Tensor


@torch.no_grad()
def extract_features(log_mel: LogMel, pcm: Array, num_frames: int) -> CachedFeatures:
    """Features of a clip as a stream computes them; audio is padded with silence or cut.

    Args:
        log_mel: the encoder's feature extractor.
        pcm: (n,) at 16 kHz.
        num_frames: length of the result.
    """
    audio = np.zeros(num_frames * HOP_LENGTH, np.float32)
    audio[: len(pcm)] = pcm[: len(audio)]
    power, loudness, level = log_mel.measure(torch.from_numpy(audio)[None])
    return CachedFeatures(normalize_log_mel(power, level)[0].to(CACHE_DTYPE), (loudness - level)[0], level[0])


def extract_corpus_features(
    log_mel: LogMel,
    clips: Sequence[HasAudio],
    num_frames: Sequence[int],
    audio_variants: int = 1,
    seed: int = 0,
    progress: bool = False,
    num_workers: int = 1,
) -> list[list[CachedFeatures]]:
    """Features of every clip, about 0.8 MB per minute and variant.

    Args:
        log_mel: the encoder's feature extractor.
        clips: the corpus.
        num_frames: length of each clip's features.
        audio_variants: variants per clip: the first is the clean audio, the others are made by `augment`.
        seed: of the augmentation.
        progress: show a progress bar.
        num_workers: processes.

    Returns:
        For each clip, its variants.
    """
    babble = [clip.pcm for clip in clips[:: max(len(clips) // MAX_BABBLE_CLIPS, 1)]]
    jobs: list[_Job] = [
        (log_mel, clip.pcm, count, [[seed, number, variant] for variant in range(audio_variants)])
        for number, (clip, count) in enumerate(zip(clips, num_frames, strict=True))
    ]
    if num_workers == 1:
        return _collect((_extract_variants(job, babble) for job in jobs), len(jobs), progress)
    with worker_pool(num_workers, initializer=_init_worker, initargs=(babble,)) as pool:
        return _collect(pool.map(_extract_variants, jobs, chunksize=16), len(jobs), progress)


_Job = tuple[LogMel, Array, int, list[list[int]]]
_Variants = list[tuple[npt.NDArray[np.float16], Array, Array]]


def _collect(results: Iterable[_Variants], count: int, progress: bool) -> list[list[CachedFeatures]]:
    return [
        [CachedFeatures(*map(torch.from_numpy, arrays)) for arrays in variants]
        for variants in progress_bar()(results, total=count, desc="features", disable=not progress)
    ]


_worker_babble: list[Array] = []


def _init_worker(babble: list[Array]) -> None:
    torch.set_num_threads(1)
    _worker_babble[:] = babble


def _extract_variants(job: _Job, babble: list[Array] | None = None) -> _Variants:
    """Features as arrays: a tensor sent between processes would cost an open file."""
    log_mel, pcm, num_frames, seeds = job
    pcm = np.pad(pcm, (0, max(num_frames * HOP_LENGTH - len(pcm), 0)))
    babble = _worker_babble if babble is None else babble
    variants = [
        extract_features(log_mel, augment(pcm, seed, babble) if number else pcm, num_frames)
        for number, seed in enumerate(seeds)
    ]
    return [(one.mels.numpy(), one.loudness.numpy(), one.level.numpy()) for one in variants]
