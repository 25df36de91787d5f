# SPDX-License-Identifier: Apache-2.0
"""The head of a whole figure: the vertices that turn, and the point in the neck about which they turn.

A skeleton says both: the weights of its head's joint, and the joint's position. Without one, the head is what
lies around the vertices that the shapes move, if the figure is much taller than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_MIN_FIGURE_M = 0.9  # a bust is shorter
_MIN_FACE_M = 0.12  # size of the moving part of a face
_FIGURE_HEADS = 2.5  # a figure is taller than so many heads
_PART_FACES = 4.0  # a mesh is a head without a body if it is at most so many times the moving part tall


class Head(NamedTuple):
    """The head of a figure.

    Attributes:
        pivot: (3,) metres, where the head turns.
        follow: (V,) fraction of the head's rotation that a vertex takes.
        mask: (V,) bool, the vertices of the head.
    """

    pivot: npt.NDArray[np.float32]
    follow: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


def estimate_pivot(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A point in the neck, from the bounding box of the head.

    Args:
        points: (V, 3) vertices of the head; x out of the face, y to the person's left, z up.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array(
        [low[0] + 0.4 * (high[0] - low[0]), (low[1] + high[1]) / 2, low[2] + 0.2 * (high[2] - low[2])],
        np.float32,
    )


def find_head(
    points: npt.NDArray[np.float32],
    moved: npt.NDArray[np.bool_],
    parts: Mapping[str, tuple[int, int]],
    weights: npt.NDArray[np.float32] | None,
    joint: npt.NDArray[np.float32] | None,
) -> Head | None:
    """Find the head of a figure.

    Args:
        points: (V, 3) metres; x out of the face, y to the person's left, z up.
        moved: (V,) whether any shape moves the vertex.
        parts: Vertex range of each mesh.
        weights: (V,) weights of the head's joints, NaN where the skeleton says nothing; None without one.
        joint: (3,) position of the head's joint.

    Returns:
        The head; None if all of the mesh is one head.
    """
    if not moved.any():
        return None
    by_skeleton = weights is not None and np.nan_to_num(weights[moved]).mean() > 0.5
    if by_skeleton and weights is not None:
        mask = np.nan_to_num(weights) >= 0.5
    else:
        mask = _near_face(points, moved, parts)
    low, high = points[mask].min(axis=0), points[mask].max(axis=0)
    height = float(high[2] - low[2])
    total = float(np.ptp(points[:, 2]))
    if not by_skeleton and total < max(_FIGURE_HEADS * height, _MIN_FIGURE_M):
        return None
    pivot = estimate_pivot(points[mask])
    if by_skeleton and joint is not None:
        margin = max(height, 1e-6)
        if ((joint > low - margin) & (joint < high + margin)).all():
            pivot = joint.astype(np.float32)
    follow = _follow(points, mask, parts, pivot, max(height, _MIN_FACE_M))
    if by_skeleton and weights is not None:
        follow = np.where(np.isfinite(weights), weights, follow).astype(np.float32)
    return Head(pivot, follow.clip(0.0, 1.0), mask)


def _near_face(
    points: npt.NDArray[np.float32], moved: npt.NDArray[np.bool_], parts: Mapping[str, tuple[int, int]]
) -> npt.NDArray[np.bool_]:
    """The vertices (V,) of the head: meshes of the size of a face, else what is near the face."""
    face = points[moved]
    low, high = face.min(axis=0), face.max(axis=0)
    size = max(float((high - low).max()), _MIN_FACE_M)
    near = (
        (points[:, 2] > low[2] - 0.3 * size)
        & (points[:, 2] < high[2] + size)
        & (np.abs(points[:, :2] - (low + high)[:2] / 2) < size).all(axis=1)
    )
    mask = moved.copy()
    for first, last in parts.values() or [(0, len(points))]:
        if not moved[first:last].any():
            continue
        is_head = np.ptp(points[first:last, 2]) <= _PART_FACES * size
        mask[first:last] = True if is_head else near[first:last] | moved[first:last]
    return mask


def _follow(
    points: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    parts: Mapping[str, tuple[int, int]],
    pivot: npt.NDArray[np.float32],
    height: float,
) -> npt.NDArray[np.float32]:
    """Fraction (V,) of the head's rotation by place: hair and eyes turn, the neck twists, the body stays."""
    ramp = ((points[:, 2] - pivot[2]) / (0.3 * height) + 1.0).clip(0.0, 1.0)
    ramp *= (np.abs(points[:, :2] - pivot[:2]) < 1.2 * height).all(axis=1)
    follow = np.zeros(len(points), np.float32)
    for first, last in parts.values() or [(0, len(points))]:
        part = points[first:last]
        if mask[first:last].all() or part[:, 2].min() >= pivot[2] - 0.5 * height:
            follow[first:last] = ramp[first:last] > 0 if not mask[first:last].any() else 1.0
        elif part[:, 2].max() > pivot[2] or mask[first:last].any():
            follow[first:last] = ramp[first:last]
    return follow
