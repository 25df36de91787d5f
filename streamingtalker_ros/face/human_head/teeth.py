# SPDX-License-Identifier: Apache-2.0
"""Single teeth and gums along the arches of MakeHuman's rows of teeth. Metres; axes of `Rig`."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.human_head.part import Part, grid_quads, triangulate

# from the middle to the back: mm width, mm height of the crown
_UPPER: Final = ((8.4, 9.6), (6.6, 8.4), (7.4, 9.4), (6.9, 7.8), (6.6, 7.4), (9.0, 7.0))
_LOWER: Final = ((5.4, 6.6), (5.9, 6.8), (6.8, 7.2), (6.9, 6.4), (7.0, 6.2), (10.0, 6.0))
_UPPER_CROWN_MM: Final = 8.2  # height that the gum leaves bare
_LOWER_CROWN_MM: Final = 6.2
_DEPTH_MM: Final = 5.5
_GAP_MM: Final = 0.05
_NUM_AROUND: Final = 14
_LEVELS: Final = (  # height from the gum to the edge, and width and depth there, as fractions
    (-0.25, 0.80, 1.00),
    (0.0, 0.86, 1.00),
    (0.35, 0.96, 0.92),
    (0.75, 1.00, 0.66),
    (0.94, 0.99, 0.42),
    (1.0, 0.94, 0.26),
)
NUM_CROWN_VERTICES: Final = 2 * len(_UPPER) * (len(_LEVELS) + 1) * _NUM_AROUND
"""The vertices of the teeth, which come before those of the gum in each row."""

_IVORY: Final = np.array([0.92, 0.89, 0.83])
_NECK: Final = np.array([0.86, 0.77, 0.64])  # of the teeth, at the gum
_GUM: Final = np.array([0.66, 0.33, 0.32])
_NUM_GUM_COLUMNS: Final = 41
_GUM_PROFILE: Final = (  # mm outward, mm away from the necks; from the tongue over the necks to the lip
    (-5.5, 9.0),
    (-7.2, 4.0),
    (-6.9, -0.5),
    (-5.8, -3.0),
    (0.4, -0.5),
    (1.1, 1.0),
    (1.0, 4.0),
    (-1.0, 8.0),
)
_BACK_SHADE: Final = 0.008  # by which a mm further back is darker
_LOWER_DARK_MM: Final = (8.0, 22.0)  # from the middle, where lower teeth take the colour of the mouth
_CAVITY: Final = np.array([0.22, 0.09, 0.09])
_BACK: Final = np.array([0.34, 0.17, 0.15])  # of the sides towards the tongue, in the light of the mouth
_DEPTH_SHADE: Final = 0.35  # how far the back of a tooth has that colour
_LIT_DEPTH: Final = 0.85  # of a tooth, whose colour is that of its front: neighbours look like one row


def teeth(
    row: npt.NDArray[np.float64],
    deltas: npt.NDArray[np.float64],
    is_upper: bool,
    edge_height: float,
    shade: float,
) -> Part:
    """Six teeth a side and the gum above or below them.

    Args:
        row: (n, 3) vertices of MakeHuman's row of teeth.
        deltas: (52, n, 3) their displacements; the teeth move with the affine map that fits them.
        is_upper: Whether the crowns point down.
        edge_height: z of the edge of the front teeth.
        shade: Factor of the colour of the teeth.
    """
    up = 1.0 if is_upper else -1.0
    arch = _Arch(row, inset_mm=0.5 if is_upper else 2.6)
    points: list[npt.NDArray[np.float64]] = []
    quads: list[npt.NDArray[np.int64]] = []
    colors: list[npt.NDArray[np.float64]] = []
    count = 0
    widths = sum(width for width, _ in (_UPPER if is_upper else _LOWER))
    fit = min(1.0, 1000.0 * arch.half_length / (widths + 2.0))  # smaller teeth for a small jaw
    for sign in (1.0, -1.0):
        position = 0.0
        for width, height in _UPPER if is_upper else _LOWER:
            crown, tooth_quads, color = _tooth(fit * width - _GAP_MM, fit * height)
            center, outward, along = arch.frame(sign * (position + fit * width / 2.0))
            curve = 0.004 * max(position - 8.0, 0.0) ** 1.4  # the edges rise towards the back
            points.append(
                center
                + (crown[:, :1] * along + crown[:, 1:2] * outward) / 1000.0
                + [0.0, 0.0, edge_height - arch.height]
                + (crown[:, 2:] * up + curve) * [0.0, 0.0, 1e-3]
            )
            quads.append((tooth_quads[:, ::-1] if is_upper else tooth_quads) + count)
            color = color * shade * (1.0 - _BACK_SHADE * position)
            depth = 0.0 if is_upper else float(np.interp(position, _LOWER_DARK_MM, [0.0, 1.0]))
            colors.append(color + (_CAVITY - color) * depth)
            count += len(crown)
            position += fit * width
    gum, gum_quads = _gum(arch, up, edge_height, _UPPER_CROWN_MM if is_upper else _LOWER_CROWN_MM)
    vertices = np.concatenate([*points, gum])
    system = np.column_stack([row, np.ones(len(row))])
    movement = np.einsum("kn,snd->skd", np.linalg.pinv(system), deltas)
    moved = np.einsum("vk,skd->svd", np.column_stack([vertices, np.ones(len(vertices))]), movement)
    return Part(
        "teeth_upper" if is_upper else "teeth_lower",
        vertices,
        triangulate(np.concatenate([*quads, (gum_quads if is_upper else gum_quads[:, ::-1]) + count])),
        np.concatenate([*colors, np.repeat(_gum_colors(), _NUM_GUM_COLUMNS, axis=0)]),
        moved,
    )


class _Arch:
    """The curve along the front of a row of teeth, by its length from the middle."""

    def __init__(self, row: npt.NDArray[np.float64], inset_mm: float) -> None:
        self.height = float(row[:, 2].mean())
        reach = np.abs(row[:, 1])
        bins = np.linspace(0.0, reach.max(), 9)
        outer = []
        for low, high in pairwise(bins):
            inside = (reach >= low) & (reach <= high)
            if inside.any():
                outer.append([reach[inside].mean(), row[inside, 0].max()])
        y, x = np.array(outer).T
        fit = np.polynomial.Polynomial.fit(np.concatenate([-y, y]), np.concatenate([x, x]), 4)
        across = np.linspace(-reach.max(), reach.max(), 401)
        line = np.column_stack([fit(across) - inset_mm / 1000.0, across])
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        self.half_length = float(length[-1]) / 2.0
        self._line, self._length = line, length - self.half_length

    def frame(
        self, length_mm: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Point (3,) and unit vectors (3,) outward and along, at a length from the middle to the left."""
        length = length_mm / 1000.0
        ends = np.array([length - 0.0005, length + 0.0005])
        x, y = (np.interp(ends, self._length, self._line[:, k]) for k in (0, 1))
        along = np.array([x[1] - x[0], y[1] - y[0], 0.0])
        along /= np.linalg.norm(along)
        return np.array([x.mean(), y.mean(), self.height]), np.array([along[1], -along[0], 0.0]), along


