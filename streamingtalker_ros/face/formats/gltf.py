# SPDX-License-Identifier: Apache-2.0
"""A small reader of glTF 2.0: positions, triangles, colours
and morph targets of every mesh in a .glb or .gltf file.

`read_gltf(path)` gives arrays in the file's own axes (y up, z out of the face) and metres. It reads what
faces need: accessors of any component type, strides, sparse accessors, node transforms, names in
mesh.extras.targetNames. Compressed geometry (Draco, meshopt) is refused with a sentence.
"""

from __future__ import annotations

import base64
import json
import struct
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError

_COMPONENT = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_COMPRESSED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression"}


class GltfMesh(NamedTuple):
    """All meshes of a glTF file as one, in the file's axes and units.

    Attributes:
        vertices: (V, 3) float32.
        triangles: (T, 3) int64.
        colors: (V, 3), sRGB, 0..1.
        targets: displacements (V, 3) float32 of each morph target.
        parts: vertex range of each mesh.
        rig: `extras.rig` of the only mesh, as `gltf_writer.write_glb` writes it; empty for other files.
        follow: (V,) float32, the attribute `_HEAD_FOLLOW` of the only primitive; None without one.
    """

    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.int64]
    colors: npt.NDArray[np.float32]
    targets: dict[str, npt.NDArray[np.float32]]
    parts: dict[str, tuple[int, int]]
    rig: dict[str, Any]
    follow: npt.NDArray[np.float32] | None


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


def read_gltf(path: str | Path) -> GltfMesh:
    """Read a .glb or .gltf file.

    Raises:
        TalkerError: if the file is damaged, compressed or holds no triangles.
    """
    path = Path(path)
    try:
        return _Reader(path).read()
    except (KeyError, IndexError, TypeError, ValueError, struct.error, OSError) as broken:
        reason = f"{type(broken).__name__}: {broken}"
        raise TalkerError(
            f"{path} is not a readable glTF 2.0 file ({reason}): export it again as .glb"
        ) from None


