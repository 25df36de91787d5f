# SPDX-License-Identifier: Apache-2.0
"""Texture of the skin and the shirt: colour, normals and roughness, painted over MakeHuman's unwrapping.

The colours of the vertices say what is broad: complexion, flush, lips, shade. The texture adds what is
finer than the mesh: pores, freckles, creases of the lips, wrinkles, stubble, the roots of the hair and the
knit of the shirt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.human_head.canvas import (
    Canvas,
    Image,
    band_noise,
    encode_jpeg,
    enlarge,
    normal_map,
)
from streamingtalker_ros.face.human_head.person import Person
from streamingtalker_ros.face.human_head.skin_colors import (
    Palette,
    beard,
    brow_density,
    grey_share,
    hair_density,
)
from streamingtalker_ros.face.human_head.subdivision import Subdivision
from streamingtalker_ros.face.surface_material import SurfaceMaterial

_SIZE: Final = 2048
_NOISE_SIZE: Final = 512
_COARSE_WAVELENGTH: Final = 8.0  # texels, above which noise is made at a lower resolution
_ROUGHNESS_SIZE: Final = 512
_ISLANDS: Final = (  # of MakeHuman's unwrapping: left, bottom, scale, turned, and their place in the texture
    ((0.63, 0.14), (1.0, 0.83), 1.42, True, (0.005, 0.002)),  # head
    ((0.74, 0.0), (1.0, 0.14), 1.1, False, (0.76, 0.56)),  # mouth
    ((0.0, 0.52), (0.16, 0.65), 1.1, False, (0.76, 0.76)),  # sockets of the eyes
    ((0.0, 0.0), (0.66, 1.0), 1.1, False, (-0.10, 0.56)),  # body
)
_EYE_MM: Final = (31.0, 0.0)  # middle of the left eye's opening: y, z
_FRECKLES: Final = 900
_LASH_LINE: Final = 0.85  # darkness of the line along the upper lid
_LASH_LINE_MM: Final = 1.7
_KNIT_MM: Final = 1.7
_STRAND_NOISE_MM: Final = 1.6  # of the hairline, from strand to strand
_EDGE_NOISE_MM: Final = 2.2  # of the hairline, in waves
_MOLES: Final = 6
_BARE_OF_MOLES: Final = ((31.0, 0.0, 20.0), (0.0, -72.0, 26.0), (0.0, -35.0, 16.0))
"""(y, z, radius) in mm around eyes, mouth and nose."""


@dataclass(frozen=True)
class Unwrapped:
    """A mesh whose vertices are doubled where the unwrapping is cut.

    Attributes:
        source: (W,) the vertex that each one doubles; the first V are the vertices themselves.
        uv: (W, 2) texture coordinates, v downwards.
        quads: (Q, 4).
    """

    source: npt.NDArray[np.int64]
    uv: npt.NDArray[np.float64]
    quads: npt.NDArray[np.int64]


def unwrap(
    faces: npt.NDArray[np.int64], coordinates: npt.NDArray[np.float64], subdivision: Subdivision
) -> Unwrapped:
    """Texture coordinates of a subdivided mesh.

    Args:
        faces: (Q, 4, 2) quads before the subdivision: vertex, and texture coordinate of each corner.
        coordinates: (C, 2) MakeHuman's texture coordinates.
        subdivision: Of the same quads in the same order.
    """
    pairs, local = np.unique(faces.reshape(-1, 2), axis=0, return_inverse=True)
    seamed = Subdivision(local.reshape(-1, 4), len(pairs))
    uv = seamed.refine(_place_islands(coordinates[pairs[:, 1]]))
    vertices, corners = subdivision.quads.ravel(), seamed.quads.ravel()
    source = np.zeros(len(uv), np.int64)
    source[corners] = vertices
    _, first = np.unique(vertices, return_index=True)
    is_first = np.zeros(len(uv), bool)
    is_first[corners[first]] = True
    order = np.concatenate([corners[first], np.flatnonzero(~is_first)])
    number = np.argsort(order)
    return Unwrapped(source[order], uv[order], number[seamed.quads])


def _place_islands(uv: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Texture coordinates (n, 2) in our texture, v downwards: the head is turned upright and enlarged."""
    placed, is_placed = np.zeros_like(uv), np.zeros(len(uv), bool)
    for low, high, scale, is_turned, corner in _ISLANDS:
        inside = ((uv >= low) & (uv <= high)).all(axis=1) & ~is_placed
        u, v = (uv[inside] - low).T * scale
        height = scale * (high[1] - low[1])
        placed[inside] = np.column_stack([v, u] if is_turned else [u, height - v]) + corner
        is_placed |= inside
    return placed.clip(0.0, 1.0)


