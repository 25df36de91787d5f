# SPDX-License-Identifier: Apache-2.0
"""Reader of glTF 2.0: positions, triangles, colours and morph targets of all meshes of a .glb or .gltf file.

Supports what faces need: accessors of any component type, strides, sparse accessors, node transforms, skins,
and the names in `extras.targetNames` of a mesh or a primitive. Compressed geometry (Draco, meshopt) is
rejected. `gltf_document` reads the arrays, `gltf_scene` places the meshes, `gltf_writer` writes .glb files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.gltf_document import GltfDocument
from streamingtalker_ros.face.formats.gltf_materials import read_material, sample_colors
from streamingtalker_ros.face.formats.gltf_scene import GltfScene, MeshInstance
from streamingtalker_ros.face.formats.gltf_targets import TargetDrivers, find_target_drivers, target_names
from streamingtalker_ros.face.formats.imported_mesh import ImportedMesh
from streamingtalker_ros.face.rig import DEFAULT_COLOR
from streamingtalker_ros.face.surface_material import MaterialRange

_TRIANGLES = 4  # the drawing mode
_DEFAULT_BASE_COLOR = (0.7, 0.45, 0.34, 1.0)  # linear, of materials that set none
_MAX_PRIMITIVES = 4096
_MAX_COORDINATE_M = 1e6


def srgb_to_linear(colors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Colours 0..1 from sRGB to linear light (IEC 61966-2-1).

    Args:
        colors: sRGB values of any shape, 0..1.

    Returns:
        Linear values of the same shape, 0..1.
    """
    values = np.asarray(colors, np.float64)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(colors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Inverse of `srgb_to_linear`.

    Args:
        colors: Linear values of any shape, 0..1.

    Returns:
        sRGB values of the same shape, 0..1.
    """
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
    except TalkerError:
        raise
    except Exception as error:  # whatever a damaged file raises in json, numpy and base64
        reason = " ".join(f"{type(error).__name__}: {error}"[:100].split())
        raise TalkerError(
            f"{path} is not a readable glTF 2.0 file ({reason}): export it again as .glb"
        ) from None


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._document = GltfDocument(path)
        self._vertices: list[npt.NDArray[np.float32]] = []
        self._faces: list[npt.NDArray[np.int64]] = []
        self._vertex_colors: list[npt.NDArray[np.floating]] = []
        self._head_weights: list[npt.NDArray[np.float32]] = []
        self._normals: list[npt.NDArray[np.float32]] = []
        self._uvs: list[npt.NDArray[np.float32]] = []
        self._materials: list[MaterialRange] = []
        self._follows: list[npt.NDArray[np.float32] | None] = []
        self._targets: list[tuple[dict[str, float], int, npt.NDArray[np.float32]]] = []
        self._drivers: TargetDrivers = find_target_drivers(self._document.tree)
        self._unnamed: list[tuple[str, int]] = []  # meshes whose targets have no names
        self._count = 0  # vertices of the primitives read so far

    def read(self) -> ImportedMesh:
        scene = GltfScene(self._document)
        parts: dict[str, tuple[int, int]] = {}
        rigs: list[Any] = []
        for instance in scene.instances():
            start = self._count
            rigs.append(_extras(instance.mesh).get("rig"))
            if len(rigs) > _MAX_PRIMITIVES:
                raise TalkerError(
                    f"{self._path} shows more than {_MAX_PRIMITIVES} meshes: export the face alone"
                )
            for primitive in instance.mesh["primitives"]:
                if primitive.get("mode", _TRIANGLES) == _TRIANGLES:
                    self._read_primitive(instance, primitive)
            if self._count > start:
                parts[instance.name] = (start, self._count)
        if not self._faces:
            raise TalkerError(
                f"{self._path} holds no triangle mesh: export the face with its mesh and shape keys"
            )
        if self._unnamed and not self._drivers.labels:
            name, count = self._unnamed[0]
            raise TalkerError(
                f"{self._path}: mesh {name[:80]} has {count} morph targets but no names for them "
                "(mesh.extras.targetNames): export shape keys with their names"
            )
        deltas = np.zeros((len(ARKIT_NAMES), self._count, 3), np.float32)
        for (
            factors,
            start,
            delta,
        ) in self._targets:  # face, lashes and teeth may each have a target of one name
            for name, factor in factors.items():
                deltas[INDEX[name], start : start + len(delta)] += (
                    delta if factor == 1.0 else np.float32(factor) * delta
                )
        vertices = np.concatenate(self._vertices)
        if not (np.abs(vertices) < _MAX_COORDINATE_M).all():
            raise TalkerError(
                f"{self._path} has coordinates that are not finite or beyond 1000 km: export it again"
            )
        return ImportedMesh(
            vertices,
            np.concatenate(self._faces),
            np.nan_to_num(np.concatenate(self._vertex_colors)),
            deltas,
            self._drivers.labels,
            self._drivers.shapes,
            self._drivers.unused,
            parts,
            self._find_rig_extras(rigs),
            self._follows[0] if len(self._follows) == 1 else None,
            None if scene.head_position is None else np.concatenate(self._head_weights),
            scene.head_position,
            np.concatenate(self._uvs) if any(item.material.base_color for item in self._materials) else None,
            tuple(self._materials),
            np.concatenate(self._normals),
        )

    def _find_rig_extras(self, rigs: list[Any]) -> dict[str, Any]:
        """`extras.rig` of the only mesh that has it, where it speaks of all vertices of the file."""
        found = [extras for extras in rigs if isinstance(extras, dict)]
        if len(found) != 1:
            return {}
        parts = found[0].get("parts")
        covers_all = isinstance(parts, dict) and [0, self._count] == [
            min((part[0] for part in parts.values()), default=0),
            max((part[1] for part in parts.values()), default=0),
        ]
        return found[0] if len(rigs) == 1 or covers_all else {}

    def _read_primitive(self, instance: MeshInstance, primitive: dict[str, Any]) -> None:
        attributes = primitive["attributes"]
        if not self._document.has_data(attributes["POSITION"]) or len(self._vertices) >= _MAX_PRIMITIVES:
            raise TalkerError(
                f"{self._path}: mesh {instance.name[:80]} states positions that it does not hold"
            )
        points = self._document.accessor(attributes["POSITION"])
        matrices, head_weights = self._skin(instance, attributes, len(points))
        self._vertices.append(_transform(points, matrices).astype(np.float32))
        self._faces.append(self._triangles(instance.name, primitive, matrices, len(points)) + self._count)
        self._vertex_colors.append(self._colors(primitive, len(points)))
        self._read_material(primitive, len(points))
        normals = np.full((len(points), 3), np.nan, np.float32)
        if not primitive.get("targets") and "NORMAL" in attributes:
            found = _rotate(self._document.accessor(attributes["NORMAL"]), matrices)
            if found.shape == normals.shape:
                normals = found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-6)
        self._normals.append(normals.astype(np.float32))
        self._head_weights.append(head_weights)
        follow = None
        if "_HEAD_FOLLOW" in attributes:
            follow = np.asarray(self._document.accessor(attributes["_HEAD_FOLLOW"]), np.float32).ravel()
            if len(follow) != len(points) or not np.isfinite(follow).all():
                raise TalkerError(f"{self._path} has a damaged attribute _HEAD_FOLLOW: export it again")
        self._follows.append(follow)
        self._read_targets(instance, primitive, matrices, len(points))
        self._count += len(points)

    def _skin(
        self, instance: MeshInstance, attributes: dict[str, Any], count: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Transform of all vertices (4, 4) or of each (V, 4, 4), and their weights of the head's joints.

        The weight (V,) is NaN where no joint says it.
        """
        on_head = np.nan if instance.is_on_head is None else float(instance.is_on_head)
        if instance.joints is None:
            return instance.matrix, np.full(count, on_head, np.float32)
        sets = [k for k in range(4) if f"JOINTS_{k}" in attributes and f"WEIGHTS_{k}" in attributes]
        if not sets:
            return np.eye(4), np.full(count, np.nan, np.float32)
        joints = np.concatenate([self._document.accessor(attributes[f"JOINTS_{k}"]) for k in sets], axis=1)
        weights = np.concatenate([self._document.accessor(attributes[f"WEIGHTS_{k}"]) for k in sets], axis=1)
        joints, weights = joints.astype(np.int64), weights.astype(np.float64)
        if joints.shape != weights.shape or len(joints) != count or not np.isfinite(weights).all():
            raise TalkerError(f"{self._path}: mesh {instance.name[:80]} has a damaged skin: export it again")
        totals = weights.sum(axis=1, keepdims=True)
        weights[:, :1] += totals == 0  # a vertex without weights follows its first joint
        weights /= np.where(totals == 0, 1.0, totals)
        joints = np.where(weights == 0, 0, joints)
        matrices = np.zeros((count, 4, 4))
        for column in range(joints.shape[1]):
            matrices += weights[:, column, None, None] * instance.joints[joints[:, column]]
        if instance.head_joints is None:
            return matrices, np.full(count, np.nan, np.float32)
        return matrices, (weights * instance.head_joints[joints]).sum(axis=1).astype(np.float32)

    def _triangles(
        self, name: str, primitive: dict[str, Any], matrices: npt.NDArray[np.float64], num_vertices: int
    ) -> npt.NDArray[np.int64]:
        indices = np.arange(num_vertices)
        if "indices" in primitive:
            indices = self._document.accessor(primitive["indices"]).ravel().astype(np.int64)
        if len(indices) % 3 or (len(indices) and not 0 <= indices.min() <= indices.max() < num_vertices):
            raise TalkerError(
                f"{self._path}: mesh {name[:80]} has indices that do not fit its vertices: export it again"
            )
        is_mirrored = len(matrices) > 0 and np.linalg.det(matrices.reshape(-1, 4, 4)[0, :3, :3]) < 0
        return indices.reshape(-1, 3)[:, :: -1 if is_mirrored else 1].astype(np.int64)

    def _read_targets(
        self,
        instance: MeshInstance,
        primitive: dict[str, Any],
        matrices: npt.NDArray[np.float64],
        num_vertices: int,
    ) -> None:
        """Collect the displacements of the targets with ARKit names."""
        targets = primitive.get("targets") or []
        labels = target_names(instance.mesh) or target_names(primitive)
        if len(labels) < len(targets) and not self._drivers.is_bound(instance.index):
            self._unnamed.append((instance.name, len(targets)))
            return
        selected = self._drivers.select(instance.index, labels, len(targets))
        for k, target in enumerate(targets):
            label = labels[k] if k < len(labels) else str(k)
            factors = selected.get(k, {})
            if "POSITION" not in target or not (factors or label in self._drivers.empty):
                continue
            size = self._document.accessor_size(target["POSITION"])
            if size != num_vertices:
                raise TalkerError(
                    f"{self._path}: target {label[:80]} of mesh {instance.name[:80]} moves {size} vertices, "
                    f"the mesh has {num_vertices}: export it again"
                )
            if self._document.has_data(target["POSITION"]):
                delta = _rotate(self._document.accessor(target["POSITION"]), matrices)
                if not (np.abs(delta) < _MAX_COORDINATE_M).all():
                    raise TalkerError(
                        f"{self._path}: target {label[:80]} is not finite or beyond 1000 km: export it again"
                    )
                self._targets.append((factors, self._count, delta.astype(np.float32)))

    def _read_material(self, primitive: dict[str, Any], count: int) -> None:
        """Collect texture coordinates, and the material where it has a texture of colours."""
        uv = np.zeros((count, 2), np.float32)
        accessor = primitive["attributes"].get("TEXCOORD_0")
        material = read_material(self._document, primitive.get("material"))
        if accessor is not None and material is not None:
            uv = np.asarray(self._document.accessor(accessor), np.float32)
            if uv.shape != (count, 2) or not np.isfinite(uv).all():
                raise TalkerError(f"{self._path} has damaged texture coordinates: export it again")
            self._materials.append(MaterialRange(self._count, self._count + count, material))
            colors = sample_colors(material, uv)
            if colors is not None:
                self._vertex_colors[-1] = colors
        self._uvs.append(uv)

    def _colors(self, primitive: dict[str, Any], count: int) -> npt.NDArray[np.floating]:
        """(count, 3) sRGB: vertex colours times the material's, or the material's alone."""
        material: dict[str, Any] | None = None
        if "material" in primitive:
            material = self._document.tree["materials"][primitive["material"]].get("pbrMetallicRoughness", {})
        accessor = primitive["attributes"].get("COLOR_0")
        if accessor is not None:
            linear = np.asarray(self._document.accessor(accessor), np.float64)[:, :3]
            factor = np.array((material or {}).get("baseColorFactor", (1.0, 1.0, 1.0, 1.0))[:3])
            if len(linear) != count:
                raise TalkerError(
                    f"{self._path} has {len(linear)} colours for {count} vertices: export it again"
                )
            return linear_to_srgb(np.clip(linear * factor, 0.0, 1.0))
        if material is None:
            return np.tile(DEFAULT_COLOR, (count, 1))
        linear = np.array(material.get("baseColorFactor", _DEFAULT_BASE_COLOR)[:3])
        return np.tile(np.clip(linear, 0.0, 1.0) ** (1 / 2.2), (count, 1))


def _extras(thing: dict[str, Any]) -> dict[str, Any]:
    """`extras` of a mesh or primitive; empty unless it is an object, since glTF allows any JSON type."""
    extras = thing.get("extras")
    return extras if isinstance(extras, dict) else {}


def _transform(points: npt.NDArray[Any], matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Points (V, 3) by one transform (4, 4) or by one for each (V, 4, 4)."""
    offset = matrices[:3, 3] if matrices.ndim == 2 else matrices[:, :3, 3]
    return _rotate(points, matrices) + offset


def _rotate(vectors: npt.NDArray[Any], matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.floating]:
    """Vectors (V, 3) by the linear part of one transform or of one for each."""
    if matrices.ndim == 2:
        return vectors @ matrices[:3, :3].T
    return np.einsum("vij,vj->vi", matrices[:, :3, :3], vectors)
