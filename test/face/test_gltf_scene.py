# SPDX-License-Identifier: Apache-2.0
"""Figures in glTF stand upright in metres and turn their heads alone; nodes that are no tree are rejected."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.rig import Rig
from support.face_files import append_accessor, edit_glb, mouth_patch, write_test_glb

QUARTER_TURN_X = [np.sin(np.pi / 4), 0.0, 0.0, np.cos(np.pi / 4)]
NOD = np.array([0, np.sin(np.radians(5)), 0, np.cos(np.radians(5))])


def write_skinned(
    path: Path,
    scale: float,
    joints: list[dict[str, Any]],
    inverse_bind: Sequence[npt.NDArray[np.float64]],
    weights: npt.NDArray[np.float32] | None = None,
) -> Path:
    """The patch in other units, skinned to joints that follow its node; the first is the others' ancestor."""
    vertices, triangles, deltas = mouth_patch()
    patch = vertices * scale, triangles, {name: delta * scale for name, delta in deltas.items()}
    count = len(vertices)
    if weights is None:
        weights = np.zeros((count, 4), np.float32)
        weights[:, len(joints) - 1] = 1

    def edit(document: dict[str, Any], binary: bytearray) -> None:
        matrices = np.stack(inverse_bind).astype("<f4").transpose(0, 2, 1).reshape(-1, 16)
        bind = append_accessor(document, binary, matrices, "MAT4", 5126)
        attributes = document["meshes"][0]["primitives"][0]["attributes"]
        indices = np.tile(np.arange(4, dtype=np.uint8) % len(joints), (count, 1))
        attributes["JOINTS_0"] = append_accessor(document, binary, indices, "VEC4", 5121)
        attributes["WEIGHTS_0"] = append_accessor(document, binary, weights, "VEC4", 5126)
        document["skins"] = [
            {"joints": list(range(1, 1 + len(joints))), "inverseBindMatrices": bind},
        ]
        document["nodes"] = [{"mesh": 0, "skin": 0, "translation": [9, 9, 9]}, *joints]
        document["scenes"] = [{"nodes": [0, 1]}]
        document["buffers"] = [{"byteLength": len(binary)}]

    return edit_glb(write_test_glb(path, *patch), edit)


def assert_is_the_patch(rig: Rig) -> None:
    original, count = default_rig(), len(rig.vertices)
    assert np.allclose(rig.vertices, original.vertices[:count], atol=1e-5)
    for name in ("jawOpen", "mouthSmileLeft"):
        assert np.allclose(rig.deltas[INDEX[name]], original.deltas[INDEX[name], :count], atol=1e-5)


def test_centimetres_below_a_scaled_armature_stand_in_metres(tmp_path: Path) -> None:
    joints = [{"name": "hips", "scale": [0.01] * 3, "children": [2]}, {"name": "head"}]
    assert_is_the_patch(load_face(write_skinned(tmp_path / "a.glb", 100.0, joints, [np.eye(4)] * 2)))


def test_units_in_the_inverse_bind_matrices_are_metres(tmp_path: Path) -> None:
    bind = np.diag([1 / 4000] * 3 + [1.0])
    assert_is_the_patch(load_face(write_skinned(tmp_path / "a.glb", 4000.0, [{"name": "Head"}], [bind])))


def test_a_skeleton_with_z_up_stands_upright(tmp_path: Path) -> None:
    turn = np.array(
        [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]]
    )  # the file's z is up: back to y
    undo = np.linalg.inv(turn)
    joints = [{"name": "root", "matrix": turn.T.ravel().tolist(), "children": [2]}, {"name": "Head"}]
    assert_is_the_patch(load_face(write_skinned(tmp_path / "a.glb", 1.0, joints, [undo, undo])))


def test_a_vertex_is_moved_by_the_mean_of_its_joints(tmp_path: Path) -> None:
    count = len(mouth_patch()[0])
    weights = np.tile(np.array([0.4, 0.6, 0, 0], np.float32), (count, 1))
    joints = [{"name": "hips", "children": [2]}, {"name": "Head", "translation": [0, 2, 0]}]
    rig = load_face(write_skinned(tmp_path / "a.glb", 1.0, joints, [np.eye(4)] * 2, weights))
    assert np.allclose(rig.vertices, default_rig().vertices[:count] + np.array([0, 0, 1.2]), atol=1e-5)
    assert rig.follow is not None and np.allclose(rig.follow, 0.6)


def test_vrm_0_is_turned_to_face_the_viewer_and_vrm_1_is_not(tmp_path: Path) -> None:
    path = write_test_glb(tmp_path / "a.glb", *mouth_patch())
    plain = load_face(path)
    turned = load_face(edit_glb(path, lambda tree, _: tree.update(extensions={"VRM": {}})))
    assert np.allclose(turned.vertices, plain.vertices * [-1, -1, 1], atol=1e-7)
    modern = load_face(edit_glb(path, lambda tree, _: tree.update(extensions={"VRMC_vrm": {}})))
    assert np.array_equal(modern.vertices, plain.vertices)


