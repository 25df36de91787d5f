# SPDX-License-Identifier: Apache-2.0
"""Stages through the command line, from ARKit motion beside WAV to a stream, resumed bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.training import stages
from support.training_clips import TINY_MODEL

STAGES: dict[str, type] = {
    "codec": stages.CodecStage,
    "encoder": stages.EncoderPretraining,
    "generator": stages.GeneratorStage,
}
WINDOWS = {"frames": 24, "burn_in": 8, "motion_variants": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("animation"), np.random.default_rng(0)
    takes = folder / "takes"
    takes.mkdir()
    for name, rate in (("a", 60), ("b", 24)):
        times = (np.arange(4 * rate) + 0.5) / rate
        weights = np.zeros((len(times), 52))
        syllables = np.clip(np.sin(4 * np.pi * times), 0, 1) * (np.abs(times - 2) < 1)
        weights[:, INDEX["jawOpen"]] = 0.4 * syllables
        if name == "a":
            level = np.tile([0.0, 0.0, 0.0, 1.0], (len(times), 1))
            write_livelink_csv(takes / "a.csv", weights, level, rate)
        else:
            np.savez(takes / "b.npz", weights=weights, frame_rate=float(rate))
        samples = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
        loudness = np.interp(samples, times, weights[:, INDEX["jawOpen"]])
        noise = rng.normal(size=len(samples)).clip(-2, 2)
        soundfile.write(takes / f"{name}.wav", loudness * noise, SAMPLE_RATE)
    assert main(["corpus", "from-animation", str(takes), "--out", str(folder / "corpus")]) == 0
    return folder / "corpus"


def _train(stage: str, corpus: Path, out: Path, recipe: dict[str, Any]) -> int:
    config = out.parent / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe))
    options = ["--corpus", str(corpus), "--out", str(out), "--config", str(config), "--device", "cpu"]
    return main(["train", stage, *options])


def test_animation_and_audio_train_a_talker_that_resumes_bit_for_bit(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = {"steps": 5, "batch_size": 2, "save_every": 2, "warmup_steps": 2}
    recipe = {
        "model": TINY_MODEL,
        "windows": WINDOWS,
        **dict.fromkeys(STAGES, loop),
        "history": {"scheduled_sampling_start": 0.2, "scheduled_sampling_prob": 1.0},
    }
    for stage, stage_type in STAGES.items():
        assert _train(stage, corpus, tmp_path / "straight", recipe) == 0
        call: Any = stage_type.__call__

        def interrupted(self: Any, step: int, rng: Any, call: Any = call) -> Any:
            if step == 3:  # one step after a save
                raise KeyboardInterrupt
            return call(self, step, rng)

        with monkeypatch.context() as patch:
            patch.setattr(stage_type, "__call__", interrupted)
            assert _train(stage, corpus, tmp_path / "cut", recipe) == 130
        assert _train(stage, corpus, tmp_path / "cut", recipe) == 0
        first, second = (
            torch.load(tmp_path / run / stage / "state.pt", weights_only=True) for run in ("straight", "cut")
        )
        assert first["step"] == second["step"] == 5
        for part in ("parameters", "ema"):
            for name, tensor in first[part].items():
                assert torch.equal(tensor, second[part][name]), (stage, part, name)
    stream = Talker.load(tmp_path / "cut" / "generator", "cpu").open_stream()
    assert len(stream.accept(np.zeros(SAMPLE_RATE, np.float32)) + stream.finish()) == 25


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["codec", "--grid", "x"], "--grid is for `train all`"),
        (["all", "--dataset", "biwi", "--data", "x"], "the blendshape family's"),
        (["encoder", "--dataset", "biwi", "--data", "x"], "HuBERT, which is trained by `train generator`"),
        (["all", "--jobs", "-1"], "at least 1"),
        (["generator"], "nothing to train on"),
    ],
)
def test_options_that_do_not_fit_are_rejected(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
