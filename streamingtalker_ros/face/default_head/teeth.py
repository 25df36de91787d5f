# SPDX-License-Identifier: Apache-2.0
"""Teeth and tongue: parts teeth_upper, teeth_lower, tongue.
`sculpt_teeth(mesh)`, `sculpt_tongue(mesh)`; millimetres."""

import numpy as np

from streamingtalker_ros.face.default_head.head import MOUTH

FRONT = 87.0  # x of the upper incisors
EDGE = MOUTH - 1.2  # height of their edge
_TOOTH = 2  # columns per tooth


def sculpt_teeth(mesh):
    """Add both rows; returns paint names per part."""
    count = 12
    columns = count * _TOOTH + 1
    turn = np.linspace(-1.2, 1.2, columns)
    paint = {}
    place = np.arange(columns) % _TOOTH
    gap = np.where(place == 0, 1.0, 0.0)
    for part, up, front, half in (
        ("teeth_upper", 1.0, FRONT, 23.5),
        ("teeth_lower", -1.0, FRONT - 2.6, 21.5),
    ):
        edge = EDGE if up > 0 else EDGE + 0.6
        rows, names = [], []
        for height, back, name in (
            (9.5, 1.0, "gum"),
            (7.6, 0.2, "gum"),
            (6.9, 0.0, "tooth"),
            (1.2, -0.2, "tooth"),
            (0.0, 0.9, "tooth"),
            (9.0, 4.0, "gum"),
        ):
            size = 1.0 - 0.22 * smooth_abs(turn)
            z = edge + up * (
                height * size + (0.5 * gap if height < 0.5 else 0.9 * (1 - gap) * (6.5 < height < 8.0))
            )
            inset = back + 0.22 * gap * (name == "tooth")
            ring = np.column_stack(
                [front - inset - 36.0 * (1.0 - np.cos(turn)), (half - inset * 0.6) * np.sin(turn), z]
            )
            rows.append(ring)
            names += [name] * columns
        rows = np.stack(rows if up > 0 else rows[::-1])
        paint[part] = names if up > 0 else names[::-1]
        ids = mesh.add(part, rows.reshape(-1, 3)).reshape(rows.shape[:2])
        mesh.grid(ids)
    return paint


def smooth_abs(turn):
    """0 at the incisors, towards 1 at the molars."""
    return np.clip(np.abs(turn) / 1.2, 0.0, 1.0) ** 1.5


def sculpt_tongue(mesh) -> None:
    """Add the tongue: a flattened, closed body with a groove; rings from the root to the tip."""
    around = 2 * np.pi * np.arange(10) / 10
    loops = []
    stations = (
        (40, -72, 15, 8),
        (50, -71, 17, 8),
        (60, -71, 17, 7.5),
        (69, -72, 15.5, 6),
        (75.5, -73, 12, 4.4),
        (79, -73.5, 7.0, 2.6),
    )
    for x, z, wide, thick in stations:
        c, s = np.cos(around), np.sin(around)
        groove = 1.3 * np.exp(-((c / 0.3) ** 2)) * (s > 0)
        loops.append(
            mesh.add("tongue", np.column_stack([np.full(10, float(x)), wide * c, z + thick * s - groove]))
        )
    tip = mesh.add("tongue", [(80.5, 0.0, -73.8)])[0]
    for back, ahead in zip(loops, loops[1:]):
        mesh.strip(back, ahead)
    mesh.fan(loops[-1], tip)
    mesh.fan(loops[0][::-1], mesh.add("tongue", [(38.0, 0.0, -72.0)])[0])