@dataclass(frozen=True)
class SkinFields:
    """What the texture is painted from, at V vertices.

    Attributes:
        base: (V, 3) places, see `Surface`.
        colors: (V, 3) sRGB, without hair.
        lip: (V,) 1 on the vermilion.
        crease: (V,) 1 where the lips touch.
        inside: (V,) 1 in the mouth.
        garment: (V,) 1 on the shirt.
        hairline: (V,) height above the hairline, mm.
        lash_roots: (N, 3) places along the edges of the upper lids, where the lashes grow.
    """

    base: npt.NDArray[np.float64]
    colors: npt.NDArray[np.float64]
    lip: npt.NDArray[np.float64]
    crease: npt.NDArray[np.float64]
    inside: npt.NDArray[np.float64]
    garment: npt.NDArray[np.float64]
    hairline: npt.NDArray[np.float64]
    lash_roots: npt.NDArray[np.float64]


def paint_skin(unwrapped: Unwrapped, fields: SkinFields, colors: Palette, person: Person) -> SurfaceMaterial:
    """Paint the material of the skin.

    Args:
        unwrapped: The mesh.
        fields: At its vertices before they are doubled.
        colors: Of the person.
        person: Whose skin it is.

    Raises:
        TalkerError: If Pillow is not installed.
    """
    return _Painter(unwrapped, fields, colors, person).paint()


