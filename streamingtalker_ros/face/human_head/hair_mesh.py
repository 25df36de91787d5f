# SPDX-License-Identifier: Apache-2.0
"""Hair of MakeHuman on a head: its mesh fitted, cut and coloured. Metres; axes of `Rig`."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.face.default_head.head import EYE_CENTER
from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.face.human_head.canvas import Image, encode_png
from streamingtalker_ros.face.human_head.makehuman_hair import HairMesh, read_hair
from streamingtalker_ros.face.human_head.part import Part, triangulate
from streamingtalker_ros.face.human_head.skin_colors import Palette
from streamingtalker_ros.face.human_head.subdivision import Subdivision
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.face.surface_material import SurfaceMaterial

_SCALE_PAIRS: Final = ((962, 5320), (5399, 11998), (791, 881))
"""Vertices of the base mesh whose distances along x, y and z scale the offsets."""
_TEXTURE_SIZE: Final = (1024, 1024)
_ALPHA_CUTOFF: Final = 0.3
_ROUGHNESS: Final = 0.7
_SAMPLES: Final = 6  # along each side of a quad
_BROAD_TEXELS: Final = 40.0
_BROAD: Final = 0.35  # share that is kept of the light and dark over that distance
_DARKEST: Final = 0.02  # added to the light, so that black strands have no noise
_SHADES: Final = (0.25, 2.0)  # of the texture, of the hair's colour
_LEVELS: Final = 63.0  # of each channel; more would make the file larger
_CLEAR: Final = 0.02  # alpha below which a texel has the hair's own colour
_COVER_MM: Final = 2.0  # from the hair, up to which the scalp is coloured as its roots
_GATHERED_MM: Final = (-30.0, -100.0)  # heights from the eyes between which long hair is drawn in to the neck
_LOOSE_BELOW_MM: Final = 15.0  # height from the eyes below which narrow quads are loose strands
_BLOCK: Final = 2000


class MeshStyle(NamedTuple):
    """A style of MakeHuman, and how it is worn.

    Attributes:
        name: Of the style.
        sizes: Distances of `_SCALE_PAIRS` in decimetres on the body that the style was made on.
        contrast: Of the texture's light and dark, as a fraction.
        fullness: Distance from the scalp as a fraction of the style's.
        cut: Height at which it is cut, mm from the eyes; None where it ends by itself.
        gather: By which fraction of its width it is drawn in towards the neck.
        min_coverage: Alpha of a quad; sparser ones, whose single strands show as dots, are left out.
        min_width: Width of a quad in metres; narrower ones, of loose strands that stand off, are left out.
        has_rim: Whether fine hair softens its border.
    """

    name: str
    sizes: tuple[float, float, float]
    contrast: float = 0.6
    fullness: float = 1.0
    cut: float | None = None
    gather: float = 0.0
    min_coverage: float = -1.0
    min_width: float = 0.0
    has_rim: bool = False


_LONG: Final = MeshStyle(
    "long01", (1.8461, 1.3980, 2.2048), 0.85, 0.8, cut=-135.0, gather=0.12, min_coverage=0.3, min_width=0.0042
)
MESH_STYLES: Final = MappingProxyType(
    {
        "short": MeshStyle("short02", (2.0001, 1.4340, 2.4098), 0.35),
        "cropped": MeshStyle("short01", (2.3542, 1.6682, 2.8351), 0.45, has_rim=True),
        "slicked": MeshStyle("short04", (1.9221, 1.4800, 2.3298), min_coverage=0.3, has_rim=True),
        "long": _LONG,
        "bob": _LONG._replace(cut=-82.0, gather=0.25),
        "ponytail": MeshStyle("ponytail01", (1.8461, 1.3980, 2.2048), cut=-112.0, has_rim=True),
    }
)
"""What a hair style wears; styles that are left out are of cards, see `hair`."""


class FittedHair:
    """The hair of a style on a body.

    Args:
        folder: Folder of MakeHuman's styles.
        style: The style.
        body: (V, 3) vertices of the base mesh as they are on the person.

    Raises:
        TalkerError: If the style is missing or damaged.
    """

    def __init__(self, folder: Path, style: MeshStyle, body: npt.NDArray[np.float64]) -> None:
        self._style = style
        mesh = read_hair(folder, style.name, len(body))
        self._pixels = _read_texture(mesh.texture)
        vertices = _fit(mesh, style, body)
        kept = _coverage(mesh, self._pixels) > style.min_coverage
        is_low = 1e3 * vertices[mesh.quads, 2].mean(axis=1) < EYE_CENTER[2] + _LOOSE_BELOW_MM
        kept &= ~is_low | (_width(vertices[mesh.quads]) > style.min_width)
        shape = Subdivision(mesh.quads[kept], len(mesh.references))
        drawing = Subdivision(mesh.corners[kept], len(mesh.uv))
        self._quads, self._corners = shape.quads, drawing.quads
        self._vertices = shape.refine(vertices)
        self._uv = drawing.refine(mesh.uv)

    def cover(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How far (N,) points (N, 3) lie within the hair's reach, mm; negative beyond it."""
        hair = self._vertices[self._quads].mean(axis=1).astype(np.float32)
        squares = np.square(hair).sum(axis=1)
        nearest = [
            (squares - 2.0 * block @ hair.T).min(axis=1) + np.square(block).sum(axis=1)
            for block in np.array_split(points.astype(np.float32), len(points) // _BLOCK + 1)
        ]
        return _COVER_MM - 1e3 * np.sqrt(np.concatenate(nearest).clip(0.0)).astype(np.float64)

    def part(self, colors: Palette, textures: bool) -> Part:
        """The hair in the colour of a person.

        Args:
            colors: Of the person.
            textures: False leaves out the texture.

        Raises:
            TalkerError: If the texture cannot be read.
        """
        pairs, corners = np.unique(
            np.stack([self._quads, self._corners], axis=-1).reshape(-1, 2),
            axis=0,
            return_inverse=True,
        )
        triangles = triangulate(self._quads)
        normals = vertex_normals(self._vertices.astype(np.float32), triangles, index_corners(triangles))
        normals = normals.astype(np.float64)
        values = np.column_stack([self._vertices[pairs[:, 0]], normals[pairs[:, 0]], self._uv[pairs[:, 1]]])
        triangles = triangulate(corners.reshape(-1, 4))
        if self._style.cut is not None:
            values, triangles = _cut_below(values, triangles, (EYE_CENTER[2] + self._style.cut) / 1e3)
        vertices, normals, uv = values[:, :3], values[:, 3:6], values[:, 6:]
        return Part(
            "hair",
            vertices,
            triangles,
            np.tile(colors.hair, (len(vertices), 1)),
            uv=uv,
            material=self._material(colors.hair) if textures else None,
            normals=normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12),
        )

    def _material(self, color: npt.NDArray[np.float64]) -> SurfaceMaterial:
        """The texture of MakeHuman in another colour: its strands, with less broad light and dark."""
        alpha = self._pixels[..., 3:]
        light = self._pixels[..., :3].mean(axis=-1, keepdims=True) + _DARKEST
        broad = (_blur(light * alpha) + 1e-3) / (_blur(alpha) + 1e-3)
        mean = float((light * alpha).sum() / alpha.sum())
        shade = (light / broad) ** self._style.contrast * (broad / mean) ** (_BROAD * self._style.contrast)
        tint = np.where(alpha < _CLEAR, color, np.clip(color * shade.clip(*_SHADES), 0.0, 1.0))
        image = np.concatenate([tint, alpha], axis=-1).astype(np.float32)
        image = encode_png(np.round(_LEVELS * image) / _LEVELS)
        return SurfaceMaterial(
            "hair", image, roughness=_ROUGHNESS, alpha="MASK", alpha_cutoff=_ALPHA_CUTOFF, double_sided=True
        )


