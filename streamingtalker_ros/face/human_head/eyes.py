# SPDX-License-Identifier: Apache-2.0
"""Eyeballs, the shadows of the lids on them, and lids that keep clear of them. Metres; axes of `Rig`."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.eye_look import MAX_EYE_ANGLE_RAD
from streamingtalker_ros.face.human_head.canvas import (
    band_noise,
    blur,
    encode_jpeg,
    encode_png,
    normal_map,
)
from streamingtalker_ros.face.human_head.part import Part, grid_quads, triangulate
from streamingtalker_ros.face.surface_material import SurfaceMaterial

_NUM_SEGMENTS: Final = 72
_IRIS_RADIUS_M: Final = 0.0060
_PUPIL: Final = 0.36  # of the iris
_SCLERA: Final = np.array([0.78, 0.75, 0.72])
_VEINED: Final = np.array([0.72, 0.56, 0.51])  # towards the corners
_PUPIL_COLOR: Final = np.array([0.02, 0.02, 0.025])
_BACK_RAD: Final = np.radians(115.0)
_TEXTURE_RADII: Final = 4.8  # radii of the iris from the middle to the border of the texture
_TEXTURE_SIZE: Final = 1024
_GLINT: Final = (-0.34, -0.38, 0.13)  # place and radius of the reflection of a window, in radii of the iris
_SHADOW_COLOR: Final = np.array([0.20, 0.09, 0.07])
_SHADOW_LIFT_M: Final = 0.00012
_SHADOWS: Final = {"upper": (0.0008, 0.0042, 0.62), "lower": (-0.0005, -0.0016, 0.30)}
"""From the lid's edge up, from it down, metres; strength."""
_LID_REACH_M: Final = 0.010  # from the eyeball, within which skin belongs to the lids
_LID_CLEARANCE_M: Final = 0.0002
_LID_WEIGHTS: Final = (1.0, 0.75, 0.5, 0.35, 1.0)  # at which a shape keeps clear
_MET_BY_LOOK_UP: Final = (("eyeBlink", 0.25), ("eyeBlink", 0.5), ("eyeBlink", 1.0), ("eyeLookDown", 1.0))
"""Shapes, and their weights, that lower the lid which a look upwards raises."""
_RAISED_TOGETHER: Final = ("cheekSquint", "eyeSquint", "mouthSmile", "eyeBlink")
"""Shapes that press the skin below an eye against it; any sum of them keeps clear."""
_SQUINTS: Final = (0.0, 0.5, 1.0)  # weights of `_RAISED_TOGETHER`


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
    needed = np.minimum(distance[lids, None], radius + _LID_CLEARANCE_M)  # no more than at rest

    def missing(moved: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Displacements (n, 3) that bring the moved lids out of the ball."""
        point = offset[lids] + moved
        length = np.linalg.norm(point, axis=1, keepdims=True)
        return np.clip(needed - length, 0.0, None) * (point[:, :1] > 0.0) * point / length

    for shape in np.flatnonzero(deltas[:, lids].any(axis=(1, 2))):
        for weight in _LID_WEIGHTS:
            deltas[shape, lids] += missing(weight * deltas[shape, lids]) / weight
    for side in ("Left", "Right"):
        up = INDEX[f"eyeLookUp{side}"]
        for name, weight in _MET_BY_LOOK_UP if deltas[up, lids].any() else ():
            deltas[up, lids] += missing(deltas[up, lids] + weight * deltas[INDEX[name + side], lids])
        shapes = [INDEX[name + side] for name in _RAISED_TOGETHER]
        for weights in product(_SQUINTS, repeat=len(shapes)):
            if sum(weights) > max(weights):  # two or more of them
                moved = np.tensordot(weights, deltas[shapes][:, lids], 1)
                share = missing(moved) / np.square(weights).sum()
                for shape, weight in zip(shapes, weights, strict=True):
                    deltas[shape, lids] += weight * share


def eyeball(
    side: str,
    center: npt.NDArray[np.float64],
    radius: float,
    iris: npt.NDArray[np.float64],
    material: SurfaceMaterial | None,
) -> Part:
    """An eyeball that looks straight ahead and turns with the look shapes of its side.

    Args:
        side: left or right.
        center: (3,).
        radius: Of the ball.
        iris: (3,) sRGB, mean colour of the iris.
        material: See `eye_material`; None for colours of the vertices alone.
    """
    edge = np.arcsin(_IRIS_RADIUS_M / radius)
    rings = np.concatenate(
        [np.linspace(0.0, edge, 7), edge * np.array([1.15, 1.4, 1.8]), np.linspace(2.3 * edge, _BACK_RAD, 7)]
    )
    turn = 2 * np.pi * np.arange(_NUM_SEGMENTS) / _NUM_SEGMENTS
    angle, around = np.meshgrid(rings, turn, indexing="ij")
    direction = np.stack(
        [np.cos(angle), np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around)], axis=-1
    ).reshape(-1, 3)
    place = angle / edge / _TEXTURE_RADII / 2.0
    uv = 0.5 + np.stack([place * np.cos(around), -place * np.sin(around)], axis=-1).reshape(-1, 2)
    offsets = radius * direction
    deltas = np.zeros((len(ARKIT_NAMES), len(offsets), 3))
    outward = 1.0 if side == "left" else -1.0
    label = side.capitalize()
    for name, yaw, pitch in (("Up", 0, 1), ("Down", 0, -1), ("Out", outward, 0), ("In", -outward, 0)):
        rotation = _look_rotation(yaw * MAX_EYE_ANGLE_RAD, pitch * MAX_EYE_ANGLE_RAD)
        deltas[INDEX[f"eyeLook{name}{label}"]] = offsets @ rotation.T - offsets
    colors = np.where((angle < 0.99 * edge).reshape(-1, 1), 0.7 * iris, _SCLERA)
    colors = np.where((angle < _PUPIL * edge).reshape(-1, 1), _PUPIL_COLOR, colors)
    triangles = triangulate(grid_quads(len(rings), _NUM_SEGMENTS, closed=True))
    return Part(f"eye_{side}", center + offsets, triangles, colors, deltas, uv, material)


def _look_rotation(yaw: float, pitch: float) -> npt.NDArray[np.float64]:
    """Rotation matrix (3, 3) of a look by `yaw` to the person's left or by `pitch` up."""
    c, s, u, d = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[u, 0, -d], [0, 1, 0], [d, 0, u]])


