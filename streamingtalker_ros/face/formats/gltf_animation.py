# SPDX-License-Identifier: Apache-2.0
"""Writer of animated glTF: the motion of a clip on the default head or on an avatar, as a .glb file.

An avatar's file stays as it is, with its materials, textures and skeleton; the animation is added as its
first, with a channel for the morph targets of each mesh that has shapes with ARKit names, in any spelling
that `names` knows, and one for the rotation of the head's joint. The default head gets a skin of two joints,
so that its neck twists as `Rig.pose` twists it.
"""

from __future__ import annotations

import copy
import json
import os
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_document import GltfDocument
from streamingtalker_ros.face.formats.gltf_scene import GltfScene
from streamingtalker_ros.face.formats.gltf_targets import find_target_drivers, target_names
from streamingtalker_ros.face.formats.gltf_writer import encode_container, write_glb
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import matrix_to_quaternion, ros_to_y_up, rotation_matrix

ANIMATION_NAME: Final = "speech"
_UNSIGNED_BYTE, _FLOAT = 5121, 5126
_MAX_BYTES: Final = (1 << 32) - 1  # of a .glb file
_WIDTHS: Final = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GlbAnimator:
    """Writes animations of one face.

    Args:
        path: A .glb file; None for the default head.

    Raises:
        TalkerError: If the file cannot be read, is no .glb file, or has no shape with an ARKit name.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = None if path is None else Path(path)
        try:
            if self._path is None:
                self._open_default_head()
            else:
                self._open(self._path)
        except TalkerError:
            raise
        except OSError as error:
            raise TalkerError(f"{path} cannot be read ({error.strerror or error}): check the file") from None
        except Exception as error:  # whatever a damaged file raises in the arithmetic
            raise TalkerError(
                f"{path} cannot be animated ({type(error).__name__}): export it again as .glb"
            ) from None

    def encode(
        self,
        weights: npt.NDArray[np.floating],
        head: npt.NDArray[np.floating],
        times: npt.NDArray[np.floating],
    ) -> bytes:
        """Return the file with an animation.

        Args:
            weights: (T, 52) in the order of `ARKIT_NAMES`.
            head: (T, 4) quaternions xyzw.
            times: (T,) s, rising, from 0.

        Raises:
            TalkerError: If the file would be larger than a .glb file can be.
        """
        tree, binary = copy.deepcopy(self._tree), bytearray(self._binary)
        moving = sum(len(columns) for columns, _ in self._meshes.values())
        if len(binary) + 8 * len(times) * (moving + 64) > _MAX_BYTES:
            raise TalkerError(f"a .glb file cannot hold {len(times)} frames: cut the audio")
        writer = _AccessorWriter(tree, binary)
        time = writer.add(np.asarray(times)[:, None], "SCALAR", bounds=True)
        samplers: list[dict[str, Any]] = []
        channels: list[dict[str, Any]] = []

        def add_channel(node: int, path: str, output: int) -> None:
            channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
            samplers.append({"input": time, "output": output, "interpolation": "LINEAR"})

        for node, (columns, rest) in self._meshes.items():
            values = np.tile(np.asarray(rest, np.float32), (len(times), 1))
            for target, factors in columns.items():
                values[:, target] = sum(factor * weights[:, INDEX[name]] for name, factor in factors.items())
            add_channel(node, "weights", writer.add(values.reshape(-1, 1), "SCALAR"))
        if self._head is not None:
            add_channel(self._head[0], "rotation", writer.add(self._head_rotation(head), "VEC4"))
        animation = {"name": ANIMATION_NAME, "samplers": samplers, "channels": channels}
        tree.setdefault("animations", []).insert(0, animation)
        tree["buffers"][0]["byteLength"] = len(binary)
        return encode_container(tree, bytes(binary))

    def _head_rotation(self, head: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Rotation (T, 4) of the head's joint in its parent: the motion's in the world upon that at rest."""
        assert self._head is not None
        _, above, own = self._head
        world = rotation_matrix(np.asarray(head, np.float64)[:, [1, 2, 0, 3]], np.float64)  # in glTF's axes
        quaternions = matrix_to_quaternion(above.T @ world @ own)
        signs = np.sign((quaternions[1:] * quaternions[:-1]).sum(axis=1))
        quaternions[1:] *= np.cumprod(np.where(signs == 0, 1.0, signs))[:, None]  # the shorter way
        return quaternions

    def _open(self, path: Path) -> None:
        document = GltfDocument(path)
        tree = document.tree
        buffers = tree.get("buffers")
        if not document.binary or not isinstance(buffers, list) or len(buffers) != 1 or "uri" in buffers[0]:
            raise TalkerError(f"{path} is not a .glb file that holds all its data: export it as .glb")
        self._tree, self._binary = tree, document.binary
        scene = GltfScene(document)
        self._meshes: dict[int, tuple[dict[int, dict[str, float]], list[float]]] = {}
        drivers = find_target_drivers(tree)
        nodes: list[dict[str, Any]] = tree.get("nodes") or []
        for index, node in enumerate(nodes):
            if "mesh" not in node:
                continue
            mesh = tree["meshes"][node["mesh"]]
            count = max(len(primitive.get("targets") or ()) for primitive in mesh["primitives"])
            labels = target_names(mesh) or target_names(mesh["primitives"][0])
            columns = drivers.select(node["mesh"], labels, count)
            if columns:
                rest = node.get("weights") or mesh.get("weights") or [0.0] * count
                self._meshes[index] = columns, [float(weight) for weight in rest]
                if len(rest) != count:
                    raise TalkerError(f"{path} has {len(rest)} weights for {count} shapes: export it again")
        if not self._meshes:
            raise TalkerError(
                f"{path} has no morph target with the name of an ARKit shape, such as jawOpen: export its "
                "shape keys with their names"
            )
        self._head = scene.head_joint()
        if self._head is not None:
            _split_matrix(tree["nodes"][self._head[0]])

    def _open_default_head(self) -> None:
        rig = default_rig()
        tree, binary = split_container(write_glb(rig))
        self._tree, self._binary = add_neck(tree, binary, rig)
        names = rig.shape_names
        self._meshes = {0: ({k: {name: 1.0} for k, name in enumerate(names)}, [0.0] * len(names))}
        self._head = 2, np.eye(3), np.eye(3)


