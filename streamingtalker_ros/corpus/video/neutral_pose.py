# SPDX-License-Identifier: Apache-2.0
"""Neutral pose of a speaker: the landmarks while the mouth is closed, still and silent.

`find_rest_frames(face, pcm)` selects such frames of one clip; `estimate_neutral_pose(faces, recordings)`
computes a `NeutralPose` from all clips of a speaker, against which the solver measures every frame. For a
speaker who never rests, frames in which the lips meet during speech are used (`find_closed_frames`), with one
warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.corpus.loudness import loudness_db
from streamingtalker_ros.corpus.storage import LIP_MEASUREMENTS
from streamingtalker_ros.corpus.video.head_pose import StabilizedFace
from streamingtalker_ros.corpus.video.landmarks import (
    CHIN_LANDMARKS,
    EYE_CORNERS,
    INNER_LOWER,
    INNER_UPPER,
    LOWER_LIDS,
    MIDDLE_PAIRS,
    MOUTH_CORNERS,
    UPPER_LIDS,
    Side,
)
from streamingtalker_ros.errors import TalkerError

_LOGGER = logging.getLogger(__name__)

MAX_REST_GAP: Final = 0.02
"""Largest gap of lips at rest, in inter-ocular distances."""

QUIET_DB: Final = 20.0
"""Decibels below the loud frames of a clip at which a frame counts as quiet."""

MAX_FRAMES_PER_CLIP: Final = 12
"""Frames of one clip that are used, so that no clip outweighs the others."""

MIN_NEUTRAL_FRAMES: Final = 5
"""Least number of frames that determine a neutral pose."""

MIN_CONTACT_GAP: Final = 0.011
"""Smaller gaps are contact: half a pixel in a face with 50 pixels between the eyes."""

CONTACT_MARGIN: Final = 0.006
"""A gap that exceeds that of the neutral pose by less is contact."""


@dataclass
class NeutralPose:
    """Neutral pose of a speaker; lengths in inter-ocular distances.

    Attributes:
        points: (478, 3) stabilized landmarks.
        lip_gap: gap between the inner lips.
        lip_width: distance between the corners of the mouth.
        contact_gap: smaller gaps are lip contact.
        eye_openness: {"Left", "Right"}: height of the open eye over its width.
        head: (3,) rotation vector of the head.
    """

    points: np.ndarray
    lip_gap: float
    lip_width: float
    contact_gap: float
    eye_openness: dict[Side, float]
    head: np.ndarray


def measure_lip_gap(points: np.ndarray) -> np.ndarray:
    """Measure the gap between the inner lips along z, as the mean of the middle pairs.

    Args:
        points: (…, 478, 3) stabilized landmarks.

    Returns:
        (…) signed gap in inter-ocular distances.
    """
    pairs = points[..., INNER_UPPER[MIDDLE_PAIRS], 2] - points[..., INNER_LOWER[MIDDLE_PAIRS], 2]
    return pairs.mean(axis=-1)


def measure_lip_width(points: np.ndarray) -> np.ndarray:
    """Measure the distance between the corners of the mouth.

    Args:
        points: (…, 478, 3) stabilized landmarks.

    Returns:
        (…) inter-ocular distances.
    """
    left, right = MOUTH_CORNERS
    return np.linalg.norm(points[..., left, :] - points[..., right, :], axis=-1)


def measure_lips(points: np.ndarray, neutral: NeutralPose) -> dict[str, npt.NDArray[np.float32]]:
    """Measure lips and chin.

    Args:
        points: (T, 478, 3) stabilized landmarks.
        neutral: neutral pose of the speaker.

    Returns:
        `LIP_MEASUREMENTS`, (T,) each, in inter-ocular distances.
    """

    def rise(landmarks: tuple[int, ...]) -> np.ndarray:
        return (points[:, landmarks, 2] - neutral.points[landmarks, 2]).mean(axis=1)

    curves = (
        measure_lip_gap(points),
        measure_lip_width(points),
        rise(INNER_UPPER[MIDDLE_PAIRS]),
        -rise(INNER_LOWER[MIDDLE_PAIRS]),
        -rise(CHIN_LANDMARKS),
    )
    return {name: curve.astype(np.float32) for name, curve in zip(LIP_MEASUREMENTS, curves, strict=True)}


def measure_eye_openness(points: np.ndarray, side: Side) -> np.ndarray:
    """Measure the height of an eye's opening over its width.

    Args:
        points: (…, 478, 3) stabilized landmarks.
        side: "Left" or "Right".

    Returns:
        (…) ratio.
    """
    inner, outer = EYE_CORNERS[side]
    upper, lower = points[..., UPPER_LIDS[side], 2], points[..., LOWER_LIDS[side], 2]
    height = upper.mean(axis=-1) - lower.mean(axis=-1)
    return height / np.linalg.norm(points[..., outer, :] - points[..., inner, :], axis=-1)


def find_rest_frames(face: StabilizedFace, pcm: np.ndarray) -> np.ndarray:
    """Select frames in which the mouth is closed, still and silent.

    Args:
        face: face of one clip.
        pcm: (n,) audio of the clip at 16 kHz, from time 0 on.

    Returns:
        Indices of up to MAX_FRAMES_PER_CLIP frames; may be empty.
    """
    gap = measure_lip_gap(face.points)
    speed = _lip_speed(face)
    level = loudness_db(pcm, face.times)
    resting = (gap < MAX_REST_GAP) & (level < np.percentile(level, 95) - QUIET_DB)
    frames = np.flatnonzero(resting & (speed <= np.median(speed)))
    count = min(MAX_FRAMES_PER_CLIP, len(frames))
    return frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]


def find_closed_frames(face: StabilizedFace) -> np.ndarray:
    """Select the slowest frames in which the lips meet, with or without sound.

    Args:
        face: face of one clip.

    Returns:
        Indices of up to MAX_FRAMES_PER_CLIP frames; may be empty.
    """
    closed = np.flatnonzero(measure_lip_gap(face.points) < MAX_REST_GAP)
    return np.sort(closed[np.argsort(_lip_speed(face)[closed], kind="stable")[:MAX_FRAMES_PER_CLIP]])


def _lip_speed(face: StabilizedFace) -> np.ndarray:
    """Speed of the inner lips per frame, (F,), averaged over five frames."""
    lips = face.points[:, INNER_UPPER + INNER_LOWER].reshape(len(face.points), -1)
    return np.convolve(np.linalg.norm(np.gradient(lips, axis=0), axis=1), np.ones(5) / 5, mode="same")


def estimate_neutral_pose(
    faces: Sequence[StabilizedFace],
    recordings: Sequence[np.ndarray],
    report: Callable[[str], object] = _LOGGER.warning,
) -> NeutralPose:
    """Estimate the neutral pose of a speaker.

    Args:
        faces: faces of the speaker's clips.
        recordings: (n,) audio at 16 kHz of each clip.
        report: called with one message if the mouth never rests and closures in speech are used.

    Returns:
        The neutral pose.

    Raises:
        TalkerError: if the lips hardly ever meet.
    """
    selected = [find_rest_frames(face, pcm) for face, pcm in zip(faces, recordings, strict=True)]
    if sum(map(len, selected)) < MIN_NEUTRAL_FRAMES:
        selected = [find_closed_frames(face) for face in faces]
        if sum(map(len, selected)) < MIN_NEUTRAL_FRAMES:
            raise TalkerError(
                "the speaker's mouth is never shut: leave half a second of rest with closed lips at the "
                "start of the videos"
            )
        report(
            "the speaker's mouth is never shut, still and silent, so the neutral face is that of lips which "
            "meet in speech: good enough to measure by; to learn from, leave half a second of rest with "
            "closed lips"
        )
    points = np.concatenate([face.points[frames] for face, frames in zip(faces, selected, strict=True)])
    heads = np.concatenate([face.head[frames] for face, frames in zip(faces, selected, strict=True)])
    # blinks and outliers lie far from the median: compute it again from the nearer half
    for _ in range(2):
        median = np.median(points, axis=0)
        distance = np.linalg.norm(points - median, axis=-1).mean(axis=-1)
        is_inlier = distance <= np.median(distance)
        points, heads = (points[is_inlier], heads[is_inlier]) if len(distance) >= 10 else (points, heads)
    median = np.median(points, axis=0)
    lip_gap = float(np.median(measure_lip_gap(points)))
    return NeutralPose(
        median,
        lip_gap,
        float(np.median(measure_lip_width(points))),
        max(MIN_CONTACT_GAP, lip_gap + CONTACT_MARGIN),
        {side: float(np.median(measure_eye_openness(points, side))) for side in EYE_CORNERS},
        np.median(heads, axis=0),
    )
