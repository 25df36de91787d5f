# SPDX-License-Identifier: Apache-2.0
"""Matches points of a rig to tracked landmarks: the least-squares basis of the blendshape solver.

`match_landmarks(rig, neutral)` returns a `LandmarkBasis`. Lip points match by their relative position between
the corners of the mouth, the chin by its position on the mid-plane, so that any rig with the landmarks
inner_lip_upper, inner_lip_lower, outer_lip_upper, outer_lip_lower and mouth_corners can be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from streamingtalker_ros.corpus.video.landmarks import (
    CHIN_LANDMARKS,
    CHIN_TIP,
    INNER_LOWER,
    INNER_UPPER,
    MOUTH_CORNERS,
    OUTER_LOWER,
    OUTER_UPPER,
    Side,
)
from streamingtalker_ros.corpus.video.neutral_pose import NeutralPose
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.chin import chin_vertex
from streamingtalker_ros.face.rig import Rig

LIP_LINES: Final = (
    (INNER_UPPER, "inner_lip_upper"),
    (INNER_LOWER, "inner_lip_lower"),
    (OUTER_UPPER, "outer_lip_upper"),
    (OUTER_LOWER, "outer_lip_lower"),
)
"""Landmark numbers of each lip line, and the name of that line on a rig."""

UPPER_LIP_BORDER: Final = 0
"""Landmark at the middle of the upper lip's border."""


MOUTH_SHAPES: Final = tuple(name for name in ARKIT_NAMES if name.startswith(("jaw", "mouth")))
"""ARKit shapes that the solver fits to the lips and the chin."""

EYELID_LANDMARKS: Final[dict[Side, str]] = {"Left": "eyelid_left", "Right": "eyelid_right"}
"""Name of the eyelid landmark on a rig, per side."""


@dataclass
class LandmarkBasis:
    """Effect of a rig's mouth shapes on landmarks.

    Attributes:
        rig: the rig.
        landmarks: (P,) landmark numbers.
        shapes: (len(MOUTH_SHAPES), P, 3) displacement per unit weight, in `interocular`.
        interocular: inter-ocular distance of the rig, in metres.
        lip_width: width of the mouth at rest, in metres.
    """

    rig: Rig
    landmarks: np.ndarray
    shapes: np.ndarray
    interocular: float
    lip_width: float


def match_landmarks(rig: Rig, neutral: NeutralPose) -> LandmarkBasis:
    """Match points of a rig to the landmarks of a speaker.

    Args:
        rig: a rig with the 52 ARKit shapes.
        neutral: neutral pose of the speaker.

    Returns:
        The basis of the solver.

    Raises:
        TalkerError: if the lips of the rig are not marked.
    """
    interocular = interocular_distance(rig)
    corners = rig.landmark("mouth_corners")
    landmarks, vertices = [MOUTH_CORNERS[1], MOUTH_CORNERS[0]], [corners[1], corners[0]]
    for numbers, name in LIP_LINES:
        line = rig.landmark(name)
        line = line[np.argsort(rig.vertices[line, 1])]
        tracked = _relative_position(neutral.points[list(numbers), 1])
        whole_line = np.concatenate([corners[1:], line, corners[:1]])
        available = _relative_position(rig.vertices[whole_line, 1])[1:-1]
        for number, position in zip(numbers[1:-1], tracked[1:-1], strict=True):
            landmarks.append(number)
            vertices.append(line[np.argmin(np.abs(available - position))])
    heights = neutral.points[[UPPER_LIP_BORDER, *CHIN_LANDMARKS], 2]
    chin_height = neutral.points[CHIN_TIP, 2]
    fractions = (heights[1:] - heights[0]) / (chin_height - heights[0])  # 0 upper lip, 1 tip of the chin
    for number, fraction in zip(CHIN_LANDMARKS, fractions, strict=True):
        landmarks.append(number)
        vertices.append(chin_vertex(rig, fraction))
    mouth = [rig.shape_names.index(name) for name in MOUTH_SHAPES]
    return LandmarkBasis(
        rig,
        np.array(landmarks),
        rig.deltas[mouth][:, vertices].astype(np.float64) / interocular,
        interocular,
        float(rig.lip_width(np.zeros(len(rig.shape_names)))),
    )


def interocular_distance(rig: Rig) -> float:
    """Metres between the middles of the eyes of a rig."""
    left, right = (_eye_middle(rig, name) for name in EYELID_LANDMARKS.values())
    return float(np.linalg.norm(np.subtract(left, right)))


def _relative_position(y: np.ndarray) -> np.ndarray:
    """Map y of a lip line, right corner to left, to -1 to 1."""
    return 2.0 * (y - y[0]) / (y[-1] - y[0]) - 1.0


def _eye_middle(rig: Rig, name: str) -> np.ndarray:
    """Middle between the corners of an eye, (3,) metres."""
    lids = rig.vertices[rig.landmark(name)]
    return (lids[np.argmin(lids[:, 1])] + lids[np.argmax(lids[:, 1])]) / 2.0
