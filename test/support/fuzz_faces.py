# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets of faces and motion in files: glTF, OBJ, PLY, templates, Live Link CSV, NPZ."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.corpus.animation import read_animation
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation.external_motion import read_motion
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.face.formats.importers import load_face
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv
from streamingtalker_ros.face.formats.obj import read_obj
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.model.vertex.template import read_template
from support.face_files import append_accessor, edit_glb, write_test_glb
from support.fuzzing import Consume, FuzzTarget, Mutate, mutate_bytes, mutate_document, mutate_text

_IDENTITY: Final = (0.0, 0.0, 0.0, 1.0)


def grid() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Return vertices and triangles of a small mesh."""
    vertices = np.array([[x, y, 0.1] for y in (0, 0.1, 0.2) for x in (-0.1, 0, 0.1)], np.float32)
    triangles = [[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4], [3, 4, 7], [3, 7, 6], [4, 5, 8]]
    return vertices, np.array(triangles, np.int64)


def _write_glb(path: Path, **options: Any) -> Path:
    vertices, triangles = grid()
    deltas = {"jawOpen": 0.1 * vertices, "A38_Mouth_Smile_Left": 0.2 * vertices, "Wobble": vertices}
    return write_test_glb(path, vertices, triangles, deltas, **options)


def _skin(document: dict[str, Any], binary: bytearray) -> None:
    """Add a skeleton, a skin and quantised positions to a .glb file that is being edited."""
    bind = append_accessor(document, binary, np.tile(np.eye(4, dtype="<f4").ravel(), (2, 1)), "MAT4", 5126)
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = append_accessor(document, binary, np.ones((9, 4), np.uint8), "VEC4", 5121)
    attributes["WEIGHTS_0"] = append_accessor(document, binary, np.full((9, 4), 0.25, "<f4"), "VEC4", 5126)
    attributes["NORMAL"] = append_accessor(document, binary, np.full((9, 3), 127, np.int8), "VEC3", 5120)
    document["accessors"][-1]["normalized"] = True
    document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": bind}]
    document["nodes"] = [
        {"mesh": 0, "skin": 0, "rotation": list(_IDENTITY)},
        {"name": "Hips", "children": [2], "matrix": np.eye(4).ravel().tolist()},
        {"name": "Head", "translation": [0, 1, 0], "scale": [1, 1, 1]},
    ]
    document["materials"] = [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.5, 0.5, 1]}}]
    document["meshes"][0]["primitives"][0]["material"] = 0
    document["scenes"] = [{"nodes": [0, 1]}]
    document["buffers"] = [{"byteLength": len(binary)}]


def _split_glb(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def _join_glb(document: Any, binary: bytes) -> bytes:
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


@cache
def glb_seeds() -> list[bytes]:
    """Return small .glb files: sparse, dense, without names, skinned, and of the package's own writer."""
    vertices, triangles = grid()
    deltas = np.zeros((len(ARKIT_NAMES), len(vertices), 3), np.float32)
    deltas[:3] = 0.1 * vertices
    rig = Rig(
        name="a",
        vertices=vertices,
        triangles=triangles.astype(np.uint32),
        shape_names=ARKIT_NAMES,
        deltas=deltas,
        parts={"skin": (0, 9)},
        landmarks={"mouth_corners": np.array([0, 2])},
        colors=np.full((9, 3), 0.5, np.float32),
        pivot=np.zeros(3, np.float32),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.glb"
        files = [
            _write_glb(path).read_bytes(),
            _write_glb(path, sparse=False).read_bytes(),
            _write_glb(path, node={"translation": [0, 1, 0], "scale": [2, 2, 2]}).read_bytes(),
            edit_glb(_write_glb(path), _skin).read_bytes(),
        ]
        return [*files, write_glb(rig)]


@cache
def gltf_seeds() -> list[bytes]:
    """Return .gltf files with their buffer inside."""
    files = []
    for data in glb_seeds()[:4]:
        document, binary = _split_glb(data)
        uri = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
        document["buffers"] = [{"byteLength": len(binary), "uri": uri}]
        files.append(json.dumps(document).encode())
    return files


def mutate_glb(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage the document of a .glb file, its bytes, or both."""
    if random.random() < 0.75:
        document, binary = _split_glb(data)
        data = _join_glb(mutate_document(document, random), binary)
    return mutate_bytes(data, seeds, random) if random.random() < 0.4 else data


def mutate_gltf(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage a .gltf file as a document, as text, or both."""
    if random.random() < 0.7:
        data = json.dumps(mutate_document(json.loads(data), random)).encode()
    return mutate_text(data, seeds, random) if random.random() < 0.4 else data


def ply_seeds() -> list[bytes]:
    """Return binary PLY files of both byte orders."""
    vertices, triangles = grid()
    files = []
    for order, name in (("<", "little"), (">", "big")):
        header = (
            f"ply\nformat binary_{name}_endian 1.0\ncomment of a test\nelement vertex 9\nproperty float x\n"
            "property float y\nproperty float z\nproperty uchar red\nelement face 7\n"
            "property list uchar int vertex_indices\nproperty list uchar float texcoord\nend_header\n"
        )
        points = np.zeros(9, [("point", f"{order}f4", 3), ("red", "u1")])
        points["point"] = vertices
        corners = [("count", "u1"), ("corners", f"{order}i4", 3), ("texcoords", "u1")]
        faces = np.zeros(7, corners)
        faces["count"], faces["corners"] = 3, triangles
        files.append(header.encode() + points.tobytes() + faces.tobytes())
    return files


def ascii_ply_seeds() -> list[bytes]:
    """Return a PLY file of text, with both line ends."""
    vertices, triangles = grid()
    header = (
        "ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 7\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = [" ".join(map(str, row)) for row in vertices] + [f"3 {a} {b} {c}" for a, b, c in triangles]
    text = (header + "\n".join(rows) + "\n").encode()
    return [text, text.replace(b"\n", b"\r\n")]


def obj_seeds() -> list[bytes]:
    """Return OBJ files: plain, and with all that a modeller writes."""
    vertices, triangles = grid()
    plain = [f"v {x} {y} {z}" for x, y, z in vertices] + [
        f"f {a + 1} {b + 1} {c + 1}" for a, b, c in triangles
    ]
    rich = ["# a file", "mtllib a.mtl", "o face"] + [f"v\t{x} {y} {z} 1 0 0" for x, y, z in vertices]
    rich += [
        "vt 0 0",
        "vn 0 0 1",
        "s off",
        "usemtl skin",
        "f 1/1/1 2/1/1 \\",
        " 5/1/1 4/1/1",
        "f -9//1 -8//1 -5//1",
    ]
    return [("\n".join(lines) + "\n").encode() for lines in (plain, rich)]


def livelink_seeds() -> list[bytes]:
    """Return Live Link Face CSV as the app and as a spreadsheet writes it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        write_livelink_csv(path, np.full((20, len(ARKIT_NAMES)), 0.25), np.tile(_IDENTITY, (20, 1)), 25.0)
        data = path.read_bytes()
    german = data.replace(b",", b";").replace(b".", b",")
    return [data, b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"), german]


def npz_seeds() -> list[bytes]:
    """Return motion as `streamingtalker animate` writes it into NPZ files."""
    files = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(
            file,
            weights=np.full((5, 52), 0.25, np.float32),
            head=np.tile(np.array(_IDENTITY, np.float32), (5, 1)),
            times=np.arange(5) / 25,
            speaking=np.ones(5, bool),
            frame_rate=25.0,
            names=np.array(ARKIT_NAMES),
        )
        files.append(file.getvalue())
    return files


def mutate_npz(data: bytes, seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage an array below the checksums of an NPZ file, the file itself, or both."""
    if random.random() < 0.7:
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as damaged:
            contents = {name: source.read(name) for name in source.namelist()}
            chosen = list(contents)[int(random.integers(len(contents)))]
            contents[chosen] = mutate_bytes(contents[chosen], list(contents.values()), random)
            for name, content in contents.items():
                damaged.writestr(name, content)
        data = file.getvalue()
    return mutate_bytes(data, seeds, random) if random.random() < 0.4 else data


def _npy_seeds() -> list[bytes]:
    file = io.BytesIO()
    np.save(file, grid()[0])
    return [file.getvalue()]


def _pickle_seeds() -> list[bytes]:
    return [pickle.dumps({"FaceTalk": grid()[0].astype(float)}, protocol) for protocol in (2, 4)]


def _accepts_template(path: Path, source: str) -> None:
    points, triangles = read_template(source, 9)
    assert points.shape == (9, 3) and np.isfinite(points).all()
    assert not triangles.size or 0 <= triangles.min() <= triangles.max() < 9


def check_face(rig: Rig) -> None:
    """Assert the laws of a face: finite, and all indices inside."""
    count = len(rig.vertices)
    assert rig.vertices.shape == (count, 3) and np.isfinite(rig.vertices).all()
    assert np.isfinite(rig.deltas).all() and np.isfinite(rig.pivot).all()
    assert not rig.triangles.size or int(rig.triangles.max()) < count
    assert np.isfinite(rig.pose(np.full(len(rig.shape_names), 0.5, np.float32))).all()


def _check_motion(motion: tuple[np.ndarray, np.ndarray, float]) -> None:
    weights, head, frame_rate = motion
    assert weights.shape == (len(weights), 52) and head.shape == (len(weights), 4) and len(weights)
    assert 0 < frame_rate < 1e6 and np.isfinite(weights).all() and np.isfinite(head).all()


def _check_animation(path: Path) -> None:
    animation = read_animation(path)
    assert np.isfinite(animation.weights).all()


def open_file(suffix: str, read: Callable[[Path], object]) -> Callable[[Path], Consume]:
    """Return the opener of a consumer that writes the input into a file with an ending and reads it."""

    def open_folder(folder: Path) -> Consume:
        path = folder / f"input{suffix}"

        def consume(data: bytes, random: np.random.Generator) -> None:
            path.write_bytes(data)
            read(path)

        return consume

    return open_folder


def _open_obj_folder(folder: Path) -> Consume:
    neutral, jaw = folder / "face" / "neutral.obj", folder / "face" / "jawOpen.obj"
    neutral.parent.mkdir()

    def consume(data: bytes, random: np.random.Generator) -> None:
        paths = [neutral, jaw] if random.random() < 0.5 else [jaw, neutral]
        paths[0].write_bytes(data)
        paths[1].write_bytes(data if random.random() < 0.5 else obj_seeds()[0])
        read_obj(paths[0])
        check_face(load_face(neutral.parent))

    return consume


def _load_and_check(path: Path) -> None:
    check_face(load_face(path))


def _read_clip(path: Path) -> None:
    _check_motion(read_livelink_csv(path).at_regular_times())


def _read_npz(path: Path) -> None:
    """Read motion as `evaluate` and as `corpus from-animation` read it."""
    try:
        _check_motion(read_motion(path))
    except TalkerError as error:
        rejection = error
    else:
        rejection = None
    _check_animation(path)
    if rejection is not None:
        raise rejection


def _target(
    name: str,
    make_seeds: Callable[[], Sequence[bytes]],
    suffix: str,
    read: Callable[[Path], object],
    mutate: Mutate,
) -> FuzzTarget:
    return FuzzTarget(name, make_seeds, open_file(suffix, read), mutate)


TARGETS: Final = (
    _target("glb", glb_seeds, ".glb", _load_and_check, mutate_glb),
    _target("gltf", gltf_seeds, ".gltf", _load_and_check, mutate_gltf),
    _target("binary ply", ply_seeds, ".ply", _load_and_check, mutate_bytes),
    _target("ascii ply", ascii_ply_seeds, ".ply", _load_and_check, mutate_text),
    FuzzTarget("obj", obj_seeds, _open_obj_folder, mutate_text),
    _target("livelink", livelink_seeds, ".csv", _read_clip, mutate_text),
    _target("npz", npz_seeds, ".npz", _read_npz, mutate_npz),
    _target(
        "npy template", _npy_seeds, ".npy", lambda path: _accepts_template(path, str(path)), mutate_bytes
    ),
    _target(
        "pickle template",
        _pickle_seeds,
        ".pkl",
        lambda path: _accepts_template(path, f"{path}:FaceTalk"),
        mutate_bytes,
    ),
)
