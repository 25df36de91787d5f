# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker convert` writes the same network; templates are read without executing code."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamingtalker_ros import Talker
from streamingtalker_ros.cli import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex import checkpoint, offline
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.model.vertex.template import read_faces, read_template
from support import vertex_reference as reference


@pytest.fixture(scope="module", params=["vocaset", "biwi"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    reference.write_checkpoint(folder, reference.VOCASET if request.param == "vocaset" else reference.BIWI)
    return folder


def convert(folder: Path, out: Path, *more: str) -> int:
    return main(
        [
            "convert",
            str(folder / "checkpoint.ckpt"),
            "--config",
            str(folder / "config.yaml"),
            "--hubert-config",
            str(folder / "hubert_config.json"),
            "--out",
            str(out),
            *more,
        ]
    )


def test_the_converted_folder_computes_what_the_reference_computes(published: Path, tmp_path: Path) -> None:
    assert convert(published, tmp_path / "out") == 0
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["config.json", "weights.safetensors"]
    network = checkpoint.load(tmp_path / "out")
    size = reference.VOCASET if network.config.dataset == "vocaset" else reference.BIWI
    independent = reference.Reference(size, reference.random_state_dict(size, 0))
    audio, template = torch.randn(6400), torch.zeros(3 * size["vertices"])
    recorded = independent.record(audio, 1, template, 5, torch.randn(4, 3 * size["vertices"]))
    result = offline.generate(network, audio, 1, torch.from_numpy(recorded["noise"]))
    frames = recorded["frames"]
    assert np.abs(result.frames.numpy() - frames).max() <= 1e-5 * np.abs(frames).max()


def test_the_configuration_holds_family_identities_and_unit(published: Path, tmp_path: Path) -> None:
    assert convert(published, tmp_path / "out", "--unit", "mm") == 0
    stored = json.loads((tmp_path / "out" / "config.json").read_text())
    assert stored["family"] == "vertex" and stored["unit"] == 0.001
    if stored["dataset"] == "biwi":
        assert (stored["identities"], stored["frame_rate"], stored["activation"]) == (
            ["F2", "F3", "F4", "M3", "M4", "M5"],
            25,
            "gelu",
        )
    else:
        assert stored["identities"][0] == "FaceTalk_170728_03272_TA" and stored["activation"] == "relu"


def test_lightning_wrapping_and_newer_names_are_accepted(published: Path, tmp_path: Path) -> None:
    content = torch.load(published / "checkpoint.ckpt", weights_only=True)["state_dict"]
    newer = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for name, value in content.items()
    }
    newer["losses_train.total"] = torch.zeros(1)  # metrics of the training, not of the network
    for name in ("config.yaml", "hubert_config.json"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    torch.save(newer, tmp_path / "checkpoint.ckpt")  # a bare state dict
    assert convert(tmp_path, tmp_path / "a") == 0 and convert(published, tmp_path / "b") == 0
    one, two = ((tmp_path / folder / "weights.safetensors").read_bytes() for folder in "ab")
    assert one == two


class Bomb:
    """Writes a file when it is unpickled."""

    path = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import pathlib; pathlib.Path({Bomb.path!r}).write_text('ran')",)


@pytest.mark.parametrize("what", ["checkpoint", "template"])
def test_code_in_a_pickle_is_rejected_and_does_not_run(
    published: Path, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Bomb.path = str(tmp_path / "result")
    for name in ("config.yaml", "hubert_config.json", "checkpoint.ckpt"):
        (tmp_path / name).write_bytes((published / name).read_bytes())
    if what == "checkpoint":
        torch.save({"state_dict": {}, "hyper_parameters": Bomb()}, tmp_path / "checkpoint.ckpt")
        code = convert(tmp_path, tmp_path / "out")
    else:
        (tmp_path / "templates.pkl").write_bytes(pickle.dumps({"F2": Bomb()}))
        code = convert(tmp_path, tmp_path / "out", "--template", f"{tmp_path / 'templates.pkl'}:F2")
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and not (tmp_path / "result").exists()
    assert ("safely" if what == "checkpoint" else "more than numpy arrays") in error


POINTS = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]])  # as one quad and one triangle in the files


