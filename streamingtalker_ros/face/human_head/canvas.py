# SPDX-License-Identifier: Apache-2.0
"""Images over unwrapped surfaces: texels with interpolated values of the vertices, noise, encoders."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require
from streamingtalker_ros.face.rendering.software_renderer import rasterize

Image = npt.NDArray[np.float32]

_JPEG_QUALITY: Final = 84
_MAX_INDEXED_COLORS: Final = 256
_PURPOSE: Final = "drawing the textures of a head"


class Canvas:
    """The texels that triangles cover in the texture.

    Args:
        uv: (V, 2) texture coordinates, v downwards.
        triangles: (T, 3).
        size: Width and height of the texture in texels.

    Attributes:
        size: Width and height.
        texels: (P,) flat indices of the covered texels.
    """

    def __init__(self, uv: npt.NDArray[np.float64], triangles: npt.NDArray[np.int64], size: int) -> None:
        self.size = size
        screen = np.column_stack([uv * size, np.ones(len(uv))])
        self.texels, triangle, weights = rasterize(screen[triangles], size, size)
        self._vertices, self._weights = triangles[triangle], weights.astype(np.float32)

    def interpolate(self, values: npt.NDArray[np.float64]) -> Image:
        """Values (P, K) of the covered texels from values (V, K) of the vertices."""
        found = values.astype(np.float32)
        a, b, c = (self._weights[:, k, None] * found[self._vertices[:, k]] for k in range(3))
        return np.asarray(a + b + c, np.float32)

    def to_image(self, values: Image) -> Image:
        """An image (size, size, K) of values (P, K) of the covered texels; averages fill the rest."""
        image = np.zeros((self.size**2, values.shape[1]), np.float32)
        covered = np.zeros((self.size**2, 1), np.float32)
        image[self.texels], covered[self.texels] = values, 1.0
        return _fill(image.reshape(self.size, self.size, -1), covered.reshape(self.size, self.size, 1))


def _fill(image: Image, covered: Image) -> Image:
    """Fill texels that are not covered from coarser and coarser averages of the others."""
    size = image.shape[0]
    if size == 1:
        return image
    halves = (size // 2, 2, size // 2, 2)
    total = (image * covered).reshape(*halves, -1).sum(axis=(1, 3))
    count = covered.reshape(*halves, 1).sum(axis=(1, 3))
    coarse = _fill(total / np.maximum(count, 1.0), np.minimum(count, 1.0))
    return np.where(covered > 0.0, image, coarse.repeat(2, axis=0).repeat(2, axis=1))


def band_noise(shape: tuple[int, int], wavelength: tuple[float, float], random: np.random.Generator) -> Image:
    """Noise (rows, columns) of unit deviation around a wavelength, which tiles.

    Args:
        shape: Rows and columns.
        wavelength: Along the rows' axis and along the columns' axis, texels.
        random: Source of random numbers.
    """
    spectrum = np.fft.rfft2(random.standard_normal(shape, np.float32))
    rows, columns = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None]
    frequency = np.hypot(rows * wavelength[0], columns * wavelength[1])
    spectrum *= np.exp(-np.square(np.log(np.maximum(frequency, 1e-6)) / 0.5))
    noise = np.fft.irfft2(spectrum, shape)
    return (noise / noise.std()).astype(np.float32)


def enlarge(image: Image, factor: int) -> Image:
    """An image (rows, columns) with `factor` texels for each, bilinear; it tiles."""
    if factor == 1:
        return image
    position = (np.arange(factor) + 0.5) / factor - 0.5
    share = np.abs(position)[:, None, None]
    for axis in (0, 1):
        step = np.where(position < 0.0, 1, -1)
        moved = np.stack([np.roll(image, shift, axis) for shift in step])
        blend = image * (1.0 - share) + moved * share
        rows, columns = (length * (factor if k == axis else 1) for k, length in enumerate(image.shape))
        image = np.moveaxis(blend, 0, axis + 1).reshape(rows, columns).astype(np.float32)
    return image


def blur(image: Image, radius: float) -> Image:
    """An image (rows, columns) under a Gaussian of a radius in texels; it tiles."""
    rows, columns = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]
    gain = np.exp(-2.0 * np.square(np.pi * radius) * (np.square(rows) + np.square(columns)))
    return np.fft.irfft2(np.fft.rfft2(image) * gain, image.shape).astype(np.float32)


def normal_map(height: Image) -> Image:
    """A tangent-space normal map (rows, columns, 3), 0..1, with the y of glTF upwards.

    Args:
        height: (rows, columns) in texels.
    """
    down, right = np.gradient(height)
    normal = np.stack([-right, down, np.ones_like(height)], axis=-1)
    return 0.5 + 0.5 * normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def encode_jpeg(image: npt.NDArray[np.floating]) -> bytes:
    """A JPEG of an image (rows, columns, 3), 0..1.

    Raises:
        TalkerError: If Pillow is not installed.
    """
    return _encode(image, "JPEG", quality=_JPEG_QUALITY, subsampling=0)


def encode_png(image: npt.NDArray[np.floating]) -> bytes:
    """A PNG of an image (rows, columns, 3 or 4), 0..1.

    Raises:
        TalkerError: If Pillow is not installed.
    """
    return _encode(image, "PNG", compress_level=6)


def encode_indexed_png(image: npt.NDArray[np.floating]) -> bytes:
    """A PNG, with a palette, of an image (rows, columns, 4), 0..1, of at most 256 colours.

    Raises:
        TalkerError: If Pillow is not installed.
        ValueError: If it has more colours.
    """
    pillow = require("PIL.Image", _PURPOSE)
    pixels = _to_bytes(image)
    codes, index = np.unique(pixels.view(np.uint32)[..., 0], return_inverse=True)
    if len(codes) > _MAX_INDEXED_COLORS:
        raise ValueError(f"{len(codes)} colours do not fit into a palette of {_MAX_INDEXED_COLORS}")
    palette = codes.view(np.uint8).reshape(-1, 4)
    indexed = pillow.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8))
    indexed.putpalette(palette[:, :3].tobytes())
    content = io.BytesIO()
    indexed.save(content, "PNG", compress_level=9, transparency=palette[:, 3].tobytes())
    return content.getvalue()


def _to_bytes(image: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    return (np.clip(image, 0.0, 1.0) * 255.0).round().astype(np.uint8)


def _encode(image: npt.NDArray[np.floating], kind: str, **options: object) -> bytes:
    pillow = require("PIL.Image", _PURPOSE)
    content = io.BytesIO()
    pillow.fromarray(_to_bytes(image)).save(content, kind, **options)
    return content.getvalue()