def eye_material(iris: npt.NDArray[np.float64], seed: int) -> SurfaceMaterial:
    """Pupil, iris with fibres, collarette and limbal ring, and a sclera with vessels, under a coat of tears.

    Args:
        iris: (3,) sRGB, mean colour of the iris.
        seed: Seed of fibres and vessels.
    """
    random = np.random.default_rng([seed, 2])
    size = _TEXTURE_SIZE
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2.0 - 1.0
    radius, turn = _TEXTURE_RADII * np.hypot(x, y), np.arctan2(y, x)
    fibres = _fibres(turn, radius, random)
    shade = np.interp(radius, [_PUPIL, 0.45, 0.62, 0.86, 0.95, 1.0], [0.50, 1.10, 0.98, 0.84, 0.42, 0.28])
    collar = np.exp(-np.square((radius - 0.52 - 0.03 * np.sin(9.0 * turn + 1.0)) / 0.07))[..., None]
    warm = iris * [1.45, 1.15, 0.72]
    color = (iris + (warm - iris) * (0.5 * collar)) * (shade * (1.0 + 0.24 * fibres))[..., None]
    white = _sclera(x, y, random)
    color += (white - color) * _ramp(radius, 0.96, 1.10)[..., None]
    color = color + (_PUPIL_COLOR - color) * (1.0 - _ramp(radius, _PUPIL - 0.03, _PUPIL + 0.03))[..., None]
    glint = np.hypot(x * _TEXTURE_RADII - _GLINT[0], y * _TEXTURE_RADII - _GLINT[1]) / _GLINT[2]
    color += (0.97 - color) * (1.0 - _ramp(glint, 0.75, 1.1))[..., None]
    bowl = 26.0 * np.square(np.minimum(radius, 1.0)) - 2.0 * fibres * (radius < 0.95) * (radius > _PUPIL)
    height = blur(bowl.astype(np.float32), 1.2)
    return SurfaceMaterial(
        "eye", encode_jpeg(color), normal=encode_jpeg(normal_map(height)), roughness=0.45, clearcoat=1.0
    )


