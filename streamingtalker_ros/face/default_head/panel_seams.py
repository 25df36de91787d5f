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

# The seam lies on a column of the skin's grid: its triangles carry the ribbon, its colours change there
# (`vertex_colors`).
_PSI: Final = np.radians(60.5)  # from the front towards the person's left, see `head.loft`
_STATIONS: Final = (1.2, 12.6)  # of the loft, from the shell to under the jaw
_TAPER: Final = 24.0  # 1 / the part of the length over which an end narrows
_NUM_COLUMNS: Final = 23
_HALF_WIDTH: Final = 0.8
_HEIGHT: Final = 0.35  # above the skin, whose triangles lie lower and higher than its surface
_STEP: Final = 1e-3  # for derivatives of the surface


def add_seams(mesh: MeshBuilder) -> None:
    """Add a seam on both sides, from the shell to under the jaw.

    Args:
        mesh: Mesh under construction, in mm; receives the parts seam_left and seam_right.
    """
    side = _ribbon()
    for name, sign in (("left", 1.0), ("right", -1.0)):
        ids = mesh.add_vertices(f"seam_{name}", side * (1, sign, 1)).reshape(side.shape[:2])
        mesh.add_grid(ids if sign > 0 else ids[:, ::-1])


def _ribbon() -> npt.NDArray[np.float64]:
    """Vertices (2, columns, 3) of the left seam, narrow at its ends."""
    place = np.linspace(0.0, 1.0, _NUM_COLUMNS)
    station = np.interp(place, (0.0, 1.0), _STATIONS)
    psi = np.full(_NUM_COLUMNS, _PSI)
    points = face_relief(loft(psi, station))
    around = face_relief(loft(psi + _STEP, station)) - points
    down = face_relief(loft(psi, station + _STEP)) - points
    normal = np.cross(down, around)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    along = np.gradient(points, axis=0)
    across = np.cross(normal, along)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    width = _HALF_WIDTH * np.sqrt(np.clip(_TAPER * np.minimum(place, 1.0 - place), 0.04, 1.0))
    return np.stack([points + (side * width)[:, None] * across + _HEIGHT * normal for side in (-1.0, 1.0)])
