# SPDX-License-Identifier: Apache-2.0
"""Stages of the blendshape family on synthetic speech: losses fall, runs resume, the result streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamingtalker_ros import Talker
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.lip_shape import LipShape
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.training.articulation_heads import ArticulationHeadStage
from streamingtalker_ros.training.batches import WindowSampler, clip_motion
from streamingtalker_ros.training.codec import CodecStage, measure_latents, measure_motion
from streamingtalker_ros.training.encoder import EncoderPretraining
from streamingtalker_ros.training.generator import GeneratorConfig, GeneratorStage
from streamingtalker_ros.training.stages import load_matching_weights
from streamingtalker_ros.training.trainer import Stage, Trainer, TrainerConfig
from support.training_clips import TINY_MODEL, SpeechClip, noise_burst_clip

CONFIG = TalkerConfig.from_json(
    {
        **TINY_MODEL,
        "bilabial_thresholds": (0.1, 0.2),
        "open_vowel_thresholds": (0.5, 0.75),
        "lip_measure_weight": 0.5,
        "articulation_context_frames": 2,
    }
)
LOOKAHEAD = CONFIG.lookahead_frames


@pytest.fixture(scope="module")
def clips() -> list[SpeechClip]:
    return [noise_burst_clip(seed) for seed in range(4)]


def _sampler(
    clips: Sequence[SpeechClip], network: TalkerNetwork | None = None, **options: Any
) -> WindowSampler:
    log_mel = network.encoder.log_mel if network else None
    return WindowSampler(clips, frames=24, burn_in=8, lookahead=LOOKAHEAD, log_mel=log_mel, **options)


def _lips(device: str = "cpu") -> LipShape:
    return LipShape(default_rig(), device)


def _network(clips: Sequence[SpeechClip]) -> TalkerNetwork:
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIG)
    measure_motion(network.codec, [clip_motion(clip) for clip in clips])
    return network


def _codec_run(
    clips: Sequence[SpeechClip], folder: Path, steps: int
) -> tuple[TalkerNetwork, Trainer, CodecStage]:
    network = _network(clips)
    config = TrainerConfig(steps=steps, batch_size=8, lr=2e-3, warmup_steps=5, log_every=5, save_every=15)
    trainer = Trainer(dict(network.codec.named_parameters()), config, folder, "codec")
    return network, trainer, CodecStage(network.codec, _sampler(clips), _lips(), config.batch_size)


def _logged_losses(folder: Path) -> list[float]:
    rows = (folder / "log.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[2]) for row in rows]


Trained = tuple[TalkerNetwork, Path, dict[str, Any]]


@pytest.fixture(scope="module")
def trained(clips: list[SpeechClip], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("run")
    network, trainer, codec_stage = _codec_run(clips, folder / "codec", 60)
    trainer.run(codec_stage)
    metrics = measure_latents(network.codec, [clip_motion(clip) for clip in clips])
    network.codec.requires_grad_(False)
    config = GeneratorConfig(
        steps=60, batch_size=8, lr=3e-3, warmup_steps=5, log_every=5, save_every=30, ema_decay=0.95
    )
    stage = GeneratorStage(network, _sampler(clips, network), _lips(), config)
    parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
    trainer = Trainer(parameters, config, folder / "generator", "generator")
    trainer.run(stage)
    trainer.load_ema()
    return network, folder, metrics


def test_losses_of_both_stages_fall(trained: Trained) -> None:
    _, folder, metrics = trained
    for stage, ratio in (("codec", 0.6), ("generator", 0.7)):
        losses = _logged_losses(folder / stage)
        assert np.mean(losses[-3:]) < ratio * np.mean(losses[:2]), stage
    assert metrics["codes_used"] > 16 and metrics["perplexity"] > 8  # the codebook has not collapsed


def test_the_trained_network_streams_and_follows_the_audio(trained: Trained, clips: list[SpeechClip]) -> None:
    stream = Talker(trained[0], "cpu").open_stream()
    frames = stream.accept(clips[0].pcm) + stream.finish()
    jaw = np.array([frame.weights[INDEX["jawOpen"]] for frame in frames])
    assert np.corrcoef(jaw, clips[0].weights[:, INDEX["jawOpen"]])[0, 1] > 0.7


class InterruptedCodecStage:
    """A codec stage that is interrupted in one step."""

    def __init__(self, stage: CodecStage, at: int) -> None:
        self.stage, self.at, self.buffers = stage, at, stage.buffers

    def __call__(self, step: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, Any]]:
        if step == self.at:
            raise KeyboardInterrupt
        return self.stage(step, rng)


def test_an_interrupted_codec_run_resumes_bit_for_bit(clips: list[SpeechClip], tmp_path: Path) -> None:
    straight, trainer, stage = _codec_run(clips, tmp_path / "a", 20)
    trainer.run(stage)
    _, trainer, stage = _codec_run(clips, tmp_path / "b", 20)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(InterruptedCodecStage(stage, at=18))  # three steps after a save
    resumed, trainer, stage = _codec_run(clips, tmp_path / "b", 20)
    assert trainer.step == 15
    trainer.run(stage)
    parameters = dict(resumed.codec.named_parameters())
    for name, tensor in straight.codec.named_parameters():
        assert torch.equal(tensor, parameters[name]), name


StageFactory = Callable[[TalkerNetwork, WindowSampler, LipShape], Stage]
STAGES: dict[str, StageFactory] = {
    "codec": lambda network, sampler, lips: CodecStage(network.codec, sampler, lips, 4),
    "encoder": lambda network, sampler, lips: EncoderPretraining(
        network.encoder, network.codec, LOOKAHEAD, sampler, lips, 4
    ),
    "generator": lambda network, sampler, lips: GeneratorStage(
        network, sampler, lips, GeneratorConfig(batch_size=4, steps=10)
    ),
    "articulation heads": lambda network, sampler, lips: ArticulationHeadStage(
        network.encoder, LOOKAHEAD, sampler, lips, 4
    ),
}


def test_a_frozen_encoder_gets_no_gradient(clips: list[SpeechClip]) -> None:
    network = TalkerNetwork(CONFIG)
    network.encoder.requires_grad_(False)
    sampler = _sampler(clips, network)
    for train_encoder in (True, False):
        config = GeneratorConfig(batch_size=4, train_encoder=train_encoder)
        stage = GeneratorStage(network, sampler, _lips(), config)
        stage.probe.requires_grad_(train_encoder)
        loss, metrics = stage(0, np.random.default_rng(0))
        loss.backward()
        assert all(p.grad is None for p in network.encoder.parameters())
        assert any(p.grad is not None for p in network.head.parameters())
        assert torch.isfinite(metrics["mouth"])
        assert (stage.probe.mouth.weight.grad is not None) == train_encoder


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_leaves_no_tensor_on_the_cpu(
    name: str, clips: list[SpeechClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PyTorch's device without memory, a tensor that stayed on the CPU raises, as on CUDA."""
    network = TalkerNetwork(CONFIG)
    sampler = _sampler(clips, network)
    stage = STAGES[name](network.to("meta"), sampler, _lips("meta"))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    # these two read values
    monkeypatch.setattr("streamingtalker_ros.training.codec.codebook_perplexity", lambda *_: 0.0)
    monkeypatch.setattr(CodecStage, "restart_unused_codes", lambda *_: None)
    for step in (0, 9, 10, 11):
        loss, _ = stage(step, np.random.default_rng(step))
        loss.backward()
        assert loss.device.type == "meta"


