# SPDX-License-Identifier: Apache-2.0
"""Colours of the default face, per vertex: `paint(canvas,
eye_names, teeth_names)` -> (V, 3) float32, 0..1."""

import numpy as np

from streamingtalker_ros.face.default_head.mesh import bump, smooth
from streamingtalker_ros.face.default_head.shape_builder import LIPS

SKIN = np.array([0.95, 0.75, 0.64])
NAMES = {
    "pupil": (0.03, 0.03, 0.04),
    "iris": (0.30, 0.17, 0.09),
    "iris_light": (0.55, 0.34, 0.17),
    "rim": (0.20, 0.11, 0.07),
    "white": (0.95, 0.95, 0.94),
    "throat": (0.17, 0.06, 0.07),
    "gum": (0.78, 0.40, 0.40),
    "tooth": (0.96, 0.95, 0.91),
}
LIP, BLUSH, LASH, BROW = (
    np.array(c) for c in ((0.83, 0.51, 0.47), (0.94, 0.58, 0.52), (0.20, 0.13, 0.11), (0.30, 0.20, 0.15))
)


HAIR, CLOTH = np.array([0.33, 0.21, 0.15]), np.array([0.13, 0.38, 0.44])


def paint(c, eye_names, teeth_names):
    """c: Canvas; eye_names: paint name per vertex of one ball;
    teeth_names: part -> names. -> (V, 3) float32."""
    colors = np.tile(SKIN, (len(c.points), 1))
    blush = 0.30 * bump(c.a, c.z, (42, -32), (13, 11)) + 0.22 * bump(c.a, c.z, (0, -36), (11, 7))
    _mix(colors, BLUSH, blush * c.facing * c.soft)
    for name, share in zip(LIPS, (0.55, 0.95, 1.0, 1.0, 0.95, 0.85)):
        ids = c.rings.mouth[name]
        _mix(colors, LIP, share, ids)
    ids = np.arange(*c.parts["mouth"])
    depth = smooth((92.0 - c.x[ids]) / 45.0)
    colors[ids] = (0.62, 0.27, 0.27) + depth[:, None] * (np.array(NAMES["throat"]) - (0.62, 0.27, 0.27))
    for side in ("left", "right"):
        rings = c.rings.eye[side]
        turn = 2 * np.pi * np.arange(30) / 30
        turn = turn if side == "left" else np.pi - turn  # 0 at the outer corner
        lash = np.clip(np.sin(turn) * 1.6, 0.0, 1.0) ** 0.7 * smooth((np.cos(turn) + 1.0) / 0.9)
        pink = np.exp(-(((np.cos(turn) + 1.0) / 0.12) ** 2))
        for n, share in ((1, 1.0), (2, 0.95), (3, 0.22)):
            _mix(colors, BLUSH, 0.35 if n < 3 else 0.2, rings[n])
            _mix(colors, np.array([0.86, 0.50, 0.47]), pink * share, rings[n])
            _mix(colors, LASH, lash * share, rings[n])
        colors[slice(*c.parts[f"glint_{side}"])] = 1.0
        colors[slice(*c.parts[f"eye_{side}"])] = [NAMES[name] for name in eye_names]
        colors[slice(*c.parts[f"brow_{side}"])] = BROW
    for part, names in teeth_names.items():
        colors[slice(*c.parts[part])] = [NAMES[name] for name in names]
    _mix(
        colors,
        np.array([0.55, 0.33, 0.28]),
        0.8 * bump(c.a, c.z, (6.0, -43.5), (3.0, 2.4)) * c.facing * c.mask("skin"),
    )
    for part, color in (("hair", HAIR), ("collar", CLOTH)):
        colors[slice(*c.parts[part])] = color
    for side in ("left", "right"):
        ids = np.arange(*c.parts[f"ear_{side}"])
        _mix(colors, BLUSH, 0.35 + 0.0 * ids, ids)
    colors[slice(*c.parts["tongue"])] = (0.80, 0.40, 0.40)
    for part, front, depth in (("teeth_upper", 84, 22), ("teeth_lower", 84, 22), ("tongue", 72, 28)):
        ids = np.arange(*c.parts[part])  # light fades towards the throat
        _mix(colors, NAMES["throat"], 0.85 * smooth((front - c.x[ids]) / depth), ids)
    return colors.astype(np.float32)


def _mix(colors, color, share, ids=slice(None)) -> None:
    colors[ids] += np.reshape(share, (-1, 1)) * (color - colors[ids])
