# SPDX-License-Identifier: Apache-2.0
"""Hair, brows and lashes, grown from the skin as ribbons. Metres; axes of `Rig`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.human_head.part import Part
from streamingtalker_ros.face.human_head.person import Person
from streamingtalker_ros.face.human_head.skin_colors import Palette, brow_density, brow_place, scalp
from streamingtalker_ros.face.human_head.strands import per_vertex, ribbons
from streamingtalker_ros.face.human_head.surface import Roots, Surface

_UP: Final = np.array([0.0, 0.0, 1.0])
_RISE: Final = 0.3  # of the direction of hair at its root, along the normal
_ROOT_DEPTH_M: Final = 0.0012
_LOWEST_OBSTACLE_MM: Final = -135.0  # hair falls past the shoulders
_LASH_WIDTH_M: Final = 0.00022
_MIN_BROW_DENSITY: Final = 0.15
_BROW_HAIRS: Final = 760  # of both brows
_BROW_LENGTH_M: Final = 0.0062
_BROW_WIDTH_M: Final = 0.0004


class HairStyle(NamedTuple):
    """How hair is cut and combed.

    Attributes:
        count: Number of locks.
        points: Points of a lock.
        top: Length of a lock in metres at the crown.
        side: Length at the hairline.
        width: Width of a lock in metres.
        lift: Distance in metres that hair keeps from the scalp; grows towards the tip.
        weight: How strongly gravity bends a lock.
        part: Place of the parting, mm to the person's left; None combs away from the crown.
        curl: Radius of the curls in metres.
    """

    count: int
    points: int
    top: float
    side: float
    width: float
    lift: float
    weight: float
    part: float | None
    curl: float


HAIR_STYLES: Final[dict[str, HairStyle]] = {
    "short": HairStyle(3200, 6, 0.044, 0.013, 0.0032, 0.0035, 0.25, None, 0.0),
    "long": HairStyle(1800, 10, 0.215, 0.160, 0.0062, 0.006, 0.9, 10.0, 0.0),
    "curly": HairStyle(2100, 9, 0.045, 0.030, 0.0034, 0.004, 0.0, None, 0.004),
}


def choose_style(person: Person) -> HairStyle:
    """The hair style of a person: the one named, or else by ancestry, gender and seed.

    Raises:
        TalkerError: If the named style is unknown.
    """
    if person.hair is not None:
        if person.hair not in HAIR_STYLES:
            raise TalkerError(f"hair style {person.hair} is unknown: choose of {', '.join(HAIR_STYLES)}")
        return HAIR_STYLES[person.hair]
    random = np.random.default_rng([person.seed, 5])
    if random.random() < person.ancestry_shares()["african"]:
        return HAIR_STYLES["curly"]
    return HAIR_STYLES["short" if random.random() < 0.1 + 0.9 * person.gender else "long"]


def hair(surface: Surface, style: HairStyle, colors: Palette, seed: int) -> Part:
    """Locks of hair on the scalp, which fall around the head.

    Args:
        surface: The skin.
        style: Cut and comb.
        colors: Of the person.
        seed: Seed of the locks.
    """
    random = np.random.default_rng([seed, 6])
    growth = scalp(surface.base)
    roots = surface.scatter(growth, style.count, random)
    normal = _unit(surface.evaluate(roots, surface.normals))
    start = surface.evaluate(roots, surface.vertices) - _ROOT_DEPTH_M * normal
    place = surface.evaluate(roots, surface.base)
    direction = _unit(_comb(place, style, random) + _RISE * normal)
    crown = np.clip((place[:, 2] - 20.0) / 80.0, 0.0, 1.0)
    length = (style.side + (style.top - style.side) * crown) * random.uniform(0.8, 1.1, style.count)
    paths = _grow(surface, start, direction, length, style, random)
    tangent = _unit(np.gradient(paths, axis=1))
    across = _unit(np.cross(tangent, _head_normals(surface, paths)))
    taper = np.interp(np.linspace(0.0, 1.0, style.points), [0.0, 0.15, 0.7, 1.0], [0.25, 1.0, 0.8, 0.0])
    width = style.width * taper * random.uniform(0.7, 1.2, (style.count, 1))
    vertices, triangles = ribbons(paths, across, width)
    shade = random.normal(1.0, 0.16, (style.count, 1)) * np.linspace(0.72, 1.12, style.points)
    tint = colors.hair * np.clip(shade, 0.5, 1.6)[..., None] + 0.012
    return Part("hair", vertices, triangles, np.clip(per_vertex(tint), 0.0, 1.0))


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _comb(
    place: npt.NDArray[np.float64], style: HairStyle, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Direction (N, 3) in which each lock is combed."""
    noise = random.normal(0.0, 0.10, place.shape)
    if style.part is not None:
        side = np.sign(place[:, 1] - style.part)
        return _unit(np.column_stack([-0.75 + 0 * side, side, -0.4 + 0 * side])) + noise
    down = _unit(place - [-125.0, 12.0, 105.0]) * [0.4, 0.5, 1.0] - [0.35, 0.0, 0.25]  # from the crown
    top = smoothstep((place[:, 2] - 48.0) / 30.0)[:, None]
    back = np.array([-0.75, -0.55, 0.25])  # the hair over the forehead is combed back and to a side
    return _unit(top * back + (1.0 - top) * down) + noise


