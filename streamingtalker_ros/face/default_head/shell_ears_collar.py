# SPDX-License-Identifier: Apache-2.0
"""Back shell, ear caps and collar: adds the parts shell, ear_left, ear_right and collar. Millimetres."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from streamingtalker_ros.face.default_head.head import loft
from streamingtalker_ros.face.default_head.mesh import MeshBuilder

_EAR_POSITION = np.array([-12.0, 72.5, -10.0])
_EAR_FLARE_DEG = 6.0  # by which the caps face forwards
_NUM_EAR_SEGMENTS = 16
# radius, height above the shell, name of the colour
_EAR_RINGS = (
    (18.5, -4.0, "shell"),
    (18.5, 5.0, "shell"),
    (17.0, 6.6, "shell"),
    (13.0, 6.6, "shell"),
    (12.2, 5.6, "accent"),
    (9.2, 5.6, "accent"),
    (8.4, 6.8, "shell"),
)
# degrees from the front towards the person's left, z of the shell's border
_SHELL_BORDER = (
    (0, 97),
    (30, 95),
    (50, 84),
    (64, 62),
    (75, 36),
    (83, 12),
    (90, -12),
    (97, -36),
    (106, -56),
    (120, -69),
    (150, -80),
    (180, -84),
)
_SHELL_COLUMNS_DEG = (0, 22, 42, 57, 68, 77, 84, 90, 96, 103, 112, 124, 138, 152, 166)  # left half
# fraction of the way from the crown to the border, height above the skull, name of the colour
_SHELL_ROWS = (
    (0.10, 3.5, "shell"),
    (0.19, 3.5, "shell"),
    (0.28, 3.5, "shell"),
    (0.37, 3.5, "shell"),
    (0.47, 3.5, "shell"),
    (0.57, 3.5, "shell"),
    (0.68, 3.5, "shell"),
    (0.79, 3.5, "shell"),
    (0.80, 2.4, "seam"),
    (0.81, 3.5, "shell"),
    (0.985, 3.5, "shell"),
    (1.0, 2.8, "shell"),
    (1.0, -0.6, "seam"),
)
_LAST_SHELL_STATION = 13  # of the loft, below the border everywhere
_NUM_COLLAR_SEGMENTS = 20
# width as a fraction of the neck's, z, name of the colour
_COLLAR_ROWS = (
    (0.96, -117.0, "seam"),
    (1.05, -119.0, "shell"),
    (1.05, -126.0, "shell"),
    (0.99, -129.0, "seam"),
    (1.07, -132.0, "shell"),
    (1.07, -138.0, "shell"),
    (1.05, -141.0, "accent"),
    (1.30, -142.5, "accent"),
    (1.36, -145.0, "shell"),
    (1.40, -150.0, "shell"),
    (1.46, -161.0, "shell"),
)


def add_ears(mesh: MeshBuilder) -> dict[str, list[str]]:
    """Add both ears: round caps with a recessed ring.

    Args:
        mesh: Mesh under construction, in mm; receives the parts ear_left and ear_right.

    Returns:
        {part: colour name of each vertex}.
    """
    turn = 2 * np.pi * np.arange(_NUM_EAR_SEGMENTS) / _NUM_EAR_SEGMENTS
    flare = np.radians(_EAR_FLARE_DEG)
    flare_matrix = np.array(
        [[np.cos(flare), np.sin(flare), 0], [-np.sin(flare), np.cos(flare), 0], [0, 0, 1]]
    )
    rings = [
        np.column_stack([radius * np.cos(turn), np.full(len(turn), height), radius * np.sin(turn)])
        for radius, height, _ in _EAR_RINGS
    ]
    rings.append(np.array([[0.0, _EAR_RINGS[-1][1] + 0.8, 0.0]]))
    names = [name for _, _, name in _EAR_RINGS for _ in turn] + [_EAR_RINGS[-1][2]]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        loops = [
            mesh.add_vertices(f"ear_{side}", (ring @ flare_matrix.T + _EAR_POSITION) * (1, sign, 1))
            for ring in rings
        ]
        direction = -1 if sign > 0 else 1  # both ears face outward
        for outer, inner in pairwise(loops[:-1]):
            mesh.add_strip(outer[::direction], inner[::direction])
        mesh.add_fan(loops[-2][::direction], loops[-1][0])
    return {"ear_left": names, "ear_right": names}


def add_shell(mesh: MeshBuilder) -> dict[str, list[str]]:
    """Add the shell of the back of the head, with a groove along its border.

    Args:
        mesh: Mesh under construction, in mm; receives the part shell.

    Returns:
        {part: colour name of each vertex}.
    """
    degrees = np.array([-c for c in _SHELL_COLUMNS_DEG[:0:-1]] + list(_SHELL_COLUMNS_DEG) + [180.0])
    psi = np.radians(degrees)
    heights = np.interp(np.abs(degrees), *np.array(_SHELL_BORDER, float).T)
    stations = np.linspace(0, _LAST_SHELL_STATION, 40 * _LAST_SHELL_STATION + 1)
    border = np.array(
        [
            stations[np.abs(loft(np.full(len(stations), angle), stations)[:, 2] - height).argmin()]
            for angle, height in zip(psi, heights, strict=True)
        ]
    )
    rows = []
    for fraction, lift, _ in _SHELL_ROWS:
        base = loft(psi, border * fraction)
        outward = base - (-8.0, 0.0, 10.0)
        rows.append(base + outward * (lift / np.linalg.norm(outward, axis=1))[:, None])
    points = np.stack(rows)
    crown = mesh.add_vertices("shell", loft(np.zeros(1), np.zeros(1)) + np.array([0, 0, _SHELL_ROWS[0][1]]))[
        0
    ]
    ids = mesh.add_vertices("shell", points).reshape(points.shape[:2])
    mesh.add_grid(ids, closed=True)
    mesh.add_fan(ids[0], crown)
    names = [name for _, _, name in _SHELL_ROWS for _ in degrees]
    return {"shell": [_SHELL_ROWS[0][2], *names]}


def add_collar(mesh: MeshBuilder) -> dict[str, list[str]]:
    """Add the rings around the neck and the collar that they stand in.

    Args:
        mesh: Mesh under construction, in mm; receives the part collar.

    Returns:
        {part: colour name of each vertex}.
    """
    turn = 2 * np.pi * np.arange(_NUM_COLLAR_SEGMENTS) / _NUM_COLLAR_SEGMENTS
    c, s = np.cos(turn), np.sin(turn)
    for width, z, _ in _COLLAR_ROWS:
        tilt = 5.0 * (1 - c) * np.clip((z + 142.0) / 25.0, 0.0, 1.0)  # the rings rise to the nape
        mesh.add_vertices("collar", np.column_stack([-20.5 + 39.5 * width * c, 39.5 * width * s, z + tilt]))
    first, last = mesh.parts["collar"]
    mesh.add_grid(np.arange(first, last).reshape(len(_COLLAR_ROWS), -1), closed=True)
    return {"collar": [name for _, _, name in _COLLAR_ROWS for _ in turn]}
