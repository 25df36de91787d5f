# SPDX-License-Identifier: Apache-2.0
"""Static assets of the page: its bundled files, read once, and faces as GLB.

`load_page()` gives every file of `static/` by its URL path, so that no request path ever reaches the file
system.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.gltf_writer import MEDIA_TYPE, write_glb
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.rig import DEFAULT_COLOR, Rig
from streamingtalker_ros.face.rotation import y_up_to_ros

STATIC = Path(__file__).parent / "static"
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
    ".wasm": "application/wasm",
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
    @functools.lru_cache(maxsize=16)
    def compress(cls, body: bytes, media_type: str, level: int = 9) -> StaticAsset:
        """An asset of these bytes, which further servers of this process share.

        Args:
            body: Content of the file.
            media_type: Value of Content-Type.
            level: Of gzip, 1 to 9.
        """
        etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        return cls(body, gzip.compress(body, level, mtime=0), media_type, etag)


def load_page(folder: Path = STATIC) -> dict[str, StaticAsset]:
    """The bundled page by URL path, "/" among them. Without a bundle, "/" explains how to build it.

    Args:
        folder: Folder of the bundle; subfolders and files of unknown type are left out.

    Returns:
        {URL path: file}.
    """
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
    """Whether the page has been bundled.

    Args:
        folder: Folder of the bundle.
    """
    return (folder / "index.html").is_file()


def encode_face(rig: Rig) -> StaticAsset:
    """A face as GLB. The page computes the normals itself.

    Args:
        rig: The face.
    """
    return StaticAsset.compress(write_glb(rig, normals=False), MEDIA_TYPE)


def encode_template(vertices: npt.NDArray[np.float32], triangles: npt.NDArray[np.uint32]) -> StaticAsset:
    """The mesh of a vertex model as GLB.

    Args:
        vertices: (V, 3), metres, in the model's axes.
        triangles: (T, 3); empty for a cloud of points.
    """
    count = len(vertices)
    rig = Rig(
        name="template",
        vertices=y_up_to_ros(vertices),
        triangles=np.asarray(triangles, np.uint32).reshape(-1, 3),
        shape_names=(),
        deltas=np.zeros((0, count, 3), np.float32),
        parts={"skin": (0, count)},
        landmarks={},
        colors=np.tile(np.asarray(DEFAULT_COLOR, np.float32), (count, 1)),
    )
    return encode_face(rig)


def load_prepared_face(path: Path) -> StaticAsset:
    """A head that this package has built, as it lies in the cache: several are loaded when the server starts.

    Args:
        path: The .glb file.

    Raises:
        TalkerError: if the file cannot be read, or is not as long as it says.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise TalkerError(f"{path} cannot be read ({error.strerror or error})") from None
    if body[:4] != b"glTF" or int.from_bytes(body[8:12], "little") != len(body):
        raise TalkerError(f"{path} is damaged: delete it, and run `streamingtalker face prepare`")
    return StaticAsset.compress(body, MEDIA_TYPE, level=1)


def load_avatar(path: Path) -> StaticAsset:
    """A user's face as GLB: a .glb or .vrm file as it is, with its materials; other formats are converted.

    Args:
        path: File of a face with ARKit shapes, in a format that `load_face` reads.

    Raises:
        TalkerError: if the face cannot be read, or has no shapes.
    """
    rig = load_face(path)
    if not rig.shape_names:
        raise TalkerError(f"{path} has no shapes to animate: give a face with ARKit morph targets")
    if path.suffix.lower() in (".glb", ".vrm"):
        return StaticAsset.compress(path.read_bytes(), MEDIA_TYPE)
    return StaticAsset.compress(write_glb(rig), MEDIA_TYPE)
