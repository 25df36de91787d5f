# SPDX-License-Identifier: Apache-2.0
"""Textured materials of a face, with the terms of glTF 2.0: images are kept encoded, as files hold them."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SurfaceMaterial:
    """Metallic-roughness material of glTF without metal.

    Attributes:
        name: Name of the material.
        base_color: JPEG, PNG or WebP in sRGB; None for `base_factor` alone.
        base_factor: Linear RGB factor of the base colour.
        normal: Image of a tangent-space normal map; None for none.
        roughness: Factor of the roughness, 0..1.
        roughness_map: Image whose green channel is the roughness; None for none.
        clearcoat: Strength of a smooth coat over the surface, such as tears, 0..1 (KHR_materials_clearcoat).
        alpha: Whether the alpha of `base_color` is ignored, cuts the surface away where it is below
            `alpha_cutoff`, or blends it.
        alpha_cutoff: See `alpha`.
        double_sided: Whether back faces are drawn.
    """

    name: str
    base_color: bytes | None = None
    base_factor: tuple[float, float, float] = (1.0, 1.0, 1.0)
    normal: bytes | None = None
    roughness: float = 1.0
    roughness_map: bytes | None = None
    clearcoat: float = 0.0
    alpha: Literal["OPAQUE", "MASK", "BLEND"] = "OPAQUE"
    alpha_cutoff: float = 0.5
    double_sided: bool = False


CLEARCOAT_ROUGHNESS: Final = 0.1


class MaterialRange(NamedTuple):
    """Vertices from `first` to `last` - 1 with one material."""

    first: int
    last: int
    material: SurfaceMaterial


def decode_image(image: bytes, max_size: int | None = None) -> npt.NDArray[np.uint8] | None:
    """Pixels (rows, columns, 3 or 4) of an encoded image.

    Args:
        image: Content of the file.
        max_size: Largest width and height; None for those of the image.

    Returns:
        The pixels; None with a warning if the image is damaged or Pillow is not installed.
    """
    try:
        pillow = require("PIL.Image", "drawing textures")
        with pillow.open(io.BytesIO(image)) as opened:
            # a palette's alpha is no band, and its indices cannot be averaged
            has_alpha = "A" in opened.getbands() or "transparency" in opened.info
            picture = opened.convert("RGBA" if has_alpha else "RGB") if opened.mode == "P" else opened
            if max_size is not None:
                picture.thumbnail((max_size, max_size))
            return np.asarray(picture.convert("RGBA" if has_alpha else "RGB"))
    except Exception as error:  # whatever a damaged image raises in Pillow
        _LOGGER.warning("a texture is left out: %s", " ".join(f"{error}"[:160].split()))
        return None


def media_type(image: bytes) -> str:
    """The media type of an encoded image, by its first bytes; empty if it is neither JPEG, PNG nor WebP.

    Args:
        image: Content of the file.
    """
    if image.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if image.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if image[:4] == b"RIFF" and image[8:12] == b"WEBP" else ""