class _Reader:
    def __init__(self, path) -> None:
        self.path = path
        data = path.read_bytes()
        self.bin, text = None, b""
        if data[:4] == b"glTF":
            version, total = struct.unpack_from("<II", data, 4)
            if version != 2 or total > len(data):
                raise TalkerError(f"{path} is cut short or not glTF 2.0: export it again as .glb")
            at = 12
            while at + 8 <= total:
                size, kind = struct.unpack_from("<II", data, at)
                chunk = data[at + 8 : at + 8 + size]
                at += 8 + size
                if kind == 0x4E4F534A:
                    text = chunk
                elif kind == 0x004E4942 and self.bin is None:
                    self.bin = chunk
        else:
            text = data
        self.json = json.loads(text.decode("utf-8"))
        squeezed = _COMPRESSED & set(self.json.get("extensionsRequired", ()))
        if squeezed:
            raise TalkerError(
                f"{path} is compressed ({sorted(squeezed)[0]}): export it without mesh compression"
            )
        self.buffers = {}

    def read(self) -> GltfMesh:
        vertices, triangles, colors, targets, parts, first = [], [], [], [], {}, 0
        rigs, follows = [], []
        for name, mesh, matrix in self._meshes():
            start = first
            rigs.append((mesh.get("extras") or {}).get("rig"))
            for primitive in mesh["primitives"]:
                if primitive.get("mode", 4) != 4:
                    continue
                points = self._accessor(primitive["attributes"]["POSITION"])
                index = (
                    self._accessor(primitive["indices"]).ravel()
                    if "indices" in primitive
                    else np.arange(len(points))
                )
                if len(index) % 3 or (len(index) and index.max() >= len(points)):
                    raise TalkerError(
                        f"{self.path}: mesh {name} has indices that do not fit its vertices: export it again"
                    )
                vertices.append(points @ matrix[:3, :3].T + matrix[:3, 3])
                flip = np.linalg.det(matrix[:3, :3]) < 0
                triangles.append(index.reshape(-1, 3)[:, :: -1 if flip else 1].astype(np.int64) + first)
                colors.append(self._colors(primitive, len(points)))
                follow = primitive["attributes"].get("_HEAD_FOLLOW")
                follows.append(None if follow is None else self._accessor(follow).ravel())
                targets += self._targets(name, mesh, primitive, matrix, first, len(points))
                first += len(points)
            if first > start:
                parts[name] = (start, first)
        if not triangles:
            raise TalkerError(
                f"{self.path} holds no triangle mesh: export the face with its mesh and shape keys"
            )
        deltas = {}
        for name, start, delta in targets:  # one name may stand in several meshes: face, lashes, teeth
            deltas.setdefault(name, np.zeros((first, 3), np.float32))[start : start + len(delta)] += delta
        rig = rigs[0] if len(rigs) == 1 and isinstance(rigs[0], dict) else {}
        return GltfMesh(
            np.concatenate(vertices).astype(np.float32),
            np.concatenate(triangles),
            np.concatenate(colors),
            deltas,
            parts,
            rig,
            follows[0] if len(follows) == 1 else None,
        )

    def _meshes(self):
        """(name, mesh, world matrix) of each mesh in the scene;
        skinned meshes ignore their node's place (glTF 3.7.3)."""
        nodes = self.json.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", ())}
        scenes = self.json.get("scenes")
        roots = (
            scenes[self.json.get("scene", 0)].get("nodes", [])
            if scenes
            else [n for n in range(len(nodes)) if n not in children]
        )
        stack, seen = [(n, np.eye(4)) for n in reversed(roots)], {}
        if not nodes:
            for mesh in self.json.get("meshes", ()):
                yield mesh.get("name", "mesh"), mesh, np.eye(4)
        while stack:
            number, parent = stack.pop()
            node = nodes[number]
            world = parent @ _local(node)
            stack += [(child, world) for child in reversed(node.get("children", ()))]
            if "mesh" in node:
                mesh = self.json["meshes"][node["mesh"]]
                name = mesh.get("name") or node.get("name") or f"mesh{node['mesh']}"
                seen[name] = seen.get(name, 0) + 1
                yield (
                    name if seen[name] == 1 else f"{name}.{seen[name]}",
                    mesh,
                    (np.eye(4) if "skin" in node else world),
                )

    def _targets(self, name, mesh, primitive, matrix, first, count):
        targets = primitive.get("targets", [])
        names = (mesh.get("extras") or {}).get("targetNames") or (primitive.get("extras") or {}).get(
            "targetNames"
        )
        if targets and (names is None or len(names) < len(targets)):
            raise TalkerError(
                f"{self.path}: mesh {name} has {len(targets)} morph targets but no names for them "
                "(mesh.extras.targetNames): export shape keys with their names"
            )
        for label, target in zip(names or (), targets):
            if "POSITION" in target:
                delta = self._accessor(target["POSITION"])
                if len(delta) != count:
                    raise TalkerError(
                        f"{self.path}: target {label} of mesh {name} moves {len(delta)} vertices, "
                        f"the mesh has {count}: export it again"
                    )
                yield label, first, (delta @ matrix[:3, :3].T).astype(np.float32)

    def _colors(self, primitive, count):
        """(count, 3) sRGB: vertex colours times the material's, or the material's alone."""
        material = None
        if "material" in primitive:
            material = self.json["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
        number = primitive["attributes"].get("COLOR_0")
        if number is not None:
            linear = np.asarray(self._accessor(number), np.float64)[:, :3]
            factor = np.array((material or {}).get("baseColorFactor", (1.0, 1.0, 1.0, 1.0))[:3])
            return linear_to_srgb(np.clip(linear * factor, 0.0, 1.0))
        if material is None:
            return np.tile((0.85, 0.68, 0.58), (count, 1))
        linear = np.array(material.get("baseColorFactor", (0.7, 0.45, 0.34, 1.0))[:3])
        return np.tile(np.clip(linear, 0.0, 1.0) ** (1 / 2.2), (count, 1))

    def _accessor(self, number):
        """(count, width) array of an accessor: strided, normalised, sparse."""
        spec = self.json["accessors"][number]
        count, width = spec["count"], _WIDTH[spec["type"]]
        kind = np.dtype(_COMPONENT[spec["componentType"]]).newbyteorder("<")
        out = np.zeros((count, width), kind)
        if "bufferView" in spec:
            out = self._view(spec["bufferView"], spec.get("byteOffset", 0), kind, count, width)
        if "sparse" in spec:
            out, sparse = out.copy(), spec["sparse"]
            at = sparse["indices"]
            index = self._view(
                at["bufferView"],
                at.get("byteOffset", 0),
                np.dtype(_COMPONENT[at["componentType"]]),
                sparse["count"],
                1,
            ).ravel()
            values = sparse["values"]
            out[index] = self._view(
                values["bufferView"], values.get("byteOffset", 0), kind, sparse["count"], width
            )
        if spec.get("normalized"):
            return np.maximum(out.astype(np.float32) / np.iinfo(kind).max, -1.0)
        return out.astype(np.float32) if width == 3 else out

    def _view(self, number, offset, kind, count, width):
        view = self.json["bufferViews"][number]
        data = self._buffer(view["buffer"])
        start = view.get("byteOffset", 0) + offset
        stride = view.get("byteStride") or kind.itemsize * width
        end = start + stride * (count - 1) + kind.itemsize * width
        if count and (end > len(data) or end > view.get("byteOffset", 0) + view["byteLength"]):
            raise TalkerError(
                f"{self.path} is cut short: a buffer ends before its data does; export it again"
            )
        if count == 0:
            return np.zeros((0, width), kind)
        return np.ndarray((count, width), kind, data, start, (stride, kind.itemsize))

    def _buffer(self, number):
        if number not in self.buffers:
            uri = self.json["buffers"][number].get("uri")
            if uri is None:
                self.buffers[number] = self.bin
            elif uri.startswith("data:"):
                self.buffers[number] = base64.b64decode(uri.partition(",")[2])
            else:
                other = self.path.parent / urllib.parse.unquote(uri)
                if not other.is_file():
                    raise TalkerError(
                        f"{self.path} needs {other.name} beside it: copy that file too, or export as .glb"
                    )
                self.buffers[number] = other.read_bytes()
        return self.buffers[number]


def _local(node):
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    out = np.eye(4)
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, :3] *= np.array(node.get("scale", (1.0, 1.0, 1.0)))
    out[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return out
