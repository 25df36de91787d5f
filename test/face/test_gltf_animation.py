# SPDX-License-Identifier: Apache-2.0
"""An animated .glb file shows the clip: its weights are the frames, its joints pose as the rig does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_animation import GlbAnimator
from streamingtalker_ros.face.formats.gltf_document import GltfDocument
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.rotation import (
    matrix_to_quaternion,
    quaternion_to_euler,
    ros_to_y_up,
    rotation_matrix,
)
from support.face_files import edit_glb, mouth_patch, write_test_glb
from support.udp_receiver import random_motion

TIMES = np.arange(30) / 25


def animate(path: Path, face: Path | None = None) -> tuple[GltfDocument, Any, Any]:
    """Write an animation of random motion; return the file, the weights and the rotations."""
    weights, head = random_motion(len(TIMES))
    path.write_bytes(GlbAnimator(face).encode(weights, head, TIMES))
    return GltfDocument(path), weights, head


def channel(document: GltfDocument, path: str) -> tuple[int, npt.NDArray[Any], npt.NDArray[Any]]:
    """Node, times and values of the channel of a path, of the first animation."""
    animation = document.tree["animations"][0]
    (found,) = (each for each in animation["channels"] if each["target"]["path"] == path)
    sampler = animation["samplers"][found["sampler"]]
    times, values = document.accessor(sampler["input"]), document.accessor(sampler["output"])
    return found["target"]["node"], times[:, 0], values.reshape(len(times), -1)


def test_the_animation_of_the_default_head_holds_every_frame(tmp_path: Path) -> None:
    document, weights, _ = animate(tmp_path / "a.glb")
    node, times, values = channel(document, "weights")
    np.testing.assert_allclose(times, TIMES, atol=1e-6)
    np.testing.assert_array_equal(values, weights)
    mesh = document.tree["meshes"][document.tree["nodes"][node]["mesh"]]
    assert tuple(mesh["extras"]["targetNames"]) == ARKIT_NAMES


def test_the_joints_of_the_default_head_pose_it_as_the_rig_does(tmp_path: Path) -> None:
    document, _, head = animate(tmp_path / "a.glb")
    rig = default_rig()
    node, _, rotations = channel(document, "rotation")
    tree = document.tree
    joints = tree["skins"][0]["joints"]
    inverse = document.accessor(tree["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    indices = document.accessor(attributes["JOINTS_0"]).astype(int)
    shares = document.accessor(attributes["WEIGHTS_0"])
    points = ros_to_y_up(rig.vertices)
    assert joints[1] == node and np.allclose(shares.sum(axis=1), 1)
    for frame in (0, 13, 29):
        turned = np.eye(4)
        turned[:3, :3] = rotation_matrix(rotations[frame], np.float64)
        turned[:3, 3] = tree["nodes"][node]["translation"]
        matrices = np.stack([np.eye(4) @ inverse[0], turned @ inverse[1]])
        moved = np.einsum("kij,vj->vki", matrices[:, :3, :3], points) + matrices[None, :, :3, 3]
        posed = (shares[:, :2, None] * np.take_along_axis(moved, indices[:, :2, None], axis=1)).sum(axis=1)
        expected = ros_to_y_up(rig.pose(np.zeros(52), head[frame]))
        np.testing.assert_allclose(posed, expected, atol=1e-6)


def test_the_face_of_an_animated_file_is_the_face(tmp_path: Path) -> None:
    animate(tmp_path / "a.glb")
    rig, read = default_rig(), load_face(tmp_path / "a.glb")
    np.testing.assert_array_equal(read.vertices, rig.vertices)
    np.testing.assert_array_equal(read.deltas, rig.deltas)
    np.testing.assert_array_equal(read.pivot, rig.pivot)
    assert rig.follow is not None and read.follow is not None
    np.testing.assert_array_equal(read.follow, rig.follow)


def test_an_avatar_is_animated_by_the_names_of_its_shapes_and_keeps_the_rest(tmp_path: Path) -> None:
    vertices, triangles, deltas = mouth_patch()
    names = ["Jaw_Open", "smirk", "A07_Eye_Blink_Right"]
    face = write_test_glb(tmp_path / "face.glb", vertices, triangles, deltas, names)
    edit_glb(face, lambda tree, binary: tree["meshes"][0].update(weights=[0.0, 0.25, 0.0]))
    before = load_face(face)
    document, weights, _ = animate(tmp_path / "a.glb", face)
    _, _, values = channel(document, "weights")
    np.testing.assert_allclose(values[:, 0], weights[:, INDEX["jawOpen"]], atol=1e-7)
    np.testing.assert_allclose(values[:, 1], 0.25)  # what the file gives a shape of no ARKit name
    np.testing.assert_allclose(values[:, 2], weights[:, INDEX["eyeBlinkRight"]], atol=1e-7)
    after = load_face(tmp_path / "a.glb")
    np.testing.assert_array_equal(after.vertices, before.vertices)
    np.testing.assert_array_equal(after.deltas, before.deltas)


@pytest.mark.parametrize("is_vrm0", [False, True])
@pytest.mark.parametrize("has_matrix", [False, True])
def test_the_head_of_a_figure_turns_in_the_world_whatever_its_bones_axes(
    tmp_path: Path, is_vrm0: bool, has_matrix: bool
) -> None:
    vertices, triangles, deltas = mouth_patch()
    face = write_test_glb(tmp_path / "face.glb", vertices, triangles, deltas)
    spine, neck = [0.5, 0.5, 0.5, 0.5], [0.0, 0.6, 0.0, 0.8]

    def add_bones(tree: dict[str, Any], binary: bytearray) -> None:
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_matrix(neck, np.float64)
        head = {"matrix": matrix.T.ravel().tolist()} if has_matrix else {"rotation": neck}
        tree["nodes"] += [{"rotation": spine, "children": [2]}, {"name": "mixamorig:Head", **head}]
        tree["scenes"][0]["nodes"] = [0, 1]
        tree["skins"] = [{"joints": [1, 2]}]
        if is_vrm0:
            tree["extensions"] = {"VRM": {"humanoid": {"humanBones": [{"bone": "head", "node": 2}]}}}

    edit_glb(face, add_bones)
    document, _, head = animate(tmp_path / "a.glb", face)
    node, _, rotations = channel(document, "rotation")
    assert node == 2 and "matrix" not in document.tree["nodes"][2]
    turn = np.diag([-1.0, 1.0, -1.0]) if is_vrm0 else np.eye(3)
    above = turn @ rotation_matrix(spine, np.float64)
    rest = above @ rotation_matrix(neck, np.float64)
    for frame in range(len(TIMES)):
        world = above @ rotation_matrix(rotations[frame], np.float64) @ rest.T
        x, y, z, w = matrix_to_quaternion(world)
        np.testing.assert_allclose(
            quaternion_to_euler([z, x, y, w]), quaternion_to_euler(head[frame]), atol=1e-5
        )
    assert ((rotations[1:] * rotations[:-1]).sum(axis=1) > 0).all()  # the shorter way


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("absent.glb", None, "is not a file"),
        ("text.glb", b"hello", "absent|cannot be animated|export it again"),
        ("cut.glb", b"glTF\x02\0\0\0\xff\0\0\0", "cut short"),
    ],
)
def test_a_file_that_is_no_avatar_is_rejected_in_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TalkerError, match=message) as error:
        GlbAnimator(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_avatar_without_arkit_shapes_is_rejected_with_the_cure(tmp_path: Path) -> None:
    vertices, triangles, deltas = mouth_patch()
    face = write_test_glb(tmp_path / "face.glb", vertices, triangles, deltas, ["one", "two", "three"])
    with pytest.raises(TalkerError, match="no morph target with the name of an ARKit shape"):
        GlbAnimator(face)


def test_a_matrix_and_its_quaternion_are_one_rotation() -> None:
    quaternions = np.random.default_rng(0).normal(size=(500, 4))
    quaternions = np.concatenate([quaternions, np.eye(4), -np.eye(4)])
    matrices = rotation_matrix(quaternions, np.float64)
    found = matrix_to_quaternion(matrices)
    assert (found[:, 3] >= 0).all()
    np.testing.assert_allclose(rotation_matrix(found, np.float64), matrices, atol=1e-12)
