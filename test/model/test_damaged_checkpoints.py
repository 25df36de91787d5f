# SPDX-License-Identifier: Apache-2.0
"""A damaged checkpoint is rejected with a sentence that names file and field, in bounded time and memory."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from streamingtalker_ros import Talker, TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.checkpoint_files import CHECKSUM_FIELD, CONFIG, WEIGHTS, compute_checksum
from streamingtalker_ros.model.vertex.checkpoint import read_state_dict
from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT, load_talker
from support import checkpoint_fuzzing


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = checkpoint_fuzzing.write_small_checkpoints(tmp_path_factory.mktemp("checkpoints"))
    return {folder.name: folder for folder in folders}


@pytest.fixture(params=["blendshape", "vertex"])
def folder(request: pytest.FixtureRequest, originals: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a small checkpoint of each family."""
    return Path(shutil.copytree(originals[request.param], tmp_path / request.param))


def rejection(folder: Path) -> str:
    """Load a checkpoint; return the sentence of its rejection."""
    with pytest.raises(TalkerError) as caught:
        load_talker(folder, "cpu")
    text = str(caught.value)
    assert "\n" not in text and len(text) < 800
    return text


def change(folder: Path, **fields: Any) -> None:
    values = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**values, **fields}))


@pytest.mark.parametrize(
    "field, value",
    [
        ("width", "256"),
        ("width", 0),
        ("width", -32),
        ("width", 31),
        ("width", 1.5),
        ("width", 10**9),
        ("width", 10**400),
        ("heads", True),
        ("heads", 5),
        ("layers", None),
        ("layers", 10**7),
        ("context_frames", 10**6),
        ("positional_period", 0),
        ("num_train_timesteps", 10**12),
        ("num_inference_steps", 0),
        ("beta_start", float("nan")),
        ("beta_end", float("inf")),
        ("beta_end", 1e-8),
        ("codebook_size", []),
    ],
)
def test_a_bad_value_is_named_with_file_and_field(folder: Path, field: str, value: Any) -> None:
    change(folder, **{field: value})
    text = rejection(folder)
    assert str(folder / CONFIG) in text and field.removesuffix("_end").removesuffix("_start") in text


@pytest.mark.parametrize(
    "field, value",
    [
        ("sample_rate", 8000),
        ("hop", 641),
        ("motion_dim", 54),
        ("styles", []),
        ("styles", "neutral"),
        ("styles", ["neutral", 3]),
        ("styles", ["two\nlines"]),
        ("bilabial_thresholds", [0.2, 0.1]),
        ("open_vowel_thresholds", [0.5]),
        ("temperature", float("nan")),
        ("lip_measure_weight", 2),
        ("articulation_context_frames", 26),
        ("family", ["blendshape"]),
        ("family", "other"),
        ("name", {}),
    ],
)
def test_a_bad_value_of_a_blendshape_checkpoint_is_named(
    originals: dict[str, Path], tmp_path: Path, field: str, value: Any
) -> None:
    folder = Path(shutil.copytree(originals["blendshape"], tmp_path / "c"))
    change(folder, **{field: value})
    text = rejection(folder)
    assert str(folder / CONFIG) in text and field in text


@pytest.mark.parametrize(
    "field, value",
    [
        ("unit", 0.0),
        ("frame_rate", 0),
        ("frame_rate", float("inf")),
        ("activation", "tanh"),
        ("timestep_spacing", ["leading"]),
        ("codec_affine", "no"),
        ("identities", []),
        ("hubert", []),
        ("hubert", {"hidden_size": 10**6}),
        ("hubert", {"num_hidden_layers": 10**6}),
        ("hubert", {"conv_stride": [0] * 7}),
        ("hubert", {"conv_kernel": "3"}),
        ("hubert", {"conv_dim": [16] * 7, "conv_kernel": [3] * 6}),
    ],
)
def test_a_bad_value_of_a_vertex_checkpoint_is_named(
    originals: dict[str, Path], tmp_path: Path, field: str, value: Any
) -> None:
    folder = Path(shutil.copytree(originals["vertex"], tmp_path / "c"))
    change(folder, **{field: value})
    text = rejection(folder)
    assert str(folder / CONFIG) in text
    assert field.lower() in text.lower()


