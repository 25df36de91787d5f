# SPDX-License-Identifier: Apache-2.0
"""Colours of the default head, per vertex; sRGB, 0..1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import gaussian, smoothstep
from streamingtalker_ros.face.default_head.shape_builder import LIP_LOOPS, ShapeBuilder
from streamingtalker_ros.face.default_head.skin import EYE_LOOP_LENGTH

_SKIN = np.array([0.95, 0.75, 0.64])
_NAMED_COLORS = {
    "pupil": (0.03, 0.03, 0.04),
    "iris": (0.30, 0.17, 0.09),
    "iris_light": (0.55, 0.34, 0.17),
    "rim": (0.20, 0.11, 0.07),
    "white": (0.95, 0.95, 0.94),
    "throat": (0.17, 0.06, 0.07),
    "gum": (0.78, 0.40, 0.40),
    "tooth": (0.96, 0.95, 0.91),
}
_LIP = np.array((0.83, 0.51, 0.47))
_BLUSH = np.array((0.94, 0.58, 0.52))
_LASH = np.array((0.20, 0.13, 0.11))
_BROW = np.array((0.30, 0.20, 0.15))
_EYE_CORNER = np.array([0.86, 0.50, 0.47])
_NOSTRIL = np.array([0.55, 0.33, 0.28])
_INNER_MOUTH, _TONGUE = (0.62, 0.27, 0.27), (0.80, 0.40, 0.40)
_HAIR, _CLOTH = np.array([0.33, 0.21, 0.15]), np.array([0.13, 0.38, 0.44])


def vertex_colors(
    builder: ShapeBuilder, eye_colors: Sequence[str], teeth_colors: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.float32]:
    """Colour all vertices.

    Args:
        builder: The head.
        eye_colors: Name of the colour of each vertex of an eyeball.
        teeth_colors: Name of the colour of each vertex, by part.

    Returns:
        (V, 3).
    """
    colors = np.tile(_SKIN, (len(builder.points), 1))
    _color_skin(colors, builder)
    for side in ("left", "right"):
        _color_eyelids(colors, builder, side)
        colors[slice(*builder.parts[f"glint_{side}"])] = 1.0
        colors[slice(*builder.parts[f"eye_{side}"])] = [_NAMED_COLORS[name] for name in eye_colors]
        colors[slice(*builder.parts[f"brow_{side}"])] = _BROW
        _blend(colors, _BLUSH, 0.35, np.arange(*builder.parts[f"ear_{side}"]))
    for part, names in teeth_colors.items():
        colors[slice(*builder.parts[part])] = [_NAMED_COLORS[name] for name in names]
    for part, color in (("hair", _HAIR), ("collar", _CLOTH), ("tongue", _TONGUE)):
        colors[slice(*builder.parts[part])] = color
    for part, front, depth in (("teeth_upper", 84, 22), ("teeth_lower", 84, 22), ("tongue", 72, 28)):
        ids = np.arange(*builder.parts[part])  # darker towards the throat
        _blend(colors, _NAMED_COLORS["throat"], 0.85 * smoothstep((front - builder.x[ids]) / depth), ids)
    return colors.astype(np.float32)


def _color_skin(colors: npt.NDArray[np.float64], builder: ShapeBuilder) -> None:
    """Colour cheeks, nose, lips and the inside of the mouth."""
    cheeks = gaussian(builder.abs_y, builder.z, (42, -32), (13, 11))
    nose = gaussian(builder.abs_y, builder.z, (0, -36), (11, 7))
    blush = 0.30 * cheeks + 0.22 * nose
    _blend(colors, _BLUSH, blush * builder.facing * builder.soft_weight)
    for name, fraction in zip(LIP_LOOPS, (0.55, 0.95, 1.0, 1.0, 0.95, 0.85), strict=True):
        _blend(colors, _LIP, fraction, builder.loops.mouth[name])
    ids = np.arange(*builder.parts["mouth"])
    depth = smoothstep((92.0 - builder.x[ids]) / 45.0)
    throat = np.array(_NAMED_COLORS["throat"])
    colors[ids] = _INNER_MOUTH + depth[:, None] * (throat - _INNER_MOUTH)
    nostrils = gaussian(builder.abs_y, builder.z, (6.0, -43.5), (3.0, 2.4))
    _blend(colors, _NOSTRIL, 0.8 * nostrils * builder.facing * builder.mask("skin"))


def _color_eyelids(colors: npt.NDArray[np.float64], builder: ShapeBuilder, side: str) -> None:
    """Colour lashes and the inner corner of one eye."""
    loops = builder.loops.eye[side]
    turn = 2 * np.pi * np.arange(EYE_LOOP_LENGTH) / EYE_LOOP_LENGTH
    turn = turn if side == "left" else np.pi - turn  # 0 at the outer corner
    lash = np.clip(np.sin(turn) * 1.6, 0.0, 1.0) ** 0.7 * smoothstep((np.cos(turn) + 1.0) / 0.9)
    corner = np.exp(-(((np.cos(turn) + 1.0) / 0.12) ** 2))
    for n, fraction in ((1, 1.0), (2, 0.95), (3, 0.22)):
        _blend(colors, _BLUSH, 0.35 if n < 3 else 0.2, loops[n])
        _blend(colors, _EYE_CORNER, corner * fraction, loops[n])
        _blend(colors, _LASH, lash * fraction, loops[n])


def _blend(
    colors: npt.NDArray[np.float64],
    color: npt.ArrayLike,
    fraction: npt.ArrayLike,
    ids: npt.NDArray[np.int64] | slice = slice(None),
) -> None:
    """Blend a fraction, one for all or one per vertex, of a colour into the colours of some vertices."""
    colors[ids] += np.reshape(fraction, (-1, 1)) * (np.asarray(color) - colors[ids])
