# SPDX-License-Identifier: Apache-2.0
"""The scene of a glTF file: where its nodes place each mesh, how skins move it, and which joint is the head.

A mesh without a skin is placed by its node; one with a skin by its joints, each by joint × inverse bind
matrix (glTF 2.0, section 3.7.3.3). Scenes of VRM 0.x face backwards and are turned around. Arms that a figure
holds out, as it was modelled, are lowered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.gltf_document import GltfDocument
from streamingtalker_ros.face.rotation import rotation_matrix

_HALF_TURN = np.diag([-1.0, 1.0, -1.0, 1.0])  # about y
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NO_HEAD_WORDS = {
    "aim",
    "ctrl",
    "end",
    "front",
    "ik",
    "look",
    "nub",
    "tail",
    "target",
    "tip",
    "top",
}  # HeadNub
_ARM_WORDS, _NO_ARM_WORDS = {"arm", "upperarm"}, {"fore", "lower", "twist", "roll", *_NO_HEAD_WORDS}
_SIDE_WORDS = {"left": "left", "l": "left", "right": "right", "r": "right"}
_MIN_ARM_HEIGHT = -0.5  # of an arm of length 1 that is lowered: higher than 30° below the horizontal
_HANGING_ARM = np.array([np.sin(0.2), -np.cos(0.2), 0.0])  # of the left side
_MAX_NODES = 100_000


class MeshInstance(NamedTuple):
    """A mesh as a node of the scene shows it.

    Attributes:
        name: Unique among the instances.
        index: Of the mesh in the document.
        mesh: Its JSON object.
        matrix: (4, 4) world transform of a mesh without a skin.
        joints: (J, 4, 4) world transform × inverse bind matrix of each joint of its skin, or None.
        head_joints: (J,) 1 for the head's joint and those below it, otherwise 0; None if there are none.
        is_on_head: Whether a mesh without a skin hangs on the head's joint; None if there is no such joint.
    """

    name: str
    index: int
    mesh: dict[str, Any]
    matrix: npt.NDArray[np.float64]
    joints: npt.NDArray[np.float64] | None
    head_joints: npt.NDArray[np.float64] | None
    is_on_head: bool | None


class GltfScene:
    """The nodes of a document.

    Args:
        document: The file.

    Attributes:
        head_position: (3,) world position of the head's joint; None if there is none.

    Raises:
        TalkerError: If the nodes are no tree, or a transform is not finite.
    """

    def __init__(self, document: GltfDocument) -> None:
        self._document = document
        self._nodes: list[dict[str, Any]] = _as_list(document.tree.get("nodes"))
        if len(self._nodes) > _MAX_NODES:
            raise TalkerError(f"{document.path} has {len(self._nodes)} nodes: export the face alone")
        extensions = document.tree.get("extensions")
        self._is_turned = isinstance(extensions, dict) and "VRM" in extensions
        self._parents = self._find_parents()
        self._worlds = self._world_matrices()
        self._lower_arms()
        self._head = self._find_head()
        self._below_head = set() if self._head is None else self._below(self._head)
        self._skins: dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]] = {}
        self.head_position = None if self._head is None else self._worlds[self._head][:3, 3]

    def head_joint(self) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """The head's joint: its node, and the world rotations (3, 3) of its parent and of itself at rest."""
        if self._head is None:
            return None
        parent = self._parents[self._head]
        above = _HALF_TURN if self._is_turned else np.eye(4)
        above = self._worlds[parent] if parent >= 0 else above
        return self._head, _rotation_part(above), _rotation_part(self._worlds[self._head])

    def instances(self) -> Iterator[MeshInstance]:
        """The meshes of the scene, or all of a file without nodes."""
        tree = self._document.tree
        if not self._nodes:
            for index, mesh in enumerate(_as_list(tree.get("meshes"))):
                yield MeshInstance(str(mesh.get("name", "mesh")), index, mesh, np.eye(4), None, None, None)
            return
        uses: dict[str, int] = {}
        for index in self._shown_nodes():
            node = self._nodes[index]
            if "mesh" not in node:
                continue
            mesh = tree["meshes"][node["mesh"]]
            name = str(mesh.get("name") or node.get("name") or f"mesh{node['mesh']}")
            uses[name] = uses.get(name, 0) + 1
            unique = name if uses[name] == 1 else f"{name}.{uses[name]}"
            joints, head_joints = self._skin(node["skin"]) if "skin" in node else (None, None)
            is_on_head = None if self._head is None else index in self._below_head
            number = node["mesh"]
            yield MeshInstance(unique, number, mesh, self._worlds[index], joints, head_joints, is_on_head)

    def _find_parents(self) -> list[int]:
        """Parent of each node, -1 for a root."""
        parents = [-1] * len(self._nodes)
        for index, node in enumerate(self._nodes):
            for child in node.get("children") or ():
                if parents[child] >= 0 or child == index or child < 0:
                    raise TalkerError(
                        f"{self._document.path} has a node {child} with several parents, so that its nodes "
                        "are no tree: export it again"
                    )
                parents[child] = index
        return parents

    def _world_matrices(self) -> list[npt.NDArray[np.float64]]:
        root = _HALF_TURN if self._is_turned else np.eye(4)
        worlds: list[npt.NDArray[np.float64] | None] = [None] * len(self._nodes)
        stack = [(index, root) for index, parent in enumerate(self._parents) if parent < 0]
        while stack:
            index, parent = stack.pop()
            world = parent @ _local_matrix(self._nodes[index])
            if not np.isfinite(world).all():
                raise TalkerError(
                    f"{self._document.path}: node {index} has a transform that is not finite: export it again"
                )
            worlds[index] = world
            stack += [(child, world) for child in self._nodes[index].get("children") or ()]
        found = [world for world in worlds if world is not None]
        if len(found) < len(worlds):  # a node with one parent that no root leads to is part of a ring
            raise TalkerError(f"{self._document.path} has nodes that form a ring: export it again")
        return found

    def _lower_arms(self) -> None:
        """Turn the upper arms that are held out, with all below them, so that they hang down."""
        arms: dict[str, int] = {}
        for joint in sorted(self._joints(), key=self._depth):
            side = _arm_side(self._nodes[joint].get("name"))
            if side is not None:
                arms.setdefault(side, joint)
        for joint in arms.values():
            below = sorted(self._below(joint))
            shoulder = self._worlds[joint][:3, 3].copy()
            reach = np.array([self._worlds[index][:3, 3] for index in below]) - shoulder
            hand = reach[np.linalg.norm(reach, axis=1).argmax()]
            length = np.linalg.norm(hand)
            if length < 1e-6 or hand[1] < _MIN_ARM_HEIGHT * length:
                continue
            turn = np.eye(4)
            turn[:3, :3] = _rotation_between(
                hand / length, _HANGING_ARM * (np.sign(hand[0]) or 1.0, 1.0, 1.0)
            )
            turn[:3, 3] = shoulder - turn[:3, :3] @ shoulder
            for index in below:
                self._worlds[index] = turn @ self._worlds[index]

    def _joints(self) -> set[int]:
        """The nodes that are joints of a skin."""
        return {
            joint
            for skin in _as_list(self._document.tree.get("skins"))
            for joint in skin["joints"]
            if isinstance(joint, int) and 0 <= joint < len(self._nodes)
        }

    def _shown_nodes(self) -> list[int]:
        """Nodes of the default scene, each before its children."""
        tree = self._document.tree
        scenes = _as_list(tree.get("scenes"))
        roots = [index for index, parent in enumerate(self._parents) if parent < 0]
        if scenes:
            roots = list(dict.fromkeys(scenes[tree.get("scene", 0)].get("nodes") or ()))
        shown: dict[int, None] = {}
        stack = list(reversed(roots))
        while stack:
            index = stack.pop()
            if index not in shown:
                shown[index] = None
                stack += reversed(self._nodes[index].get("children") or ())
        return list(shown)

    def _skin(self, number: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
        if number in self._skins:
            return self._skins[number]
        skin = self._document.tree["skins"][number]
        joints: Sequence[int] = skin["joints"]
        matrices = np.array([self._worlds[joint] for joint in joints])
        if "inverseBindMatrices" in skin:
            inverse = np.asarray(self._document.accessor(skin["inverseBindMatrices"]), np.float64)
            matrices = matrices @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
        weights = None
        if self._head is not None:
            weights = np.array([float(joint in self._below_head) for joint in joints])
        self._skins[number] = matrices, weights
        return matrices, weights

    def _find_head(self) -> int | None:
        """The head's joint: that of a VRM's skeleton, else the uppermost with a name like mixamorig:Head."""
        tree = self._document.tree
        named = _vrm_head(tree)
        if named is not None and 0 <= named < len(self._nodes):
            return named
        found = [joint for joint in sorted(self._joints()) if _is_head_name(self._nodes[joint].get("name"))]
        return min(found, key=self._depth) if found else None

    def _below(self, node: int) -> set[int]:
        """A node and all nodes below it."""
        below: set[int] = set()
        stack = [node]
        while stack:
            index = stack.pop()
            below.add(index)
            stack += self._nodes[index].get("children") or ()
        return below

    def _depth(self, node: int) -> int:
        depth = 0
        while node >= 0:
            depth, node = depth + 1, self._parents[node]
        return depth


def _words(name: Any) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)] if isinstance(name, str) else []