def test_a_misspelled_field_is_answered_by_its_right_name(folder: Path) -> None:
    values = json.loads((folder / CONFIG).read_text())
    values["widths"] = values.pop("width")
    (folder / CONFIG).write_text(json.dumps(values))
    assert "'widths'" in rejection(folder) and "did you mean 'width'" in rejection(folder)


def test_a_field_under_both_its_names_is_rejected(tmp_path: Path, originals: dict[str, Path]) -> None:
    folder = Path(shutil.copytree(originals["blendshape"], tmp_path / "c"))
    change(folder, slots=3)
    assert "num_codebooks" in rejection(folder)


def test_no_memory_is_taken_for_sizes_that_the_weights_do_not_have(folder: Path) -> None:
    """Every size in its range, together far more than any memory."""
    name = "audio_width" if "blendshape" in folder.name else "codec_feedforward"
    change(folder, width=8192, heads=64, layers=64, feedforward=65536, **{name: 8192})
    assert "does not fit" in rejection(folder)


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "loop", "empty", "device"])
def test_what_is_no_file_is_named_and_never_waited_for(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "empty":
        path.touch()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    assert str(folder) in rejection(folder)


@pytest.mark.parametrize("path", ["", "none", "a\0b", "loop", "file"])
def test_a_path_without_a_checkpoint_is_one_sentence(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    with pytest.raises(TalkerError, match="no checkpoint"):
        load_talker(f"{tmp_path}/{path}", "cpu")


class Bomb:
    """Writes a file when it is unpickled."""

    path = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"import pathlib; pathlib.Path({Bomb.path!r}).write_text('ran')",)


def header_length(length: int) -> Callable[[bytes], bytes]:
    return lambda data: length.to_bytes(8, "little") + data[8:]


@pytest.mark.parametrize(
    "damage",
    [
        header_length(2**63 - 1),
        header_length(2**63 + 1),
        header_length(10**9),
        header_length(0),
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data.replace(b'"F32"', b'"F99"', 1),
        lambda data: data.replace(b'"F32"', b'"I32"', 1),
        lambda data: pickle.dumps({"state_dict": Bomb()}),
    ],
)
def test_damaged_weights_are_named_and_nothing_in_them_runs(
    folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    Bomb.path = str(tmp_path / "result")
    path = folder / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    assert str(path) in rejection(folder)
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30])
def test_weights_that_are_no_numbers_are_named_by_tensor(folder: Path, number: float) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(name for name in weights if name.endswith("up.weight") or name.endswith("up.0.weight"))
    weights[name].view(-1)[3] = number
    save_file(weights, folder / WEIGHTS)
    change(folder, **{CHECKSUM_FIELD: compute_checksum(folder / WEIGHTS)})
    assert name in rejection(folder)


@pytest.mark.parametrize("kind", ["missing", "unknown", "shape", "whole numbers", "truth values"])
def test_tensors_that_do_not_fit_are_named(folder: Path, kind: str) -> None:
    weights = load_file(folder / WEIGHTS)
    name = sorted(weights)[0]
    if kind == "missing":
        del weights[name]
    elif kind == "unknown":
        name = "wings"
        weights[name] = torch.zeros(2)
    elif kind == "shape":
        weights[name] = torch.zeros(3, 3, 3)
    else:
        weights[name] = weights[name].to(torch.int32 if kind == "whole numbers" else torch.bool)
    save_file(weights, folder / WEIGHTS)
    text = rejection(folder)
    assert "does not fit" in text and name in text


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_weights_of_another_precision_load(folder: Path, dtype: torch.dtype) -> None:
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in load_file(folder / WEIGHTS).items()
    }
    save_file(weights, folder / WEIGHTS)
    change(folder, **{CHECKSUM_FIELD: compute_checksum(folder / WEIGHTS)})
    assert load_talker(folder, "cpu").open_stream().accept(np.zeros(16000, np.float32))