def _read_texture(path: Path) -> Image:
    """Pixels (rows, columns, 4) of a texture, 0..1."""
    pillow = require("PIL.Image", "reading the texture of hair")
    try:
        with pillow.open(path) as file:
            image = file.convert("RGBA").resize(_TEXTURE_SIZE, pillow.Resampling.LANCZOS)
    except Exception as error:  # whatever a damaged file raises in Pillow
        raise TalkerError(f"{path} is no readable picture ({error})") from None
    return np.asarray(image, np.float32) / 255.0


def _blur(image: Image) -> Image:
    """Means (rows, columns, 1) over about `_BROAD_TEXELS` around each texel; the image is taken to tile."""
    rows, columns = (np.fft.fftfreq(size) for size in image.shape[:2])
    share = np.exp(-2.0 * np.square(np.pi * _BROAD_TEXELS) * (rows[:, None] ** 2 + columns[None] ** 2))
    spectrum = np.fft.fft2(image[..., 0]) * share
    return np.fft.ifft2(spectrum).real[..., None].astype(np.float32)


def _coverage(mesh: HairMesh, pixels: Image) -> npt.NDArray[np.float64]:
    """Mean alpha (Q,) of the texture on each quad."""
    corners = mesh.uv[mesh.corners]
    along = np.linspace(0.1, 0.9, _SAMPLES)
    u, v = (grid.ravel() for grid in np.meshgrid(along, along))
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v])
    places = np.einsum("qkc,kn->qnc", corners, weights) % 1.0
    row, column = (
        (places[..., axis] * size).astype(np.int64).clip(0, size - 1)
        for axis, size in ((1, pixels.shape[0]), (0, pixels.shape[1]))
    )
    return pixels[row, column, 3].mean(axis=1).astype(np.float64)


