# SPDX-License-Identifier: Apache-2.0
"""Teeth and tongue: adds the parts teeth_upper, teeth_lower and tongue. Millimetres."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.head import MOUTH_HEIGHT
from streamingtalker_ros.face.default_head.mesh import MeshBuilder

INCISOR_X = 87.0  # of the upper incisors' front
INCISOR_EDGE_Z = MOUTH_HEIGHT - 1.2  # of their edge
_NUM_COLUMNS = 13  # vertices along a row
_ARCH_HALF_ANGLE = 1.2  # rad
_NUM_TONGUE_SEGMENTS = 10


def add_teeth(mesh: MeshBuilder) -> dict[str, list[str]]:
    """Add both rows of teeth, as smooth bands.

    Args:
        mesh: Mesh under construction, in mm; receives the parts teeth_upper and teeth_lower.

    Returns:
        {part: colour name of each vertex}.
    """
    turn = np.linspace(-_ARCH_HALF_ANGLE, _ARCH_HALF_ANGLE, _NUM_COLUMNS)
    size = 1.0 - 0.22 * _molar_weight(turn)
    colors: dict[str, list[str]] = {}
    for part, up, front, half_width, edge, tooth in (
        ("teeth_upper", 1.0, INCISOR_X, 23.5, INCISOR_EDGE_Z, "tooth"),
        ("teeth_lower", -1.0, INCISOR_X - 3.2, 20.0, INCISOR_EDGE_Z - 3.0, "lower_tooth"),
    ):
        rows, names = [], []
        for height, back, name in (
            (9.5, 1.0, "gum"),
            (7.4, 0.1, "gum"),
            (6.9, 0.0, tooth),
            (1.0, -0.1, tooth),
            (0.2, 0.3, tooth),
            (0.0, 1.0, tooth),
            (9.0, 4.0, "gum"),
        ):
            inset_width = half_width - back * 0.6
            rows.append(
                np.column_stack(
                    [
                        front - back - 36.0 * (1.0 - np.cos(turn)),
                        inset_width * np.sin(turn),
                        edge + up * height * size,
                    ]
                )
            )
            names += [name] * _NUM_COLUMNS
        points = np.stack(rows if up > 0 else rows[::-1])
        colors[part] = names if up > 0 else names[::-1]
        mesh.add_grid(mesh.add_vertices(part, points).reshape(points.shape[:2]))
    return colors


def _molar_weight(turn: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """0 at the incisors, towards 1 at the molars."""
    return np.clip(np.abs(turn) / _ARCH_HALF_ANGLE, 0.0, 1.0) ** 1.5


def add_tongue(mesh: MeshBuilder) -> None:
    """Add the tongue: a flattened closed body with a groove, in loops from the root to the tip.

    Args:
        mesh: Mesh under construction, in mm; receives the part tongue.
    """
    count = _NUM_TONGUE_SEGMENTS
    around = 2 * np.pi * np.arange(count) / count
    c, s = np.cos(around), np.sin(around)
    groove = 1.3 * np.exp(-((c / 0.3) ** 2)) * (s > 0)
    loops = []
    for x, z, half_width, half_height in (
        (40, -72, 15, 8),
        (50, -71, 17, 8),
        (60, -71, 17, 7.5),
        (69, -72, 15.5, 6),
        (75.5, -73, 12, 4.4),
        (79, -73.5, 7.0, 2.6),
    ):
        points = np.column_stack([np.full(count, float(x)), half_width * c, z + half_height * s - groove])
        loops.append(mesh.add_vertices("tongue", points))
    tip = mesh.add_vertices("tongue", [(80.5, 0.0, -73.8)])[0]
    for back, front in pairwise(loops):
        mesh.add_strip(back, front)
    mesh.add_fan(loops[-1], tip)
    mesh.add_fan(loops[0][::-1], mesh.add_vertices("tongue", [(38.0, 0.0, -72.0)])[0])
