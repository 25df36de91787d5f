# SPDX-License-Identifier: Apache-2.0
"""Landmarks of the inner lips, found from the motion of jawOpen, for faces that come without landmarks.

The search takes pairs of vertices that lie together at rest, the upper one still and the lower one moving
with the jaw, at the front of the mouth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

NUM_PAIRS = 9
# fractions of the face's height
_MIN_JAW_DROP = 0.02
_MAX_MOUTH_HALF_WIDTH = 0.16
_MAX_PAIR_DISTANCE = 0.022
_LIP_DEPTH = 0.02
# fractions of the jaw's greatest drop
_MAX_UPPER_DROP, _MIN_LOWER_DROP = 0.25, 0.45
_BLOCK = 256  # points compared at once, to bound the memory


def find_lip_landmarks(
    vertices: npt.NDArray[np.float32],
    triangles: npt.NDArray[np.integer],
    jaw_open: npt.NDArray[np.float32],
) -> dict[str, npt.NDArray[np.int64]]:
    """Find the landmarks of the inner lips and the corners of the mouth.

    Args:
        vertices: (V, 3) template, metres; x out of the face, y to the person's left, z up.
        triangles: (T, 3).
        jaw_open: (V, 3) displacement of the vertices by jawOpen at weight 1.

    Returns:
        `inner_lip_upper` and `inner_lip_lower` (`NUM_PAIRS`,), paired, from the person's right to the left;
        `mouth_corners` (2,), left and right. Empty if no lips are found.
    """
    drop = -jaw_open[:, 2]
    used = np.zeros(len(vertices), bool)
    used[np.asarray(triangles, np.int64).ravel()] = True
    height = np.ptp(vertices[:, 2])
    if drop.max() < _MIN_JAW_DROP * height:
        return {}
    middle = np.median(vertices[used][:, 1])
    near_mouth = used & (np.abs(vertices[:, 1] - middle) < _MAX_MOUTH_HALF_WIDTH * height)
    still = np.flatnonzero(near_mouth & (drop < _MAX_UPPER_DROP * drop.max()))
    moving = np.flatnonzero(near_mouth & (drop > _MIN_LOWER_DROP * drop.max()))
    if len(still) < NUM_PAIRS or len(moving) < NUM_PAIRS:
        return {}
    partner, distance = _nearest(vertices[still], vertices[moving])
    paired = distance < _MAX_PAIR_DISTANCE * height
    upper, lower, distance = still[paired], moving[partner[paired]], distance[paired]
    if len(upper) < NUM_PAIRS:
        return {}
    y = vertices[upper, 1] - middle
    half_width = np.abs(y).max()
    selected: list[int] = []
    for target in np.linspace(-0.75, 0.75, NUM_PAIRS) * half_width:
        candidates = np.flatnonzero(np.abs(y - target) < 0.14 * half_width)
        if len(candidates) == 0:
            return {}
        # The lips are the foremost such pair; behind them teeth and gums may meet as well.
        x = vertices[upper[candidates], 0]
        candidates = candidates[x > x.max() - _LIP_DEPTH * height]
        cost = distance[candidates] + 0.5 * np.abs(y[candidates] - target)
        selected.append(candidates[np.argmin(cost)])
    corners = [upper[np.argmax(y)], upper[np.argmin(y)]]
    return {
        "inner_lip_upper": upper[selected],
        "inner_lip_lower": lower[selected],
        "mouth_corners": np.array(corners),
    }


def _nearest(
    points: npt.NDArray[np.float32], candidates: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each of n points the nearest candidate: its index (n,) and its distance (n,)."""
    index, distance = np.zeros(len(points), np.int64), np.zeros(len(points))
    for first in range(0, len(points), _BLOCK):
        distances = np.linalg.norm(points[first : first + _BLOCK, None] - candidates[None], axis=-1)
        index[first : first + _BLOCK] = distances.argmin(axis=1)
        distance[first : first + _BLOCK] = distances.min(axis=1)
    return index, distance
