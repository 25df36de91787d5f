# SPDX-License-Identifier: Apache-2.0
"""What a run learns from: clips of several corpora, the short ones joined, each corpus with its share.

`gather(folders, …)` gives clips and how often each is drawn.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.corpus.storage import load_corpus
from streamingtalker_ros.errors import TalkerError

JOINED = 10.0  # seconds that short clips of one speaker are joined to, so that windows have a past
LEAST = 0.05  # share of the corpora that the mix does not name, whatever it leaves


def gather(folders, split, mix=None):
    """Clips of one split of several corpora, short ones joined.

    mix: {folder's name: share}; corpora that it leaves out share the rest by their length. Returns (clips, chances),
    chances (clips,) sum to 1. Raises TalkerError for a folder without a corpus or a share that names none.
    """
    folders = [Path(folder) for folder in folders]
    mix = dict(mix or {})
    unknown = set(mix) - {folder.name for folder in folders}
    if unknown:
        raise TalkerError(
            f"the recipe's mix names {sorted(unknown)}, but the corpora are "
            f"{[folder.name for folder in folders]}"
        )
    clips, chances, names = [], [], []
    for folder in folders:
        part = join(load_corpus(folder, split))
        clips += part
        names += [folder.name] * len(part)
        chances += [len(clip.weights) for clip in part]
    if not clips:
        raise TalkerError(f"no {split} clips in {', '.join(map(str, folders))}")
    chances, names = np.array(chances, np.float64), np.array(names)
    left = max(1.0 - sum(mix.values()), LEAST)
    shares = [(~np.isin(names, list(mix)), left), *((names == name, share) for name, share in mix.items())]
    for rows, share in shares:
        chances[rows] *= share / max(chances[rows].sum(), 1.0)
    return clips, chances / chances.sum()


def join(clips, seconds=JOINED):
    """Consecutive clips of one voice and style, joined until they last `seconds`; long ones stay alone."""
    out, group = [], []
    for clip in clips:
        length = sum(len(part.pcm) for part in group) / SAMPLE_RATE
        alike = group and (clip.voice, clip.style) == (group[0].voice, group[0].style)
        if group and (not alike or length + len(clip.pcm) / SAMPLE_RATE > 1.3 * seconds):
            out.append(joined(group))
            group = []
        group.append(clip)
    return out + ([joined(group)] if group else [])


def joined(clips):
    """One Clip of several, end to end."""
    if len(clips) == 1:
        return clips[0]
    phones, start = [], 0.0
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
        pcm=np.concatenate([_whole(clip) for clip in clips]),
        phones=phones,
        weights=np.concatenate([clip.weights for clip in clips]),
        head=np.concatenate([clip.head for clip in clips]),
        **tracked,
    )


def _whole(clip):
    """The clip's sound, exactly as long as its motion."""
    wanted = len(clip.weights) * HOP_LENGTH
    return np.pad(clip.pcm[:wanted], (0, max(wanted - len(clip.pcm), 0)))
