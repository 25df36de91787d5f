# SPDX-License-Identifier: Apache-2.0
"""What the page is made of: its files, read once, and a face as bytes.

`page_files()` gives every file of `static/` by its address, so that no path of a request ever reaches the file
system. `pack_face` gives a rig as one block: the length of a JSON header (uint32), the header, then the arrays that
it names as [offset, count], each aligned to 4 bytes.
"""

import gzip
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

STATIC = Path(__file__).parent / "static"
UNBUILT = (
    "The page is not built: with Node 18 or newer run `make web`, or `npm ci && npm run build` in the folder "
    "web/ of the source, and reload."
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class File:
    """Bytes with their type; squeezed: the same through gzip; tag: the ETag."""

    body: bytes
    squeezed: bytes
    kind: str
    tag: str

    @classmethod
    def of(cls, body, kind):
        return cls(body, gzip.compress(body, 6, mtime=0), kind, f'"{hashlib.sha256(body).hexdigest()[:20]}"')


def page_files(folder=STATIC):
    """{address: File} of the built page, "/" its first; where it is not built, one sentence at "/"."""
    files = {}
    if (folder / "index.html").is_file():
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix in _TYPES:
                files[f"/{path.name}"] = File.of(path.read_bytes(), _TYPES[path.suffix])
    if "/index.html" in files:
        files["/"] = files["/index.html"]
    else:
        text = f"<!doctype html><title>streamingtalker</title><p>{UNBUILT}</p>\n"
        files["/"] = File.of(text.encode(), _TYPES[".html"])
    return files


def built(folder=STATIC):
    """Whether the page has been bundled."""
    return (folder / "index.html").is_file()


def pack_face(
    name,
    vertices,
    triangles,
    shape_names=(),
    deltas=None,
    colors=None,
    parts=None,
    pivot=(0, 0, 0),
    follow=None,
    lip=None,
):
    """A face as bytes; axes and units of a Rig. deltas (S, V, 3) are kept where they are not zero; lip: the bias and
    row of `Rig.lip_gap_map`, None where there are no lips."""
    arrays = {"vertices": np.asarray(vertices, "<f4"), "triangles": np.asarray(triangles, "<u4")}
    counts = []
    if len(shape_names):
        moved = [np.flatnonzero((delta != 0).any(axis=1)) for delta in deltas]
        counts = [len(ids) for ids in moved]
        arrays["moved"] = np.concatenate(moved).astype("<u4")
        arrays["deltas"] = np.concatenate([delta[ids] for delta, ids in zip(deltas, moved)]).astype("<f4")
    for label, values in (("colors", colors), ("follow", follow), ("lip", None if lip is None else lip[1])):
        if values is not None:
            arrays[label] = np.asarray(values, "<f4")
    header = {
        "name": name,
        "shapes": list(shape_names),
        "counts": counts,
        "parts": parts or {},
        "pivot": [float(value) for value in pivot],
        "lipBias": None if lip is None else float(lip[0]),
        "arrays": {},
    }
    at = 0
    for label, values in arrays.items():
        header["arrays"][label] = [at, int(values.size)]
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        [struct.pack("<I", len(text)), text, *(np.ascontiguousarray(a).tobytes() for a in arrays.values())]
    )


def pack_rig(rig):
    """A Rig as bytes."""
    return pack_face(
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
