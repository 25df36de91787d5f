# SPDX-License-Identifier: Apache-2.0
"""Hair of a few millimetres: shells above the scalp, whose texture shows a slice of the strands in each.

Metres; axes of `Rig`. The scalp is unwrapped around the whorl, so that strands, which are combed away from
it, run outwards in the texture (Lengyel et al., "Real-Time Fur over Arbitrary Surfaces", 2001).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.human_head.canvas import Canvas, Image, band_noise, encode_indexed_png
from streamingtalker_ros.face.human_head.part import Part
from streamingtalker_ros.face.human_head.person import Person
from streamingtalker_ros.face.human_head.skin_colors import GREY, HEAD_CENTER_X_MM, Palette, grey_share
from streamingtalker_ros.face.human_head.surface import Surface
from streamingtalker_ros.face.surface_material import SurfaceMaterial

_TILES: Final = 2  # along each side of the texture: slices from the roots to the tips
_TILE_TEXELS: Final = 1024
_CENTER_MM: Final = (HEAD_CENTER_X_MM - 10.0, 0.0, 20.0)  # of the ball that is unwrapped
_WHORL: Final = (-0.55, 0.08, 0.83)  # direction from there to the whorl
_REACH: Final = 2.45  # radians from the whorl to the border of a tile
_STRANDS: Final = 60000
_LONGEST: Final = (0.45, 1.15)  # lengths of strands, as fractions of the style's
_TONE: Final = 0.16  # deviation of the tones of strands
_TONES: Final = 5.0  # steps of tone
_LOCK_TONE: Final = 0.05  # deviation of the tones of locks
_LOCK_TEXELS: Final = 70.0
_SLICE_LIGHT: Final = (0.84, 0.91, 0.98, 1.06)  # deeper slices lie in the shade of the others
_EDGE_NOISE_MM: Final = 3.5
_BEYOND_MM: Final = 12.0  # the border, up to where strands reach
_FAR_MM: Final = 30.0  # beyond the border; more makes no difference
_SIDE_MM: Final = (5.0, 75.0)  # heights with the length of the sides and of the top
_MIXED: Final = 0.4  # difference of single grey and young hairs from their mean
_SHEEN: Final = 0.035  # of black strands
_ALPHA_CUTOFF: Final = 0.35


class ShellStyle(NamedTuple):
    """How short hair is cut.

    Attributes:
        top: Length in metres at the crown.
        side: Length above the ears.
        sideburn: Length in mm of the sideburns.
        streak: Length in texels of a strand within a slice.
        lean: Texels by which a strand leans from slice to slice.
        disorder: Deviation in radians of the directions of strands.
        edge: Distance in mm from the hairline, within which hair is shorter and thinner.
        layers: Number of shells.
    """

    top: float
    side: float
    sideburn: float
    streak: int
    lean: float
    disorder: float
    edge: float
    layers: int


SHELL_STYLES: Final = MappingProxyType(
    {
        "crew": ShellStyle(0.0075, 0.0035, 24.0, 7, 3.5, 0.16, 15.0, 6),
        "buzz": ShellStyle(0.0042, 0.0020, 24.0, 2, 1.0, 1.5, 10.0, 6),
    }
)
"""Styles that are made of shells by name."""

RIM: Final = ShellStyle(0.0030, 0.0022, 0.0, 9, 4.0, 0.35, 11.0, 3)
"""Fine hair around the border of MakeHuman's hair."""

CURLY_RIM: Final = ShellStyle(0.0045, 0.0030, 16.0, 2, 1.0, 1.5, 10.0, 3)
"""Fine hair around the border of curly hair."""


def hair_shells(
    name: str,
    surface: Surface,
    height: npt.NDArray[np.float64],
    style: ShellStyle,
    colors: Palette,
    person: Person,
    textures: bool,
) -> Part:
    """Short hair on the scalp.

    Args:
        name: Name of the part.
        surface: The skin.
        height: (V,) mm within the border of the hair; NaN where none is wanted.
        style: Its cut.
        colors: Of the person.
        person: Whose hair it is.
        textures: False leaves out the texture.
    """
    height = np.nan_to_num(height, nan=-np.inf)
    triangles = surface.triangles[(height[surface.triangles] > -_BEYOND_MM).any(axis=1)]
    height = height.clip(-_FAR_MM)
    used, local = np.unique(triangles, return_inverse=True)
    triangles = local.reshape(-1, 3)
    base, height = surface.base[used], height[used]
    uv = _unwrap(base)
    share = smoothstep((base[:, 2] - _SIDE_MM[0]) / (_SIDE_MM[1] - _SIDE_MM[0]))
    length = style.side + (style.top - style.side) * share
    length *= 0.15 + 0.85 * smoothstep(height / style.edge)
    slices = _TILES**2
    layers = style.layers
    vertices, places = [], []
    for layer in range(layers):
        tile = layer * slices // layers
        vertices.append(
            surface.vertices[used] + (length * (layer + 0.4) / layers)[:, None] * surface.normals[used]
        )
        places.append((uv + np.array(divmod(tile, _TILES)[::-1])) / _TILES)
    count = len(used)
    material = None
    if textures:
        image = _paint(
            uv, triangles, height, style, colors, person.age, np.random.default_rng([person.seed, 11])
        )
        material = SurfaceMaterial(
            "short_hair", encode_indexed_png(image), roughness=1.0, alpha="MASK", alpha_cutoff=_ALPHA_CUTOFF
        )
    return Part(
        name,
        np.concatenate(vertices),
        (triangles[None] + count * np.arange(layers)[:, None, None]).reshape(-1, 3),
        np.tile(colors.hair, (layers * count, 1)),
        uv=np.concatenate(places),
        material=material,
        normals=np.tile(surface.normals[used], (layers, 1)),
    )


