# SPDX-License-Identifier: Apache-2.0
"""Morph targets as tools lay them out: bound by a VRM's expressions, empty, or in compressed buffers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf import read_gltf
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import y_up_to_ros
from support.face_files import edit_glb, mouth_patch, write_test_glb

COMPRESSED = Path(__file__).absolute().parents[1] / "data" / "meshopt_face.glb"
QUANTUM_M = 0.25 / 32767
Edit = Callable[[dict[str, Any], bytearray], None]


def write_avatar(path: Path, names: list[str], edit: Edit | None = None) -> Path:
    """The patch whose three targets (an open jaw, a smile, a blink) have other names."""
    write_test_glb(path, *mouth_patch(), names=names)
    return path if edit is None else edit_glb(path, edit)


def moved(rig: Rig, name: str) -> np.ndarray:
    return rig.deltas[INDEX[name]]


def original(name: str, rig: Rig) -> np.ndarray:
    return default_rig().deltas[INDEX[name], : len(rig.vertices)]


def vrm0(document: dict[str, Any], _: bytearray) -> None:
    def group(preset: str, target: int, weight: float, name: str = "") -> dict[str, Any]:
        return {
            "name": name,
            "presetName": preset,
            "binds": [{"mesh": 0, "index": target, "weight": weight}],
        }

    groups = [
        group("a", 0, 50),
        group("blink_r", 2, 100),
        group("unknown", 1, 100, "MouthSmileLeft"),
        {"name": "Neutral", "presetName": "neutral", "binds": []},
    ]
    document["extensions"] = {"VRM": {"blendShapeMaster": {"blendShapeGroups": groups}}}


def vrm1(document: dict[str, Any], _: bytearray) -> None:
    def expression(target: int, weight: float) -> dict[str, Any]:
        return {"morphTargetBinds": [{"node": 0, "index": target, "weight": weight}]}

    preset = {"aa": expression(0, 0.5), "blinkRight": expression(2, 1), "happy": {"isBinary": False}}
    custom = {"MouthSmileLeft": expression(1, 1)}
    document["extensions"] = {"VRMC_vrm": {"expressions": {"preset": preset, "custom": custom}}}


@pytest.mark.parametrize("edit", [vrm0, vrm1])
@pytest.mark.parametrize("names", [["", "", ""], []], ids=["without a meaning", "without names"])
def test_expressions_of_a_vrm_drive_the_targets_that_they_bind(
    edit: Edit, names: list[str], tmp_path: Path
) -> None:
    rig = load_face(write_avatar(tmp_path / "a.vrm", names or [], edit))
    turn = [-1, -1, 1] if edit is vrm0 else [1, 1, 1]  # VRM 0.x faces backwards
    assert np.allclose(moved(rig, "eyeBlinkRight"), original("eyeBlinkRight", rig) * turn, atol=1e-6)
    assert np.allclose(moved(rig, "mouthSmileLeft"), original("mouthSmileLeft", rig) * turn, atol=1e-6)
    jaw = moved(rig, "jawOpen")
    factor = np.abs(jaw).max() / np.abs(original("jawOpen", rig)).max()
    assert 0.5 < factor < 1.3  # half of the target for the vowel, whose jaw is half open
    assert np.allclose(jaw, factor * original("jawOpen", rig) * turn, atol=1e-6)
    assert np.allclose(moved(rig, "mouthClose"), -jaw, atol=1e-6)


@pytest.mark.parametrize("edit", [vrm0, vrm1])
def test_a_target_with_a_name_of_its_own_moves_once(edit: Edit, tmp_path: Path) -> None:
    rig = load_face(write_avatar(tmp_path / "a.vrm", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight"], edit))
    plain = load_face(write_avatar(tmp_path / "b.glb", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight"]))
    assert np.allclose(np.abs(rig.deltas), np.abs(plain.deltas), atol=1e-6)


DAMAGES: list[Any] = [
    {"VRM": {"blendShapeMaster": {"blendShapeGroups": [{"presetName": "a", "binds": [3]}]}}},
    {"VRM": {"blendShapeMaster": {"blendShapeGroups": ["a", None]}}},
    {"VRMC_vrm": {"expressions": {"preset": ["aa"], "custom": 3}}},
    {"VRMC_vrm": {"expressions": {"preset": {"aa": {"morphTargetBinds": [{"node": 99}]}}}}},
    {"VRM": 1, "VRMC_vrm": None},
    [],
]


@pytest.mark.parametrize("extensions", DAMAGES, ids=range(len(DAMAGES)))
def test_damaged_expressions_give_a_face_or_one_sentence(extensions: Any, tmp_path: Path) -> None:
    path = write_avatar(tmp_path / "a.glb", [])
    names = ["jawOpen", "mouthSmileLeft", "eyeBlinkRight"]

    def edit(document: dict[str, Any], _: bytearray) -> None:
        document["extensions"] = extensions
        document["meshes"][0]["extras"] = {"targetNames": names}

    try:
        assert load_face(edit_glb(path, edit)).shape_names
    except TalkerError as error:
        assert "\n" not in str(error)


def test_a_target_that_moves_nothing_leaves_the_mouth_to_visemes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        primitive, mesh = document["meshes"][0]["primitives"][0], document["meshes"][0]
        count = document["accessors"][primitive["attributes"]["POSITION"]]["count"]
        document["accessors"].append({"componentType": 5126, "count": count, "type": "VEC3"})
        primitive["targets"].append({"POSITION": len(document["accessors"]) - 1})
        mesh["extras"]["targetNames"].append("jawOpen")

    with caplog.at_level(logging.WARNING):
        rig = load_face(
            write_avatar(tmp_path / "a.glb", ["viseme_aa", "mouthSmileLeft", "eyeBlinkRight"], edit)
        )
    assert np.abs(moved(rig, "jawOpen")).max() > 0.01
    assert "jawOpen" not in caplog.text


def test_a_file_without_a_known_name_is_told_what_one_was_perhaps_meant_to_be(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="is jawOpn meant to be jawOpen\\?"):
        load_face(write_avatar(tmp_path / "a.glb", ["hat", "jawOpn", "scarf"]))


def test_a_meshopt_compressed_face_is_the_face() -> None:
    rig, head = load_face(COMPRESSED), default_rig()
    skin, eye = slice(*head.parts["skin"]), slice(*head.parts["eye_left"])
    vertices = np.concatenate([head.vertices[skin], head.vertices[eye]])
    assert np.abs(rig.vertices - vertices).max() < QUANTUM_M
    for name in ("jawOpen", "mouthClose", "eyeBlinkLeft"):
        count = skin.stop - skin.start
        assert np.abs(moved(rig, name)[:count] - head.deltas[INDEX[name], skin]).max() < 1e-5
    radius = 0.019  # of the eye, whose first vertex is its pole
    outward = (vertices[skin.stop :] - vertices[skin.stop]) / radius + [1, 0, 0]
    normals = read_gltf(COMPRESSED).normals
    assert normals is not None
    normals = y_up_to_ros(normals[skin.stop :])
    assert np.abs(normals - outward).max() < 0.02  # of 8 bits
    expected = []
    offset = 0
    for part in (skin, eye):
        inside = ((head.triangles >= part.start) & (head.triangles < part.stop)).all(axis=1)
        expected.append(head.triangles[inside].astype(np.int64) - part.start + offset)
        offset += part.stop - part.start

    def in_any_order(
        triangles: np.ndarray,
    ) -> np.ndarray:  # the encoder may begin a triangle at another corner
        rolled = np.stack([np.roll(t, -int(t.argmin())) for t in triangles])
        return rolled[np.lexsort(rolled.T)]

    assert np.array_equal(in_any_order(np.asarray(rig.triangles)), in_any_order(np.concatenate(expected)))


def test_a_damaged_compressed_face_gives_a_face_or_one_sentence_with_the_cure(tmp_path: Path) -> None:
    data = COMPRESSED.read_bytes()
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for position in random.integers(4000, len(data), 40):
            damaged[position] = random.integers(256)
        path = tmp_path / "a.glb"
        path.write_bytes(damaged)
        try:
            load_face(path)
        except TalkerError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused


def test_a_stream_of_an_unknown_version_names_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    path.write_bytes(COMPRESSED.read_bytes())

    def edit(document: dict[str, Any], binary: bytearray) -> None:
        extension = document["bufferViews"][0]["extensions"]["EXT_meshopt_compression"]
        binary[extension["byteOffset"]] = 0xA7

    with pytest.raises(TalkerError, match=r"gltf-transform/cli copy a\.glb"):
        load_face(edit_glb(path, edit))


def test_draco_names_the_cure(tmp_path: Path) -> None:
    def edit(document: dict[str, Any], _: bytearray) -> None:
        document["extensionsRequired"] = ["KHR_draco_mesh_compression"]

    with pytest.raises(TalkerError, match=r"KHR_draco_mesh_compression.*gltf-transform/cli copy"):
        load_face(write_avatar(tmp_path / "a.glb", ["jawOpen", "b", "c"], edit))
