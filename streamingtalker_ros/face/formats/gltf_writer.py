# SPDX-License-Identifier: Apache-2.0
"""Writer of glTF 2.0: a Rig as a binary .glb file with named morph targets.

`write_glb(rig)` gives one mesh, in the axes of glTF (x to the person's left, y up, z out of the face) and
metres: positions, smooth normals, linear vertex colours, and a sparse morph target per shape, named in
`extras.targetNames` as Blender and three.js read them. What glTF has no field for lies in `extras.rig`:
parts, landmarks, the neck's pivot and the lip gap; the fraction of the head's rotation that a vertex takes is
the attribute `_HEAD_FOLLOW`. A rig with textures gives a mesh for each part, with its material instead of
colours, and joints for the head and the body instead of the attribute. `formats.gltf` reads all of it back.
"""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.gltf import srgb_to_linear
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals, weld_seams
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import ros_to_y_up
from streamingtalker_ros.face.surface_material import CLEARCOAT_ROUGHNESS, SurfaceMaterial, media_type

MEDIA_TYPE = "model/gltf-binary"
_MAGIC, _VERSION = 0x46546C67, 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_COMPONENT_TYPES = {"<u1": 5121, "<u2": 5123, "<u4": 5125, "<f4": 5126}
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
    return _PartsWriter().write_parts(rig) if rig.materials else _Writer().write(rig, normals)


