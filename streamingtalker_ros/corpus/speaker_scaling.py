# SPDX-License-Identifier: Apache-2.0
"""Corpus of smaller and larger speakers: speed perturbation of clips, with new rule-based motion.

Speed perturbation (Ko, Peddinti, Povey and Khudanpur 2015) changes pitch, formants and tempo together.
Captured motion does not stretch like that, so only rule-based corpora are scaled; captured ones use
`voice_conversion`.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.child_processes import worker_pool
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import (
    RULE_BASED_STYLE,
    Clip,
    Index,
    load_corpus,
    minutes_by_split,
    read_index,
    save_clip,
    write_index,
)
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import progress_bar

SCALE_RANGES: Final = ((0.85, 0.95), (1.06, 1.18))
"""Ranges of the factor of all frequencies; one factor is drawn from each range per voice."""


def scale_speakers(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], seed: int = 0, num_workers: int = 2
) -> Index:
    """Write a corpus of every training clip of another, once for each range of `SCALE_RANGES`.

    Args:
        folder: folder of the source corpus.
        out: folder to write.
        seed: equal seeds give equal files.
        num_workers: number of processes.

    Returns:
        The index of the new corpus.

    Raises:
        TalkerError: if `out` is `folder`, or no clip there has rule-based motion.
    """
    tqdm = progress_bar()
    folder, out = Path(folder), Path(out)
    if folder.resolve() == out.resolve():
        raise TalkerError(f"{out} is the corpus itself: give another folder to write")
    source = read_index(folder)
    clips = [
        clip
        for clip in load_corpus(folder, "train")
        if clip.lip_opening is None and clip.style == RULE_BASED_STYLE
    ]
    if not clips:
        raise TalkerError(
            f"{folder} has no training clips with rule-based motion; use `corpus revoice` for captured motion"
        )
    work = [(clip, out, number, seed) for clip in clips for number in range(len(SCALE_RANGES))]
    with worker_pool(num_workers) as pool:
        entries = list(
            tqdm(pool.map(_scale_clip, work, chunksize=8), total=len(work), unit="clip", desc="other sizes")
        )
    return write_index(
        out,
        {
            **source,
            "minutes_by_split": minutes_by_split(entries),
            "speaker_scaling": {"source_kind": source.get("kind"), "seed": seed},
            "clips": entries,
        },
    )


def _scale_clip(job: tuple[Clip, Path, int, int]) -> Index:
    """Save one clip with all frequencies scaled by a factor of the range `number`."""
    clip, out, number, seed = job
    rng = np.random.default_rng([seed, zlib.crc32(clip.voice.encode()), number])
    scale = round(float(rng.uniform(*SCALE_RANGES[number])), 3)
    pcm = augmentation.perturb_speed(clip.pcm, scale)
    frames = len(pcm) // HOP_LENGTH
    duration = frames * HOP_LENGTH / SAMPLE_RATE
    phones = [
        replace(phone, start=phone.start / scale, end=min(phone.end / scale, duration))
        for phone in clip.phones
        if phone.start / scale < duration
    ]
    voice = f"{clip.voice}*{scale}"
    scaled = replace(
        clip,
        pcm=np.clip(pcm[: frames * HOP_LENGTH], -1.0, 1.0),
        weights=np.zeros((frames, clip.weights.shape[1]), np.float32),
        head=np.zeros((frames, 3), np.float32),
        phones=phones,
        voice=voice,
        name=f"{clip.name}_s{number}",
    )
    scaled.weights, scaled.head = face_motion.synthesize_speaker_motion(scaled, voice)
    return save_clip(out, scaled, speaker=voice, speaker_scale=scale)
