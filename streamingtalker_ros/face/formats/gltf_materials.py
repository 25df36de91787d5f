# SPDX-License-Identifier: Apache-2.0
"""Reader of the materials of glTF 2.0 whose textures lie in the file."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.gltf_document import GltfDocument
from streamingtalker_ros.face.surface_material import SurfaceMaterial, decode_image, media_type

_SAMPLED_SIZE: Final = 512
_CLEARCOAT: Final = "KHR_materials_clearcoat"


def read_material(document: GltfDocument, number: Any) -> SurfaceMaterial | None:
    """A material with a texture of colours; None for another, or where a texture is not drawn.

    Not drawn are textures outside the file, in other formats than JPEG, PNG and WebP, of a second set of
    coordinates, or moved by an extension; the material's colour then stands for the texture.

    Args:
        document: The file.
        number: Index of the material, None for none.

    Raises:
        TalkerError: If the material is damaged.
    """
    if number is None:
        return None
    try:
        material = document.tree["materials"][number]
        surface = material.get("pbrMetallicRoughness", {})
        base_color = _read_image(document, surface.get("baseColorTexture"))
        if base_color is None:
            return None
        r, g, b = (float(value) for value in surface.get("baseColorFactor", (1.0, 1.0, 1.0, 1.0))[:3])
        coat = (material.get("extensions") or {}).get(_CLEARCOAT) or {}
        alpha = material.get("alphaMode")
        return SurfaceMaterial(
            str(material.get("name", "")),
            base_color,
            (r, g, b),
            _read_image(document, material.get("normalTexture")),
            float(surface.get("roughnessFactor", 1.0)),
            _read_image(document, surface.get("metallicRoughnessTexture")),
            float(coat.get("clearcoatFactor", 0.0)),
            alpha if alpha in ("MASK", "BLEND") else "OPAQUE",
            float(material.get("alphaCutoff", 0.5)),
            bool(material.get("doubleSided", False)),
        )
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}"[:80].split())
        raise TalkerError(f"{document.path} has a damaged material ({reason}): export it again") from None


def sample_colors(material: SurfaceMaterial, uv: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
    """Colours (V, 3), sRGB, of a texture at vertices, for renderers that draw no textures.

    Args:
        material: A material with a texture of colours.
        uv: (V, 2) texture coordinates.

    Returns:
        The colours; None if the image cannot be read.
    """
    pixels = None if material.base_color is None else decode_image(material.base_color, _SAMPLED_SIZE)
    if pixels is None:
        return None
    rows, columns = pixels.shape[:2]
    column, row = np.floor((uv % 1.0) * (columns, rows)).astype(np.int64).T
    colors = pixels[row.clip(0, rows - 1), column.clip(0, columns - 1), :3] / np.float32(255.0)
    return np.clip(colors * np.power(material.base_factor, 1.0 / 2.2), 0.0, 1.0).astype(np.float32)


def _read_image(document: GltfDocument, reference: dict[str, Any] | None) -> bytes | None:
    """The encoded image of a reference to a texture."""
    if reference is None or reference.get("extensions") or reference.get("texCoord", 0) != 0:
        return None
    texture = document.tree["textures"][reference["index"]]
    source = (texture.get("extensions") or {}).get("EXT_texture_webp", texture).get("source")
    view = None if source is None else document.tree["images"][source].get("bufferView")
    image = b"" if view is None else document.view_bytes(view)
    return image if media_type(image) else None
