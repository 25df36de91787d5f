# SPDX-License-Identifier: Apache-2.0
"""Colours of the default head, per vertex; sRGB, 0..1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import gaussian, smoothstep
from streamingtalker_ros.face.default_head.shape_builder import LIP_LOOPS, ShapeBuilder
from streamingtalker_ros.face.default_head.skin import EYE_LOOP_LENGTH

_SKIN, _SIDE_PANEL = np.array([0.80, 0.81, 0.815]), np.array([0.50, 0.55, 0.60])
_NAMED_COLORS = {
    "pupil": (0.03, 0.11, 0.14),
    "iris": (0.07, 0.52, 0.60),
    "iris_light": (0.30, 0.82, 0.88),
    "rim": (0.05, 0.20, 0.24),
    "white": (0.17, 0.21, 0.25),
    "gum": (0.14, 0.15, 0.17),
    "tooth": (0.88, 0.91, 0.93),
    "lower_tooth": (0.62, 0.65, 0.67),
    "shell": (0.17, 0.19, 0.22),
    "seam": (0.05, 0.06, 0.07),
    "accent": (0.12, 0.52, 0.58),
    "light": (0.16, 0.66, 0.73),
}
_LIP = np.array((0.39, 0.46, 0.52))
_LID, _LID_LINE = np.array((0.46, 0.49, 0.52)), np.array((0.13, 0.14, 0.16))
_NOSTRIL = np.array([0.36, 0.36, 0.37])
_INNER_MOUTH, _THROAT = np.array((0.15, 0.18, 0.21)), np.array((0.05, 0.06, 0.08))
_TONGUE = (0.30, 0.36, 0.40)


def vertex_colors(builder: ShapeBuilder, names: Mapping[str, Sequence[str]]) -> npt.NDArray[np.float32]:
    """Colour all vertices.

    Args:
        builder: The head.
        names: Colour name of each vertex, by part; skin, mouth, brows, tongue and highlights have none.

    Returns:
        (V, 3).
    """
    colors = np.tile(_SKIN, (len(builder.points), 1))
    _color_skin(colors, builder)
    for side in ("left", "right"):
        _color_eyelids(colors, builder, side)
        colors[slice(*builder.parts[f"glint_{side}"])] = 1.0
        colors[slice(*builder.parts[f"brow_{side}"])] = _NAMED_COLORS["light"]
    for seam in ("seam_left", "seam_right"):
        colors[slice(*builder.parts[seam])] = _NAMED_COLORS["seam"]
    colors[slice(*builder.parts["tongue"])] = _TONGUE
    for part, of_vertices in names.items():
        colors[slice(*builder.parts[part])] = [_NAMED_COLORS[name] for name in of_vertices]
    for part, front, depth in (("teeth_upper", 84, 22), ("teeth_lower", 84, 16), ("tongue", 76, 28)):
        ids = np.arange(*builder.parts[part])  # darker towards the throat
        _blend(colors, _THROAT, 0.9 * smoothstep((front - builder.x[ids]) / depth), ids)
    return colors.astype(np.float32)


def _color_skin(colors: npt.NDArray[np.float64], builder: ShapeBuilder) -> None:
    """Colour lips, the inside of the mouth, the panels behind the seams, nostrils and neck."""
    inward = smoothstep(
        (1.0 - builder.loop_distance) / 0.15
    )  # the corners turn up: their ends are left plain
    for name, fraction in zip(LIP_LOOPS, (0.75, 1.0, 1.0, 1.0, 1.0, 1.0), strict=True):
        _blend(colors, _LIP, fraction * inward, builder.loops.mouth[name])
    ids = np.arange(*builder.parts["mouth"])
    depth = smoothstep((92.0 - builder.x[ids]) / 45.0)
    colors[ids] = _INNER_MOUTH + depth[:, None] * (_THROAT - _INNER_MOUTH)
    side = _seam_x(builder) - builder.x
    _blend(colors, _SIDE_PANEL, smoothstep(side / 6.0) * builder.mask("skin"))
    nostrils = gaussian(builder.abs_y, builder.z, (6.0, -43.5), (3.0, 2.4))
    _blend(colors, _NOSTRIL, 0.8 * nostrils * builder.facing * builder.mask("skin"))
    neck = smoothstep((-107.0 - builder.z) / 4.0) * builder.mask("skin")
    _blend(colors, _NAMED_COLORS["shell"], neck)


def _seam_x(builder: ShapeBuilder) -> npt.NDArray[np.float64]:
    """The x of the panel's seam (V,) at the height of each vertex."""
    ids = np.arange(*builder.parts["seam_left"])
    rising = ids[np.argsort(builder.z[ids])]
    return np.interp(builder.z, builder.z[rising], builder.x[rising])


def _color_eyelids(colors: npt.NDArray[np.float64], builder: ShapeBuilder, side: str) -> None:
    """Colour the upper lid of one eye and its edge."""
    loops = builder.loops.eye[side]
    turn = 2 * np.pi * np.arange(EYE_LOOP_LENGTH) / EYE_LOOP_LENGTH
    turn = turn if side == "left" else np.pi - turn  # 0 at the outer corner
    upper = np.clip(np.sin(turn) * 2.5, 0.0, 1.0)
    for n, fraction in ((1, 1.0), (2, 1.0), (3, 0.9), (4, 0.7), (5, 0.1)):
        _blend(colors, _LID, upper * fraction, loops[n])
    for n, fraction in ((1, 1.0), (2, 0.9)):
        _blend(colors, _LID_LINE, upper * fraction, loops[n])


def _blend(
    colors: npt.NDArray[np.float64],
    color: npt.ArrayLike,
    fraction: npt.ArrayLike,
    ids: npt.NDArray[np.int64] | slice = slice(None),
) -> None:
    """Blend a fraction, one for all or one per vertex, of a colour into the colours of some vertices."""
    colors[ids] += np.reshape(fraction, (-1, 1)) * (np.asarray(color) - colors[ids])
