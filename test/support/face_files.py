# SPDX-License-Identifier: Apache-2.0
"""Small face files as users have them: a patch of the default face, written as glTF or OBJ."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rotation import ros_to_y_up

Deltas = Mapping[str, npt.NDArray[np.float32]]


def mouth_patch() -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.int64], dict[str, npt.NDArray[np.float32]]
]:
    """The skin of the default face in the axes of files.

    Returns:
        vertices: (V, 3).
        triangles: (T, 3).
        deltas: (V, 3) of three shapes.
    """
    rig = default_rig()
    skin = slice(*rig.parts["skin"])
    triangles = rig.triangles[(rig.triangles < skin.stop).all(axis=1)].astype(np.int64)
    deltas = {
        name: ros_to_y_up(rig.deltas[INDEX[name], skin])
        for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight")
    }
    return ros_to_y_up(rig.vertices[skin]), triangles, deltas


def write_test_glb(
    path: Path,
    vertices: npt.NDArray[np.float32],
    triangles: npt.NDArray[np.int64],
    deltas: Deltas,
    names: Sequence[str] | None = None,
    node: Mapping[str, Any] | None = None,
    sparse: bool = True,
    cut_bytes: int = 0,
) -> Path:
    """Write a .glb file independently of the package's writer.

    Args:
        path: File to write.
        vertices: (V, 3).
        triangles: (T, 3).
        deltas: (V, 3) displacements by name.
        names: Names of the morph targets; None for those of `deltas`, an empty sequence leaves them out.
        node: Further fields of the node.
        sparse: Whether morph targets are sparse accessors.
        cut_bytes: Bytes left out at the end of the binary chunk.

    Returns:
        The path.
    """
    blob = bytearray()
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def add_view(array: npt.NDArray[Any]) -> int:
        blob.extend(b"\0" * (-len(blob) % 4))
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes})
        blob.extend(array.tobytes())
        return len(views) - 1

    def add_accessor(array: npt.NDArray[Any], kind: str, component: int) -> int:
        accessors.append(
            {"bufferView": add_view(array), "componentType": component, "count": len(array), "type": kind}
        )
        return len(accessors) - 1

    def add_sparse_accessor(delta: npt.NDArray[np.float32]) -> int:
        moving = np.flatnonzero(delta.any(axis=1))
        accessors.append(
            {
                "componentType": 5126,
                "count": len(delta),
                "type": "VEC3",
                "sparse": {
                    "count": len(moving),
                    "indices": {"bufferView": add_view(moving.astype("<u2")), "componentType": 5123},
                    "values": {"bufferView": add_view(delta[moving].astype("<f4"))},
                },
            }
        )
        return len(accessors) - 1

    position = add_accessor(vertices.astype("<f4"), "VEC3", 5126)
    index = add_accessor(triangles.astype("<u2").ravel(), "SCALAR", 5123)
    targets = [
        {
            "POSITION": add_sparse_accessor(delta)
            if sparse
            else add_accessor(delta.astype("<f4"), "VEC3", 5126)
        }
        for delta in deltas.values()
    ]
    mesh: dict[str, Any] = {
        "name": "face",
        "primitives": [{"attributes": {"POSITION": position}, "indices": index, "targets": targets}],
    }
    if names is None or len(names):
        mesh["extras"] = {"targetNames": list(deltas if names is None else names)}
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **(node or {})}],
        "meshes": [mesh],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(blob)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(blob[: len(blob) - cut_bytes])
    binary += b"\0" * (-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    header = struct.pack("<4sII", b"glTF", 2, total)
    text_header, binary_header = (
        struct.pack("<I4s", len(text), b"JSON"),
        struct.pack("<I4s", len(binary), b"BIN\0"),
    )
    path.write_bytes(header + text_header + text + binary_header + binary)
    return path


def write_test_obj(path: Path, vertices: npt.NDArray[np.float32], triangles: npt.NDArray[np.int64]) -> None:
    """Write an OBJ file."""
    lines = ["v {:.7f} {:.7f} {:.7f}".format(*vertex) for vertex in vertices]
    lines += ["f {}/1 {}/1 {}/1".format(*triangle) for triangle in triangles + 1]
    path.write_text("\n".join(lines) + "\n")


def edit_glb(path: Path, edit: Callable[[dict[str, Any], bytearray], None]) -> Path:
    """Change the document and the binary chunk of a .glb file in place."""
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    document, binary = json.loads(data[20 : 20 + size]), bytearray(data[28 + size :])
    edit(document, binary)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def append_accessor(
    document: dict[str, Any], binary: bytearray, array: npt.NDArray[Any], kind: str, component: int
) -> int:
    """Add an array to a .glb that is being edited; returns the number of its accessor."""
    binary += b"\0" * (-len(binary) % 4)
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes})
    binary += array.tobytes()
    document["accessors"].append(
        {
            "bufferView": len(document["bufferViews"]) - 1,
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
    )
    return len(document["accessors"]) - 1
