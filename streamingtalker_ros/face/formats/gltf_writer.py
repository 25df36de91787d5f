# SPDX-License-Identifier: Apache-2.0
"""Writer of glTF 2.0: a Rig as a binary .glb file with named morph targets.

`write_glb(rig)` gives one mesh, in the axes of glTF (x to the person's left, y up, z out of the face) and
metres: positions, smooth normals, linear vertex colours, and a sparse morph target per shape, named in
`extras.targetNames` as Blender and three.js read them. What glTF has no field for lies in `extras.rig`:
parts, landmarks, the neck's pivot and the lip gap; the fraction of the head's rotation that a vertex takes is
the attribute `_HEAD_FOLLOW`. `formats.gltf` reads all of it back.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.gltf import srgb_to_linear
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import ros_to_y_up

MEDIA_TYPE = "model/gltf-binary"
_MAGIC, _VERSION = 0x46546C67, 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_COMPONENT_TYPES = {"<u2": 5123, "<u4": 5125, "<f4": 5126}
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963


def write_glb(rig: Rig, normals: bool = True) -> bytes:
    """Encode a rig as a .glb file.

    Args:
        rig: a face; one without shapes gives a mesh without morph targets.
        normals: whether to write smooth normals; without them, viewers shade the triangles flat.

    Returns:
        The bytes of the file; equal for equal rigs. Read back, all arrays are equal but the colours, which
        are quantised to 16 bits of linear light.
    """
    return _Writer().write(rig, normals)


class _Writer:
    def __init__(self) -> None:
        self._binary = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def write(self, rig: Rig, normals: bool) -> bytes:
        index_type = "<u2" if len(rig.vertices) < 65535 else "<u4"
        attributes = {
            "POSITION": self._add_accessor(ros_to_y_up(rig.vertices), "VEC3", bounds=True),
            "COLOR_0": self._add_colors(rig.colors),
        }
        if normals and len(rig.triangles):
            normal = vertex_normals(rig.vertices, rig.triangles, index_corners(rig.triangles))
            attributes["NORMAL"] = self._add_accessor(ros_to_y_up(normal), "VEC3")
        if rig.follow is not None:
            attributes["_HEAD_FOLLOW"] = self._add_accessor(rig.follow, "SCALAR")
        primitive: dict[str, Any] = {"attributes": attributes, "material": 0}
        if len(rig.triangles):
            primitive["indices"] = self._add_accessor(
                rig.triangles.reshape(-1), "SCALAR", index_type, _ELEMENT_ARRAY_BUFFER
            )
        else:
            primitive["mode"] = 0  # points
        mesh: dict[str, Any] = {
            "name": rig.name,
            "primitives": [primitive],
            "extras": {"rig": _rig_extras(rig)},
        }
        if len(rig.shape_names):
            primitive["targets"] = [
                {"POSITION": number} for number in self._add_targets(ros_to_y_up(rig.deltas), index_type)
            ]
            mesh["extras"]["targetNames"] = list(rig.shape_names)
        document = {
            "asset": {"version": "2.0", "generator": "streamingtalker_ros"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"name": rig.name, "mesh": 0}],
            "meshes": [mesh],
            "materials": [
                {
                    "name": "face",
                    "doubleSided": True,  # hair is made of ribbons
                    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.6},
                }
            ],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        return encode_container(document, bytes(self._binary))

    def _add_view(self, data: bytes, target: int | None = None) -> int:
        self._binary += b"\0" * (-len(self._binary) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self._views.append(view)
        self._binary += data
        return len(self._views) - 1

    def _add_colors(self, colors: npt.NDArray[np.float32]) -> int:
        linear = np.round(np.clip(srgb_to_linear(colors), 0.0, 1.0) * 65535)
        rgba = np.concatenate([linear, np.full((len(linear), 1), 65535.0)], axis=1)  # aligned to 4 bytes
        number = self._add_accessor(rgba, "VEC4", "<u2")
        self._accessors[number]["normalized"] = True
        return number

    def _add_accessor(
        self,
        values: npt.ArrayLike,
        kind: str,
        component: str = "<f4",
        target: int = _ARRAY_BUFFER,
        bounds: bool = False,
    ) -> int:
        array = np.ascontiguousarray(values, component)
        accessor: dict[str, Any] = {
            "bufferView": self._add_view(array.tobytes(), target),
            "componentType": _COMPONENT_TYPES[component],
            "count": len(array),
            "type": kind,
        }
        if bounds and len(array):
            accessor |= {"min": _shortest(array.min(axis=0)), "max": _shortest(array.max(axis=0))}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def _add_targets(self, deltas: npt.NDArray[np.float32], index_type: str) -> list[int]:
        """A sparse accessor for each shape's displacements (V, 3), which stores the rows that are not zero.

        The indices of all shapes share one buffer view and the values another, which compresses better.
        """
        moved_rows = [np.flatnonzero(delta.any(axis=1)) for delta in deltas]
        rows = [
            np.ascontiguousarray(delta[ids], "<f4") for delta, ids in zip(deltas, moved_rows, strict=True)
        ]
        indices = [ids.astype(index_type) for ids in moved_rows]
        index_view = value_view = index_offset = value_offset = 0
        if any(map(len, moved_rows)):
            index_view = self._add_view(b"".join(each.tobytes() for each in indices))
            value_view = self._add_view(b"".join(each.tobytes() for each in rows))
        numbers: list[int] = []
        for index, values in zip(indices, rows, strict=True):
            count = deltas.shape[1]
            bounded = (
                values if len(values) == count else np.concatenate([values, np.zeros((1, 3), np.float32)])
            )
            accessor: dict[str, Any] = {
                "componentType": _COMPONENT_TYPES["<f4"],
                "count": count,
                "type": "VEC3",
                "min": _shortest(bounded.min(axis=0)),
                "max": _shortest(bounded.max(axis=0)),
            }
            if len(index):
                accessor["sparse"] = {
                    "count": len(index),
                    "indices": {
                        "bufferView": index_view,
                        "byteOffset": index_offset,
                        "componentType": _COMPONENT_TYPES[index_type],
                    },
                    "values": {"bufferView": value_view, "byteOffset": value_offset},
                }
            self._accessors.append(accessor)
            numbers.append(len(self._accessors) - 1)
            index_offset += index.nbytes
            value_offset += values.nbytes
        return numbers


def _shortest(values: npt.NDArray[np.float32]) -> list[float]:
    """float32 values with as few decimal digits as give them back exactly."""
    return [float(str(value)) for value in values]


def _rig_extras(rig: Rig) -> dict[str, Any]:
    extras: dict[str, Any] = {
        "parts": {name: [int(first), int(last)] for name, (first, last) in rig.parts.items()},
        "landmarks": {name: np.asarray(ids).tolist() for name, ids in rig.landmarks.items()},
        "pivot": _shortest(ros_to_y_up(np.asarray(rig.pivot, np.float32))),
    }
    try:
        bias, row = rig.lip_gap_map()
    except TalkerError:  # the lips are unknown
        return extras
    return extras | {"lipGap": {"bias": float(bias), "weights": _shortest(row)}}


def encode_container(document: dict[str, Any], binary: bytes) -> bytes:
    """Encode a document as a .glb file.

    Args:
        document: Its JSON tree.
        binary: Its binary chunk.

    Returns:
        The bytes of the file.
    """
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    return b"".join(
        [
            struct.pack("<III", _MAGIC, _VERSION, total),
            struct.pack("<II", len(text), _JSON_CHUNK),
            text,
            struct.pack("<II", len(binary), _BINARY_CHUNK),
            binary,
        ]
    )
