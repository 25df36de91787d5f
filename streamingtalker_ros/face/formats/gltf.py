# SPDX-License-Identifier: Apache-2.0
"""Reader of glTF 2.0: positions, triangles, colours and morph targets of all meshes of a .glb or .gltf file.

Supports what faces need: accessors of any component type, strides, sparse accessors, node transforms, and the
names in `mesh.extras.targetNames`. Compressed geometry (Draco, meshopt) is rejected. `gltf_writer` writes
.glb files.
"""

from __future__ import annotations

import base64
import json
import struct
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.imported_mesh import ImportedMesh
from streamingtalker_ros.face.rig import DEFAULT_COLOR
from streamingtalker_ros.face.rotation import rotation_matrix

_COMPONENT_TYPES = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_HEADER_BYTES = 12
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_TRIANGLES = 4  # the drawing mode
_DEFAULT_BASE_COLOR = (0.7, 0.45, 0.34, 1.0)  # linear, of materials that set none
_COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression"}


def srgb_to_linear(colors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Colours 0..1 from sRGB to linear light (IEC 61966-2-1)."""
    values = np.asarray(colors, np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(colors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Inverse of `srgb_to_linear`."""
    values = np.asarray(colors, np.float64)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


def read_gltf(path: str | Path) -> ImportedMesh:
    """Read a .glb or .gltf file.

    Args:
        path: File to read.

    Returns:
        All its meshes, in the axes of glTF (y up, z out of the face) and metres.

    Raises:
        TalkerError: If the file is damaged, compressed or holds no triangles.
    """
    path = Path(path)
    try:
        return _Reader(path).read()
    except (KeyError, IndexError, TypeError, ValueError, struct.error, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise TalkerError(
            f"{path} is not a readable glTF 2.0 file ({reason}): export it again as .glb"
        ) from None


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        data = path.read_bytes()
        self._binary = b""
        text = data
        if data[:4] == b"glTF":
            text = self._split_chunks(data)
        self._document: dict[str, Any] = json.loads(text.decode("utf-8"))
        compressed = _COMPRESSED & set(self._document.get("extensionsRequired", ()))
        if compressed:
            raise TalkerError(f"{path} is compressed ({min(compressed)}): export it without mesh compression")
        self._buffers: dict[int, bytes] = {}

    def _split_chunks(self, data: bytes) -> bytes:
        """Keep the binary chunk of a .glb file and return its JSON chunk."""
        version, total = struct.unpack_from("<II", data, 4)
        if version != 2 or total > len(data):
            raise TalkerError(f"{self._path} is cut short or not glTF 2.0: export it again as .glb")
        text, offset = b"", _HEADER_BYTES
        while offset + 8 <= total:
            size, kind = struct.unpack_from("<II", data, offset)
            chunk = data[offset + 8 : offset + 8 + size]
            offset += 8 + size
            if kind == _JSON_CHUNK:
                text = chunk
            elif kind == _BINARY_CHUNK and not self._binary:
                self._binary = chunk
        return text

    def read(self) -> ImportedMesh:
        vertices, triangles, colors = [], [], []
        targets: list[tuple[str, int, npt.NDArray[np.float32]]] = []
        parts: dict[str, tuple[int, int]] = {}
        rigs: list[Any] = []
        follows: list[npt.NDArray[np.float32] | None] = []
        count = 0  # vertices of the primitives read so far
        for name, mesh, matrix in self._meshes():
            start = count
            rigs.append((mesh.get("extras") or {}).get("rig"))
            for primitive in mesh["primitives"]:
                if primitive.get("mode", _TRIANGLES) != _TRIANGLES:
                    continue
                attributes = primitive["attributes"]
                points = self._accessor(attributes["POSITION"])
                vertices.append(points @ matrix[:3, :3].T + matrix[:3, 3])
                triangles.append(self._triangles(name, primitive, matrix, len(points)) + count)
                colors.append(self._colors(primitive, len(points)))
                follows.append(
                    self._accessor(attributes["_HEAD_FOLLOW"]).ravel()
                    if "_HEAD_FOLLOW" in attributes
                    else None
                )
                targets += self._targets(name, mesh, primitive, matrix, count, len(points))
                count += len(points)
            if count > start:
                parts[name] = (start, count)
        if not triangles:
            raise TalkerError(
                f"{self._path} holds no triangle mesh: export the face with its mesh and shape keys"
            )
        deltas: dict[str, npt.NDArray[np.float32]] = {}
        for label, start, delta in targets:  # face, lashes and teeth may each have a target of one name
            total = deltas.setdefault(label, np.zeros((count, 3), np.float32))
            total[start : start + len(delta)] += delta
        return ImportedMesh(
            np.concatenate(vertices).astype(np.float32),
            np.concatenate(triangles),
            np.concatenate(colors),
            deltas,
            parts,
            rigs[0] if len(rigs) == 1 and isinstance(rigs[0], dict) else {},
            follows[0] if len(follows) == 1 else None,
        )

    def _meshes(self) -> Iterator[tuple[str, dict[str, Any], npt.NDArray[np.float64]]]:
        """Name, mesh and world matrix (4, 4) of each mesh of the scene.

        Skinned meshes ignore the transform of their node (glTF 2.0, section 3.7.3.3).
        """
        document = self._document
        nodes = document.get("nodes", [])
        if not nodes:
            for mesh in document.get("meshes", ()):
                yield mesh.get("name", "mesh"), mesh, np.eye(4)
            return
        children = {child for node in nodes for child in node.get("children", ())}
        if document.get("scenes"):
            roots = document["scenes"][document.get("scene", 0)].get("nodes", [])
        else:
            roots = [index for index in range(len(nodes)) if index not in children]
        stack = [(index, np.eye(4)) for index in reversed(roots)]
        uses: dict[str, int] = {}
        while stack:
            index, parent = stack.pop()
            node = nodes[index]
            world = parent @ _local_matrix(node)
            stack += [(child, world) for child in reversed(node.get("children", ()))]
            if "mesh" in node:
                mesh = document["meshes"][node["mesh"]]
                name = mesh.get("name") or node.get("name") or f"mesh{node['mesh']}"
                uses[name] = uses.get(name, 0) + 1
                unique = name if uses[name] == 1 else f"{name}.{uses[name]}"
                yield unique, mesh, np.eye(4) if "skin" in node else world

    def _triangles(
        self, name: str, primitive: dict[str, Any], matrix: npt.NDArray[np.float64], num_vertices: int
    ) -> npt.NDArray[np.int64]:
        indices = np.arange(num_vertices)
        if "indices" in primitive:
            indices = self._accessor(primitive["indices"]).ravel()
        if len(indices) % 3 or (len(indices) and indices.max() >= num_vertices):
            raise TalkerError(
                f"{self._path}: mesh {name} has indices that do not fit its vertices: export it again"
            )
        is_mirrored = np.linalg.det(matrix[:3, :3]) < 0
        return indices.reshape(-1, 3)[:, :: -1 if is_mirrored else 1].astype(np.int64)

    def _targets(
        self,
        name: str,
        mesh: dict[str, Any],
        primitive: dict[str, Any],
        matrix: npt.NDArray[np.float64],
        start: int,
        num_vertices: int,
    ) -> Iterator[tuple[str, int, npt.NDArray[np.float32]]]:
        """Name, first vertex and displacements of each morph target of a primitive."""
        targets = primitive.get("targets", [])
        names = (mesh.get("extras") or {}).get("targetNames")
        names = names or (primitive.get("extras") or {}).get("targetNames")
        if targets and (names is None or len(names) < len(targets)):
            raise TalkerError(
                f"{self._path}: mesh {name} has {len(targets)} morph targets but no names for them "
                "(mesh.extras.targetNames): export shape keys with their names"
            )
        for label, target in zip(names or (), targets, strict=False):
            if "POSITION" in target:
                delta = self._accessor(target["POSITION"])
                if len(delta) != num_vertices:
                    raise TalkerError(
                        f"{self._path}: target {label} of mesh {name} moves {len(delta)} vertices, "
                        f"the mesh has {num_vertices}: export it again"
                    )
                yield label, start, (delta @ matrix[:3, :3].T).astype(np.float32)

    def _colors(self, primitive: dict[str, Any], count: int) -> npt.NDArray[np.floating]:
        """(count, 3) sRGB: vertex colours times the material's, or the material's alone."""
        material: dict[str, Any] | None = None
        if "material" in primitive:
            material = self._document["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
        accessor = primitive["attributes"].get("COLOR_0")
        if accessor is not None:
            linear = np.asarray(self._accessor(accessor), np.float64)[:, :3]
            factor = np.array((material or {}).get("baseColorFactor", (1.0, 1.0, 1.0, 1.0))[:3])
            return linear_to_srgb(np.clip(linear * factor, 0.0, 1.0))
        if material is None:
            return np.tile(DEFAULT_COLOR, (count, 1))
        linear = np.array(material.get("baseColorFactor", _DEFAULT_BASE_COLOR)[:3])
        return np.tile(np.clip(linear, 0.0, 1.0) ** (1 / 2.2), (count, 1))

    def _accessor(self, number: int) -> npt.NDArray[Any]:
        """(count, width) array of an accessor, with stride, sparse values and normalisation applied."""
        spec = self._document["accessors"][number]
        count, width = spec["count"], _WIDTHS[spec["type"]]
        dtype = np.dtype(_COMPONENT_TYPES[spec["componentType"]]).newbyteorder("<")
        values = np.zeros((count, width), dtype)
        if "bufferView" in spec:
            values = self._view(spec["bufferView"], spec.get("byteOffset", 0), dtype, count, width)
        if "sparse" in spec:
            values = values.copy()
            self._set_sparse(values, spec["sparse"], dtype)
        if spec.get("normalized"):
            return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1.0)
        return values.astype(np.float32) if width == 3 else values

    def _set_sparse(self, values: npt.NDArray[Any], sparse: dict[str, Any], dtype: np.dtype[Any]) -> None:
        count, indices, new = sparse["count"], sparse["indices"], sparse["values"]
        index_type = np.dtype(_COMPONENT_TYPES[indices["componentType"]]).newbyteorder("<")
        rows = self._view(indices["bufferView"], indices.get("byteOffset", 0), index_type, count, 1).ravel()
        values[rows] = self._view(new["bufferView"], new.get("byteOffset", 0), dtype, count, values.shape[1])

    def _view(
        self, number: int, offset: int, dtype: np.dtype[Any], count: int, width: int
    ) -> npt.NDArray[Any]:
        view = self._document["bufferViews"][number]
        data = self._buffer(view["buffer"])
        start = view.get("byteOffset", 0) + offset
        stride = view.get("byteStride") or dtype.itemsize * width
        end = start + stride * (count - 1) + dtype.itemsize * width
        if count and (end > len(data) or end > view.get("byteOffset", 0) + view["byteLength"]):
            raise TalkerError(
                f"{self._path} is cut short: a buffer ends before its data does; export it again"
            )
        if count == 0:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            uri = self._document["buffers"][number].get("uri")
            if uri is None:
                self._buffers[number] = self._binary
            elif uri.startswith("data:"):
                self._buffers[number] = base64.b64decode(uri.partition(",")[2])
            else:
                file = self._path.parent / urllib.parse.unquote(uri)
                if not file.is_file():
                    raise TalkerError(
                        f"{self._path} needs {file.name} beside it: copy that file too, or export as .glb"
                    )
                self._buffers[number] = file.read_bytes()
        return self._buffers[number]


def _local_matrix(node: dict[str, Any]) -> npt.NDArray[np.float64]:
    """(4, 4) transform of a node relative to its parent."""
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    matrix = np.eye(4)
    if any(node.get("rotation", ())):
        matrix[:3, :3] = rotation_matrix(node["rotation"], np.float64)
    matrix[:3, :3] *= np.array(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix
