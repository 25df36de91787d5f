# SPDX-License-Identifier: Apache-2.0
"""Decoding of textures, whatever the mode of their file."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from streamingtalker_ros.face.human_head.canvas import encode_indexed_png
from streamingtalker_ros.face.surface_material import decode_image

PIXELS = np.zeros((16, 16, 4), np.uint8)
PIXELS[:8] = 200, 100, 40, 255
PIXELS[8:] = 10, 20, 30, 0


def encode(mode: str, kind: str = "PNG") -> bytes:
    """`PIXELS` in a mode of Pillow."""
    content = io.BytesIO()
    image = PIL.Image.fromarray(PIXELS)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    image.save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize("max_size", [None, 8])
@pytest.mark.parametrize(
    "content", [encode("RGBA"), encode("P"), encode_indexed_png(PIXELS / 255.0), encode("RGBA", "WEBP")]
)
def test_a_picture_keeps_its_alpha(content: bytes, max_size: int | None) -> None:
    pixels = decode_image(content, max_size)
    assert pixels is not None
    rows = len(pixels)
    assert pixels.shape == (max_size or 16, max_size or 16, 4)
    np.testing.assert_allclose(pixels[: rows // 2 - 1], PIXELS[: rows // 2 - 1, :rows], atol=3)
    assert not pixels[rows // 2 + 1 :, :, 3].any()


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_a_picture_without_alpha_has_three_channels(mode: str) -> None:
    pixels = decode_image(encode(mode))
    assert pixels is not None and pixels.shape == (16, 16, 3)


def test_a_palette_holds_256_colours() -> None:
    ramp = np.arange(400.0).reshape(20, 20, 1) / 400.0
    with pytest.raises(ValueError, match="fit into a palette"):
        encode_indexed_png(np.concatenate([ramp, ramp**2, ramp, ramp], axis=-1))
