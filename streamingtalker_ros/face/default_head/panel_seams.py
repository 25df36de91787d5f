# SPDX-License-Identifier: Apache-2.0
"""Seams between the panels of the face: adds the parts seam_left and seam_right. Millimetres.

A seam is a narrow dark ribbon on the skin, and moves with it as the brows do.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.head import face_relief, loft
from streamingtalker_ros.face.default_head.mesh import MeshBuilder

# Degrees from the front towards the person's left, station of the loft, see `head.loft`. The path lies on a
# column of the skin's grid: its triangles carry the ribbon, its colours change there (`vertex_colors`).
_PATH: Final = ((60.5, 1.2), (60.5, 3.4), (60.5, 5.6), (60.5, 7.8), (60.5, 9.8), (60.5, 11.5), (60.5, 12.6))
_NUM_COLUMNS: Final = 23
_HALF_WIDTH: Final = 0.8
_HEIGHT: Final = 0.35  # above the skin, whose triangles lie lower and higher than its surface
_STEP: Final = 1e-3  # for derivatives of the surface


def add_seams(mesh: MeshBuilder) -> None:
    """Add a seam on both sides, from the shell to under the jaw.

    Args:
        mesh: Mesh under construction, in mm; receives the parts seam_left and seam_right.
    """
    side = _ribbon(np.array(_PATH))
    for name, sign in (("left", 1.0), ("right", -1.0)):
        ids = mesh.add_vertices(f"seam_{name}", side * (1, sign, 1)).reshape(side.shape[:2])
        mesh.add_grid(ids if sign > 0 else ids[:, ::-1])


def _ribbon(path: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Vertices (rows, columns, 3) along a path (N, 2) of degrees and stations, narrow at its ends."""
    place = np.linspace(0.0, len(path) - 1.0, _NUM_COLUMNS)
    degrees, station = (_spline(path[:, axis], place) for axis in range(2))
    psi = np.radians(degrees)
    points = face_relief(loft(psi, station))
    around = face_relief(loft(psi + _STEP, station)) - points
    down = face_relief(loft(psi, station + _STEP)) - points
    normal = np.cross(down, around)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    along = np.gradient(points, axis=0)
    across = np.cross(normal, along)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    end = np.minimum(place, place[-1] - place)
    width = _HALF_WIDTH * np.sqrt(np.clip(4.0 * end, 0.04, 1.0))
    return np.stack([points + (side * width)[:, None] * across + _HEIGHT * normal for side in (-1.0, 1.0)])


def _spline(values: npt.NDArray[np.float64], place: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Values at places between the nodes 0, 1, 2 …, by Catmull-Rom splines."""
    node = np.minimum(place.astype(np.int64), len(values) - 2)
    t = place - node
    padded = np.concatenate([[2 * values[0] - values[1]], values, [2 * values[-1] - values[-2]]])
    a, b, c, d = (padded[node + k] for k in range(4))
    slope_b, slope_c = (c - a) / 2.0, (d - b) / 2.0
    return (
        b * (1 + 2 * t) * (1 - t) ** 2
        + slope_b * t * (1 - t) ** 2
        + c * t * t * (3 - 2 * t)
        + slope_c * t * t * (t - 1)
    )
