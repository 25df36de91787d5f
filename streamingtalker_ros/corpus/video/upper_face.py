# SPDX-License-Identifier: Apache-2.0
"""Measures eyes and brows of a tracked face: blinks, wide eyes, gaze and brows.

`measure_upper_face(face, neutral)` returns weights (F, 52) without the mouth. Each weight is one distance
compared with the neutral pose, with a dead zone as wide as the noise of the tracker.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streamingtalker_ros.corpus.video.head_pose import StabilizedFace
from streamingtalker_ros.corpus.video.landmarks import BROWS, EYE_CORNERS, IRIS, Side
from streamingtalker_ros.corpus.video.neutral_pose import NeutralPose, measure_eye_openness
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.eye_look import MAX_EYE_ANGLE_RAD

CLOSED_OPENNESS: Final = 0.16
"""Openness of a closed eye, relative to the open eye."""

OPENNESS_DEAD_ZONE: Final = 0.12
"""Changes of the openness below this are noise."""

WIDE_OPENNESS_RANGE: Final = 0.4
"""Increase of the openness beyond the dead zone at eyeWide 1."""

CLOSED_WEIGHT: Final = 0.3
"""Blink weight above which the gaze is not measured: the tracker cannot see the iris of a closed eye."""

MIN_WINK_DIFFERENCE: Final = 0.6
"""Eyes whose openness differs by less blink together."""

EYE_RADIUS: Final = 0.19
"""Radius of the eyeball in inter-ocular distances: 12 mm of 63 mm."""

BROW_RAISE: Final = 0.13
"""Rise of a brow at weight 1, in inter-ocular distances: 8 mm."""

BROW_LOWER: Final = 0.09
"""Fall of a brow at browDown 1, in inter-ocular distances."""

BROW_DEAD_ZONE: Final = 0.01
"""Brow displacement below this is noise, in inter-ocular distances."""


def measure_upper_face(face: StabilizedFace, neutral: NeutralPose) -> np.ndarray:
    """Measure eyes and brows of a tracked face.

    Args:
        face: face of a speaker.
        neutral: neutral pose of that speaker.

    Returns:
        (F, 52) float64 weights, 0 to 1; the mouth is 0.
    """
    weights = np.zeros((len(face.points), len(ARKIT_NAMES)))
    openness = {
        side: measure_eye_openness(face.points, side) / neutral.eye_openness[side] for side in EYE_CORNERS
    }
    mean_openness = sum(openness.values(), np.zeros(len(face.points))) / 2.0
    for side in EYE_CORNERS:
        eye = _couple_eyes(openness[side], mean_openness)
        blink = np.clip(
            (1.0 - OPENNESS_DEAD_ZONE - eye) / (1.0 - OPENNESS_DEAD_ZONE - CLOSED_OPENNESS), 0.0, 1.0
        )
        weights[:, INDEX["eyeBlink" + side]] = blink
        wide = (eye - 1.0 - OPENNESS_DEAD_ZONE) / WIDE_OPENNESS_RANGE
        weights[:, INDEX["eyeWide" + side]] = np.clip(wide, 0.0, 1.0)
        yaw, pitch = _measure_gaze(face.points, neutral.points, side)
        is_open = np.where(blink > CLOSED_WEIGHT, 0.0, 1.0)
        outward = yaw if side == "Left" else -yaw
        for name, angle in (("Out", outward), ("In", -outward), ("Up", pitch), ("Down", -pitch)):
            gaze = _median_filter(is_open * angle / MAX_EYE_ANGLE_RAD)
            weights[:, INDEX[f"eyeLook{name}{side}"]] = np.clip(gaze, 0.0, 1.0)
        brow = (face.points - neutral.points)[:, BROWS[side], 2]
        inner = _apply_dead_zone(_median_filter(brow[:, :2].mean(axis=1)))
        outer = _apply_dead_zone(_median_filter(brow[:, 2:].mean(axis=1)))
        weights[:, INDEX["browInnerUp"]] += np.clip(inner / BROW_RAISE, 0.0, 1.0) / 2.0
        weights[:, INDEX["browOuterUp" + side]] = np.clip(outer / BROW_RAISE, 0.0, 1.0)
        weights[:, INDEX["browDown" + side]] = np.clip(-(inner + outer) / 2.0 / BROW_LOWER, 0.0, 1.0)
    return weights


def _couple_eyes(eye: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Replace the openness of an eye by the mean of both, except for a wink: measured blinks are uneven."""
    difference = eye - mean
    return mean + np.sign(difference) * np.maximum(np.abs(difference) - MIN_WINK_DIFFERENCE / 2.0, 0.0)


def _measure_gaze(points: np.ndarray, neutral: np.ndarray, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """(yaw to the person's left (F,), pitch up (F,)) in radians, relative to the neutral pose."""
    corners = list(EYE_CORNERS[side])
    iris = points[:, IRIS[side]] - points[:, corners].mean(axis=1)
    rest = neutral[IRIS[side]] - neutral[corners].mean(axis=0)
    angles = np.arcsin(np.clip((iris - rest)[:, 1:] / EYE_RADIUS, -0.9, 0.9))
    return angles[:, 0], angles[:, 1]


def _apply_dead_zone(rise: np.ndarray) -> np.ndarray:
    return np.sign(rise) * np.maximum(np.abs(rise) - BROW_DEAD_ZONE, 0.0)


def _median_filter(curve: np.ndarray) -> np.ndarray:
    """Median of three frames: keeps steps and removes outliers of one frame."""
    padded = np.pad(curve, 1, mode="edge")
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)