def _arm_side(name: Any) -> str | None:
    """Side of an upper arm by its name, such as mixamorig:LeftArm or J_Bip_L_UpperArm; None for others."""
    words = _words(name)
    if _ARM_WORDS.isdisjoint(words) or not _NO_ARM_WORDS.isdisjoint(words):
        return None
    return next((_SIDE_WORDS[word] for word in words if word in _SIDE_WORDS), None)


def _rotation_between(
    start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The smallest rotation (3, 3) of one unit vector (3,) into another that is not its opposite."""
    axis = np.cross(start, end)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + start @ end)


def _is_head_name(name: Any) -> bool:
    words = _words(name)
    return "head" in words and _NO_HEAD_WORDS.isdisjoint(words)


def _vrm_head(tree: dict[str, Any]) -> int | None:
    """The node that VRM 0.x or 1.0 names as the head."""
    try:
        extensions = tree["extensions"]
        if "VRM" in extensions:
            bones = extensions["VRM"]["humanoid"]["humanBones"]
            found = [bone["node"] for bone in bones if bone["bone"] == "head"]
            return found[0] if found and isinstance(found[0], int) else None
        node = extensions["VRMC_vrm"]["humanoid"]["humanBones"]["head"]["node"]
        return node if isinstance(node, int) else None
    except (KeyError, TypeError, IndexError):
        return None


def _rotation_part(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rotation (3, 3) nearest to the linear part of a transform (4, 4)."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    left[:, -1] *= np.sign(np.linalg.det(left @ right))
    return left @ right


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


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
