# SPDX-License-Identifier: Apache-2.0
"""A shirt with a round collar over the shoulders of a bust. Metres; axes of `Rig`."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.human_head.part import Part, grid_quads, triangulate
from streamingtalker_ros.face.human_head.surface import Surface

_NECK_X_MM: Final = -108.0  # axis of the neck on the base mesh
_COLLAR_MM: Final = ((0.0, -172.0), (45.0, -163.0), (90.0, -146.0), (135.0, -132.0), (180.0, -127.0))
_THICKNESS_M: Final = 0.003
_INSIDE: Final = 0.96  # size of the wall's inner end, so that it does not pierce the shoulders
_LIT_FROM_ABOVE: Final = np.array([0.0, 0.0, 0.06])  # turns normals up: the wall looks like the shirt
_NUM_AROUND: Final = 72
_COLLAR_PROFILE_MM: Final = ((-2.0, 3.0), (1.6, 4.0), (2.9, 1.8), (3.0, -2.0), (2.2, -4.0), (-1.0, -4.6))


def _collar_height(base: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Direction (V,) in degrees from the front around the neck, and height of the collar there, mm."""
    degrees = np.degrees(np.arctan2(base[:, 1], base[:, 0] - _NECK_X_MM))
    return degrees, np.interp(np.abs(degrees), *np.array(_COLLAR_MM).T)


def dress(
    vertices: npt.NDArray[np.float64], base: npt.NDArray[np.float64], normals: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Thicken the shoulders to a shirt.

    Args:
        vertices: (V, 3) of the skin.
        base: (V, 3) their places on the base mesh, mm.
        normals: (V, 3), outward.

    Returns:
        The vertices; (V,) 1 where the shirt covers the skin, 0 elsewhere.
    """
    below = _collar_height(base)[1] - base[:, 2]
    covered = np.asarray(smoothstep(below / 10.0 + 0.5))
    return vertices + _THICKNESS_M * covered[:, None] * normals, (below > 0.0).astype(np.float64)


def plinth(surface: Surface, quads: npt.NDArray[np.int64], color: npt.NDArray[np.float64]) -> Part:
    """The wall from the edge of a bust to the plane between its front and its back, closed in that plane.

    Args:
        surface: The skin, whose only border is the edge of the bust.
        quads: (Q, 4) its quads.
        color: (3,) of the shirt.
    """
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    number = sides[:, 0] * len(surface.vertices) + sides[:, 1]
    is_border = ~np.isin(number, sides[:, 1] * len(surface.vertices) + sides[:, 0])
    border, local = np.unique(sides[is_border], return_inverse=True)
    first, second = local.reshape(-1, 2).T
    edge = surface.vertices[border]
    inside = edge.mean(axis=0) + _INSIDE * (edge - edge.mean(axis=0))
    middle = inside * (0.0, 1.0, 1.0) + edge.mean(axis=0) * (1.0, 0.0, 0.0)
    wall = np.column_stack([second, first, first + len(border), second + len(border)])
    closure = np.column_stack(
        [second + len(border), first + len(border), np.full_like(first, 2 * len(border))]
    )
    vertices = np.concatenate([edge, middle, middle.mean(axis=0, keepdims=True)])
    outward = vertices - vertices.mean(axis=0) + _LIT_FROM_ABOVE
    return Part(
        "plinth",
        vertices,
        np.concatenate([triangulate(wall), closure]),
        np.tile(color, (len(vertices), 1)),
        normals=outward / np.linalg.norm(outward, axis=1, keepdims=True),
    )


def collar(surface: Surface, color: npt.NDArray[np.float64]) -> Part:
    """The ribbed edge of the shirt around the neck.

    Args:
        surface: The skin, thickened to a shirt.
        color: (3,) of the shirt.
    """
    degrees, height = _collar_height(surface.base)
    distance = surface.base[:, 2] - height
    near = np.flatnonzero(np.abs(distance) < 22.0)
    turn = np.linspace(-180.0, 180.0, _NUM_AROUND, endpoint=False)
    points, outward = np.zeros((_NUM_AROUND, 3)), np.zeros((_NUM_AROUND, 3))
    for k, angle in enumerate(turn):
        apart = (degrees[near] - angle + 180.0) % 360.0 - 180.0
        weight = np.exp(-np.square(apart / 14.0) - np.square(distance[near] / 7.0))
        points[k] = weight @ surface.vertices[near] / weight.sum()
        outward[k] = weight @ surface.normals[near]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    along = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    up = np.cross(outward, along)
    rows = [points + (out * outward + lift * up) / 1e3 for out, lift in _COLLAR_PROFILE_MM]
    shade = np.array([0.8, 1.0, 1.06, 1.04, 0.95, 0.75]).repeat(_NUM_AROUND)[:, None]
    quads = grid_quads(len(rows), _NUM_AROUND, closed=True)
    return Part("collar", np.concatenate(rows), triangulate(quads), np.clip(1.04 * color * shade, 0.0, 1.0))
