# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker parity` equals the published recording and an independent implementation."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from streamingtalker_ros.cli import main
from support import vertex_reference as reference

RECORDED = Path(__file__).parents[1] / "data" / "reference_parity"  # of the published code, in miniature


def parity(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, float, str, list[str], str]:
    """Return exit code, worst error (NaN without one), its array, arrays that fail, and standard error."""
    code = main(["parity", str(folder)])
    out, err = capsys.readouterr()
    last = out.splitlines()[-1] if out else ""
    found = re.fullmatch(r"parity: worst (\S+) \((\w+)\)", last)
    failed = [line.split()[0] for line in out.splitlines() if "FAIL" in line]
    return code, float(found[1]) if found else math.nan, found[2] if found else "", failed, err


@pytest.fixture(scope="module", params=["vocaset", "biwi"])
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    reference.write_recording(folder, reference.VOCASET if request.param == "vocaset" else reference.BIWI)
    return folder


@pytest.fixture(scope="module")
def vocaset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording for what does not depend on the data set."""
    folder = tmp_path_factory.mktemp("one")
    reference.write_recording(folder, reference.VOCASET)
    return folder


def test_the_recording_of_the_published_code_is_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    code, worst, _, failed, _ = parity(RECORDED, capsys)
    assert (code, failed) == (0, []) and worst <= 1e-5


def test_equals_an_independent_implementation(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, worst, _, failed, _ = parity(recording, capsys)
    assert (code, failed) == (0, []) and worst <= 1e-5


def test_the_synthetic_recordings_are_longer_than_one_positional_period() -> None:
    """More frames than one period, or the positional row and the temporal bias would go untested."""
    assert 1.1 * reference.VOCASET["fps"] > reference.VOCASET["period"] + 2
    assert 1.1 * reference.BIWI["fps"] > reference.BIWI["period"] + 1


WEIGHTS = {
    "audio_encoder.encoder.layers.0.attention.v_proj.weight": "audio_encoder_output",
    "audio_encoder.encoder.pos_conv_embed.conv.weight_g": "audio_encoder_output",
    "autoencoder.decoder.decoder_transformer.net.0.fn.fn.to_qkv.weight": "frames",
    "autoencoder.encoder.encoder_transformer.net.1.fn.fn.l2.bias": "vq_indices",
    "diff_ar_network.transformer_decoder.layers.1.multihead_attn.in_proj_bias": "conditions",
    "diff_ar_network.transformer_decoder.layers.0.self_attn.in_proj_weight": "conditions",
    "diff_ar_network.time_emb.mlp.2.bias": "latents",
    "diff_ar_network.denoiser.0.weight": "latents",
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_an_altered_weight_fails_and_is_named(
    recording: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(recording, tmp_path / "r")
    content = torch.load(recording / "checkpoint.ckpt", weights_only=True)
    flat = content["state_dict"][name].view(-1)
    # codes are far apart: move far enough to change one
    flat[-1] += 3.0 if "encoder_transformer" in name else 0.5
    torch.save(content, tmp_path / "r" / "checkpoint.ckpt")
    code, worst, _, failed, _ = parity(tmp_path / "r", capsys)
    assert code == 1 and worst > 1e-4 and WEIGHTS[name] in failed


@pytest.mark.parametrize(
    "name",
    [
        "audio_encoder_output",
        "audio_features",
        "start_latent",
        "conditions",
        "latents",
        "frames",
        "vq_quantized",
        "vq_indices",
        "vq_decoded",
    ],
)
def test_an_altered_array_fails_alone_and_is_named(
    vocaset: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(vocaset, tmp_path / "r")
    arrays = dict(np.load(vocaset / "expected.npz"))
    arrays[name].flat[-1] += 1
    np.savez(tmp_path / "r" / "expected.npz", **arrays)
    code, _, worst, failed, _ = parity(tmp_path / "r", capsys)
    assert (code, worst, failed) == (1, name, [name])


@pytest.mark.parametrize(
    "name, first",
    [
        ("audio", "audio_encoder_output"),
        ("noise", "latents"),
        ("template", "frames"),
        ("identity", "conditions"),
        ("vq_motion", "vq_decoded"),
    ],
)
def test_an_altered_input_fails(
    vocaset: Path, name: str, first: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(vocaset, tmp_path / "r")
    arrays = dict(np.load(vocaset / "expected.npz"))
    arrays[name] = np.roll(arrays[name], 1, 0)
    np.savez(tmp_path / "r" / "expected.npz", **arrays)
    code, _, _, failed, _ = parity(tmp_path / "r", capsys)
    assert code == 1 and first in failed


CHANGED_SETTINGS = [
    ("period: 30", "period: 7"),
    ("period: 25", "period: 7"),
    ("activation: gelu", "activation: relu"),
    ("neg: 0.2", "neg: 0.01"),
    ("hidden_fps: ", "hidden_fps: 2"),
    ("steps_offset: 1", "steps_offset: 0"),
    ("n_heads: 4", "n_heads: 8"),
    ("num_inference_timesteps: 50", "num_inference_timesteps: 25"),
]


def test_a_changed_setting_fails(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (recording / "config.yaml").read_text()
    changes = [change for change in CHANGED_SETTINGS if change[0] in text]
    assert len(changes) >= 6  # some belong to the other data set
    shutil.copytree(recording, tmp_path / "r")
    for old, new in changes:
        (tmp_path / "r" / "config.yaml").write_text(text.replace(old, new))
        assert parity(tmp_path / "r", capsys)[0] in (1, 2), old


def damage_recording(folder: Path, damage: str) -> None:
    arrays = dict(np.load(folder / "expected.npz"))
    content = torch.load(folder / "checkpoint.ckpt", weights_only=True)
    if damage.startswith("no "):
        (folder / damage[3:]).unlink()
    elif damage == "array missing":
        arrays.pop("conditions")
    elif damage == "identity":
        arrays["identity"][:] = 0.5
    elif damage == "nan":
        arrays["noise"][3, 1] = np.nan
    elif damage == "shape":
        arrays["latents"] = arrays["latents"][:-1]
    elif damage == "frames":
        arrays["noise"] = arrays["noise"][:-2]
    elif damage == "weight missing":
        content["state_dict"].pop("diff_ar_network.denoiser.0.bias")
    elif damage == "hubert weight missing":
        content["state_dict"].pop("audio_encoder.encoder.layer_norm.bias")
    elif damage == "weight unknown":
        content["state_dict"]["diff_ar_network.more.weight"] = torch.zeros(2)
    elif damage == "weight shape":
        content["state_dict"]["diff_ar_network.denoiser.0.bias"] = torch.zeros(3)
    elif damage == "weight nan":
        content["state_dict"]["diff_ar_network.denoiser.0.bias"][0] = float("nan")
    elif damage == "table":
        content["state_dict"]["diff_ar_network.PPE.pe"][0, 60] += 0.01
    elif damage == "prefix":
        content = {"state_dict": {"conv.weight": torch.zeros(2)}}
    if (folder / "expected.npz").exists():
        np.savez(folder / "expected.npz", **arrays)
    if (folder / "checkpoint.ckpt").exists():
        torch.save(content, folder / "checkpoint.ckpt")
    if damage in ("truncated ckpt", "truncated npz"):
        path = folder / ("checkpoint.ckpt" if "ckpt" in damage else "expected.npz")
        path.write_bytes(path.read_bytes()[:3000])
    if damage == "yaml":
        (folder / "config.yaml").write_text("MODEL: [")
    if damage == "yaml list":
        (folder / "config.yaml").write_text("- 3\n")
    if damage == "json":
        (folder / "hubert_config.json").write_text("{")
    if damage == "hubert":
        (folder / "hubert_config.json").write_text('{"hidden_size": "wide"}')


@pytest.mark.parametrize(
    "damage, message",
    [
        ("no config.yaml", "lacks config.yaml"),
        ("no checkpoint.ckpt", "lacks checkpoint.ckpt"),
        ("no expected.npz", "lacks expected.npz"),
        ("no hubert_config.json", "lacks hubert_config.json"),
        ("array missing", "conditions"),
        ("identity", "one-hot"),
        ("nan", "noise"),
        ("shape", "latents"),
        ("frames", "frames"),
        ("weight missing", "denoiser.0.bias"),
        ("weight unknown", "more.weight"),
        ("hubert weight missing", "audio_encoder.encoder.layer_norm.bias"),
        ("weight shape", "denoiser.0.bias"),
        ("weight nan", "denoiser.0.bias"),
        ("table", "PPE.pe"),
        ("prefix", "audio_encoder."),
        ("truncated ckpt", "checkpoint.ckpt"),
        ("truncated npz", "expected.npz"),
        ("yaml", "config.yaml"),
        ("yaml list", "config.yaml"),
        ("json", "hubert_config.json"),
        ("hubert", "HuBERT"),
    ],
)
def test_a_broken_recording_is_named_in_one_sentence(
    vocaset: Path, damage: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(vocaset, tmp_path / "r")
    damage_recording(tmp_path / "r", damage)
    code, _, _, _, err = parity(tmp_path / "r", capsys)
    assert (
        code == 2 and message in err and err.startswith("streamingtalker: error: ") and err.count("\n") == 1
    )


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _, _, err = parity(tmp_path / "none", capsys)
    assert code == 2 and "there is no folder" in err