def add_body(path: Path, floor: float, eyes: bool = False) -> Path:
    """A box from the floor to the neck below the patch, and perhaps a box for hair about the head."""
    low = mouth_patch()[0][:, 1].min()

    def edit(document: dict[str, Any], binary: bytearray) -> None:
        boxes = [(floor, low + 0.01, 0.25)] + ([(low + 0.15, low + 0.3, 0.1)] if eyes else [])
        for bottom, top, width in boxes:
            grid = [
                [x, y, z] for y in np.linspace(bottom, top, 9) for x in (-width, width) for z in (-0.1, 0.1)
            ]
            position = append_accessor(document, binary, np.array(grid, "<f4"), "VEC3", 5126)
            document["meshes"].append({"primitives": [{"attributes": {"POSITION": position}}]})
            faces = np.array([[4 * k, 4 * k + 1, 4 * k + 4] for k in range(8)], "<u2").ravel()
            index = append_accessor(document, binary, faces, "SCALAR", 5123)
            document["meshes"][-1]["primitives"][0]["indices"] = index
            document["nodes"].append({"mesh": len(document["meshes"]) - 1})
            document["scenes"][0]["nodes"].append(len(document["nodes"]) - 1)
        document["buffers"] = [{"byteLength": len(binary)}]

    return edit_glb(path, edit)


def movement(rig: Rig) -> npt.NDArray[np.float32]:
    return np.linalg.norm(rig.pose(np.zeros(52), NOD) - rig.vertices, axis=1)


def test_the_head_of_a_figure_turns_about_its_neck_and_the_body_stays(tmp_path: Path) -> None:
    path = add_body(write_test_glb(tmp_path / "a.glb", *mouth_patch()), -1.6, eyes=True)
    rig, count = load_face(path), len(mouth_patch()[0])
    alone = load_face(write_test_glb(tmp_path / "b.glb", *mouth_patch()))
    assert np.allclose(rig.pivot, alone.pivot, atol=0.08)
    assert np.allclose(movement(rig)[:count], movement(alone), atol=0.02)
    hair = slice(count + 36, count + 72)
    assert movement(rig)[hair].min() > 0.003
    body = rig.vertices[count : count + 36, 2] < rig.vertices[:count, 2].min() - 0.1
    assert movement(rig)[count : count + 36][body].max() == 0
    low, high = rig.head_bounds()
    assert high[2] - low[2] < 0.6 and np.ptp(rig.vertices[:, 2]) > 1.5
    rest, open_jaw = np.zeros(52), np.eye(52)[INDEX["jawOpen"]]
    assert rig.lip_gap(open_jaw) - rig.lip_gap(rest) > 0.01


def test_a_bust_is_no_figure(tmp_path: Path) -> None:
    path = add_body(write_test_glb(tmp_path / "a.glb", *mouth_patch()), mouth_patch()[0][:, 1].min() - 0.1)
    rig = load_face(path)
    assert rig.follow is None and np.array_equal(rig.head_bounds()[0], rig.vertices.min(axis=0))


def test_the_head_joint_says_where_the_head_turns(tmp_path: Path) -> None:
    vertices = mouth_patch()[0]
    weights = np.zeros((len(vertices), 4), np.float32)
    is_head = vertices[:, 1] > np.median(vertices[:, 1])
    weights[is_head, 1], weights[~is_head, 0] = 1, 1
    at = [0.0, float(np.median(vertices[:, 1])), 0.02]
    inverse = np.eye(4)
    inverse[:3, 3] = -np.array(at)
    joints = [{"name": "mixamorig:Neck", "children": [2]}, {"name": "mixamorig:Head", "translation": at}]
    rig = load_face(write_skinned(tmp_path / "a.glb", 1.0, joints, [np.eye(4), inverse], weights))
    if rig.follow is not None:
        assert np.allclose(rig.follow, is_head)
        assert np.allclose(rig.pivot, [at[2], at[0], at[1]], atol=1e-6)
    assert_is_the_patch(rig)


