# SPDX-License-Identifier: Apache-2.0
"""What the encoder hears of a corpus, computed once: log-mel features of each clip, clean and dirty.

The features of a whole clip are those of a stream (the running level included), which features of a window alone would
not be; and a training step that only gathers rows spends its time on learning.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from streamingtalker_ros.audio.augmentation import augment
from streamingtalker_ros.audio.constants import HOP_LENGTH
from streamingtalker_ros.model.blendshape.features import normalize_log_mel

SAVED = torch.float16


@dataclass
class Heard:
    """One version of one clip's sound: mels (n, columns, mels) float16; loudness above the level, and the level, (n,)
    float32."""

    mels: torch.Tensor
    loudness: torch.Tensor
    level: torch.Tensor


@torch.no_grad()
def hear(log_mel, pcm, frames):
    """Features of pcm (n,) as a stream has them, for `frames` frames; what the sound lacks is silence. -> Heard."""
    audio = np.zeros(frames * HOP_LENGTH, np.float32)
    audio[: len(pcm)] = pcm[: len(audio)]
    power, loudness, level = log_mel.measure(torch.from_numpy(audio)[None])
    return Heard(normalize_log_mel(power, level)[0].to(SAVED), (loudness - level)[0], level[0])


def hear_all(log_mel, clips, frames, versions=1, seed=0, progress=False, jobs=1):
    """Features of every clip: a list of `versions` Heard for each, the first of the clean sound, the others of a
    recording that `augment` makes of it.

    frames: list of (how many of each clip); jobs: processes. About 0.8 MB a minute and version.
    """
    talk = [clip.pcm for clip in clips[:: max(len(clips) // 40, 1)]]  # what babbles in the background
    work = [
        (log_mel, clip.pcm, count, [[seed, number, version] for version in range(versions)])
        for number, (clip, count) in enumerate(zip(clips, frames))
    ]
    if jobs == 1:
        heard = (_versions(job, talk) for job in work)
        return _collected(heard, len(work), progress)
    with ProcessPoolExecutor(jobs, initializer=_begin, initargs=(talk,)) as pool:
        return _collected(pool.map(_versions, work, chunksize=16), len(work), progress)


def _collected(heard, count, progress):
    return [
        [Heard(*map(torch.from_numpy, parts)) for parts in versions]
        for versions in tqdm(heard, total=count, desc="listening", disable=not progress)
    ]


_talk = []


def _begin(talk) -> None:
    torch.set_num_threads(1)
    _talk[:] = talk


def _versions(job, talk=None):
    """Arrays, not tensors: a tensor that crosses a process costs an open file."""
    log_mel, pcm, count, seeds = job
    pcm = np.pad(pcm, (0, max(count * HOP_LENGTH - len(pcm), 0)))
    heard = [
        hear(log_mel, augment(pcm, seed, _talk if talk is None else talk) if number else pcm, count)
        for number, seed in enumerate(seeds)
    ]
    return [(one.mels.numpy(), one.loudness.numpy(), one.level.numpy()) for one in heard]