def _head_normals(surface: Surface, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Normals of the vertices of the head nearest to points (…, 3)."""
    return _nearest(surface, points.reshape(-1, 3))[1].reshape(points.shape)


def _nearest(
    surface: Surface, points: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Position and normal, (N, 3) each, of the nearest of a sample of vertices to each point (N, 3)."""
    sample = np.flatnonzero((surface.base[:, 2] > _LOWEST_OBSTACLE_MM) & (surface.openness > 0.55))[::4]
    vertices, normals = surface.vertices[sample], surface.normals[sample]
    target = vertices.astype(np.float32)
    squares = np.square(target).sum(axis=1)
    index = np.concatenate(
        [
            (squares - 2.0 * block @ target.T).argmin(axis=1)
            for block in np.array_split(points.astype(np.float32), 8)
        ]
    )
    return vertices[index], normals[index]


def _grow(
    surface: Surface,
    start: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
    length: npt.NDArray[np.float64],
    style: HairStyle,
    random: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Paths (N, points, 3) from the roots: bent by gravity, kept at a distance from the skin."""
    step = (length / (style.points - 1))[:, None]
    stiffness = random.uniform(0.6, 1.4, (len(start), 1))
    lift = style.lift * random.uniform(0.3, 1.6, len(start))
    paths = [start]
    point = start
    for k in range(1, style.points):
        fraction = k / (style.points - 1)
        point = point + step * direction
        nearest, normal = _nearest(surface, point)
        height = np.einsum("nk,nk->n", point - nearest, normal)
        wanted = lift * min(1.0, 2.5 * fraction)
        point = (
            point
            + (np.maximum(wanted - height, 0.0) - 0.35 * np.maximum(height - 2.5 * wanted, 0.0))[:, None]
            * normal
        )
        new = _unit(point - paths[-1])
        direction = _unit(new - style.weight * stiffness * _UP * 0.35)
        paths.append(point)
    result = np.stack(paths, axis=1)
    if style.curl:
        turn = np.linspace(0.0, 2.2 * 2 * np.pi, style.points) + random.random((len(start), 1)) * 2 * np.pi
        side = _unit(np.cross(direction, _UP + 0.01))
        up = np.cross(direction, side)
        radius = style.curl * np.minimum(1.0, 3.0 * np.linspace(0.0, 1.0, style.points))
        result = result + radius[:, None] * (
            np.cos(turn)[..., None] * side[:, None] + np.sin(turn)[..., None] * up[:, None]
        )
    return result


def brows(surface: Surface, colors: Palette, seed: int) -> Part:
    """Hairs of both brows: upwards near the nose, then along the brow.

    Args:
        surface: The skin.
        colors: Of the person.
        seed: Seed of the hairs.
    """
    random = np.random.default_rng([seed, 7])
    roots = surface.scatter(brow_density(surface.base), _BROW_HAIRS, random)
    is_dense = brow_density(surface.evaluate(roots, surface.base)) > _MIN_BROW_DENSITY
    roots = Roots(roots.triangles[is_dense], roots.weights[is_dense])
    place = surface.evaluate(roots, surface.base)
    along, across = brow_place(place)
    side = np.sign(place[:, 1])
    normal = _unit(surface.evaluate(roots, surface.normals))
    rise = np.interp(along, [0.0, 0.25, 0.6, 1.0], [1.6, 0.7, 0.05, -0.55]) - 0.35 * across
    direction = np.column_stack([np.zeros(len(side)), side, rise]) + random.normal(0.0, 0.07, (len(side), 3))
    direction = _unit(direction - np.einsum("nk,nk->n", direction, normal)[:, None] * normal)
    length = (
        _BROW_LENGTH_M
        * np.interp(along, [0.0, 0.2, 1.0], [0.7, 1.0, 0.75])
        * random.uniform(0.7, 1.15, len(side))
    )
    start = surface.evaluate(roots, surface.vertices)
    fraction = np.linspace(0.0, 1.0, 3)[None, :, None]
    lift = 0.0009 * np.sin(np.pi * (0.12 + 0.8 * fraction))
    paths = start[:, None] + fraction * (length[:, None] * direction)[:, None] + lift * normal[:, None]
    sideways = np.cross(normal, direction)[:, None] + np.zeros_like(paths)
    width = _BROW_WIDTH_M * np.array([0.7, 1.0, 0.0]) * random.uniform(0.7, 1.2, (len(side), 1))
    vertices, triangles = ribbons(paths, sideways, width)
    tint = colors.brow * random.uniform(0.75, 1.25, (len(side), 1))
    deltas = surface.evaluate(roots, np.moveaxis(surface.deltas, 0, 1)).reshape(len(side), -1)
    repeat = vertices.shape[0] // len(side)
    moved = np.repeat(deltas, repeat, axis=0).reshape(len(vertices), -1, 3)
    return Part(
        "brow", vertices, triangles, np.clip(np.repeat(tint, repeat, axis=0), 0, 1), np.moveaxis(moved, 1, 0)
    )


def lashes(
    name: str,
    card: npt.NDArray[np.float64],
    deltas: npt.NDArray[np.float64],
    count: int,
    colors: Palette,
    seed: int,
) -> Part:
    """Lashes over a card of MakeHuman.

    Args:
        name: Name of the part.
        card: (R, C, 3) vertices of the card; its first row lies on the lid.
        deltas: (52, R, C, 3) their displacements.
        count: Number of lashes.
        colors: Of the person.
        seed: Seed of the lashes.
    """
    random = np.random.default_rng([seed, 8])
    rows, columns = card.shape[:2]
    place = np.sort(random.random(count)) * (columns - 1.001)
    place = place[:, None] + np.linspace(0.0, 1.0, rows) ** 2 * random.normal(0.0, 0.25, (count, 1))
    place = np.clip(place, 0.0, columns - 1.001)
    column = place.astype(np.int64)
    share = (place - column)[..., None]
    row = np.arange(rows)[None]

    def interpolate(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return values[row, column] * (1.0 - share) + values[row, column + 1] * share

    paths = interpolate(card)
    moved = interpolate(np.moveaxis(deltas, 0, 2).reshape(rows, columns, -1))
    reach = random.uniform(0.75, 1.0, (count, 1, 1))
    paths, moved = (values[:, :1] + reach * (values - values[:, :1]) for values in (paths, moved))
    across = _unit(interpolate(np.gradient(card, axis=1)))
    vertices, triangles = ribbons(
        paths, across, _LASH_WIDTH_M * np.linspace(1.3, 0.3, rows) * np.ones((count, 1))
    )
    tint = np.tile(0.55 * colors.brow, (len(vertices), 1))
    return Part(
        name, vertices, triangles, tint, np.moveaxis(per_vertex(moved).reshape(len(vertices), -1, 3), 1, 0)
    )