class _Painter:
    def __init__(self, unwrapped: Unwrapped, fields: SkinFields, colors: Palette, person: Person) -> None:
        quads = unwrapped.quads
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        self._canvas = Canvas(unwrapped.uv, triangles, _SIZE)
        self._palette, self._person = colors, person
        self._random = np.random.default_rng([person.seed, 9])
        stacked = np.column_stack(
            [
                fields.base,
                fields.colors,
                fields.lip,
                fields.inside,
                fields.garment,
                fields.crease,
                fields.hairline,
            ]
        )[unwrapped.source]
        values = self._canvas.interpolate(stacked)
        self._base, self._color = values[:, :3].astype(np.float64), values[:, 3:6]
        self._lip, self._inside, self._garment, self._crease, self._hairline = values[:, 6:].T
        self._bare = (1.0 - self._garment) * (1.0 - self._inside)
        self._lash_roots = fields.lash_roots
        self._light = float(colors.skin.mean())

    def _noise(self, wavelength: float, across: float | None = None) -> Image:
        """Noise (P,) at the covered texels around a wavelength in texels."""
        coarse = _SIZE // _NOISE_SIZE if wavelength > _COARSE_WAVELENGTH else 1
        shape = (wavelength / coarse, (wavelength if across is None else across) / coarse)
        tile = band_noise((_NOISE_SIZE, _NOISE_SIZE), shape, self._random)
        row, column = np.divmod(self._canvas.texels, _SIZE)
        return enlarge(tile, coarse)[row % (coarse * _NOISE_SIZE), column % (coarse * _NOISE_SIZE)]

    def _spots(self, density: npt.NDArray[np.floating], count: int, radius: float) -> Image:
        """Round spots (P,) of height 0..1 at random texels."""
        share = np.maximum(density, 0.0)
        chosen = self._canvas.texels[self._random.choice(len(share), count, p=share / share.sum())]
        reach = int(3 * radius)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        bell = np.exp(-(x**2 + y**2) / (2.0 * radius**2)).astype(np.float32)
        image = np.zeros(_SIZE**2, np.float32)
        texels = (chosen[:, None] + (y * _SIZE + x).ravel()).clip(0, _SIZE**2 - 1)
        np.maximum.at(image, texels, self._random.uniform(0.3, 1.0, (count, 1)) * bell.ravel())
        return image[self._canvas.texels]

    def paint(self) -> SurfaceMaterial:
        pores, stubble = self._noise(4.5), self._noise(3.2)
        color = self._complexion(pores, stubble)
        height = self._relief(pores)
        canvas = self._canvas
        heights = canvas.to_image(height[:, None])[..., 0]
        roughness = canvas.to_image(self._roughness()[:, None])
        step = _SIZE // _ROUGHNESS_SIZE
        roughness = roughness.reshape(_ROUGHNESS_SIZE, step, _ROUGHNESS_SIZE, step).mean(axis=(1, 3))
        channels = np.stack([np.ones_like(roughness), roughness, np.zeros_like(roughness)], axis=-1)
        return SurfaceMaterial(
            "skin",
            base_color=encode_jpeg(canvas.to_image(color)),
            normal=encode_jpeg(normal_map(heights)),
            roughness_map=encode_jpeg(channels),
        )

    def _complexion(self, pores: Image, stubble: Image) -> Image:
        person, base, bare = self._person, self._base, self._bare
        melanin = np.array([0.007, 0.010, 0.012], np.float32) * (1.6 - self._light)
        blood = np.array([-0.001, 0.011, 0.009], np.float32) * self._light
        tone = np.outer(self._noise(70.0) + 0.7 * self._noise(18.0), melanin)
        tone += np.outer(self._noise(30.0) + 0.8 * self._noise(9.0), blood)
        tone += np.outer(np.clip(-pores - 0.3, 0.0, 2.0), [0.016, 0.026, 0.028])
        color = self._color * (1.0 - bare[:, None] * tone)
        color = color * (1.0 - bare[:, None] * self._lids())
        color = color * (1.0 - bare[:, None] * self._freckles())
        color = _mix(color, 0.4 * self._palette.brow, _LASH_LINE * self._lash_line())
        creases = self._lip_creases()
        color = (color * (1.0 - 0.05 * np.clip(creases, 0.0, 1.5) * self._lip)[:, None]).astype(np.float32)
        beard_amount = 0.40 * smoothstep((person.gender - 0.55) / 0.3) * smoothstep((person.age - 16.0) / 8.0)
        beard_amount *= 1.0 - 0.5 * grey_share(person.age)
        dots = np.clip(stubble - 0.6, 0.0, 1.2) * beard(base) * beard_amount * bare * (1.0 - self._lip)
        color = _mix(color, 0.7 * self._palette.brow, np.clip(dots, 0.0, 0.7))
        roots = smoothstep(0.5 + 0.35 * self._noise(5.0, 2.2))
        color = _mix(color, 0.8 * self._palette.brow, 0.5 * brow_density(base, person.gender) * roots * bare)
        ragged = _STRAND_NOISE_MM * self._noise(30.0, 5.0) + _EDGE_NOISE_MM * self._noise(90.0)
        grown = hair_density(self._hairline + ragged)
        shade = np.outer(0.45 * (1.0 + 0.5 * np.clip(stubble, -1.5, 1.5)), self._palette.hair)
        color = _mix(color, shade, np.clip(grown * (0.92 + 0.08 * stubble), 0.0, 0.98))
        knit = 0.5 + 0.5 * self._knit()
        return (color * (1.0 - 0.16 * self._garment * (1.0 - knit))[:, None]).astype(np.float32)

    def _lids(self) -> npt.NDArray[np.floating]:
        """Factors (P, 3) by which the skin of the lids and under the eyes is darker."""
        y, z = np.abs(self._base[:, 1]) - _EYE_MM[0], self._base[:, 2] - _EYE_MM[1]
        front = smoothstep((self._base[:, 0] + 35.0) / 12.0)
        lid = np.exp(-np.square(y / 14.0) - np.square((z - 2.0) / 6.5)) * front
        under = np.exp(-np.square((y + 5.0) / 11.0) - np.square((z + 11.0) / 5.0)) * front
        under *= 0.5 + 0.5 * smoothstep((self._person.age - 20.0) / 40.0)
        return np.outer(lid, [0.02, 0.04, 0.035]) + np.outer(under, [0.09, 0.13, 0.10])

    def _lash_line(self) -> npt.NDArray[np.floating]:
        """(P,) 1 where the lashes of the upper lids grow, which shows as a line when the eye is shut."""
        line = np.zeros(len(self._base))
        low, high = self._lash_roots.min(axis=0) - 3.0, self._lash_roots.max(axis=0) + 3.0
        near = np.flatnonzero(((self._base > low) & (self._base < high)).all(axis=1))
        for root in self._lash_roots:
            squares = np.square(self._base[near] - root).sum(axis=1)
            line[near] = np.maximum(line[near], np.exp(-squares / _LASH_LINE_MM**2))
        return line

    def _freckles(self) -> npt.NDArray[np.floating]:
        """Factors (P, 3) by which freckles, moles and spots of age are darker."""
        base = self._base
        face = smoothstep((base[:, 0] + 60.0) / 25.0) * self._bare * (1.0 - self._lip)
        middle = np.exp(-np.square(np.abs(base[:, 1]) / 42.0) - np.square((base[:, 2] + 22.0) / 20.0)) * face
        amount = self._random.uniform(0.0, 1.0) ** 2 * smoothstep((self._light - 0.4) / 0.3)
        spots = 0.45 * float(amount) * self._spots(middle + 1e-9, _FRECKLES, 2.2)
        bare = face.copy()
        for y, z, radius in _BARE_OF_MOLES:
            bare *= np.square(np.abs(base[:, 1]) - y) + np.square(base[:, 2] - z) > radius**2
        moles = self._spots(bare + 1e-9, _MOLES, 2.2)
        aged = smoothstep((self._person.age - 45.0) / 30.0) * self._spots(face + 1e-9, 60, 8.0)
        return (
            np.outer(spots, [0.14, 0.22, 0.26])
            + np.outer(moles, [0.34, 0.42, 0.44])
            + np.outer(aged, [0.08, 0.13, 0.17])
        )

    def _lip_creases(self) -> Image:
        """Height (P,) of the creases that run from the lips' border inwards."""
        random, y = self._random, self._base[:, 1]
        waves = random.uniform(0.8, 3.0, 14)
        phase = random.random(14) * 2.0 * np.pi
        bent = y + 0.05 * y * np.abs(self._base[:, 2] + 75.0)
        total = np.zeros_like(y)
        for frequency, start in zip(waves, phase, strict=True):
            total += np.sin(2.0 * np.pi * bent / (3.2 / frequency) + start)
        return (total / np.sqrt(7.0)).astype(np.float32)

    def _relief(self, pores: Image) -> npt.NDArray[np.floating]:
        """Height (P,) in texels."""
        base = self._base
        front = smoothstep((base[:, 0] + 50.0) / 25.0) * self._bare
        nose = np.exp(-np.square(base[:, 1] / 26.0) - np.square((base[:, 2] + 30.0) / 30.0))
        fine = 0.07 * np.clip(pores, -2.0, 0.6) * (0.8 + 0.4 * nose) + 0.03 * self._noise(9.0)
        aged = smoothstep((self._person.age - 32.0) / 45.0)
        wave = 2.0 * np.pi * (base[:, 2] + 0.0012 * base[:, 1] ** 2 + 1.2 * self._noise(90.0)) / 9.5
        forehead = np.exp(-np.square(base[:, 1] / 34.0) - np.square((base[:, 2] - 44.0) / 15.0))
        wrinkles = -1.6 * aged * forehead * np.clip(np.cos(wave) - 0.55, 0.0, 1.0)
        side = np.abs(base[:, 1]) - 49.0
        feet = np.exp(-np.square((side - 4.0) / 6.0) - np.square(base[:, 2] / 11.0))
        fan = np.cos(2.0 * np.pi * np.arctan2(base[:, 2], np.maximum(side + 12.0, 1.0)) * 3.2)
        wrinkles = wrinkles - 1.2 * aged * feet * np.clip(fan - 0.4, 0.0, 1.0)
        skin = front * (1.0 - self._lip) * (fine + wrinkles)
        return skin - 0.14 * self._lip * self._lip_creases() + 0.9 * self._garment * self._knit()

    def _knit(self) -> npt.NDArray[np.floating]:
        """Height (P,) of the knit of the shirt, -1..1."""
        base = self._base
        columns = np.sin(2.0 * np.pi * (base[:, 1] + 0.4 * base[:, 0]) / _KNIT_MM)
        rows = np.sin(2.0 * np.pi * (base[:, 2] - 0.8 * base[:, 0]) / _KNIT_MM + np.pi * (columns > 0.0))
        return (0.6 * np.abs(columns) + 0.4 * rows).astype(np.float32)

    def _roughness(self) -> npt.NDArray[np.floating]:
        base = self._base
        oily = np.exp(-np.square(base[:, 1] / 16.0) - np.square((base[:, 2] + 20.0) / 34.0))
        oily = np.maximum(oily, np.exp(-np.square(base[:, 1] / 34.0) - np.square((base[:, 2] - 42.0) / 16.0)))
        result = 0.56 - 0.09 * oily + 0.02 * self._noise(30.0)
        result = result + (0.55 - result) * self._lip
        result = result + (1.0 - result) * np.sqrt(self._crease)
        result = result + (1.0 - result) * hair_density(self._hairline)
        result = result + (0.75 - result) * self._inside
        return result + (0.95 - result) * self._garment


def _mix(color: Image, other: npt.NDArray[np.floating], share: npt.NDArray[np.floating]) -> Image:
    return (color + (other - color) * share[:, None]).astype(np.float32)
