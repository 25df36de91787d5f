# SPDX-License-Identifier: Apache-2.0
"""Hair, brows and lashes, grown from the skin as cards with a texture of strands. Metres; axes of `Rig`.

Hair is grown where MakeHuman's is not installed, see `hair_mesh`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.head import EYE_CENTER
from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.human_head.canvas import encode_png
from streamingtalker_ros.face.human_head.hair_shells import SHELL_STYLES
from streamingtalker_ros.face.human_head.part import Part, grid_quads, triangulate
from streamingtalker_ros.face.human_head.person import Person
from streamingtalker_ros.face.human_head.skin_colors import (
    HEAD_CENTER_X_MM,
    Palette,
    above_hairline,
    brow_density,
    brow_place,
    hair_density,
)
from streamingtalker_ros.face.human_head.strand_texture import LOCKS, Strip, paint_strips
from streamingtalker_ros.face.human_head.strands import cards
from streamingtalker_ros.face.human_head.surface import Roots, Surface
from streamingtalker_ros.face.surface_material import SurfaceMaterial

_UP: Final = np.array([0.0, 0.0, 1.0])
_RISE: Final = 0.25  # of the direction of hair at its root, along the normal
_ROOT_DEPTH_M: Final = 0.0004
_SPACING: Final = 1.25  # exponent that sets points closer near the root
_SIDE_MM: Final = 20.0  # height of hair with the length of the sides
_CROWN_ABOVE_MM: Final = 80.0  # from there to that with the length of the crown
_NAPE: Final = -0.35  # how much of the way from the side to the crown the nape lies below the side
_FINE_EDGE_MM: Final = 24.0  # from the hairline, within which cards are narrower
_PARTING_MM: Final = 6.0  # half width of the denser hair along a parting
_PARTING_DENSITY: Final = 4.0  # by which it is denser, as a factor above 1
_LOWEST_OBSTACLE_MM: Final = -135.0  # hair falls past the shoulders
_MIN_BROW_DENSITY: Final = 0.12
_MIN_DENSITY: Final = 0.25  # of the cards of hair; below, single ones would stand on the bare skin
_CUT_NOISE_MM: Final = 4.0
_BROW_CARDS: Final = 320  # of both brows
_BROW_LENGTH_M: Final = 0.0078
_BROW_WIDTH_M: Final = 0.0034
_BROW_STRIP: Final = Strip(4, 0.019, 0.0, 0.02, 0.4, 0.5, 0.1)
_LASH_STRIP: Final = Strip(14, 0.015, 0.0, 0.05, 0.3, 0.25, 0.02)
_FACE_EDGE: Final = (
    (-116.0, -60.0, -40.0, 2.0, 26.0, 36.0, 52.0, 66.0, 71.0),
    (70.0, 72.0, 73.0, 70.0, 67.0, 60.0, 46.0, 28.0, 0.0),
)
"""Height in mm, and degrees from the front up to which no hair hangs there."""
_FALL: Final = ((-116.0, -60.0, -10.0, 40.0), (0.95, 1.12, 1.24, 1.20))
"""Height in mm, and distance to the side within which long hair falls, of the half width of the scalp."""
_EDGE_DEPTH_DEG: Final = 9.0  # over which the edges of locks around the face are spread
_LASH_LINE: Final = 0.3  # of the length, at the root, where lashes make one line along the lid
_LASH_REACH: Final = {"upper": 1.0, "lower": 0.15}  # length as a fraction of MakeHuman's card
_HAIR_CUTOFF: Final = 0.35  # below 0.5, since smaller images of the texture hold less alpha
_HAIR_TEXTURE: Final = (512, 1024)
_FINE_TEXTURE: Final = (128, 1024)  # of brows and lashes
_CORNER_LASHES: Final = 0.4  # length in the corners of an eye, of that in the middle
_MALE_LASHES: Final = 0.9  # of the length of women's
_LASH_STRIPS: Final = {"upper": 8, "lower": 3}  # strips of the texture along a lid


class HairStyle(NamedTuple):
    """How hair is cut and combed.

    Attributes:
        count: Number of cards.
        points: Points of a card.
        top: Length of a card in metres at the crown.
        side: Length above the ears; hair is shorter at the nape.
        width: Width of a card in metres.
        lift: Distance in metres that hair keeps from the scalp; grows towards the tip.
        weight: How strongly gravity bends a lock.
        part: Place of the parting, mm to the person's left; None combs away from the crown.
        cut: Height at which long hair is cut, mm from the eyes; None where only the length ends it.
        strip: Strands of a card.
        disorder: Deviation of the directions.
        sideburn: Length in mm of the sideburns.
    """

    count: int
    points: int
    top: float
    side: float
    width: float
    lift: float
    weight: float
    part: float | None
    cut: float | None
    strip: Strip
    disorder: float
    sideburn: float


_SHORT_STRIP: Final = Strip(46, 0.020, 0.80, 0.02, 0.5, 0.5, 0.20)
_LONG_STRIP: Final = Strip(46, 0.020, 0.85, 0.02, 0.5, 0.45, 0.01)
_CURLY_STRIP: Final = Strip(17, 0.032, 0.0, 0.10, 6.0, 0.0, 0.30)
_SHORT: Final = HairStyle(2800, 6, 0.050, 0.022, 0.009, 0.0030, 0.35, None, None, _SHORT_STRIP, 0.06, 22.0)
_BOB: Final = HairStyle(1450, 10, 0.240, 0.110, 0.015, 0.0030, 1.0, -15.0, -84.0, _LONG_STRIP, 0.03, 0.0)
_CURLY: Final = HairStyle(2800, 5, 0.036, 0.020, 0.011, 0.006, 0.0, None, None, _CURLY_STRIP, 0.75, 16.0)
HAIR_STYLES: Final[dict[str, HairStyle]] = {
    "short": _SHORT,
    "cropped": _SHORT,
    "slicked": _SHORT,
    "curly": _CURLY,
    "long": HairStyle(1300, 12, 0.310, 0.165, 0.016, 0.0045, 1.0, 12.0, -108.0, _LONG_STRIP, 0.03, 0.0),
    "bob": _BOB,
    "ponytail": _BOB,
}
_WORN: Final = {  # by whom a seed gives which; african women wear curly hair
    "african": ("curly", "buzz"),
    "male": ("short", "cropped", "slicked", "crew"),
    "female": ("long", "bob", "ponytail"),
}


def choose_style(person: Person) -> str:
    """Name of the hair style of a person: the one named, or else by ancestry, gender and seed.

    Raises:
        TalkerError: If the named style is unknown.
    """
    if person.hair is not None:
        known = (*HAIR_STYLES, *SHELL_STYLES)
        if person.hair not in known:
            raise TalkerError(f"hair style {person.hair} is unknown: choose of {', '.join(known)}")
        return person.hair
    random = np.random.default_rng([person.seed, 5])
    is_curly = random.random() < person.ancestry_shares()["african"]
    is_male = random.random() < 0.1 + 0.9 * person.gender
    if is_curly and not is_male:
        return "curly"
    choice = _WORN["african" if is_curly else "male" if is_male else "female"]
    return choice[random.integers(len(choice))]


def hair(surface: Surface, style: HairStyle, colors: Palette, seed: int) -> Part:
    """Locks of hair on the scalp, which fall around the head.

    Args:
        surface: The skin.
        style: Cut and comb.
        colors: Of the person.
        seed: Seed of the locks.
    """
    random = np.random.default_rng([seed, 6])
    roots = _scatter(surface, partial(_density, style=style), _MIN_DENSITY, style.count, random)
    normal = _unit(surface.evaluate(roots, surface.normals))
    start = surface.evaluate(roots, surface.vertices) - _ROOT_DEPTH_M * normal
    place = surface.evaluate(roots, surface.base)
    comb = _comb(place, style, random)
    comb -= np.einsum("nk,nk->n", comb, normal)[:, None] * normal
    fineness = _fineness(place, style)
    direction = _unit(_unit(comb) + _RISE * fineness[:, None] * normal)
    crown = np.clip((place[:, 2] - _SIDE_MM) / _CROWN_ABOVE_MM, _NAPE, 1.0)
    length = (style.side + (style.top - style.side) * crown) * random.uniform(0.8, 1.1, len(start))
    if style.part is None:
        length *= fineness
    lift = style.lift * fineness * random.uniform(0.3, 1.3, len(start))
    paths = _grow(surface, start, direction, length, lift, style, random)
    if style.cut is not None:
        height = EYE_CENTER[2] + style.cut + random.normal(0.0, _CUT_NOISE_MM, len(start))
        paths = _cut(paths, height / 1e3)
    tangent = _unit(np.gradient(paths, axis=1))
    outward = _head_normals(surface, paths)
    across = _unit(np.cross(tangent, outward))
    taper = np.interp(np.linspace(0.0, 1.0, style.points), [0.0, 0.2, 0.7, 1.0], [0.95, 1.0, 0.95, 0.8])
    width = style.width * fineness[:, None] * taper * random.uniform(0.7, 1.2, (len(start), 1))
    vertices, triangles, uv = cards(paths, across, width, random.integers(LOCKS, size=len(start)))
    image = paint_strips(style.strip, colors.hair, _HAIR_TEXTURE, random)
    material = SurfaceMaterial(
        "hair", encode_png(image), roughness=0.85, alpha="MASK", alpha_cutoff=_HAIR_CUTOFF, double_sided=True
    )
    tint = np.tile(colors.hair, (len(vertices), 1))
    normals = np.repeat(outward.reshape(-1, 3), 2, axis=0)
    return Part("hair", vertices, triangles, tint, uv=uv, material=material, normals=normals)


def _scatter(
    surface: Surface,
    density: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    minimum: float,
    count: int,
    random: np.random.Generator,
) -> Roots:
    """At most `count` random points of a density at places (N, 3), without those below the minimum."""
    roots = surface.scatter(density(surface.base), count, random)
    is_dense = density(surface.evaluate(roots, surface.base)) > minimum
    return Roots(roots.triangles[is_dense], roots.weights[is_dense])


def _fineness(place: npt.NDArray[np.float64], style: HairStyle) -> npt.NDArray[np.float64]:
    """Width (N,) of the cards at places (N, 3) as a fraction: narrow at the hairline and the parting."""
    return np.interp(above_hairline(place, style.sideburn), [0.0, _FINE_EDGE_MM], [0.4, 1.0]) * (
        1.0 - 0.5 * _parting(place, style)
    )


def _parting(place: npt.NDArray[np.float64], style: HairStyle) -> npt.NDArray[np.float64]:
    """(N,) 1 on the parting, falling to 0 beside it; 0 without one."""
    if style.part is None:
        return np.zeros(len(place))
    return np.exp(-np.square((place[:, 1] - style.part) / _PARTING_MM)) * (place[:, 2] > _SIDE_MM)


def _density(place: npt.NDArray[np.float64], style: HairStyle) -> npt.NDArray[np.float64]:
    """Relative number (N,) of cards at places (N, 3): many where they are narrow, and along the parting."""
    more = 1.0 + _PARTING_DENSITY * _parting(place, style)
    return hair_density(above_hairline(place, style.sideburn)) / _fineness(place, style) * more


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _comb(
    place: npt.NDArray[np.float64], style: HairStyle, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Direction (N, 3) in which each lock is combed."""
    noise = random.normal(0.0, style.disorder, place.shape)
    if style.part is not None:
        side = np.where(place[:, 1] < style.part, -1.0, 1.0)
        top = smoothstep((place[:, 2] - 45.0) / 45.0)
        return np.column_stack([-0.15 - 0.45 * top, top * side, -1.0 + 0.8 * top]) + noise
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
    obstacle = (surface.base[:, 2] > _LOWEST_OBSTACLE_MM) & (surface.openness > 0.55)
    sample = np.flatnonzero(obstacle)[::4]
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
    lift: npt.NDArray[np.float64],
    style: HairStyle,
    random: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Paths (N, points, 3) from the roots: bent by gravity, kept at a distance from the skin."""
    position = np.linspace(0.0, 1.0, style.points) ** _SPACING
    half_width = np.abs(surface.vertices[above_hairline(surface.base, 0.0) > 0.0, 1]).max()
    stiffness = random.uniform(0.6, 1.4, (len(start), 1))
    behind = np.radians(_EDGE_DEPTH_DEG) * random.random(len(start)) ** 2
    paths = [start]
    point = start
    for k in range(1, style.points):
        point = point + (position[k] - position[k - 1]) * length[:, None] * direction
        nearest, normal = _nearest(surface, point)
        height = np.einsum("nk,nk->n", point - nearest, normal)
        wanted = lift * min(1.0, 0.3 + 2.5 * position[k])
        point = (
            point
            + (np.maximum(wanted - height, 0.0) - 0.5 * np.maximum(height - 2.5 * wanted, 0.0))[:, None]
            * normal
        )
        point = _clear_face(point, behind)
        if style.cut is not None:
            limit = half_width * np.interp(1e3 * point[:, 2] - EYE_CENTER[2], *_FALL)
            point[:, 1] = np.clip(point[:, 1], -limit, limit)
        new = _unit(point - paths[-1])
        direction = _unit(new - style.weight * stiffness * _UP * 0.35)
        paths.append(point)
    return np.stack(paths, axis=1)


def _cut(paths: npt.NDArray[np.float64], heights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Paths (N, P, 3) that end where they first fall below heights (N,), with as many points."""
    row, last = np.arange(len(paths)), paths.shape[1] - 1
    is_below = paths[..., 2] < heights[:, None]
    after = np.where(is_below.any(axis=1), is_below.argmax(axis=1), last).clip(1)
    above, below = paths[row, after - 1, 2], paths[row, after, 2]
    end = after - 1 + np.clip((above - heights) / np.maximum(above - below, 1e-6), 0.0, 1.0)
    place = end[:, None] * np.linspace(0.0, 1.0, last + 1)
    first = np.minimum(place.astype(np.int64), last - 1)
    start, step = paths[row[:, None], first], np.diff(paths, axis=1)[row[:, None], first]
    return start + (place - first)[..., None] * step


