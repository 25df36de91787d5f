# SPDX-License-Identifier: Apache-2.0
"""Faces that users own: small glTF, OBJ and PLY files written
here come back as the same face in our axes and metres."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.face.formats.importers import arkit_name, load_face

ICT = Path(__file__).resolve().parents[3] / "shared" / "data" / "ict_face" / "ict_face.npz"
FILE_AXES = [1, 2, 0]  # ours (x out, y left, z up) -> the files' (x left, y up, z out)


def small_face():
    """A patch of the default face around the mouth, in file axes: vertices, triangles, {name: deltas}."""
    rig = default_rig()
    run = slice(*rig.parts["skin"])
    faces = rig.triangles[(rig.triangles < run.stop).all(axis=1)].astype(np.int64)
    deltas = {
        name: rig.deltas[INDEX[name], run][:, FILE_AXES]
        for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight")
    }
    return rig.vertices[run][:, FILE_AXES], faces, deltas


def write_glb(path, vertices, faces, deltas, names=None, node=None, sparse=True, cut=0):
    blob, views, accessors = b"", [], []

    def view(array):
        nonlocal blob
        blob += b"\0" * (-len(blob) % 4)
        views.append({"buffer": 0, "byteOffset": len(blob), "byteLength": array.nbytes})
        blob += array.tobytes()
        return len(views) - 1

    def accessor(array, kind, component):
        accessors.append(
            {"bufferView": view(array), "componentType": component, "count": len(array), "type": kind}
        )
        return len(accessors) - 1

    position = accessor(vertices.astype("<f4"), "VEC3", 5126)
    index = accessor(faces.astype("<u2").ravel(), "SCALAR", 5123)
    targets = []
    for delta in deltas.values():
        if sparse:
            moving = np.flatnonzero(delta.any(axis=1))
            accessors.append(
                {
                    "componentType": 5126,
                    "count": len(delta),
                    "type": "VEC3",
                    "sparse": {
                        "count": len(moving),
                        "indices": {"bufferView": view(moving.astype("<u2")), "componentType": 5123},
                        "values": {"bufferView": view(delta[moving].astype("<f4"))},
                    },
                }
            )
            targets.append({"POSITION": len(accessors) - 1})
        else:
            targets.append({"POSITION": accessor(delta.astype("<f4"), "VEC3", 5126)})
    mesh = {
        "name": "face",
        "primitives": [{"attributes": {"POSITION": position}, "indices": index, "targets": targets}],
    }
    if names is not False:
        mesh["extras"] = {"targetNames": list(names or deltas)}
    text = json.dumps(
        {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, **(node or {})}],
            "meshes": [mesh],
            "accessors": accessors,
            "bufferViews": views,
            "buffers": [{"byteLength": len(blob)}],
        }
    ).encode()
    text += b" " * (-len(text) % 4)
    blob = blob[: len(blob) - cut]
    blob += b"\0" * (-len(blob) % 4)
    total = 12 + 8 + len(text) + 8 + len(blob)
    path.write_bytes(
        struct.pack("<4sII", b"glTF", 2, total)
        + struct.pack("<II", len(text), 0x4E4F534A)
        + text
        + struct.pack("<II", len(blob), 0x004E4942)
        + blob
    )
    return path


def write_obj(path, vertices, faces) -> None:
    lines = ["v %.7f %.7f %.7f" % tuple(v) for v in vertices] + [
        "f %d/1 %d/1 %d/1" % tuple(f + 1) for f in faces
    ]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("sparse", [True, False])
def test_glb_round_trip(tmp_path, sparse) -> None:
    vertices, faces, deltas = small_face()
    rig = load_face(write_glb(tmp_path / "me.glb", vertices, faces, deltas, sparse=sparse))
    assert rig.name == "me" and rig.shape_names == ARKIT_NAMES
    original = default_rig()
    count = len(vertices)
    assert np.allclose(rig.vertices, original.vertices[:count], atol=1e-7)
    assert np.array_equal(rig.triangles, faces)
    for name in ARKIT_NAMES:
        expected = original.deltas[INDEX[name], :count] if name in deltas else 0.0
        assert np.allclose(rig.deltas[INDEX[name]], expected, atol=1e-7)
    assert rig.parts["face"] == (0, count)


def test_glb_nodes_place_and_turn_the_mesh_and_its_targets(tmp_path) -> None:
    vertices, faces, deltas = small_face()
    quarter = [0.0, np.sin(np.pi / 4), 0.0, np.cos(np.pi / 4)]  # 90 degrees about the file's y
    rig = load_face(
        write_glb(
            tmp_path / "me.glb",
            vertices,
            faces,
            deltas,
            node={"rotation": quarter, "translation": [0, 1, 0]},
        )
    )
    plain = load_face(write_glb(tmp_path / "plain.glb", vertices, faces, deltas))
    turned = plain.vertices @ np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]]).T + np.float32([0, 0, 1])
    assert np.allclose(rig.vertices, turned, atol=1e-6)
    assert np.allclose(np.linalg.norm(rig.deltas, axis=-1), np.linalg.norm(plain.deltas, axis=-1), atol=1e-6)


def test_obj_folder_round_trip_in_centimetres(tmp_path) -> None:
    vertices, faces, deltas = small_face()
    write_obj(tmp_path / "generic_neutral_mesh.obj", vertices * 100, faces)
    for name, label in (("jawOpen", "jawOpen"), ("mouthSmileLeft", "mouthSmile_L")):
        write_obj(tmp_path / f"{label}.obj", (vertices + deltas[name]) * 100, faces)
    write_obj(tmp_path / "identity003.obj", vertices * 101, faces)  # not an expression: passed over
    rig = load_face(tmp_path)
    original = default_rig()
    assert np.allclose(rig.vertices, original.vertices[: len(vertices)], atol=1e-6)
    assert np.allclose(
        rig.deltas[INDEX["mouthSmileLeft"]],
        original.deltas[INDEX["mouthSmileLeft"], : len(vertices)],
        atol=1e-6,
    )
    assert not rig.deltas[INDEX["mouthSmileRight"]].any()
    assert load_face(tmp_path, unit=0.02).vertices[:, 2].max() == pytest.approx(
        2 * rig.vertices[:, 2].max(), rel=1e-5
    )
    (tmp_path / "mouthPucker.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(TalkerError, match="has 3 vertices"):
        load_face(tmp_path)


def test_lips_are_found_from_the_jaws_motion(tmp_path) -> None:
    vertices, faces, deltas = small_face()
    rig = load_face(write_glb(tmp_path / "me.glb", vertices, faces, deltas))
    open_mouth = np.eye(52, dtype=np.float32)[INDEX["jawOpen"]]
    truth = default_rig()
    assert rig.lip_gap(0 * open_mouth) == pytest.approx(0.0, abs=1e-4)
    assert rig.lip_gap(open_mouth) == pytest.approx(truth.lip_gap(open_mouth), rel=0.25)
    assert rig.lip_width(0 * open_mouth) == pytest.approx(truth.lip_width(0 * open_mouth), rel=0.3)
    blind = load_face(
        write_glb(tmp_path / "b.glb", vertices, faces, {"eyeBlinkRight": deltas["eyeBlinkRight"]})
    )
    with pytest.raises(TalkerError, match="inner_lip_upper"):
        blind.lip_gap(open_mouth)
    told = load_face(
        tmp_path / "b.glb",
        landmarks={"inner_lip_upper": [0, 1, 2, 3, 4], "inner_lip_lower": [5, 6, 7, 8, 9]},
    )
    assert np.isfinite(told.lip_gap(open_mouth))
    with pytest.raises(TalkerError, match="outside the"):
        load_face(tmp_path / "b.glb", landmarks={"inner_lip_upper": [10**6]})


@pytest.mark.parametrize("layout", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_template(tmp_path, layout) -> None:
    vertices, faces, _ = small_face()
    header = (
        f"ply\nformat {layout} 1.0\ncomment a face\nelement vertex {len(vertices)}\nproperty float x\n"
        "property float y\n"
        f"property float z\nelement face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    path = tmp_path / "template.ply"
    if layout == "ascii":
        body = "\n".join(
            ["%.8f %.8f %.8f" % tuple(v) for v in vertices] + ["3 %d %d %d" % tuple(f) for f in faces]
        ).encode()
    else:
        order = "<" if "little" in layout else ">"
        table = np.zeros(len(faces), [("n", "u1"), ("v", order + "i4", 3)])
        table["n"], table["v"] = 3, faces
        body = vertices.astype(order + "f4").tobytes() + table.tobytes()
    path.write_bytes(header.encode() + body)
    rig = load_face(path)
    assert rig.shape_names == () and rig.deltas.shape == (0, len(vertices), 3)
    assert np.allclose(rig.vertices, default_rig().vertices[: len(vertices)], atol=1e-7)
    assert np.array_equal(rig.triangles, faces)
    assert np.array_equal(rig.pose(np.zeros((4, 0)))[2], rig.vertices)
    path.write_bytes((header.encode() + body)[:-200])
    with pytest.raises(TalkerError, match="damaged"):
        load_face(path)


def test_names_of_many_tools() -> None:
    for label, name in (
        ("jawOpen", "jawOpen"),
        ("mouthSmile_L", "mouthSmileLeft"),
        ("MouthSmileRight", "mouthSmileRight"),
        ("blendShape1.mouth_smile_left", "mouthSmileLeft"),
        ("browInnerUp_R", "browInnerUp"),
        ("eyeBlink.L", "eyeBlinkLeft"),
        ("cheekPuff_L", "cheekPuff"),
        ("identity012", None),
        ("smile", None),
    ):
        assert arkit_name(label) == name


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda p, f: p / "nothing.glb", "no face at"),
        (lambda p, f: _written(p / "face.fbx", b"Kaydara"), "no face format"),
        (lambda p, f: _written(p / "bad.glb", b"glTF\x02\0\0\0\xff\0\0\0"), "cut short"),
        (lambda p, f: _written(p / "bad.gltf", b"{ not json"), "not a readable glTF"),
        (lambda p, f: write_glb(p / "cut.glb", *f, cut=4000), "cut short"),
        (lambda p, f: write_glb(p / "unnamed.glb", *f, names=False), "no names for them"),
        (lambda p, f: write_glb(p / "other.glb", *f, names=["a", "b", "c"]), "no shape with an ARKit name"),
        (lambda p, f: _written(p / "not.ply", b"hello"), "not a PLY"),
        (lambda p, f: p, "no neutral"),
    ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, make, sentence) -> None:
    with pytest.raises(TalkerError, match=sentence) as error:
        load_face(make(tmp_path, small_face()))
    assert "\n" not in str(error.value)


def _written(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.skipif(not ICT.is_file(), reason="the ICT-FaceKit sample is not here")
def test_lips_of_ict_facekit_are_found(tmp_path) -> None:
    data = np.load(ICT)
    count = 9409
    vertices, faces = data["vertices"][:count], data["faces"]
    faces = faces[(faces < count).all(axis=1)]
    jaw = list(data["shape_names"]).index("jawOpen")
    moved = vertices.copy()
    mine = (data["delta_shape"] == jaw) & (data["delta_vertex"] < count)
    moved[data["delta_vertex"][mine]] += data["delta_xyz"][mine]
    triangles = np.concatenate([faces[:, :3], faces[faces[:, 3] >= 0][:, [0, 2, 3]]])
    write_obj(tmp_path / "generic_neutral_mesh.obj", vertices, triangles)
    write_obj(tmp_path / "jawOpen.obj", moved, triangles)
    rig = load_face(tmp_path)
    known = data["landmarks68"]
    middle = len(rig.landmarks["inner_lip_upper"]) // 2
    for ours, theirs in (
        (rig.landmarks["inner_lip_upper"][middle], known[62]),
        (rig.landmarks["inner_lip_lower"][middle], known[66]),
    ):
        assert np.linalg.norm(rig.vertices[ours] - rig.vertices[theirs]) < 0.003