def test_triangles_that_name_no_vertex_are_rejected(originals: dict[str, Path], tmp_path: Path) -> None:
    for number, triangles in enumerate(
        [torch.tensor([[0, 1, 20]]), torch.tensor([[0, -1, 2]]), torch.zeros(2, 3), torch.zeros(4).long()]
    ):
        folder = Path(shutil.copytree(originals["vertex"], tmp_path / str(number)))
        weights = {**load_file(folder / WEIGHTS), "triangles": triangles}
        save_file(weights, folder / WEIGHTS)
        change(folder, **{CHECKSUM_FIELD: compute_checksum(folder / WEIGHTS)})
        assert "triangles" in rejection(folder)


# -- the checksum --------------------------------------------------------------------------------------------


def test_the_shipped_checkpoint_holds_its_checksum() -> None:
    stored = json.loads((DEFAULT_CHECKPOINT / CONFIG).read_text())
    assert stored[CHECKSUM_FIELD] == compute_checksum(DEFAULT_CHECKPOINT / WEIGHTS)


def test_weights_that_changed_since_they_were_saved_are_rejected(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(name for name, value in weights.items() if value.is_floating_point() and value.numel())
    weights[name].view(-1)[0] += 1e-3
    save_file(weights, folder / WEIGHTS)
    text = rejection(folder)
    assert str(folder / WEIGHTS) in text and CHECKSUM_FIELD in text


def test_a_folder_without_a_checksum_loads_and_a_malformed_one_is_named(folder: Path) -> None:
    values = json.loads((folder / CONFIG).read_text())
    del values[CHECKSUM_FIELD]
    (folder / CONFIG).write_text(json.dumps(values))
    load_talker(folder, "cpu")
    for checksum in (5, "", "0" * 63, ["a"]):
        change(folder, **{CHECKSUM_FIELD: checksum})
        assert CHECKSUM_FIELD in rejection(folder)


def test_a_checkpoint_that_is_saved_again_loads_with_the_checksum_of_its_weights(
    originals: dict[str, Path], tmp_path: Path
) -> None:
    network = checkpoint.load(originals["blendshape"])
    checkpoint.save(tmp_path, network)
    with torch.no_grad():
        network.head.out.bias.add_(0.1)
    checkpoint.save(tmp_path, network)
    loaded = checkpoint.load(tmp_path)
    assert torch.equal(loaded.head.out.bias, network.head.out.bias) and loaded.config == network.config


# -- the published file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "device", "empty", "text", "bomb"])
def test_what_is_no_published_checkpoint_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "checkpoint.ckpt"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "bomb":  # a compressed archive that stands for a thousand times its size
        import zipfile

        torch.save({"state_dict": {"audio_encoder.x": torch.zeros(10**6)}}, tmp_path / "plain.ckpt")
        with (
            zipfile.ZipFile(tmp_path / "plain.ckpt") as plain,
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed,
        ):
            for entry in plain.infolist():
                packed.writestr(entry.filename, plain.read(entry))
    else:
        path.write_bytes(b"" if kind == "empty" else b"no checkpoint\n")
    with pytest.raises(TalkerError) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# -- fuzzing -------------------------------------------------------------------------------------------------


def test_damaged_configurations_are_read_or_rejected(tmp_path: Path) -> None:
    assert checkpoint_fuzzing.run_configs(tmp_path, seed=20, count=150) > 0


def test_damaged_weights_are_read_or_rejected(tmp_path: Path) -> None:
    assert checkpoint_fuzzing.run_weights(tmp_path, seed=20, count=150) > 0


def test_damaged_published_files_are_read_or_rejected(tmp_path: Path) -> None:
    assert checkpoint_fuzzing.run_published(tmp_path, seed=20, count=60) > 0


def test_a_talker_of_a_loaded_checkpoint_gives_the_frames_of_the_network(
    originals: dict[str, Path], speech: np.ndarray
) -> None:
    network = checkpoint.load(originals["blendshape"])
    one, two = (
        talker.open_stream(seed=3).accept(speech[:16000])
        for talker in (Talker(network, "cpu"), Talker.load(originals["blendshape"], "cpu"))
    )
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(one, two, strict=True))
