# SPDX-License-Identifier: Apache-2.0
"""Motion of other systems: a folder of CSV (Live Link Face) or NPZ (`streamingtalker animate`) files.

`read_motion_folder` reads it; `pair_with_clips` pairs its files with the clips of a test set by name,
`folder_to_test_set` with the sound files beside them, without a reference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.motion_curves import MotionCurves, resample_frames
from streamingtalker_ros.evaluation.test_set import TestSet
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.motion_file import MOTION_SUFFIXES, read_motion
from streamingtalker_ros.face.rig import Rig

AUDIO_SUFFIXES: Final = (".wav", ".flac", ".ogg", ".mp3")


def read_motion_folder(rig: Rig, folder: str | os.PathLike[str]) -> dict[str, MotionCurves]:
    """Read all motion files of a folder.

    Args:
        rig: the face on which the weights are measured.
        folder: path.

    Returns:
        File stem -> curves at `FRAME_RATE`.

    Raises:
        TalkerError: If there are none, or one is invalid.
    """
    folder = Path(folder)
    paths = (
        sorted(path for path in folder.glob("*") if path.suffix.lower() in MOTION_SUFFIXES)
        if folder.is_dir()
        else []
    )
    if not paths:
        raise TalkerError(
            f"{folder} holds no motion: put NAME.csv or NAME.npz there, beside NAME.wav or with a "
            "--corpus whose clips have those names"
        )
    curves = {}
    for path in paths:
        weights, head, frame_rate = read_motion(path)
        frames = round(len(weights) * FRAME_RATE / frame_rate)
        curves[path.stem] = MotionCurves.from_weights(
            rig, resample_frames(weights, frame_rate, frames), resample_frames(head, frame_rate, frames)
        )
    return curves


def pair_with_clips(
    test_set: TestSet, curves: Mapping[str, MotionCurves]
) -> tuple[TestSet, list[MotionCurves]]:
    """Pair motion with the clips of a test set by name.

    Args:
        test_set: clips and references.
        curves: name -> motion.

    Returns:
        The subset of the clips that have motion, and their motion, cut or held to the clips' lengths.

    Raises:
        TalkerError: If no names match.
    """
    indices = [i for i, clip in enumerate(test_set.clips) if clip.name in curves]
    if not indices:
        raise TalkerError(
            f"no clip of {test_set.name} has the name of a motion file (its first is "
            f"{test_set.clips[0].name}, of the folder {next(iter(curves))}): use the same names"
        )
    subset = test_set.subset(indices)
    return subset, [
        _fit_length(curves[clip.name], len(reference.opening))
        for clip, reference in zip(subset.clips, subset.reference, strict=True)
    ]


def folder_to_test_set(
    folder: str | os.PathLike[str], curves: Mapping[str, MotionCurves]
) -> tuple[TestSet, list[MotionCurves]]:
    """Pair motion with the sound files of the same folder; such a test set has no reference.

    Args:
        folder: path.
        curves: name -> motion.

    Returns:
        The test set and the motion of its clips.

    Raises:
        TalkerError: If there are no sound files.
    """
    clips, paired, reference = [], [], []
    for name, motion in curves.items():
        path = next(
            (
                path
                for path in sorted(Path(folder).glob(f"{name}.*"))
                if path.suffix.lower() in AUDIO_SUFFIXES
            ),
            None,
        )
        if path is None:
            continue
        pcm = to_16k(*read_audio(path))
        frames = min(len(motion.opening), len(pcm) // HOP_LENGTH)
        clips.append(
            Clip(
                np.asarray(pcm[: frames * HOP_LENGTH], np.float32),
                np.zeros((frames, len(ARKIT_NAMES)), np.float32),
                np.zeros((frames, 3), np.float32),
                [],
                name=name,
            )
        )
        paired.append(_fit_length(motion, frames))
        reference.append(MotionCurves(np.zeros(frames), np.full(frames, np.nan)))
    if not clips:
        raise TalkerError(
            f"{folder} has no sound beside its motion: put NAME.wav there, or give the --corpus that the "
            "names belong to"
        )
    return TestSet(Path(folder).resolve().name, clips, reference, [[] for _ in clips]), paired


def _fit_length(curves: MotionCurves, frames: int) -> MotionCurves:
    """Cut curves to a number of frames, or hold their last frame."""
    return curves.select(np.minimum(np.arange(frames), len(curves.opening) - 1))