def _unwrap(base: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Texture coordinates (V, 2) in a tile of places (V, 3): the angle from the whorl is the radius."""
    pole = np.array(_WHORL) / np.linalg.norm(_WHORL)
    across = np.cross(pole, [1.0, 0.0, 0.0])
    across /= np.linalg.norm(across)
    direction = base - _CENTER_MM
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    plane = direction @ np.stack([across, np.cross(pole, across)]).T
    angle = np.arccos((direction @ pole).clip(-1.0, 1.0))
    radius = (angle / _REACH).clip(0.0, 0.98) / np.linalg.norm(plane, axis=1).clip(1e-9)
    return 0.5 + 0.5 * radius[:, None] * plane


def _paint(
    uv: npt.NDArray[np.float64],
    triangles: npt.NDArray[np.int64],
    height: npt.NDArray[np.float64],
    style: ShellStyle,
    colors: Palette,
    age: float,
    random: np.random.Generator,
) -> Image:
    """The texture (rows, columns, 4) of all slices."""
    canvas = Canvas(uv, triangles, _TILE_TEXELS)
    above = canvas.interpolate(height[:, None])[:, 0]
    # strands stand as densely on the sphere as in the middle of the tile
    row, column = np.divmod(canvas.texels, _TILE_TEXELS)
    offset = np.column_stack([column, row]) + 0.5 - _TILE_TEXELS / 2.0
    distance = np.linalg.norm(offset, axis=1)
    angle = _REACH * distance / (_TILE_TEXELS / 2.0)
    above = above + _EDGE_NOISE_MM * random.standard_normal(len(above))
    density = smoothstep(above / style.edge) ** 1.5 * np.sinc(angle / np.pi)
    chosen = random.choice(len(density), _STRANDS, p=density / density.sum())
    outward = offset[chosen] / distance[chosen, None].clip(1.0)
    turned = random.normal(0.0, style.disorder, _STRANDS)
    outward = outward * np.cos(turned)[:, None] + outward[:, ::-1] * [1.0, -1.0] * np.sin(turned)[:, None]
    length = random.uniform(*_LONGEST, _STRANDS)
    locks = band_noise((_TILE_TEXELS, _TILE_TEXELS), (_LOCK_TEXELS, _LOCK_TEXELS), random)
    tone = random.normal(1.0, _TONE, _STRANDS) + _LOCK_TONE * locks[row[chosen], column[chosen]]
    tone = np.round(_TONES * tone.clip(0.7, 1.5)) / _TONES
    is_grey = random.random(_STRANDS) < grey_share(age)
    root = np.column_stack([column, row])[chosen] + random.random((_STRANDS, 2))
    slices = [
        _paint_slice(
            root + k * style.lean * outward,
            style.streak,
            outward,
            np.where(is_grey, -tone, tone),
            length > k / _TILES**2,
        )
        for k in range(_TILES**2)
    ]
    rows = [
        np.concatenate(
            [_tint(*slices[_TILES * row + k], colors, _SLICE_LIGHT[_TILES * row + k]) for k in range(_TILES)],
            axis=1,
        )
        for row in range(_TILES)
    ]
    return np.concatenate(rows)


def _paint_slice(
    start: npt.NDArray[np.float64],
    streak: int,
    outward: npt.NDArray[np.float64],
    tone: npt.NDArray[np.float64],
    is_there: npt.NDArray[np.bool_],
) -> tuple[Image, Image]:
    """Tone, negative where grey, and alpha (rows, columns) of a slice."""
    alpha = np.zeros(_TILE_TEXELS**2, np.float32)
    shade = np.ones(_TILE_TEXELS**2, np.float32)
    for step in range(streak):
        point = (start + step * outward)[is_there]
        corner = np.floor(point - 0.5).astype(np.int64)
        share = point - 0.5 - corner
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            x, y = (corner + np.array([dx, dy])).clip(0, _TILE_TEXELS - 1).T
            cover = np.abs(1 - dx - share[:, 0]) * np.abs(1 - dy - share[:, 1])
            texel = y * _TILE_TEXELS + x
            np.maximum.at(alpha, texel, np.minimum(1.6 * cover, 1.0).astype(np.float32))
            strong = cover > 0.2
            shade[texel[strong]] = tone[is_there][strong]
    size = (_TILE_TEXELS, _TILE_TEXELS)
    return shade.reshape(size), (np.round(2.0 * alpha) / 2.0).reshape(size)


def _tint(shade: Image, alpha: Image, colors: Palette, light: float) -> Image:
    strand = np.where(shade[..., None] < 0.0, GREY, colors.young_hair)
    strand = _SHEEN + colors.hair + _MIXED * (strand - colors.hair)
    color = np.clip(strand * (light * np.abs(shade))[..., None], 0.0, 1.0)
    return np.concatenate([color, alpha[..., None]], axis=-1).astype(np.float32)