def split_container(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON tree and the binary chunk of a .glb file that `write_glb` wrote.

    Args:
        data: The bytes of the file.
    """
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def add_neck(tree: dict[str, Any], binary: bytes, rig: Rig) -> tuple[dict[str, Any], bytes]:
    """Give the mesh of a rig a skin of two joints: the body, and the head, which turns about the rig's pivot.

    Args:
        tree: JSON tree of `write_glb`.
        binary: Binary chunk of `write_glb`.
        rig: The rig.

    Returns:
        The tree and the binary chunk.
    """
    data = bytearray(binary)
    writer = _AccessorWriter(tree, data)
    follow = np.ones(len(rig.vertices)) if rig.follow is None else rig.follow
    joints = np.tile(np.array([0, 1, 0, 0], np.uint8), (len(follow), 1))
    weights = np.stack([1 - follow, follow, 0 * follow, 0 * follow], axis=1)
    inverse = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    pivot = ros_to_y_up(np.asarray(rig.pivot, np.float64))
    inverse[1, :3, 3] = -pivot
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = writer.add(joints, "VEC4", component=_UNSIGNED_BYTE)
    attributes["WEIGHTS_0"] = writer.add(weights, "VEC4")
    matrices = writer.add(inverse.transpose(0, 2, 1).reshape(2, 16), "MAT4")
    tree["nodes"][0]["skin"] = 0
    tree["nodes"] += [
        {"name": "Body", "children": [2]},
        {"name": "Head", "translation": [float(value) for value in pivot]},
    ]
    tree["skins"] = [{"joints": [1, 2], "inverseBindMatrices": matrices, "skeleton": 1}]
    tree["scenes"][0]["nodes"] = [0, 1]
    tree["buffers"][0]["byteLength"] = len(data)
    return tree, bytes(data)


class _AccessorWriter:
    """Appends accessors to a document of one buffer."""

    def __init__(self, tree: dict[str, Any], binary: bytearray) -> None:
        self._tree, self._binary = tree, binary

    def add(self, values: npt.ArrayLike, kind: str, component: int = _FLOAT, bounds: bool = False) -> int:
        """Append an accessor of rows; return its number."""
        array = np.ascontiguousarray(values, "u1" if component == _UNSIGNED_BYTE else "<f4")
        self._binary += bytes(-len(self._binary) % 4)
        views, accessors = self._tree.setdefault("bufferViews", []), self._tree.setdefault("accessors", [])
        views.append({"buffer": 0, "byteOffset": len(self._binary), "byteLength": array.nbytes})
        self._binary += array.tobytes()
        accessor: dict[str, Any] = {
            "bufferView": len(views) - 1,
            "componentType": component,
            "count": array.size // _WIDTHS[kind],
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        accessors.append(accessor)
        return len(accessors) - 1


def _split_matrix(node: dict[str, Any]) -> None:
    """Replace the matrix of a node, which cannot be animated, by translation, rotation and scale."""
    if "matrix" not in node:
        return
    matrix = np.array(node.pop("matrix"), np.float64).reshape(4, 4).T
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    node["translation"] = matrix[:3, 3].tolist()
    node["scale"] = scale.tolist()
    node["rotation"] = matrix_to_quaternion(matrix[:3, :3] / scale).tolist()
