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

from streamingtalker_ros import __version__
from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.coarticulation import face_motion
from streamingtalker_ros.corpus.storage import (
    RULE_BASED_STYLE,
    Clip,
    Index,
    load_corpus,
    minutes_by_split,
    read_index,
    read_part,
    save_clip,
    write_index,
    write_part,
)
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import progress_bar
from streamingtalker_ros.task_cluster import TaskCluster

SCALE_RANGES: Final = ((0.85, 0.95), (1.06, 1.18))
"""Ranges of the factor of all frequencies; one factor is drawn from each range per voice."""


def scale_speakers(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    seed: int = 0,
    num_workers: int = 2,
    scheduler: str | None = None,
) -> Index:
    """Write a corpus of every training clip of another, once for each range of `SCALE_RANGES`.

    Args:
        folder: folder of the source corpus.
        out: folder to write.
        seed: equal seeds give equal files.
        num_workers: number of processes.
        scheduler: address of a Dask scheduler, whose workers are used instead; None for local processes.

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
    names = [clip.name for clip, _, _, _ in work]
    with TaskCluster(num_workers, scheduler, out) as cluster:
        results = tqdm(
            cluster.map(_scale_clip, work, names), total=len(work), unit="clip", desc="other sizes"
        )
        entries = [entry for entry in results if entry is not None]
    return write_index(
        out,
        {
            **source,
            "minutes_by_split": minutes_by_split(entries),
            "speaker_scaling": {"source_kind": source.get("kind"), "seed": seed},
            "clips": entries,
        },
        cluster.failures,
    )


def _scale_clip(job: tuple[Clip, Path, int, int]) -> Index:
    """Save one clip with all frequencies scaled by a factor of the range `number`."""
    clip, out, number, seed = job
    part_name = f"{clip.name}_s{number}"
    checksums = zlib.crc32(clip.pcm.tobytes()), zlib.crc32(repr(clip.phones).encode())
    state = [__version__, seed, clip.voice, *checksums]
    part = read_part(out, part_name, state)
    if part is not None:
        return part["clips"][0]
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
        name=part_name,
    )
    scaled.weights, scaled.head = face_motion.synthesize_speaker_motion(scaled, voice)
    entry = save_clip(out, scaled, speaker=voice, speaker_scale=scale)
    return write_part(out, part_name, state, [entry])["clips"][0]
