# SPDX-License-Identifier: Apache-2.0
"""Ears, hair and collar: adds the parts ear_left, ear_right, hair and collar. Millimetres."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streamingtalker_ros.face.default_head.head import loft
from streamingtalker_ros.face.default_head.mesh import MeshBuilder, smoothstep

_EAR_POSITION = np.array([-12.0, 75.0, -10.0])
# degrees from the front towards the person's left, z
_HAIRLINE = (
    (-180, -64),
    (-158, -60),
    (-136, -42),
    (-118, -16),
    (-106, 6),
    (-97, 16),
    (-90, 8),
    (-84, -8),
    (-76, -6),
    (-67, 16),
    (-57, 35),
    (-45, 47),
    (-30, 54),
    (-12, 60),
    (6, 66),
    (22, 72),
    (32, 66),
    (43, 53),
    (56, 37),
    (67, 17),
    (76, -6),
    (84, -8),
    (90, 8),
    (97, 16),
    (106, 6),
    (118, -16),
    (136, -42),
    (158, -60),
    (180, -64),
)
_PARTING_DEG = 26.0
_LAST_HAIR_STATION = 13  # of the loft, below the hairline everywhere


def add_ears(mesh: MeshBuilder) -> None:
    """Add both ears: a bowl with a rolled rim on a short root, tilted back and away from the head.

    Args:
        mesh: Mesh under construction, in mm; receives the parts ear_left and ear_right.
    """
    turn = 2 * np.pi * np.arange(14) / 14
    c, s = np.cos(turn), np.sin(turn)
    narrowing = 1.0 - 0.26 * smoothstep((0.3 - s) / 1.3)  # the lobe is smaller than the top
    rings = []
    for size, out in ((0.98, -9.0), (1.02, 1.0), (0.93, 4.2), (0.74, 3.0), (0.52, -0.5), (0.25, -2.5)):
        rings.append(np.column_stack([17.0 * size * c * narrowing, out + 0.0 * c, 29.0 * size * s]))
    rings.append(np.array([[0.0, -3.0, 0.0]]))
    tilt, flare = np.radians(-12.0), np.radians(24.0)
    tilt_matrix = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    flare_matrix = np.array(
        [[np.cos(flare), np.sin(flare), 0], [-np.sin(flare), np.cos(flare), 0], [0, 0, 1]]
    )
    for side, sign in (("left", 1.0), ("right", -1.0)):
        loops = [
            mesh.add_vertices(
                f"ear_{side}", (ring @ (flare_matrix @ tilt_matrix).T + _EAR_POSITION) * (1, sign, 1)
            )
            for ring in rings
        ]
        direction = -1 if sign > 0 else 1  # both ears face outward
        for outer, inner in pairwise(loops[:-1]):
            mesh.add_strip(outer[::direction], inner[::direction])
        mesh.add_fan(loops[-2][::direction], loops[-1][0])


def add_hair(mesh: MeshBuilder) -> None:
    """Add short hair, combed from a parting on the person's left: a shell from the crown to the hairline.

    Args:
        mesh: Mesh under construction, in mm; receives the part hair.
    """
    half = np.array([0, 9, 18, 26, 33, 42, 52, 61, 69, 76, 83, 90, 98, 108, 122, 140, 160])
    degrees = np.concatenate([-half[:0:-1], half, [180.0]])
    psi = np.radians(degrees)
    hairline_degrees, hairline_heights = np.array(_HAIRLINE, float).T
    heights = np.interp(degrees, hairline_degrees, hairline_heights)
    stations = np.linspace(0, _LAST_HAIR_STATION, 40 * _LAST_HAIR_STATION + 1)
    hairline = np.array(
        [
            stations[np.abs(loft(np.full(len(stations), angle), stations)[:, 2] - height).argmin()]
            for angle, height in zip(psi, heights, strict=True)
        ]
    )
    front = np.exp(-0.5 * ((degrees + 6.0) / 40.0) ** 2)
    temples = np.exp(-0.5 * ((np.abs(degrees) - 82.0) / 16.0) ** 2)
    parting = np.exp(-0.5 * ((degrees - _PARTING_DEG) / 5.0) ** 2)
    rows = []
    for r, edge in (
        (0.10, 1),
        (0.22, 1),
        (0.34, 1),
        (0.46, 1),
        (0.58, 1),
        (0.70, 1),
        (0.81, 1),
        (0.91, 1),
        (0.975, 0.92),
        (1.0, 0.62),
        (0.985, -0.2),
    ):
        base = loft(psi, hairline * r)
        outward = base - (-8.0, 0.0, 10.0)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        lift = 7.5 + 9.0 * front * smoothstep((r - 0.2) / 0.6) - 3.0 * temples * smoothstep((r - 0.5) / 0.4)
        lift -= 6.0 * parting * smoothstep((r - 0.35) / 0.4)
        lift += (
            1.3
            * np.sin(np.radians(6.0 * (degrees - _PARTING_DEG)) + 5.0 * r)
            * smoothstep((r - 0.2) / 0.4)
            * (1 - temples)
        )
        rows.append(base + outward * (lift * edge)[:, None])
    points = np.stack(rows)
    crown = mesh.add_vertices("hair", loft(np.zeros(1), np.zeros(1)) + np.array([0, 0, 7.5]))[0]
    ids = mesh.add_vertices("hair", points).reshape(points.shape[:2])
    mesh.add_grid(ids, closed=True)
    mesh.add_fan(ids[0], crown)


def add_collar(mesh: MeshBuilder) -> None:
    """Add a soft round collar that hides the lower border of the neck.

    Args:
        mesh: Mesh under construction, in mm; receives the part collar.
    """
    turn = 2 * np.pi * np.arange(32) / 32
    c, s = np.cos(turn), np.sin(turn)
    rows = []
    for width, depth, z in (
        (0.90, 0.90, -146),
        (1.0, 1.0, -139),
        (1.12, 1.12, -137.5),
        (1.22, 1.20, -142),
        (1.27, 1.25, -151),
        (1.36, 1.30, -163),
    ):
        rows.append(
            np.column_stack([-21.0 + 40.0 * depth * c, 41.0 * width * s, z + 1.5 * (1 - c) + 0.0 * s])
        )
    mesh.add_grid(np.stack([mesh.add_vertices("collar", row) for row in rows]), closed=True)
