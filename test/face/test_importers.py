# SPDX-License-Identifier: Apache-2.0
"""Faces in glTF, OBJ and PLY files are read as the same face in the package's axes and metres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.formats.names import arkit_name
from streamingtalker_ros.face.formats.ply import read_ply
from support.face_files import mouth_patch, write_test_glb, write_test_obj
from support.face_shapes import shape_weights


@pytest.mark.parametrize("sparse", [True, False])
def test_a_glb_is_read_as_the_face_that_was_written(tmp_path: Path, sparse: bool) -> None:
    vertices, triangles, deltas = mouth_patch()
    rig = load_face(write_test_glb(tmp_path / "me.glb", vertices, triangles, deltas, sparse=sparse))
    assert rig.name == "me" and rig.shape_names == ARKIT_NAMES
    original = default_rig()
    count = len(vertices)
    assert np.allclose(rig.vertices, original.vertices[:count], atol=1e-7)
    assert np.array_equal(rig.triangles, triangles)
    for name in ARKIT_NAMES:
        expected = original.deltas[INDEX[name], :count] if name in deltas else 0.0
        assert np.allclose(rig.deltas[INDEX[name]], expected, atol=1e-7)
    assert rig.parts["face"] == (0, count)


def test_a_node_transforms_its_mesh_and_the_morph_targets(tmp_path: Path) -> None:
    patch = mouth_patch()
    quarter_turn = [0.0, np.sin(np.pi / 4), 0.0, np.cos(np.pi / 4)]  # about the file's y
    node = {"rotation": quarter_turn, "translation": [0, 1, 0]}
    rig = load_face(write_test_glb(tmp_path / "me.glb", *patch, node=node))
    plain = load_face(write_test_glb(tmp_path / "plain.glb", *patch))
    rotation = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    expected = plain.vertices @ rotation.T + np.array([0, 0, 1], np.float32)
    assert np.allclose(rig.vertices, expected, atol=1e-6)
    assert np.allclose(rig.deltas, plain.deltas @ rotation.T, atol=1e-6)


def test_a_mirroring_node_keeps_triangles_facing_outwards(tmp_path: Path) -> None:
    patch = mouth_patch()
    rig = load_face(write_test_glb(tmp_path / "me.glb", *patch, node={"scale": [-1, 1, 1]}))
    plain = load_face(write_test_glb(tmp_path / "plain.glb", *patch))
    assert np.allclose(rig.vertices, plain.vertices * np.array([1, -1, 1]), atol=1e-7)
    assert np.array_equal(rig.triangles, plain.triangles[:, ::-1])


def test_a_compressed_gltf_is_rejected_by_the_name_of_its_extension(tmp_path: Path) -> None:
    path = tmp_path / "small.gltf"
    path.write_text('{"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}')
    with pytest.raises(TalkerError, match="KHR_draco_mesh_compression"):
        load_face(path)


def test_a_folder_of_obj_shapes_is_read_in_centimetres(tmp_path: Path) -> None:
    vertices, triangles, deltas = mouth_patch()
    write_test_obj(tmp_path / "generic_neutral_mesh.obj", vertices * 100, triangles)
    for name, label in (("jawOpen", "jawOpen"), ("mouthSmileLeft", "mouthSmile_L")):
        write_test_obj(tmp_path / f"{label}.obj", (vertices + deltas[name]) * 100, triangles)
    write_test_obj(tmp_path / "identity003.obj", vertices * 101, triangles)  # no expression: ignored
    rig = load_face(tmp_path)
    original, count, smile = default_rig(), len(vertices), INDEX["mouthSmileLeft"]
    assert np.allclose(rig.vertices, original.vertices[:count], atol=1e-6)
    assert np.allclose(rig.deltas[smile], original.deltas[smile, :count], atol=1e-6)
    assert not rig.deltas[INDEX["mouthSmileRight"]].any()
    height = rig.vertices[:, 2].max()
    assert load_face(tmp_path, unit=0.02).vertices[:, 2].max() == pytest.approx(2 * height, rel=1e-5)
    (tmp_path / "mouthPucker.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(TalkerError, match="has 3 vertices"):
        load_face(tmp_path)


def test_lip_landmarks_are_found_by_the_motion_of_the_jaw(tmp_path: Path) -> None:
    rig, original = load_face(write_test_glb(tmp_path / "me.glb", *mouth_patch())), default_rig()
    rest, open_jaw = shape_weights(), shape_weights(jawOpen=1.0)
    assert rig.lip_gap(rest) == pytest.approx(0.0, abs=1e-4)
    assert rig.lip_gap(open_jaw) == pytest.approx(original.lip_gap(open_jaw), rel=0.25)
    assert rig.lip_width(rest) == pytest.approx(original.lip_width(rest), rel=0.3)


def test_a_face_without_jaw_motion_needs_explicit_lip_landmarks(tmp_path: Path) -> None:
    vertices, triangles, deltas = mouth_patch()
    blink = {"eyeBlinkRight": deltas["eyeBlinkRight"]}
    path = write_test_glb(tmp_path / "b.glb", vertices, triangles, blink)
    with pytest.raises(TalkerError, match="inner_lip_upper"):
        load_face(path).lip_gap(shape_weights())
    landmarks = {"inner_lip_upper": [0, 1, 2, 3, 4], "inner_lip_lower": [5, 6, 7, 8, 9]}
    assert np.isfinite(load_face(path, landmarks=landmarks).lip_gap(shape_weights()))
    with pytest.raises(TalkerError, match="outside the"):
        load_face(path, landmarks={"inner_lip_upper": [10**6]})


def write_ply(path: Path, layout: str) -> Path:
    """The patch around the mouth as PLY."""
    vertices, triangles, _ = mouth_patch()
    header = (
        f"ply\nformat {layout} 1.0\ncomment a face\nelement vertex {len(vertices)}\nproperty float x\n"
        f"property float y\nproperty float z\nelement face {len(triangles)}\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    if layout == "ascii":
        lines = ["{:.8f} {:.8f} {:.8f}".format(*vertex) for vertex in vertices]
        lines += ["3 {} {} {}".format(*corners) for corners in triangles]
        body = "\n".join(lines).encode()
    else:
        order = "<" if "little" in layout else ">"
        faces = np.zeros(len(triangles), [("count", "u1"), ("corners", order + "i4", 3)])
        faces["count"], faces["corners"] = 3, triangles
        body = vertices.astype(order + "f4").tobytes() + faces.tobytes()
    path.write_bytes(header.encode() + body)
    return path


@pytest.mark.parametrize("layout", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_a_ply_is_read_as_a_template_without_shapes(tmp_path: Path, layout: str) -> None:
    path = write_ply(tmp_path / "template.ply", layout)
    vertices, triangles, _ = mouth_patch()
    rig = load_face(path)
    assert rig.shape_names == () and rig.deltas.shape == (0, len(vertices), 3)
    assert np.allclose(rig.vertices, default_rig().vertices[: len(vertices)], atol=1e-7)
    assert np.array_equal(rig.triangles, triangles)
    assert np.array_equal(rig.pose(np.zeros((4, 0)))[2], rig.vertices)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TalkerError, match="damaged"):
        load_face(path)


def test_a_ply_reader_takes_the_vertex_indices_among_several_lists(tmp_path: Path) -> None:
    path = tmp_path / "lists.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar float texcoord\n"
        "property list uchar int vertex_index\nend_header\n"
        "0 0 0\n1 0 0\n1 1 0\n0 1 0\n2 0.5 0.5 4 0 1 2 3\n"
    )
    vertices, triangles = read_ply(path)
    assert len(vertices) == 4 and triangles.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("index", [-1, 4])
def test_a_ply_whose_faces_name_missing_vertices_is_rejected(tmp_path: Path, index: int) -> None:
    path = tmp_path / "bad.ply"
    path.write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face 1\nproperty list uchar int vertex_indices\nend_header\n"
        f"0 0 0\n1 0 0\n1 1 0\n3 0 1 {index}\n"
    )
    with pytest.raises(TalkerError, match="vertices that it lacks"):
        read_ply(path)


@pytest.mark.parametrize(
    "label, name",
    [
        ("jawOpen", "jawOpen"),
        ("mouthSmile_L", "mouthSmileLeft"),
        ("MouthSmileRight", "mouthSmileRight"),
        ("blendShape1.mouth_smile_left", "mouthSmileLeft"),
        ("browInnerUp_R", "browInnerUp"),
        ("eyeBlink.L", "eyeBlinkLeft"),
        ("cheekPuff_L", "cheekPuff"),
        ("identity012", None),
        ("smile", None),
    ],
)
def test_names_of_shapes_are_matched_in_the_spelling_of_many_tools(label: str, name: str | None) -> None:
    assert arkit_name(label) == name


def write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "make_file, message",
    [
        (lambda folder: folder / "nothing.glb", "no face at"),
        (lambda folder: write_bytes(folder / "face.fbx", b"Kaydara"), "not of a supported face format"),
        (lambda folder: write_bytes(folder / "bad.glb", b"glTF\x02\0\0\0\xff\0\0\0"), "cut short"),
        (lambda folder: write_bytes(folder / "bad.gltf", b"{ not json"), "not a readable glTF"),
        (lambda folder: write_test_glb(folder / "cut.glb", *mouth_patch(), cut_bytes=4000), "cut short"),
        (
            lambda folder: write_test_glb(folder / "unnamed.glb", *mouth_patch(), names=[]),
            "no names for them",
        ),
        (
            lambda folder: write_test_glb(folder / "other.glb", *mouth_patch(), names=["a", "b", "c"]),
            "no shape with an ARKit name",
        ),
        (lambda folder: write_bytes(folder / "not.ply", b"hello"), "not a PLY"),
        (lambda folder: folder, "no neutral"),
    ],
)
def test_an_unusable_file_is_rejected_in_one_sentence(
    tmp_path: Path, make_file: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(TalkerError, match=message) as error:
        load_face(make_file(tmp_path))
    assert "\n" not in str(error.value)


def test_lip_landmarks_of_a_folder_of_obj_are_those_of_the_same_head(tmp_path: Path) -> None:
    """The layout of ICT-FaceKit: centimetres, y up, a file for each shape and no landmarks."""
    head = default_rig()
    moved = head.vertices + head.deltas[INDEX["jawOpen"]]
    for name, points in (("generic_neutral_mesh", head.vertices), ("jawOpen", moved)):
        write_test_obj(tmp_path / f"{name}.obj", 100 * points[:, [1, 2, 0]], head.triangles.astype(np.int64))
    rig = load_face(tmp_path)
    np.testing.assert_allclose(rig.vertices, head.vertices, atol=1e-6)
    for name in ("inner_lip_upper", "inner_lip_lower"):
        found, known = (face.landmarks[name][len(face.landmarks[name]) // 2] for face in (rig, head))
        assert np.linalg.norm(rig.vertices[found] - rig.vertices[known]) < 0.003