def _ramp(values: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    return np.asarray(smoothstep((values - low) / (high - low)))


def _fibres(
    turn: npt.NDArray[np.float64], radius: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Brightness of the iris' fibres, of about unit deviation, at an angle and a radius."""
    total = np.zeros_like(turn)
    for frequency in (23, 41, 67, 97, 139):
        bend = random.normal(0.0, 1.2) * radius + 0.5 * np.sin(3.0 * turn + random.uniform(0.0, 6.0))
        total += np.sin(frequency * turn + bend * 2.0 + random.uniform(0.0, 6.0)) * random.uniform(0.6, 1.0)
    return total / 1.6


def _sclera(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Colour (rows, columns, 3) of the white of the eye: redder, with vessels, towards the corners."""
    shape = (len(x), len(x))
    side = np.clip(np.abs(x) * 1.25 - 0.25, 0.0, 1.0)
    ridges = np.abs(band_noise(shape, (14.0, 50.0), random) + 0.5 * band_noise(shape, (8.0, 20.0), random))
    vessels = np.clip(1.0 - ridges / 0.16, 0.0, 1.0) * side * 0.35
    color = _SCLERA + (_VEINED - _SCLERA) * (0.45 * side)[..., None]
    color = color * (1.0 - 0.10 * np.hypot(x, y)[..., None])
    return color + ([0.70, 0.28, 0.25] - color) * vessels[..., None]


def lid_shadow(
    name: str,
    lid: str,
    edge: npt.NDArray[np.float64],
    deltas: npt.NDArray[np.float64],
    center: npt.NDArray[np.float64],
    radius: float,
) -> Part:
    """The shadow of a lid on the eyeball, a strip that fades from the lid's edge and moves with it.

    Args:
        name: Name of the part.
        lid: upper or lower.
        edge: (C, 3) points of the lid's edge.
        deltas: (52, C, 3) their displacements.
        center: (3,) of the eyeball.
        radius: Of the eyeball.
    """
    beyond, reach, darkness = _SHADOWS[lid]
    lift = np.linspace(beyond, -reach, 4)[:, None, None] * [0.0, 0.0, 1.0]
    offset = (edge + lift).reshape(-1, 3) - center
    length = np.linalg.norm(offset, axis=1, keepdims=True)
    vertices = center + offset * (radius + _SHADOW_LIFT_M) / length
    moved = np.tile(deltas, (1, 4, 1))
    clear_eyelids(vertices, moved, center, radius + _SHADOW_LIFT_M / 2.0)
    columns = len(edge)
    v, u = np.meshgrid(np.linspace(0.0, 1.0, 4), np.linspace(0.0, 1.0, columns), indexing="ij")
    quads = grid_quads(4, columns)
    return Part(
        name,
        vertices,
        triangulate(quads),
        np.tile(_SCLERA, (len(vertices), 1)),
        moved,
        np.stack([u, v], axis=-1).reshape(-1, 2),
        _shadow_material(lid, darkness),
    )


def _shadow_material(lid: str, darkness: float) -> SurfaceMaterial:
    fade = darkness * smoothstep(np.linspace(1.0, 0.0, 32))
    alpha = fade[:, None] * smoothstep(np.minimum(np.linspace(0.0, 8.0, 32), np.linspace(8.0, 0.0, 32)))
    color = np.broadcast_to(_SHADOW_COLOR, (32, 32, 3))
    image = encode_png(np.concatenate([color, alpha[..., None]], axis=-1))
    return SurfaceMaterial(f"shadow_{lid}", image, roughness=0.9, alpha="BLEND", double_sided=True)