def _tooth(
    width: float, height: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Vertices (n, 3) in mm (along, outward, up from the edge), quads and colours of an upper tooth."""
    turn = 2 * np.pi * np.arange(_NUM_AROUND) / _NUM_AROUND
    c, s = np.cos(turn), np.sin(turn)
    square = np.maximum(np.abs(c), np.abs(s)) ** 0.6  # between a circle and a square
    rings = [
        np.column_stack(
            [
                width / 2 * w * c / square,
                _DEPTH_MM * (d * (s / square - 1.0) / 2.0),
                np.full(_NUM_AROUND, height * (1.0 - level)),
            ]
        )
        for level, w, d in _LEVELS
    ]
    tip = np.array([[0.0, -_DEPTH_MM * _LEVELS[-1][2] / 2.0, 0.0]])
    points = np.concatenate([*rings, np.repeat(tip, _NUM_AROUND, axis=0)])
    level = np.repeat([level for level, _, _ in (*_LEVELS, (1.0, 0.0, 0.0))], _NUM_AROUND)
    blend = np.clip(level / 0.5, 0.0, 1.0)[:, None]
    colors = _NECK + (_IVORY - _NECK) * blend
    depth = _DEPTH_MM * np.repeat([depth for _, _, depth in (*_LEVELS, _LEVELS[-1])], _NUM_AROUND)
    shade = np.clip((-points[:, 1] / depth - _LIT_DEPTH) / (1.0 - _LIT_DEPTH), 0.0, 1.0)
    colors += (_BACK - colors) * _DEPTH_SHADE * shade[:, None]
    return points, grid_quads(len(_LEVELS) + 1, _NUM_AROUND, closed=True), colors


def _gum_colors() -> npt.NDArray[np.float64]:
    """Colours (n, 3) of the rows of the gum: that of the mouth behind the teeth."""
    return np.array([_GUM if out > 0.0 else _BACK for out, _ in reversed(_GUM_PROFILE)])


def _gum(
    arch: _Arch, up: float, edge_height: float, crown: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """A strip over the necks of the teeth."""
    reach = 1000.0 * arch.half_length - 1.0
    lengths = np.linspace(-reach, reach, _NUM_GUM_COLUMNS)
    scallop = 0.7 * np.abs(np.sin(np.pi * lengths / 7.2))
    rows = []
    for out, away in reversed(_GUM_PROFILE):
        line = []
        for length, lift in zip(lengths, scallop, strict=True):
            center, outward, _ = arch.frame(length)
            offset = (crown + away + (lift if out > 0.0 and away < 0.5 else 0.0)) * up
            line.append(
                center + (out * outward + [0.0, 0.0, offset]) / 1000.0 + [0, 0, edge_height - arch.height]
            )
        rows.append(line)
    return np.array(rows).reshape(-1, 3), grid_quads(len(_GUM_PROFILE), _NUM_GUM_COLUMNS)
