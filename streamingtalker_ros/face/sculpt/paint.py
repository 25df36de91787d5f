"""Colours of the default face, per vertex: `paint(canvas, eye_names, teeth_names)` -> (V, 3) float32, 0..1."""
import numpy as np

from .canvas import LIPS
from .mesh import bump, smooth

SKIN = np.array([0.93, 0.72, 0.60])
NAMES = {"pupil": (0.03, 0.03, 0.04), "iris": (0.20, 0.42, 0.52), "iris_light": (0.36, 0.62, 0.68), "rim": (0.10, 0.20, 0.27), "white": (0.95, 0.95, 0.94),
         "gum": (0.78, 0.40, 0.40), "tooth": (0.96, 0.95, 0.91)}
LIP, BLUSH, LASH, BROW = (np.array(c) for c in ((0.80, 0.43, 0.41), (0.93, 0.55, 0.48), (0.20, 0.13, 0.11), (0.30, 0.20, 0.15)))


def paint(c, eye_names, teeth_names):
    """c: Canvas; eye_names: paint name per vertex of one ball; teeth_names: part -> names. -> (V, 3) float32."""
    colors = np.tile(SKIN, (len(c.points), 1))
    blush = 0.45 * bump(c.a, c.z, (42, -32), (13, 11)) + 0.35 * bump(c.a, c.z, (0, -36), (11, 7))
    _mix(colors, BLUSH, blush * c.facing * c.soft)
    for name, share in zip(LIPS, (0.55, 0.95, 1.0, 1.0, 0.95, 0.85)):
        ids = c.rings.mouth[name]
        _mix(colors, LIP, share * smooth((1.06 - c.ring_t) / 0.2) + 0.0 * c.ring_t, ids)
    ids = np.arange(*c.parts["mouth"])
    depth = smooth((92.0 - c.x[ids]) / 45.0)
    colors[ids] = (0.62, 0.27, 0.27) + depth[:, None] * (np.array([0.16, 0.05, 0.06]) - (0.62, 0.27, 0.27))
    for side in ("left", "right"):
        rings = c.rings.eye[side]
        upper = (np.arange(30) > 0) & (np.arange(30) < 15)
        _mix(colors, LASH, np.where(upper, 0.95, 0.15), rings[1])
        _mix(colors, LASH, np.where(upper, 0.9, 0.12), rings[2])
        _mix(colors, BLUSH, np.where(upper, 0.35, 0.1), rings[3])
        colors[slice(*c.parts[f"eye_{side}"])] = [NAMES[name] for name in eye_names]
        colors[slice(*c.parts[f"brow_{side}"])] = BROW
    for part, names in teeth_names.items():
        colors[slice(*c.parts[part])] = [NAMES[name] for name in names]
    colors[slice(*c.parts["tongue"])] = (0.80, 0.40, 0.40)
    return colors.astype(np.float32)


def _mix(colors, color, share, ids=slice(None)):
    colors[ids] += np.asarray(share)[:, None] * (color - colors[ids])
