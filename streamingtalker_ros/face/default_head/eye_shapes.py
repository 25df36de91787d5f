# SPDX-License-Identifier: Apache-2.0
"""The shapes of eyes, brows, upper cheeks and nose:
`eye_shapes(canvas)` -> {name: (V, 3) mm}, left sides only.

Lids slide over the ball: a moved lid vertex is put back on the
skin that swells over it. Looks turn the ball.
"""

import numpy as np

from streamingtalker_ros.face.default_head.head import EYE
from streamingtalker_ros.face.default_head.skin import skin_at

_LOOK = {
    "eyeLookUpLeft": (0.0, 24.0),
    "eyeLookDownLeft": (0.0, -26.0),
    "eyeLookOutLeft": (30.0, 0.0),
    "eyeLookInLeft": (-30.0, 0.0),
}


def eye_shapes(c):
    """c: Canvas. Returns the shapes of the upper face."""
    rings = c.rings.eye["left"]
    margin = c.points[rings[2]]
    k = np.arange(30)
    pair = (30 - k) % 30
    upper = (k > 0) & (k < 15)
    lower = k > 15
    opening = np.abs(margin[:, 2] - margin[pair, 2])
    meet = 0.22 * np.where(upper, margin[:, 2], margin[pair, 2]) + 0.78 * np.where(
        upper, margin[pair, 2], margin[:, 2]
    )
    shade = opening / opening.max()
    shapes = {
        "eyeBlinkLeft": _lids(c, np.where(upper | lower, meet - margin[:, 2], 0.0)),
        "eyeSquintLeft": _lids(c, np.where(lower, 3.4, -1.4) * shade * (upper | lower)),
        "eyeWideLeft": _lids(c, np.where(upper, 3.0, -1.2) * shade),
    }
    shapes["eyeSquintLeft"] += c.move(
        c.region(34, -16, 13, 6) * c.mask("skin") * _off_lids(c), dx=1.2, dz=1.8
    )
    for name, (yaw, pitch) in _LOOK.items():
        lids = {"eyeLookUpLeft": (2.6, 1.5), "eyeLookDownLeft": (-5.0, -1.8)}.get(name, (0.0, 0.0))
        shapes[name] = _turn(c, yaw, pitch) + _lids(c, np.where(upper, lids[0], lids[1]) * shade)
    brow = {
        "browDownLeft": c.move(c.region(24, 21, 15, 9), dx=1.4, dy=-2.5, dz=-5.6)
        + c.move(c.region(8, 16, 6, 8), dx=1.0, dy=-1.0, dz=-2.0),
        "browInnerUp": c.move(c.region(15, 22, 12, 12), dz=8.5, dx=0.6)
        + c.move(c.region(-15, 22, 12, 12), dz=8.5, dx=0.6),
        "browOuterUpLeft": c.move(c.region(38, 23, 17, 12), dz=7.5, dx=0.4),
    }
    shapes.update({name: delta * _off_lids(c)[:, None] for name, delta in brow.items()})
    squint = c.move(c.region(40, -22, 13, 9), dx=3.6, dz=5.0) * _off_lids(c)[:, None]
    shapes["cheekSquintLeft"] = squint + _lids(c, np.where(lower, 1.8, 0.0) * shade)
    sneer = c.move(c.region(12, -37, 5, 6), dz=5.0, dx=0.8, dy=1.2) + c.move(
        c.region(14, -47, 7, 6) * c.upper, dz=2.6, dx=0.6
    )
    sneer += c.move(c.region(11, -8, 4, 8), dx=1.6, dz=1.5) + c.move(c.region(14, 19, 9, 7), dz=-1.8)
    shapes["noseSneerLeft"] = c.seal_lips(sneer * _off_lids(c)[:, None])
    return shapes


def _off_lids(c):
    """(V,): 0 on the lids of both eyes, 1 from the rings' outer loop on; brows always 1."""
    out = np.ones(len(c.points))
    for side in ("left", "right"):
        for ring, share in zip(c.rings.eye[side], (0, 0, 0, 0.12, 0.36, 0.68, 0.95)):
            out[ring] = share
    return out


def _lids(c, dz):
    """Move the left lids' margin by dz (30,) mm; the rings around it give way in turn. -> (V, 3)."""
    out = c.zeros()
    for n, (ring, share) in enumerate(zip(c.rings.eye["left"], (1.0, 1.0, 1.0, 0.92, 0.74, 0.42, 0.10))):
        at = c.points[ring]
        new_z = at[:, 2] + share * dz
        if n < 3:  # edge and margin ride on the ball
            lift = np.linalg.norm(at - EYE, axis=1)
            depth = np.sqrt(np.maximum(lift**2 - (at[:, 1] - EYE[1]) ** 2 - (new_z - EYE[2]) ** 2, 1.0))
            new_x = EYE[0] + depth
        else:
            new_x = at[:, 0] + skin_at(at[:, 1], new_z)[:, 0] - skin_at(at[:, 1], at[:, 2])[:, 0]
        out[ring] = np.column_stack([new_x - at[:, 0], np.zeros(len(ring)), new_z - at[:, 2]])
    return out


def _turn(c, yaw, pitch):
    """Turn the left ball: yaw degrees towards the person's left, pitch degrees up. -> (V, 3)."""
    first, last = c.parts["eye_left"]
    a, b = np.radians([yaw, pitch])
    spin = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    nod = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    out = c.zeros()
    ball = c.points[first:last] - EYE
    out[first:last] = ball @ (spin @ nod).T - ball
    return out