def encode_ply(kind: str) -> bytes:
    head = (
        f"ply\nformat {kind} 1.0\ncomment end of nothing\nelement vertex 5\nproperty float x\n"
        "property double y\nproperty uchar red\nproperty float z\nelement face 2\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    polygons = [(0, 1, 2, 3), (0, 3, 4)]
    if kind == "ascii":
        rows = [f"{x!r} {y!r} 7 {z!r}" for x, y, z in POINTS.tolist()]
        rows += [" ".join(map(str, (len(p), *p))) for p in polygons]
        return (head + "\n".join(rows) + "\n").encode()
    order = "<" if "little" in kind else ">"
    body = b"".join(struct.pack(f"{order}fdBf", x, y, 7, z) for x, y, z in POINTS.tolist())
    return head.encode() + body + b"".join(struct.pack(f"{order}B{len(p)}i", len(p), *p) for p in polygons)


@pytest.mark.parametrize("kind", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_templates(kind: str, tmp_path: Path) -> None:
    (tmp_path / "t.ply").write_bytes(encode_ply(kind))
    points, triangles = read_template(tmp_path / "t.ply", 5)
    np.testing.assert_allclose(points, POINTS, rtol=1e-6)
    np.testing.assert_array_equal(triangles, FACES)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickled_templates_of_the_release(protocol: int, tmp_path: Path) -> None:
    faces = {"F2": POINTS.astype(np.float64), "M3": POINTS * 2}
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps(faces, protocol))
    points, triangles = read_template(f"{tmp_path / 'templates.pkl'}:M3", 5)
    np.testing.assert_array_equal(points, POINTS * 2)
    assert points.dtype == np.float32 and triangles.shape == (0, 3)
    with pytest.raises(TalkerError, match="no subject 'X': choose one of F2, M3"):
        read_template(f"{tmp_path / 'templates.pkl'}:X", 5)
    with pytest.raises(TalkerError, match="SUBJECT"):
        read_template(tmp_path / "templates.pkl", 5)


def test_npy_templates_flat_and_square(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", POINTS.reshape(-1))
    np.testing.assert_array_equal(read_template(tmp_path / "t.npy", 5)[0], POINTS)
    with pytest.raises(TalkerError, match="holds 5 vertices, the checkpoint has 6"):
        read_template(tmp_path / "t.npy", 6)


@pytest.mark.parametrize(
    "name, content",
    [
        ("t.npy", b"nothing"),
        ("t.ply", b"ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nend_header\n1\n"),
        ("t.ply", encode_ply("binary_little_endian")[:200]),
        ("t.ply", b""),
        ("t.stl", b"solid"),
        ("t.pkl:F2", b"junk"),
        ("t.ply", encode_ply("ascii")[:-30]),
    ],
)
def test_malformed_templates_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name.split(":")[0]).write_bytes(content)
    with pytest.raises(TalkerError, match=r"t\.\w{3}"):
        read_template(tmp_path / name, 5)


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="No such file"):
        read_template(tmp_path / "t.npy", 5)


def test_a_template_is_stored_in_the_checkpoint_and_given_in_metres(published: Path, tmp_path: Path) -> None:
    is_vocaset = "vocaset" in (published / "config.yaml").read_text()
    count = (reference.VOCASET if is_vocaset else reference.BIWI)["vertices"]
    points = np.random.default_rng(1).standard_normal((count, 3)).astype(np.float32)
    np.save(tmp_path / "t.npy", points)
    assert convert(published, tmp_path / "out", "--template", str(tmp_path / "t.npy"), "--unit", "cm") == 0
    model = VertexTalker.load(tmp_path / "out")
    np.testing.assert_allclose(model.template, points * 0.01, rtol=1e-6)
    frame = model.open_stream().accept(np.zeros(16000, np.float32))[0]
    still = VertexTalker(checkpoint.load(tmp_path / "out"))
    still.network.template.zero_()
    moved = frame.vertices - still.open_stream().accept(np.zeros(16000, np.float32))[0].vertices
    np.testing.assert_allclose(moved, points * 0.01, atol=1e-6)


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no folder", "no checkpoint"),
        ("weights", "weights.safetensors"),
        ("json", "config.json"),
        ("family", "family"),
        ("field", "odd"),
        ("less", "vertices"),
    ],
)
def test_a_damaged_converted_folder_is_named(
    published: Path, damage: str, message: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert convert(published, out) == 0
    stored = json.loads((out / "config.json").read_text())
    if damage == "no folder":
        out = tmp_path / "none"
    elif damage == "weights":
        (out / "weights.safetensors").write_bytes(b"junk")
    elif damage == "json":
        (out / "config.json").write_text("{")
    else:
        stored.pop({"family": "family", "less": "vertices"}.get(damage, "unit"))
        stored.update({"odd": 1} if damage == "field" else {})
        (out / "config.json").write_text(json.dumps(stored))
    with pytest.raises(TalkerError, match=message):
        checkpoint.load(out)


def test_talker_load_reads_a_converted_folder(published: Path, tmp_path: Path) -> None:
    assert convert(published, tmp_path / "out") == 0
    talker = Talker.load(tmp_path / "out", device="cpu", chunk_frames=2, window=0.5)
    stream = talker.open_stream(seed=1, style=talker.styles[1])
    frames = (
        stream.accept(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)) + stream.finish()
    )
    assert [frame.index for frame in frames] == list(range(round(talker.frame_rate)))
    assert frames[0].vertices.ndim == 2 and frames[0].vertices.shape[1] == 3
    with pytest.raises(TalkerError, match="choose one of .*" + talker.styles[-1]):
        talker.open_stream(style="nobody")


def test_streaming_limits_are_for_vertex_checkpoints_only() -> None:
    with pytest.raises(TalkerError, match="window"):
        Talker.load(device="cpu", window=1.0)


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_of_any_layout_are_read_from_a_pickle(protocol: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    faces = {
        "floats": values.astype(np.float32),
        "big endian": values.astype(">f8"),
        "columns": np.asfortranarray(values),
        "whole": np.arange(15).reshape(5, 3),
        "number": np.float64(2.5),
    }
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps(faces, protocol))
    read = read_faces(tmp_path / "templates.pkl")
    assert list(read) == list(faces)
    for name, face in faces.items():
        np.testing.assert_array_equal(read[name], face)


@pytest.mark.parametrize(
    "face",
    [np.array([{}, []], object), np.array(["a"]), np.zeros(2, [("x", "f4")]), np.array(["2020"], "M8[D]")],
)
def test_arrays_of_other_things_than_numbers_are_rejected(face: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps({"subject": face}, 2))
    with pytest.raises(TalkerError, match="numpy arrays"):
        read_faces(tmp_path / "templates.pkl")