def _optimize(
    stage: Stage, parameters: Iterable[torch.Tensor], lr: float, steps: int
) -> tuple[list[float], list[Any]]:
    """Train for some steps: losses and metrics of each step."""
    optimizer = torch.optim.Adam(parameters, lr)
    losses: list[float] = []
    metrics: list[Any] = []
    for step in range(steps):
        loss, values = stage(step, np.random.default_rng(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        metrics.append(values)
    return losses, metrics


@pytest.mark.gpu
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_on_cuda(name: str, clips: list[SpeechClip]) -> None:
    network = _network(clips)
    sampler = _sampler(clips, network, augmentation_prob=0.5, device="cuda")
    stage = STAGES[name](network.to("cuda"), sampler, _lips("cuda"))
    losses, _ = _optimize(stage, network.parameters(), 2e-3, 40)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_a_larger_network_begins_as_the_smaller_one_and_learns(clips: list[SpeechClip]) -> None:
    torch.manual_seed(0)
    small = TalkerNetwork(CONFIG)
    large = TalkerNetwork(replace(CONFIG, column_blocks=1, audio_blocks=6, styles=("neutral", "other")))
    load_matching_weights(large, small)
    audio = torch.from_numpy(clips[0].pcm)[None]
    with torch.no_grad():
        assert torch.allclose(small.eval().encoder(audio), large.eval().encoder(audio), atol=1e-6)
    large.train()
    sampler = _sampler(clips, large, num_workers=2)
    measure_motion(large.codec, [clip_motion(clip) for clip in clips])
    stage = EncoderPretraining(large.encoder, large.codec, LOOKAHEAD, sampler, _lips(), 8)
    parameters = [*large.encoder.parameters(), *stage.probe.parameters()]
    losses, metrics = _optimize(stage, parameters, 3e-3, 40)
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5]) and metrics[-1]["phone_accuracy"] > 0.8


def test_heads_on_a_finished_encoder_do_not_detect_voice_in_noise(clips: list[SpeechClip]) -> None:
    network = _network(clips)
    sampler = _sampler(clips, network, augmentation_prob=0.5)
    encoder = network.encoder.eval()
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    stage = ArticulationHeadStage(encoder, LOOKAHEAD, sampler, _lips(), 12)
    names = tuple(encoder.auxiliary_heads)
    heads = [p for name, p in encoder.named_parameters() if name.startswith(names)]
    mels, loudness = sampler.sample_noise_only(32, np.random.default_rng(99))
    with torch.no_grad():
        encoder.vad_head.bias.fill_(2.0)
        assert encoder.vad_head(encoder.encode(mels, loudness)).mean() > 1.0  # it detects voice in noise
    losses = [float(metrics["articulation"]) for metrics in _optimize(stage, heads, 1e-2, 80)[1]]
    with torch.no_grad():
        in_noise = encoder.vad_head(encoder.encode(mels, loudness)).mean()
        window = sampler.sample(32, np.random.default_rng(98))
        logits = encoder.vad_head(encoder.encode(window.mels, window.loudness))[..., 0]
        in_speech = logits[window.voice > 0].mean()
    assert in_noise < -0.5 and in_speech > in_noise + 1.0
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    for name, p in encoder.named_parameters():
        assert not name.startswith("blocks") or torch.equal(p, before[name])