def _clear_face(points: npt.NDArray[np.float64], behind: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (N, 3), where in front of `_FACE_EDGE` turned to `behind` (N,) radians behind it."""
    place = 1e3 * points - EYE_CENTER * (1.0, 0.0, 1.0)
    x, y = place[:, 0] - HEAD_CENTER_X_MM, place[:, 1]
    turn = np.arctan2(y, x)
    limit = np.radians(np.interp(place[:, 2], *_FACE_EDGE)) + behind
    turned = np.where(y < 0.0, -1.0, 1.0) * np.maximum(np.abs(turn), limit)
    radius = np.hypot(x, y)
    result = points.copy()
    result[:, 0] += (radius * np.cos(turned) - x) / 1e3
    result[:, 1] += (radius * np.sin(turned) - y) / 1e3
    return result


def brows(surface: Surface, colors: Palette, gender: float, seed: int) -> Part:
    """Hairs of both brows: upwards near the nose, then along the brow.

    Args:
        surface: The skin.
        colors: Of the person.
        gender: Of the person.
        seed: Seed of the hairs.
    """
    random = np.random.default_rng([seed, 7])
    roots = _scatter(surface, partial(brow_density, gender=gender), _MIN_BROW_DENSITY, _BROW_CARDS, random)
    place = surface.evaluate(roots, surface.base)
    along, across = brow_place(place)
    side = np.sign(place[:, 1])
    normal = _unit(surface.evaluate(roots, surface.normals))
    rise = np.interp(along, [0.0, 0.25, 0.6, 1.0], [1.6, 0.7, 0.05, -0.55]) - 0.35 * across
    direction = np.column_stack([np.zeros(len(side)), side, rise]) + random.normal(0.0, 0.04, (len(side), 3))
    direction = _unit(direction - np.einsum("nk,nk->n", direction, normal)[:, None] * normal)
    length = (
        _BROW_LENGTH_M
        * np.interp(along, [0.0, 0.2, 1.0], [0.7, 1.0, 0.75])
        * random.uniform(0.7, 1.15, len(side))
    )
    start = surface.evaluate(roots, surface.vertices)
    fraction = np.linspace(0.0, 1.0, 3)[None, :, None]
    lift = 0.0002 + 0.0007 * np.sin(np.pi * (0.12 + 0.8 * fraction))
    paths = start[:, None] + fraction * (length[:, None] * direction)[:, None] + lift * normal[:, None]
    sideways = np.cross(direction, normal)[:, None] + np.zeros_like(paths)
    width = _BROW_WIDTH_M * np.array([1.0, 1.0, 0.7]) * random.uniform(0.7, 1.2, (len(side), 1))
    vertices, triangles, uv = cards(paths, sideways, width, random.integers(LOCKS, size=len(side)))
    deltas = surface.evaluate(roots, np.moveaxis(surface.deltas, 0, 1))
    moved = np.moveaxis(np.repeat(deltas, len(vertices) // len(side), axis=0), 1, 0)
    material = _fine_material("brow", _BROW_STRIP, colors.brow, random)
    return Part("brow", vertices, triangles, np.tile(colors.brow, (len(vertices), 1)), moved, uv, material)


def _fine_material(
    name: str, strip: Strip, color: npt.NDArray[np.float64], random: np.random.Generator
) -> SurfaceMaterial:
    image = encode_png(paint_strips(strip, color, _FINE_TEXTURE, random))
    return SurfaceMaterial(name, image, roughness=1.0, alpha="BLEND", double_sided=True)


def lash_material(colors: Palette, seed: int) -> SurfaceMaterial:
    """The material of all lashes.

    Args:
        colors: Of the person.
        seed: Seed of the lashes.
    """
    color = 0.4 * colors.brow
    image = paint_strips(_LASH_STRIP, color, _FINE_TEXTURE, np.random.default_rng([seed, 8]))
    rows = int(_LASH_LINE * len(image))
    image[:rows, :, :3], image[:rows, :, 3] = 0.8 * color, np.linspace(1.0, 0.6, rows)[:, None]
    return SurfaceMaterial("lash", encode_png(image), roughness=1.0, alpha="BLEND", double_sided=True)


def lashes(
    name: str,
    lid: str,
    card: npt.NDArray[np.float64],
    deltas: npt.NDArray[np.float64],
    gender: float,
    material: SurfaceMaterial,
) -> Part:
    """The lashes of a lid on a card of MakeHuman.

    Args:
        name: Name of the part.
        lid: upper or lower.
        card: (R, C, 3) vertices of the card; its first row lies on the lid.
        deltas: (52, R, C, 3) their displacements.
        gender: 0 (female) to 1 (male).
        material: Of the lashes.
    """
    rows, columns = card.shape[:2]
    along = np.linspace(0.0, 1.0, columns)
    taper = np.interp(np.minimum(along, 1.0 - along), [0.0, 0.25], [_CORNER_LASHES, 1.0])
    reach = _LASH_REACH[lid] * (1.0 - gender + gender * _MALE_LASHES) * taper[:, None]
    vertices, moved = (
        values[..., :1, :, :] + reach * (values - values[..., :1, :, :]) for values in (card, deltas)
    )
    v, u = np.meshgrid(
        np.linspace(0.0, 1.0, rows), np.linspace(0.0, _LASH_STRIPS[lid] / LOCKS, columns), indexing="ij"
    )
    count = rows * columns
    return Part(
        name,
        vertices.reshape(count, 3),
        triangulate(grid_quads(rows, columns)),
        np.tile([0.08, 0.06, 0.05], (count, 1)),
        moved.reshape(-1, count, 3),
        np.stack([u, v], axis=-1).reshape(count, 2),
        material,
    )
