# SPDX-License-Identifier: Apache-2.0
"""The training mixture: clips of several corpora, at people's amplitude, with sampling weights.

Short clips of one voice are concatenated. A voice's share of its corpus grows with the square root of its
length: people who spoke for a minute count almost as much as those who read for an hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.corpus.storage import Clip, load_corpus
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics.phones import Phone
from streamingtalker_ros.training.speaker_amplitude import normalize_amplitude

MIN_CLIP_LENGTH_S = (
    10.0  # short clips of one speaker are concatenated to this, so that windows have a history
)
MAX_EXCESS = 1.3  # a concatenation may be longer by this factor
MIN_REMAINDER = 0.05  # fraction of the corpora that the mixture does not name, however much it assigns


def load_mixture(
    folders: Iterable[str | Path], split: str, fractions: Mapping[str, float] | None = None
) -> tuple[list[Clip], npt.NDArray[np.float64]]:
    """Load one split of several corpora with a sampling probability per clip.

    Args:
        folders: corpus folders.
        split: "train", "validation" or "test".
        fractions: folder's name -> fraction of the windows; corpora that it leaves out share the rest by
            the weights of their voices, corpora of fraction 0 are not read.

    Returns:
        The clips, short ones concatenated, and their probabilities (clips,), which sum to 1.

    Raises:
        TalkerError: if a folder holds no corpus, no clip is of the split, or a fraction names no folder.
    """
    folders = [Path(folder).absolute() for folder in folders]
    fractions = dict(fractions or {})
    unknown = set(fractions) - {folder.name for folder in folders}
    if unknown:
        raise TalkerError(
            f"the recipe's mixture names {sorted(unknown)}, but the corpora are "
            f"{[folder.name for folder in folders]}"
        )
    clips: list[Clip] = []
    probs: list[float] = []
    corpus_names: list[str] = []
    for folder in (folder for folder in folders if fractions.get(folder.name, 1.0) > 0.0):
        corpus = concatenate_short_clips(normalize_amplitude(load_corpus(folder, split)))
        clips += corpus
        corpus_names += [folder.name] * len(corpus)
        probs += _clip_weights(corpus)
    if not clips:
        raise TalkerError(f"no {split} clips in {', '.join(map(str, folders))}")
    weights, names = np.array(probs, np.float64), np.array(corpus_names)
    remainder = max(1.0 - sum(fractions.values()), MIN_REMAINDER)
    groups = [(~np.isin(names, list(fractions)), remainder)]
    groups += [(names == name, fraction) for name, fraction in fractions.items()]
    for rows, fraction in groups:
        weights[rows] *= fraction / max(weights[rows].sum(), 1e-9)
    return clips, weights / weights.sum()


def _clip_weights(clips: Sequence[Clip]) -> list[float]:
    """Sampling weight of each clip: a voice's sum is the square root of its frames."""
    frames: Counter[tuple[str, str]] = Counter()
    for clip in clips:
        frames[clip.voice, clip.style] += len(clip.weights)
    return [len(clip.weights) / frames[clip.voice, clip.style] ** 0.5 for clip in clips]


def concatenate_short_clips(clips: Sequence[Clip], min_length_s: float = MIN_CLIP_LENGTH_S) -> list[Clip]:
    """Concatenate consecutive clips of one voice and style until they last `min_length_s`."""
    result: list[Clip] = []
    group: list[Clip] = []
    for clip in clips:
        length = sum(len(other.pcm) for other in group) / SAMPLE_RATE
        is_same = group and (clip.voice, clip.style) == (group[0].voice, group[0].style)
        if group and (not is_same or length + len(clip.pcm) / SAMPLE_RATE > MAX_EXCESS * min_length_s):
            result.append(concatenate_clips(group))
            group = []
        group.append(clip)
    return result + ([concatenate_clips(group)] if group else [])


def concatenate_clips(clips: Sequence[Clip]) -> Clip:
    """Concatenate clips; the result has the name, voice and style of the first."""
    if len(clips) == 1:
        return clips[0]
    phones: list[Phone] = []
    start = 0.0
    for clip in clips:
        phones += [replace(phone, start=phone.start + start, end=phone.end + start) for phone in clip.phones]
        start += len(clip.weights) * HOP_LENGTH / SAMPLE_RATE
    tracked = {
        key: None
        if any(getattr(clip, key) is None for clip in clips)
        else np.concatenate([getattr(clip, key) for clip in clips])
        for key in ("lip_opening", "lip_width")
    }
    return replace(
        clips[0],
        pcm=np.concatenate([_fit_audio_to_motion(clip) for clip in clips]),
        phones=phones,
        weights=np.concatenate([clip.weights for clip in clips]),
        head=np.concatenate([clip.head for clip in clips]),
        **tracked,
    )


def _fit_audio_to_motion(clip: Clip) -> npt.NDArray[np.float32]:
    """The clip's audio, cut or padded to exactly the length of its motion."""
    length = len(clip.weights) * HOP_LENGTH
    return np.pad(clip.pcm[:length], (0, max(length - len(clip.pcm), 0)))
