# SPDX-License-Identifier: Apache-2.0
"""Laws of checkpoints: they load as saved, and earlier versions load under the current names."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from streamingtalker_ros import Talker, TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.checkpoint import CONFIG, RENAMED_FIELDS, RENAMED_TENSORS, WEIGHTS
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.vertex.config import RENAMED_FIELDS as RENAMED_VERTEX_FIELDS
from streamingtalker_ros.model.vertex.config import VertexConfig
from streamingtalker_ros.streaming.talker import DEFAULT_CHECKPOINT

SMALL = TalkerConfig(
    audio_width=32,
    audio_blocks=2,
    column_blocks=1,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=10,
    head_width=32,
    head_blocks=1,
    bilabial_thresholds=(0.1, 0.2),
    open_vowel_thresholds=(0.5, 0.75),
    lip_measure_weight=0.5,
    num_inference_steps=2,
    styles=("neutral", "lively"),
)


def small_network() -> TalkerNetwork:
    """A network with random weights and every auxiliary head."""
    torch.manual_seed(0)
    return TalkerNetwork(SMALL)


def earlier_name(name: str, table: dict[str, str]) -> str:
    """Return the name that an earlier version gave to a field or a tensor."""
    for old, new in table.items():
        name = name.replace(new, old) if "." in new else (old if name == new else name)
    return name


def write_earlier_checkpoint(folder: Path, network: TalkerNetwork) -> None:
    """Write a checkpoint as versions before the renaming did."""
    tensors = {earlier_name(name, RENAMED_TENSORS): value for name, value in network.state_dict().items()}
    values = {earlier_name(name, RENAMED_FIELDS): value for name, value in asdict(network.config).items()}
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in tensors.items()}, str(folder / WEIGHTS))
    (folder / CONFIG).write_text(json.dumps({**values, "family": "default"}))


def assert_equal(a: TalkerNetwork, b: TalkerNetwork) -> None:
    """Assert equal configurations and weights."""
    assert a.config == b.config
    assert list(a.state_dict()) == list(b.state_dict())
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def test_a_saved_network_loads_equal(tmp_path: Path) -> None:
    network = small_network()
    checkpoint.save(tmp_path, network)
    assert_equal(checkpoint.load(tmp_path), network)
    assert checkpoint.read_family(tmp_path) == "blendshape"


def test_a_checkpoint_of_an_earlier_version_loads_equal_and_gives_the_same_frames(
    tmp_path: Path, speech: np.ndarray
) -> None:
    network = small_network()
    write_earlier_checkpoint(tmp_path / "earlier", network)
    stored = json.loads((tmp_path / "earlier" / CONFIG).read_text())
    assert {"slots", "closure", "steps"} <= set(stored) and "num_codebooks" not in stored
    assert "encoder.voice.weight" in load_file(str(tmp_path / "earlier" / WEIGHTS))
    loaded = checkpoint.load(tmp_path / "earlier")
    assert_equal(loaded, network)
    assert checkpoint.read_family(tmp_path / "earlier") == "blendshape"
    one, two = (Talker(net, "cpu").open_stream(seed=3).accept(speech[:16000]) for net in (loaded, network))
    assert len(one) == len(two) > 10
    assert all(np.array_equal(a.weights, b.weights) for a, b in zip(one, two, strict=True))


def test_the_shipped_configuration_has_the_current_names() -> None:
    stored = json.loads((DEFAULT_CHECKPOINT / CONFIG).read_text())
    assert not set(stored) & set(RENAMED_FIELDS) and stored["family"] == "blendshape"
    assert TalkerConfig.from_json(stored).to_json() == checkpoint.read_config(DEFAULT_CHECKPOINT).to_json()


def test_an_unknown_field_is_rejected_by_name(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, small_network())
    values = {**json.loads((tmp_path / CONFIG).read_text()), "wings": 2}
    (tmp_path / CONFIG).write_text(json.dumps(values))
    with pytest.raises(TalkerError, match=r"unknown fields .'wings'.*upgrade"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("text, message", [("{", "not valid JSON"), ("[1]", "no JSON object")])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / CONFIG).write_text(text)
    with pytest.raises(TalkerError, match=message):
        checkpoint.load(tmp_path)


def test_a_vertex_configuration_of_an_earlier_version_reads_equal() -> None:
    values: dict[str, Any] = dict(
        dataset="vocaset",
        vertices=5,
        frame_rate=30.0,
        num_codebooks=4,
        code_dim=6,
        codebook_size=16,
        codec_width=24,
        codec_layers=1,
        codec_heads=2,
        codec_feedforward=32,
        codec_slope=0.2,
        codec_affine=False,
        width=24,
        audio_dim=24,
        heads=4,
        layers=1,
        feedforward=32,
        activation="relu",
        positional_period=30,
        identities=("a", "b"),
        context_frames=20,
    )
    config = VertexConfig(**values)
    earlier = {earlier_name(name, RENAMED_VERTEX_FIELDS): value for name, value in config.to_json().items()}
    assert {"slots", "history", "ff", "spacing"} <= set(earlier)
    assert VertexConfig.from_json({**earlier, "family": "published"}) == config


def test_loading_with_torch_does_not_import_its_compiler() -> None:
    """The compiler takes seconds to import, in every process."""
    code = "from streamingtalker_ros import Talker; Talker.load(device='cpu', backend='torch')"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "torch.nn" in done.stderr and "torch._dynamo" not in done.stderr


def test_a_checkpoint_with_former_heads_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"family": "blendshape", "lip_aperture_weight": 0.75}))
    with pytest.raises(TalkerError, match=r"version 0\.1\.0.*train the model again"):
        checkpoint.load(tmp_path)
