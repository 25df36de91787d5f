# SPDX-License-Identifier: Apache-2.0
"""Cards along paths, which show a texture of strands: brows and hair. Metres; axes of `Rig`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.human_head.part import grid_quads, triangulate
from streamingtalker_ros.face.human_head.strand_texture import LOCKS, TIP


def cards(
    paths: npt.NDArray[np.float64],
    across: npt.NDArray[np.float64],
    width: npt.NDArray[np.float64],
    strips: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Cards along paths.

    Args:
        paths: (N, P, 3) points of each path, from the root to the tip.
        across: (N, P, 3) unit vectors across the cards.
        width: (N, P) width at each point.
        strips: (N,) strip of the texture that a card shows, below `LOCKS`.

    Returns:
        (2 N P, 3) vertices: of each card the left and the right border at each point; triangles (T, 3);
        (2 N P, 2) texture coordinates.
    """
    count, num_points = paths.shape[:2]
    half = across * width[..., None] / 2.0
    vertices = np.stack([paths - half, paths + half], axis=2).reshape(-1, 3)
    triangles = triangulate(grid_quads(num_points, 2))
    triangles = triangles[None] + 2 * num_points * np.arange(count)[:, None, None]
    u = (strips[:, None, None] + np.array([0.0, 1.0])) / LOCKS
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=-1).mean(axis=0)
    v = TIP * np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])[:, None]
    uv = np.stack([u + 0.0 * v, v + 0.0 * u], axis=-1)
    return vertices, triangles.reshape(-1, 3), uv.reshape(-1, 2)