class _Writer:
    def __init__(self) -> None:
        self._binary = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []

    def write(self, rig: Rig, normals: bool) -> bytes:
        normal = None
        if normals and len(rig.triangles):
            normal = vertex_normals(rig.vertices, rig.triangles, index_corners(rig.triangles))
        primitive = self._add_primitive(rig, normal)
        mesh: dict[str, Any] = {
            "name": rig.name,
            "primitives": [primitive],
            "extras": {"rig": _rig_extras(rig)},
        }
        if len(rig.shape_names):
            mesh["extras"]["targetNames"] = list(rig.shape_names)
        return self._encode(
            scenes=[{"nodes": [0]}],
            nodes=[{"name": rig.name, "mesh": 0}],
            meshes=[mesh],
            materials=[
                {
                    "name": "face",
                    "doubleSided": True,  # hair is made of ribbons
                    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.6},
                }
            ],
        )

    def _add_primitive(
        self, rig: Rig, normals: npt.NDArray[np.floating] | None, is_colored: bool = True
    ) -> dict[str, Any]:
        """The primitive of a rig with the first material."""
        index_type = "<u2" if len(rig.vertices) < 65535 else "<u4"
        attributes = {"POSITION": self._add_accessor(ros_to_y_up(rig.vertices), "VEC3", bounds=True)}
        if is_colored:
            attributes["COLOR_0"] = self._add_colors(rig.colors)
        if normals is not None:
            attributes["NORMAL"] = self._add_accessor(ros_to_y_up(normals), "VEC3")
        if rig.follow is not None:
            attributes["_HEAD_FOLLOW"] = self._add_accessor(rig.follow, "SCALAR")
        primitive: dict[str, Any] = {"attributes": attributes, "material": 0}
        if len(rig.triangles):
            primitive["indices"] = self._add_accessor(
                rig.triangles.reshape(-1), "SCALAR", index_type, _ELEMENT_ARRAY_BUFFER
            )
        else:
            primitive["mode"] = 0  # points
        if len(rig.shape_names):
            primitive["targets"] = [
                {"POSITION": number} for number in self._add_targets(ros_to_y_up(rig.deltas), index_type)
            ]
        return primitive

    def _encode(self, **scene: Any) -> bytes:
        document = {
            "asset": {"version": "2.0", "generator": "streamingtalker_ros"},
            "scene": 0,
            **scene,
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
        target: int | None = _ARRAY_BUFFER,
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


class _PartsWriter(_Writer):
    """Writes a node for each part, with the shapes that move it.

    What is on the head is a child of the node Head; the rest is bound to it and to the node Body by a skin.
    """

    def __init__(self) -> None:
        super().__init__()
        self._images: dict[bytes, int] = {}
        self._materials: dict[SurfaceMaterial, int] = {}

    def write_parts(self, rig: Rig) -> bytes:
        follow = np.ones(len(rig.vertices), np.float32) if rig.follow is None else rig.follow
        normals = _seamless_normals(rig)
        on_head = [name for name, (first, last) in rig.parts.items() if (follow[first:last] == 1.0).all()]
        order = [*on_head, *(name for name in rig.parts if name not in on_head)]  # in which nodes are read
        nodes: list[dict[str, Any]] = [
            {"name": "Body", "children": [1]},
            {"name": "Head", "translation": _shortest(ros_to_y_up(rig.pivot)), "children": []},
        ]
        roots, meshes = [0], []
        for name in order:
            first, last = rig.parts[name]
            node: dict[str, Any] = {"name": name, "mesh": len(meshes)}
            mesh = self._add_part(
                rig, name, normals, rig.pivot if name in on_head else np.zeros(3, np.float32)
            )
            if name in on_head:
                nodes[1]["children"].append(len(nodes))
            else:
                roots.append(len(nodes))
                node["skin"] = 0
                joints, weights = _joints(follow[first:last])
                attributes = mesh["primitives"][0]["attributes"]
                attributes["JOINTS_0"] = self._add_accessor(joints, "VEC4", "<u1")
                attributes["WEIGHTS_0"] = self._add_accessor(weights, "VEC4", "<u2")
                self._accessors[-1]["normalized"] = True
            nodes.append(node)
            meshes.append(mesh)
        meshes[0].setdefault("extras", {})["rig"] = _reordered_extras(rig, order)
        inverse = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
        inverse[1, 3, :3] = -ros_to_y_up(rig.pivot)  # column-major
        matrices = self._add_accessor(inverse.reshape(2, 16), "MAT4", target=None)
        images = [
            {"bufferView": self._add_view(image), "mimeType": media_type(image)} for image in self._images
        ]
        extensions = ["KHR_materials_clearcoat"] if any(m.clearcoat for m in self._materials) else []
        return self._encode(
            scenes=[{"nodes": roots}],
            nodes=nodes,
            meshes=meshes,
            skins=[{"joints": [0, 1], "inverseBindMatrices": matrices, "skeleton": 0}],
            materials=[self._to_material(material) for material in self._materials],
            images=images,
            samplers=[{"magFilter": 9729, "minFilter": 9987}],  # linear, with mipmaps
            textures=[{"source": k, "sampler": 0} for k in range(len(images))],
            **({"extensionsUsed": extensions} if extensions else {}),
        )

    def _add_part(
        self, rig: Rig, name: str, normals: npt.NDArray[np.floating], origin: npt.NDArray[np.float32]
    ) -> dict[str, Any]:
        """The mesh of a part, relative to an origin (3,)."""
        first, last = rig.parts[name]
        material = next((item.material for item in rig.materials if item.first <= first < item.last), None)
        moving = np.flatnonzero(rig.deltas[:, first:last].any(axis=(1, 2))).tolist()
        if name == next(iter(rig.parts)):
            moving = list(range(len(rig.deltas)))  # the skin shows the names of all
        inside = (rig.triangles[:, 0] >= first) & (rig.triangles[:, 0] < last)
        part = replace(
            rig,
            vertices=rig.vertices[first:last] - origin,
            triangles=rig.triangles[inside] - np.uint32(first),
            shape_names=tuple(rig.shape_names[k] for k in moving),
            deltas=rig.deltas[moving, first:last],
            colors=rig.colors[first:last],
            follow=None,
        )
        primitive = self._add_primitive(part, normals[first:last], is_colored=material is None)
        if material is not None and rig.uv is not None:
            primitive["attributes"]["TEXCOORD_0"] = self._add_accessor(rig.uv[first:last], "VEC2")
        material = material or SurfaceMaterial(name, roughness=0.7, double_sided=True)
        primitive["material"] = self._materials.setdefault(material, len(self._materials))
        for image in (material.base_color, material.normal, material.roughness_map):
            if image is not None:
                self._images.setdefault(image, len(self._images))
        mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
        if moving:
            mesh["extras"] = {"targetNames": list(part.shape_names)}
        return mesh

    def _to_material(self, material: SurfaceMaterial) -> dict[str, Any]:
        surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": material.roughness}
        result: dict[str, Any] = {"name": material.name, "pbrMetallicRoughness": surface}
        if material.base_factor != (1.0, 1.0, 1.0):
            surface["baseColorFactor"] = [*material.base_factor, 1.0]
        if material.base_color is not None:
            surface["baseColorTexture"] = {"index": self._images[material.base_color]}
        if material.roughness_map is not None:
            surface["metallicRoughnessTexture"] = {"index": self._images[material.roughness_map]}
        if material.normal is not None:
            result["normalTexture"] = {"index": self._images[material.normal]}
        if material.alpha != "OPAQUE":
            result["alphaMode"] = material.alpha
        if material.alpha == "MASK":
            result["alphaCutoff"] = material.alpha_cutoff
        if material.double_sided:
            result["doubleSided"] = True
        if material.clearcoat:
            coat = {"clearcoatFactor": material.clearcoat, "clearcoatRoughnessFactor": CLEARCOAT_ROUGHNESS}
            result["extensions"] = {"KHR_materials_clearcoat": coat}
        return result


def _joints(follow: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """Joints (V, 4) and their weights (V, 4) in 65535ths: head by the fraction `follow`, body by the rest."""
    head = np.round(65535.0 * follow).astype(np.uint16)
    weights = np.stack([65535 - head, head, 0 * head, 0 * head], axis=1)
    return np.where(weights > 0, np.array([0, 1, 0, 0]), 0).astype(np.uint8), weights


def _reordered_extras(rig: Rig, order: list[str]) -> dict[str, Any]:
    """`extras.rig` of a file whose vertices are those of the parts in an order."""
    extras = _rig_extras(rig)
    number = np.zeros(len(rig.vertices), np.int64)
    count = 0
    for name in order:
        first, last = rig.parts[name]
        number[first:last] = np.arange(count, count + last - first)
        extras["parts"][name] = [count, count + last - first]
        count += last - first
    for name, ids in rig.landmarks.items():
        extras["landmarks"][name] = number[np.asarray(ids, np.int64)].tolist()
    return extras


def _seamless_normals(rig: Rig) -> npt.NDArray[np.floating]:
    """Normals (V, 3) at rest, without creases where the texture is cut."""
    first_twin = weld_seams(rig.vertices, rig.deltas)
    triangles = first_twin[rig.triangles]
    normals = vertex_normals(rig.vertices, triangles, index_corners(triangles))[first_twin]
    return normals if rig.normals is None else np.where(np.isnan(rig.normals), normals, rig.normals)


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
