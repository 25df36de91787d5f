# SPDX-License-Identifier: Apache-2.0
"""Eyeballs with pupil, iris and white, and the brows: parts eye_left, eye_right, brow_left, brow_right.

`sculpt_eyes(mesh)` and `sculpt_brows(mesh)` add them; the brows
lie on the skin, so the skin's shapes carry them. Millimetres.
"""

import numpy as np

from streamingtalker_ros.face.default_head.head import BALL, EYE
from streamingtalker_ros.face.default_head.skin import skin_at

SEGMENTS = 20
# Rings of a ball: degrees from its pole, colour. Pairs close together make the painted edges crisp.
_IRIS = (
    (0, "pupil"),
    (13.5, "pupil"),
    (14.3, "iris"),
    (22, "iris_light"),
    (28.5, "rim"),
    (30.5, "white"),
    (46, "white"),
    (68, "white"),
    (95, "white"),
)
BROW_COLUMNS = 11


def sculpt_eyes(mesh):
    """Add both balls; returns paint names per vertex of one ball, pole first."""
    turn = 2 * np.pi * np.arange(SEGMENTS) / SEGMENTS
    rings = [np.zeros((1, 3)) + (1.0, 0.0, 0.0)]
    for degrees, _ in _IRIS[1:]:
        a = np.radians(degrees)
        rings.append(
            np.column_stack(
                [np.full(SEGMENTS, np.cos(a)), np.sin(a) * np.cos(turn), np.sin(a) * np.sin(turn)]
            )
        )
    for side, sign in (("left", 1.0), ("right", -1.0)):
        center = EYE * (1, sign, 1)
        pole = mesh.add(f"eye_{side}", center + BALL * rings[0])[0]
        loops = [mesh.add(f"eye_{side}", center + BALL * ring) for ring in rings[1:]]
        mesh.fan(loops[0], pole)
        for inner, outer in zip(loops, loops[1:]):
            mesh.strip(outer, inner)
    return [_IRIS[0][1]] + [name for _, name in _IRIS[1:] for _ in range(SEGMENTS)]


def sculpt_glints(mesh) -> None:
    """Add a small white disc on each ball, towards the light at the person's right: parts glint_left,
    glint_right. It stays where the light is when the ball turns."""
    turn = 2 * np.pi * np.arange(8) / 8
    disc = np.column_stack([np.full(8, BALL), 2.1 * np.cos(turn), 2.4 * np.sin(turn)])
    yaw, pitch = np.radians([-13.0, 13.0])
    disc = np.concatenate([disc, [(BALL + 0.1, 0.0, 0.0)]]) + (0.35, 0.0, 0.0)
    spin = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    nod = np.array([[np.cos(pitch), 0, -np.sin(pitch)], [0, 1, 0], [np.sin(pitch), 0, np.cos(pitch)]])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ids = mesh.add(f"glint_{side}", disc @ (spin @ nod).T + EYE * (1, sign, 1))
        mesh.fan(ids[:8], ids[8])


def sculpt_brows(mesh) -> None:
    """Add both brows: a soft ribbon with a domed section, thick inside, thin outside."""
    s = np.linspace(0.0, 1.0, BROW_COLUMNS)
    y = 14.0 + 38.0 * s
    z = 22.0 + 5.0 * np.sin(np.pi * np.clip(s * 0.78 + 0.06, 0, 1)) - 3.5 * s**3
    half = 3.3 * (1 - s) ** 0.5 * (0.2 + 0.8 * np.minimum(s / 0.22, 1.0) ** 0.6) + 0.35
    rows = []
    for across, lift in ((1.0, -0.8), (0.55, 1.3), (0.0, 2.0), (-0.55, 1.3), (-1.0, -0.8)):
        ring = skin_at(y, z + across * half)
        ring[:, 0] += lift * (0.45 + 0.55 * np.sqrt(1 - s * 0.9))
        rows.append(ring)
    rows = np.stack(rows)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ids = mesh.add(f"brow_{side}", (rows * (1, sign, 1)).reshape(-1, 3)).reshape(rows.shape[:2])
        mesh.grid(ids if sign > 0 else ids[:, ::-1])
