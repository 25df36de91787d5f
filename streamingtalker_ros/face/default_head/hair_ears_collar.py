# SPDX-License-Identifier: Apache-2.0
"""What surrounds the face: ears, a cap of sculpted hair, a collar.
Parts ear_left, ear_right, hair, collar; millimetres."""

import numpy as np

from streamingtalker_ros.face.default_head.head import loft
from streamingtalker_ros.face.default_head.mesh import smooth


def sculpt_ears(mesh) -> None:
    """Two ears: a bowl with a rolled rim on a short root, leaning
    back and standing off the head a little."""
    turn = 2 * np.pi * np.arange(14) / 14
    c, s = np.cos(turn), np.sin(turn)
    narrow = 1.0 - 0.26 * smooth((0.3 - s) / 1.3)  # the lobe is smaller than the top
    rings = []
    for size, out in ((0.98, -9.0), (1.02, 1.0), (0.93, 4.2), (0.74, 3.0), (0.52, -0.5), (0.25, -2.5)):
        rings.append(np.column_stack([17.0 * size * c * narrow, out + 0.0 * c, 29.0 * size * s]))
    rings.append(np.array([[0.0, -3.0, 0.0]]))
    lean, flare = np.radians(-12.0), np.radians(24.0)
    tip = np.array([[np.cos(lean), 0, np.sin(lean)], [0, 1, 0], [-np.sin(lean), 0, np.cos(lean)]])
    stand = np.array([[np.cos(flare), np.sin(flare), 0], [-np.sin(flare), np.cos(flare), 0], [0, 0, 1]])
    place = np.array([-12.0, 75.0, -10.0])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        loops = [mesh.add(f"ear_{side}", (ring @ (stand @ tip).T + place) * (1, sign, 1)) for ring in rings]
        for outer, inner in zip(loops, loops[1:-1]):
            mesh.strip(outer[::-1], inner[::-1]) if sign > 0 else mesh.strip(outer, inner)
        mesh.fan(loops[-2][::-1] if sign > 0 else loops[-2], loops[-1][0])


# The hairline: degrees from the front towards the person's left, height.
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
_PARTING = 26.0  # degrees


def sculpt_hair(mesh) -> None:
    """A short cut, swept from a parting on the person's left: a
    thick shell over the crown down to the hairline."""
    degrees = np.array([0, 9, 18, 26, 33, 42, 52, 61, 69, 76, 83, 90, 98, 108, 122, 140, 160])
    degrees = np.concatenate([-degrees[:0:-1], degrees, [180.0]])
    psi = np.radians(degrees)
    at, heights = np.array(_HAIRLINE, float).T
    height = np.interp(degrees, at, heights)
    fine = np.linspace(0, 13, 521)
    line = np.array(
        [fine[np.abs(loft(np.full(521, p), fine)[:, 2] - h).argmin()] for p, h in zip(psi, height)]
    )
    ahead = np.exp(-0.5 * ((degrees + 6.0) / 40.0) ** 2)
    beside = np.exp(-0.5 * ((np.abs(degrees) - 82.0) / 16.0) ** 2)
    groove = np.exp(-0.5 * ((degrees - _PARTING) / 5.0) ** 2)
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
        base = loft(psi, line * r)
        outward = base - (-8.0, 0.0, 10.0)
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        lift = 7.5 + 9.0 * ahead * smooth((r - 0.2) / 0.6) - 3.0 * beside * smooth((r - 0.5) / 0.4)
        lift -= 6.0 * groove * smooth((r - 0.35) / 0.4)
        lift += (
            1.3
            * np.sin(np.radians(6.0 * (degrees - _PARTING)) + 5.0 * r)
            * smooth((r - 0.2) / 0.4)
            * (1 - beside)
        )
        rows.append(base + outward * (lift * edge)[:, None])
    rows = np.stack(rows)
    top = mesh.add("hair", loft(np.zeros(1), np.zeros(1)) + (0, 0, 7.5))[0]
    ids = mesh.add("hair", rows.reshape(-1, 3)).reshape(rows.shape[:2])
    mesh.grid(ids, closed=True)
    mesh.fan(ids[0], top)


def sculpt_collar(mesh) -> None:
    """A soft round collar that hides the neck's cut."""
    turn = 2 * np.pi * np.arange(32) / 32
    c, s = np.cos(turn), np.sin(turn)
    rows = []
    for wide, deep, z in (
        (0.90, 0.90, -146),
        (1.0, 1.0, -139),
        (1.12, 1.12, -137.5),
        (1.22, 1.20, -142),
        (1.27, 1.25, -151),
        (1.36, 1.30, -163),
    ):
        rows.append(np.column_stack([-21.0 + 40.0 * deep * c, 41.0 * wide * s, z + 1.5 * (1 - c) + 0.0 * s]))
    ids = np.stack([mesh.add("collar", row) for row in rows])
    mesh.grid(ids, closed=True)