def _width(corners: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of the shorter pair of sides (Q,) of quads (Q, 4, 3)."""
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=-1)
    return np.minimum(sides[:, ::2].mean(axis=1), sides[:, 1::2].mean(axis=1))


def _fit(mesh: HairMesh, style: MeshStyle, body: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Vertices (V, 3) on a body."""
    first, second = np.array(_SCALE_PAIRS).T
    axis = np.arange(3)
    scale = np.abs(body[first, axis] - body[second, axis]) / style.sizes
    base = np.einsum("nk,nkc->nc", mesh.weights, body[mesh.references])
    vertices = base + style.fullness * scale * y_up_to_ros(mesh.offsets)
    fall = smoothstep((_GATHERED_MM[0] - 1e3 * vertices[:, 2] + EYE_CENTER[2]) / np.ptp(_GATHERED_MM))
    vertices[:, 1] *= 1.0 - style.gather * fall
    return vertices


def _cut_below(
    values: npt.NDArray[np.float64], triangles: npt.NDArray[np.int64], height: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices (W, K), which begin with their places, and triangles of what lies above a height."""
    is_above = values[:, 2] > height
    count = is_above[triangles].sum(axis=1)
    whole = triangles[count == 3]
    crossing = triangles[(count == 1) | (count == 2)]
    # turned so that the corner that is alone on its side comes first
    alone = np.where(is_above[crossing].sum(axis=1) == 1, 1, 0)
    first = (is_above[crossing] == alone[:, None].astype(bool)).argmax(axis=1)
    a, b, c = (np.take_along_axis(crossing, (first[:, None] + k) % 3, axis=1)[:, 0] for k in range(3))
    added, ends = [], []
    for other in (b, c):
        share = (values[a, 2] - height) / (values[a, 2] - values[other, 2])
        ends.append(len(values) + sum(map(len, added)) + np.arange(len(a)))
        added.append(values[a] + share[:, None] * (values[other] - values[a]))
    ab, ac = ends
    tips, rest = alone == 1, alone == 0
    pieces = [
        whole,
        np.column_stack([a, ab, ac])[tips],
        np.column_stack([ab, b, c])[rest],
        np.column_stack([ab, c, ac])[rest],
    ]
    result = np.concatenate(pieces)
    used, renumbered = np.unique(result, return_inverse=True)
    return np.concatenate([values, *added])[used], renumbered.reshape(-1, 3)
