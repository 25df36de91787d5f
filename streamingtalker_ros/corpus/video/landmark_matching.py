# SPDX-License-Identifier: Apache-2.0
"""Which points of a rig are which landmarks: the least-squares basis that tracked faces are solved on.

`match(rig, neutral)` gives a `Basis`. Lip points are matched by how far along they lie between the mouth's corners,
the chin by its place on the mid-plane, so that any rig with landmarks inner_lip_upper, inner_lip_lower,
outer_lip_upper, outer_lip_lower and mouth_corners will do.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.corpus.video.landmarks import (
    CORNERS,
    INNER_LOWER,
    INNER_UPPER,
    OUTER_LOWER,
    OUTER_UPPER,
)
from streamingtalker_ros.face.arkit import ARKIT_NAMES

LINES = (
    (INNER_UPPER, "inner_lip_upper"),
    (INNER_LOWER, "inner_lip_lower"),
    (OUTER_UPPER, "outer_lip_upper"),
    (OUTER_LOWER, "outer_lip_lower"),
)
CHIN = (199, 175)  # the front of the chin, and nearer its tip
MOUTH = tuple(name for name in ARKIT_NAMES if name.startswith(("jaw", "mouth")))
EYES = {"Left": "eyelid_left", "Right": "eyelid_right"}


@dataclass
class Basis:
    """A rig seen as landmarks: mesh (P,) landmark numbers and shapes (len(MOUTH), P, 3), what each shape of the
    mouth does to them in parts of `eyes`, the rig's inter-ocular distance in m; width: its mouth at rest, in m."""

    rig: object
    mesh: np.ndarray
    shapes: np.ndarray
    eyes: float
    width: float


def match(rig, neutral):
    """rig: with the 52 ARKit shapes; neutral: the speaker's. Raises TalkerError where the rig's lips are unknown."""
    eyes = eye_distance(rig)
    corners = rig.landmark("mouth_corners")
    mesh, points = [CORNERS[1], CORNERS[0]], [corners[1], corners[0]]
    for numbers, name in LINES:
        row = rig.landmark(name)
        row = row[np.argsort(rig.vertices[row, 1])]
        there = _along(neutral.points[list(numbers), 1])
        here = _along(
            np.concatenate([rig.vertices[corners[1:], 1], rig.vertices[row, 1], rig.vertices[corners[:1], 1]])
        )[1:-1]
        for number, share in zip(numbers[1:-1], there[1:-1]):
            mesh.append(number)
            points.append(row[np.argmin(np.abs(here - share))])
    below = neutral.points[[0, *CHIN], 2]
    drop = (below[1:] - below[0]) / (
        neutral.points[152, 2] - below[0]
    )  # 0 at the upper lip, 1 under the chin
    for number, share in zip(CHIN, drop):
        mesh.append(number)
        points.append(chin_vertex(rig, share))
    names = [rig.shape_names.index(name) for name in MOUTH]
    return Basis(
        rig,
        np.array(mesh),
        rig.deltas[names][:, points].astype(np.float64) / eyes,
        eyes,
        float(rig.lip_width(np.zeros(len(rig.shape_names)))),
    )


def eye_distance(rig):
    """Metres between the middles of the rig's eyes."""
    return float(np.linalg.norm(np.subtract(*(_middle(rig, name) for name in EYES.values()))))


def _along(side):
    """y of a line of lip points, right corner to left -> −1 to 1."""
    return 2.0 * (side - side[0]) / (side[-1] - side[0]) - 1.0


def _middle(rig, name):
    lids = rig.vertices[rig.landmark(name)]
    return (lids[np.argmin(lids[:, 1])] + lids[np.argmax(lids[:, 1])]) / 2.0


def chin_vertex(rig, share):
    """The front vertex on the mid-plane at a share of the way from the upper lip's border down to the chin's end."""
    border = rig.landmark("outer_lip_upper")
    top = rig.vertices[border[len(border) // 2]]
    falls = -rig.deltas[rig.shape_names.index("jawOpen"), :, 2]
    width = np.ptp(rig.vertices[rig.landmark("mouth_corners"), 1])
    x, y, z = rig.vertices.T
    front = np.flatnonzero(
        (np.abs(y) < 0.06 * width)
        & (falls > 0.5 * falls.max())
        & (x > top[0] - 0.6 * width)
        & (z < top[2] - 0.3 * width)
    )
    end = z[front].min()
    return front[np.argmin(np.abs(z[front] - (top[2] + share * (end - top[2]))) - 0.2 * x[front])]
