# SPDX-License-Identifier: Apache-2.0
"""Static assets of the page: its bundled files, read once, and faces as binary meshes.

`load_page()` gives every file of `static/` by its URL path, so that no request path ever reaches the file
system. `encode_mesh` packs a face: the length of a JSON header (uint32), the header, then the arrays that it
names as [offset, count], each aligned to 4 bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.rig import Rig

STATIC = Path(__file__).parent / "static"
BINARY_TYPE = "application/octet-stream"
NOT_BUILT = (
    "The page is not built: with Node 18 or newer run `make web`, or `npm ci && npm run build` in the folder "
    "frontend/ of the source, and reload."
)
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class StaticAsset:
    """A file that is served from memory.

    Attributes:
        body: its bytes.
        gzipped: the same, compressed.
        media_type: value of Content-Type.
        etag: value of ETag.
    """

    body: bytes
    gzipped: bytes
    media_type: str
    etag: str

    @classmethod
    def compress(cls, body: bytes, media_type: str) -> StaticAsset:
        """An asset of these bytes."""
        etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        return cls(body, gzip.compress(body, 6, mtime=0), media_type, etag)


def load_page(folder: Path = STATIC) -> dict[str, StaticAsset]:
    """The bundled page by URL path, "/" among them. Without a bundle, "/" says how to build it."""
    files: dict[str, StaticAsset] = {}
    if is_built(folder):
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix in _MEDIA_TYPES:
                files[f"/{path.name}"] = StaticAsset.compress(path.read_bytes(), _MEDIA_TYPES[path.suffix])
        files["/"] = files["/index.html"]
    else:
        text = f"<!doctype html><title>streamingtalker</title><p>{NOT_BUILT}</p>\n"
        files["/"] = StaticAsset.compress(text.encode(), _MEDIA_TYPES[".html"])
    return files


def is_built(folder: Path = STATIC) -> bool:
    """Whether the page has been bundled."""
    return (folder / "index.html").is_file()


def encode_mesh(
    name: str,
    vertices: npt.ArrayLike,
    triangles: npt.ArrayLike,
    shape_names: Sequence[str] = (),
    deltas: npt.NDArray[np.float32] | None = None,
    colors: npt.ArrayLike | None = None,
    parts: Mapping[str, tuple[int, int]] | None = None,
    pivot: Sequence[float] | npt.NDArray[np.float32] = (0.0, 0.0, 0.0),
    follow: npt.ArrayLike | None = None,
    lip: tuple[float, npt.NDArray[np.float32]] | None = None,
) -> bytes:
    """A face as bytes; axes, units and arrays as of a Rig.

    Args:
        name: of the face.
        vertices: (V, 3).
        triangles: (T, 3).
        shape_names: S names.
        deltas: (S, V, 3); rows of zeros are left out.
        colors: (V, 3), sRGB, 0..1.
        parts: vertex range of each part.
        pivot: (3,), where the head turns.
        follow: (V,), fraction of the head's rotation that a vertex takes.
        lip: `Rig.lip_gap_map`; None for a face without lip landmarks.
    """
    arrays = {"vertices": np.asarray(vertices, "<f4"), "triangles": np.asarray(triangles, "<u4")}
    counts: list[int] = []
    if deltas is not None and len(shape_names):
        moved = [np.flatnonzero((delta != 0).any(axis=1)) for delta in deltas]
        counts = [len(ids) for ids in moved]
        arrays["moved"] = np.concatenate(moved).astype("<u4")
        rows = [delta[ids] for delta, ids in zip(deltas, moved, strict=True)]
        arrays["deltas"] = np.concatenate(rows).astype("<f4")
    for label, values in (("colors", colors), ("follow", follow), ("lip", None if lip is None else lip[1])):
        if values is not None:
            arrays[label] = np.asarray(values, "<f4")
    header = {
        "name": name,
        "shapes": list(shape_names),
        "counts": counts,
        "parts": dict(parts or {}),
        "pivot": [float(value) for value in pivot],
        "lipBias": None if lip is None else float(lip[0]),
        "arrays": {},
    }
    offset = 0
    for label, values in arrays.items():
        header["arrays"][label] = [offset, int(values.size)]
        offset += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    body = [np.ascontiguousarray(values).tobytes() for values in arrays.values()]
    return b"".join([struct.pack("<I", len(text)), text, *body])


def encode_rig(rig: Rig) -> bytes:
    """A Rig as bytes."""
    return encode_mesh(
        rig.name,
        rig.vertices,
        rig.triangles,
        rig.shape_names,
        rig.deltas,
        rig.colors,
        rig.parts,
        rig.pivot,
        rig.follow,
        rig.lip_gap_map(),
    )