@pytest.mark.parametrize("hand, is_lowered", [([0.5, 0.0, 0.0], True), ([0.1, -0.5, 0.0], False)])
def test_arms_that_are_held_out_hang_down(tmp_path: Path, hand: list[float], is_lowered: bool) -> None:
    vertices = mouth_patch()[0]
    on_arm = vertices[:, 1] > np.quantile(vertices[:, 1], 0.9)
    weights = np.zeros((len(vertices), 4), np.float32)
    weights[on_arm, 2], weights[~on_arm, 0] = 1, 1
    shoulder = np.array([0.2, 0.1, 0.0])
    inverse = [np.eye(4) for _ in range(3)]
    inverse[1][:3, 3], inverse[2][:3, 3] = -shoulder, -shoulder - hand
    joints = [
        {"name": "mixamorig:Hips", "children": [2]},
        {"name": "mixamorig:LeftArm", "translation": shoulder.tolist(), "children": [3]},
        {"name": "mixamorig:LeftHand", "translation": hand},
    ]
    rig = load_face(write_skinned(tmp_path / "a.glb", 1.0, joints, inverse, weights))
    if not is_lowered:
        return assert_is_the_patch(rig)
    original = default_rig().vertices[: len(rig.vertices)]
    np.testing.assert_allclose(rig.vertices[~on_arm], original[~on_arm], atol=1e-5)
    reach, before = (points[on_arm] - shoulder[[2, 0, 1]] for points in (rig.vertices, original))
    np.testing.assert_allclose(np.linalg.norm(reach, axis=1), np.linalg.norm(before, axis=1), atol=1e-5)
    np.testing.assert_allclose(reach @ [0, np.sin(0.2), -np.cos(0.2)], before @ [0, 1, 0], atol=1e-5)


RINGS: dict[str, list[dict[str, Any]]] = {
    "a ring beside the scene": [{"mesh": 0}, {"children": [2]}, {"children": [1]}],
    "two parents": [{"children": [2]}, {"children": [2]}, {"mesh": 0}],
    "an ancestor as a child": [{"children": [1]}, {"children": [2]}, {"mesh": 0, "children": [0]}],
    "a child that is not there": [{"mesh": 0, "children": [7]}],
    "a negative child": [{"mesh": 0, "children": [-1]}],
    "a child of another type": [{"mesh": 0, "children": ["1"]}],
    "a transform that is not finite": [{"mesh": 0, "scale": [1e308, 1e308, 1e308]}],
    "a mesh shown without end": [{"mesh": 0} for _ in range(9000)],
}


@pytest.mark.parametrize("case", RINGS)
def test_nodes_that_are_no_tree_are_rejected_in_one_sentence(tmp_path: Path, case: str) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        document["nodes"] = RINGS[case]
        document["scenes"] = [{"nodes": list(range(len(RINGS[case]))) if len(RINGS[case]) > 100 else [0]}]

    path = edit_glb(write_test_glb(tmp_path / "a.glb", *mouth_patch()), edit)
    start = time.process_time()
    with pytest.raises(TalkerError) as error:
        load_face(path)
    assert time.process_time() - start < 2.0 and "\n" not in str(error.value)


def test_a_deep_chain_of_nodes_is_read(tmp_path: Path) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        document["nodes"] = [*({"children": [k + 1]} for k in range(5000)), {"mesh": 0}]

    assert_is_the_patch(load_face(edit_glb(write_test_glb(tmp_path / "a.glb", *mouth_patch()), edit)))


@pytest.mark.parametrize("field, value", [("count", 10**9), ("count", -1), ("count", 1e9), ("count", True)])
@pytest.mark.parametrize("accessor", [0, 1, 2])
def test_a_stated_size_is_not_believed(tmp_path: Path, accessor: int, field: str, value: Any) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        document["accessors"][accessor].pop("bufferView", None)
        document["accessors"][accessor][field] = value

    with pytest.raises(TalkerError) as error:
        load_face(edit_glb(write_test_glb(tmp_path / "a.glb", *mouth_patch()), edit))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("extras", [["a"], "targetNames", 1.5, False, {"targetNames": 7}, {"rig": [1]}, None])
def test_extras_of_any_type_leave_the_names_of_the_primitive(tmp_path: Path, extras: Any) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        mesh = document["meshes"][0]
        mesh["primitives"][0]["extras"] = mesh["extras"]
        mesh["extras"] = extras

    assert_is_the_patch(load_face(edit_glb(write_test_glb(tmp_path / "a.glb", *mouth_patch()), edit)))


def test_lost_shapes_are_named_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vertices, triangles, deltas = mouth_patch()
    with caplog.at_level(logging.WARNING):
        names = ["A25_Jaw_Open", "Wobble", "CC_Brow_Drop_L"]
        load_face(write_test_glb(tmp_path / "a.glb", vertices, triangles, deltas, names=names))
    (record,) = caplog.records
    assert "lacks 50 of the 52" in record.getMessage() and "Wobble" in record.getMessage()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        every = dict.fromkeys(ARKIT_NAMES, deltas["jawOpen"])
        load_face(write_test_glb(tmp_path / "b.glb", vertices, triangles, every))
    assert not caplog.records
