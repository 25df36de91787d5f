# SPDX-License-Identifier: Apache-2.0
"""Hairs as thin ribbons that taper to a point: lashes, brows and hair of the head. Metres; axes of `Rig`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.human_head.part import triangulate


def ribbons(
    paths: npt.NDArray[np.float64],
    across: npt.NDArray[np.float64],
    width: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Ribbons along paths.

    Args:
        paths: (N, P, 3) points of each path, from the root to the tip.
        across: (N, P, 3) unit vectors across the ribbons.
        width: (N, P) width at each point; the last one is ignored, since the tip is a point.

    Returns:
        (N * (2 P - 1), 3) vertices: of each ribbon the left and the right border at each point, then the tip;
        triangles (T, 3).
    """
    count, num_points = paths.shape[:2]
    half = across * width[..., None] / 2.0
    borders = np.stack([paths - half, paths + half], axis=2)[:, :-1].reshape(count, -1, 3)
    vertices = np.concatenate([borders, paths[:, -1:]], axis=1)
    k = 2 * np.arange(num_points - 2)
    tip = 2 * (num_points - 1)
    quads = np.concatenate(
        [np.column_stack([k, k + 1, k + 3, k + 2]), [[tip - 2, tip - 1, tip, tip]]], axis=0
    )
    each = vertices.shape[1]
    triangles = triangulate(quads)[None] + each * np.arange(count)[:, None, None]
    return vertices.reshape(-1, 3), triangles.reshape(-1, 3)


def per_vertex(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values of the points of paths (N, P, K) as values of the ribbons' vertices (N * (2 P - 1), K)."""
    borders = np.repeat(values[:, :-1], 2, axis=1)
    return np.concatenate([borders, values[:, -1:]], axis=1).reshape(-1, values.shape[-1])
