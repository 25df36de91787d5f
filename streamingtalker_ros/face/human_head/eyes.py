# SPDX-License-Identifier: Apache-2.0
"""Eyeballs with pupil, iris fibres, limbal ring and sclera, and their lashes. Metres; axes of `Rig`."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.eye_look import MAX_EYE_ANGLE_RAD
from streamingtalker_ros.face.human_head.part import Part, grid_quads, triangulate

_NUM_SEGMENTS: Final = 72
_IRIS_RADIUS_M: Final = 0.0060
_PUPIL: Final = 0.36  # of the iris
_SCLERA: Final = np.array([0.84, 0.81, 0.78])
_VEINED: Final = np.array([0.72, 0.56, 0.51])  # towards the corners
_PUPIL_COLOR: Final = np.array([0.02, 0.02, 0.025])
_BACK_DEG: Final = 115.0
_HIGHLIGHT_M: Final = 0.0009
_LID_REACH_M: Final = 0.010  # from the eyeball, within which skin belongs to the lids
_LID_CLEARANCE_M: Final = 0.0002
_LID_WEIGHTS: Final = (1.0, 0.75, 0.5, 0.35, 1.0)  # at which a shape keeps clear


def fit_sphere(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Centre (3,) and radius of the sphere nearest to points (n, 3), by linear least squares."""
    system = np.column_stack([2.0 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(system, np.square(points).sum(axis=1), rcond=None)[0]
    center = solution[:3]
    return center, float(np.sqrt(solution[3] + center @ center))


def clear_eyelids(
    vertices: npt.NDArray[np.float64],
    deltas: npt.NDArray[np.float64],
    center: npt.NDArray[np.float64],
    radius: float,
) -> None:
    """Bend the shapes so that the lids slide over an eyeball and do not enter it on their way.

    Args:
        vertices: (V, 3) of the skin.
        deltas: (52, V, 3) displacements, changed in place.
        center: (3,) of the eyeball.
        radius: Of the eyeball.
    """
    offset = vertices - center
    distance = np.linalg.norm(offset, axis=1)
    is_lid = (distance > radius) & (distance < radius + _LID_REACH_M) & (offset[:, 0] > 0.15 * radius)
    lids = np.flatnonzero(is_lid)
    for shape in np.flatnonzero(deltas[:, lids].any(axis=(1, 2))):
        for weight in _LID_WEIGHTS:
            point = offset[lids] + weight * deltas[shape, lids]
            length = np.linalg.norm(point, axis=1, keepdims=True)
            needed = np.minimum(distance[lids, None], radius + _LID_CLEARANCE_M)  # no more than at rest
            missing = np.clip(needed - length, 0.0, None) * (point[:, :1] > 0.0)
            deltas[shape, lids] += missing / weight * point / length


def eyeball(
    side: str, center: npt.NDArray[np.float64], radius: float, iris: npt.NDArray[np.float64], seed: int
) -> Part:
    """An eyeball that looks straight ahead and turns with the look shapes of its side.

    Args:
        side: left or right.
        center: (3,).
        radius: Of the ball.
        iris: (3,) sRGB, mean colour of the iris.
        seed: Seed of the iris' fibres.
    """
    edge = np.arcsin(_IRIS_RADIUS_M / radius)
    iris_rings = np.linspace(_PUPIL, 1.0, 10)
    rings = np.concatenate(
        [
            [0.0, 0.9 * _PUPIL * edge],
            iris_rings * edge,
            edge * np.array([1.07, 1.35, 1.8]),
            np.linspace(2.3 * edge, np.radians(_BACK_DEG), 7),
        ]
    )
    turn = 2 * np.pi * np.arange(_NUM_SEGMENTS) / _NUM_SEGMENTS
    angle, around = np.meshgrid(rings, turn, indexing="ij")
    direction = np.stack(
        [np.cos(angle), np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around)], axis=-1
    )
    colors = _eye_colors(angle / edge, direction, iris, np.random.default_rng([seed, 2]))
    offsets = radius * direction.reshape(-1, 3)
    deltas = np.zeros((len(ARKIT_NAMES), len(offsets), 3))
    outward = 1.0 if side == "left" else -1.0
    label = side.capitalize()
    for name, yaw, pitch in (("Up", 0, 1), ("Down", 0, -1), ("Out", outward, 0), ("In", -outward, 0)):
        rotation = _look_rotation(yaw * MAX_EYE_ANGLE_RAD, pitch * MAX_EYE_ANGLE_RAD)
        deltas[INDEX[f"eyeLook{name}{label}"]] = offsets @ rotation.T - offsets
    quads = grid_quads(len(rings), _NUM_SEGMENTS, closed=True)
    return Part(f"eye_{side}", center + offsets, triangulate(quads), colors.reshape(-1, 3), deltas)


def _look_rotation(yaw: float, pitch: float) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of a look by `yaw` to the person's left or by `pitch` up."""
    c, s, u, d = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[u, 0, -d], [0, 1, 0], [d, 0, u]])


def _eye_colors(
    radius: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
    iris: npt.NDArray[np.float64],
    random: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Colours (R, S, 3) at `radius` (R, S) in radii of the iris and `direction` (R, S, 3)."""
    fibres = random.normal(0.0, 1.0, radius.shape[1])
    fibres = (fibres + 0.6 * np.roll(fibres, 1)) * 0.09
    fibre = 1.0 + fibres * (1.0 + 0.5 * np.sin(9.0 * radius + 3.0 * random.random(radius.shape[1])))
    inner = np.clip((radius - _PUPIL) / 0.28, 0.0, 1.0)  # the lighter collar around the pupil
    shade = np.interp(radius, [_PUPIL, 0.5, 0.75, 0.9, 1.0], [0.75, 1.25, 1.05, 0.7, 0.38]) * fibre
    warm = np.array([1.25, 1.0, 0.72])
    iris_color = iris * shade[..., None] * (inner[..., None] + (1.0 - inner[..., None]) * warm)
    side = np.clip((np.abs(direction[..., 1]) - 0.5) / 0.45, 0.0, 1.0)[..., None]
    white = _SCLERA * (1.0 - side) + _VEINED * side
    blend = np.clip((radius - 1.0) / 0.07, 0.0, 1.0)[..., None]
    color = iris_color * (1.0 - blend) + white * blend
    return np.clip(np.where((radius < 0.99 * _PUPIL)[..., None], _PUPIL_COLOR, color), 0.0, 1.0)


def highlight(side: str, center: npt.NDArray[np.float64], radius: float) -> Part:
    """A small white disc on the cornea, towards the key light; it stays when the eyeball turns.

    Args:
        side: left or right.
        center: (3,) of the eyeball.
        radius: Of the eyeball.
    """
    axis = _look_rotation(np.radians(-13.0), np.radians(13.0)) @ np.array([1.0, 0.0, 0.0])
    across = np.cross([0.0, 0.0, 1.0], axis)
    across /= np.linalg.norm(across)
    turn = 2 * np.pi * np.arange(10) / 10
    ring = np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * np.cross(axis, across)
    points = center + (radius + 0.0003) * axis + np.concatenate([_HIGHLIGHT_M * ring, np.zeros((1, 3))])
    count = np.arange(10)
    triangles = np.column_stack([count, (count + 1) % 10, np.full(10, 10)])
    return Part(f"glint_{side}", points, triangles, np.ones((11, 3)))
