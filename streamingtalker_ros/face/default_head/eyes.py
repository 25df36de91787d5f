# SPDX-License-Identifier: Apache-2.0
"""Eyeballs with pupil, iris and white, their highlights, and the brows, which lie on the skin.

Adds the parts eye_left, eye_right, glint_left, glint_right, brow_left and brow_right. Millimetres.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streamingtalker_ros.face.default_head.head import EYE_CENTER, EYE_RADIUS
from streamingtalker_ros.face.default_head.mesh import MeshBuilder
from streamingtalker_ros.face.default_head.skin import skin_surface

NUM_SEGMENTS = 20  # vertices of a ring
# Rings of an eyeball: degrees from the pole, name of the colour. Rings close together give sharp borders.
_RINGS = (
    (0, "pupil"),
    (12.5, "pupil"),
    (13.3, "iris"),
    (24, "iris_light"),
    (31.0, "iris"),
    (33.5, "rim"),
    (46, "white"),
    (68, "white"),
    (95, "white"),
)
_NUM_BROW_COLUMNS = 9
_NUM_HIGHLIGHT_VERTICES = 8
_SIDES = (("left", 1.0), ("right", -1.0))


def add_eyes(mesh: MeshBuilder) -> dict[str, list[str]]:
    """Add both eyeballs, each from its pole on.

    Args:
        mesh: Mesh under construction, in mm; receives the parts eye_left and eye_right.

    Returns:
        {part: colour name of each vertex}.
    """
    turn = 2 * np.pi * np.arange(NUM_SEGMENTS) / NUM_SEGMENTS
    rings = [np.array([[1.0, 0.0, 0.0]])]
    for degrees, _ in _RINGS[1:]:
        a = np.radians(degrees)
        rings.append(
            np.column_stack(
                [np.full(NUM_SEGMENTS, np.cos(a)), np.sin(a) * np.cos(turn), np.sin(a) * np.sin(turn)]
            )
        )
    for side, sign in _SIDES:
        center = EYE_CENTER * (1, sign, 1)
        pole = mesh.add_vertices(f"eye_{side}", center + EYE_RADIUS * rings[0])[0]
        loops = [mesh.add_vertices(f"eye_{side}", center + EYE_RADIUS * ring) for ring in rings[1:]]
        mesh.add_fan(loops[0], pole)
        for inner, outer in pairwise(loops):
            mesh.add_strip(outer, inner)
    names = [_RINGS[0][1]] + [name for _, name in _RINGS[1:] for _ in range(NUM_SEGMENTS)]
    return {"eye_left": names, "eye_right": names}


def add_highlights(mesh: MeshBuilder) -> None:
    """Add a small white disc on each eyeball, towards the key light.

    It stays in place when the eyeball turns.

    Args:
        mesh: Mesh under construction, in mm; receives the parts glint_left and glint_right.
    """
    count = _NUM_HIGHLIGHT_VERTICES
    turn = 2 * np.pi * np.arange(count) / count
    disc = np.column_stack([np.full(count, EYE_RADIUS), 2.5 * np.cos(turn), 2.8 * np.sin(turn)])
    yaw, pitch = np.radians([-13.0, 13.0])
    disc = np.concatenate([disc, [(EYE_RADIUS + 0.1, 0.0, 0.0)]]) + np.array([0.35, 0.0, 0.0])
    yaw_matrix = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    pitch_matrix = np.array(
        [[np.cos(pitch), 0, -np.sin(pitch)], [0, 1, 0], [np.sin(pitch), 0, np.cos(pitch)]]
    )
    for side, sign in _SIDES:
        points = disc @ (yaw_matrix @ pitch_matrix).T + EYE_CENTER * (1, sign, 1)
        ids = mesh.add_vertices(f"glint_{side}", points)
        mesh.add_fan(ids[:count], ids[count])


def add_brows(mesh: MeshBuilder) -> None:
    """Add both brows: a bar with a domed cross-section and round ends.

    Args:
        mesh: Mesh under construction, in mm; receives the parts brow_left and brow_right.
    """
    s = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, _NUM_BROW_COLUMNS))
    y = 14.0 + 38.0 * s
    z = 24.0 + 3.2 * np.sin(np.pi * np.clip(s * 0.78 + 0.06, 0, 1)) - 3.5 * s**3
    half_height = 2.7 * (1.0 - (2.0 * s - 1.0) ** 16) ** 0.5 + 0.1
    rows = []
    for across, lift in ((1.0, -0.8), (0.55, 1.3), (0.0, 2.0), (-0.55, 1.3), (-1.0, -0.8)):
        row = skin_surface(y, z + across * half_height)
        row[:, 0] += lift * (0.25 + 0.75 * np.sqrt(half_height / half_height.max()))
        rows.append(row)
    points = np.stack(rows)
    for side, sign in _SIDES:
        ids = mesh.add_vertices(f"brow_{side}", points * (1, sign, 1)).reshape(points.shape[:2])
        mesh.add_grid(ids if sign > 0 else ids[:, ::-1])
