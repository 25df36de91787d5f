# SPDX-License-Identifier: Apache-2.0
"""Laws of the network's modules: stepping equals the full window, for any batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamingtalker_ros import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.diffusion_head import HeadSampler
from streamingtalker_ros.model.blendshape.features import LogMel, mel_filters
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.ddim import NoiseSchedule

CONFIG = TalkerConfig(
    audio_width=48,
    audio_blocks=3,
    codec_width=32,
    width=32,
    feedforward=64,
    context_frames=12,
    positional_period=7,
    head_width=32,
    head_blocks=2,
    styles=("neutral", "lively"),
)


@pytest.fixture(scope="module")
def network() -> TalkerNetwork:
    torch.manual_seed(0)
    return TalkerNetwork(CONFIG).eval().requires_grad_(False)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return (a - b).abs().max().item() <= tolerance * max(b.abs().max().item(), 1.0)


def test_encoder_hop_by_hop_equals_the_whole(network: TalkerNetwork) -> None:
    audio = torch.randn(2, 40 * CONFIG.hop) * 0.1
    audio[1] *= torch.linspace(0, 5, audio.shape[1])  # the level follows
    state = network.init_state(2)
    steps = torch.stack([network.encode_hop(hop, state)[0] for hop in audio.split(CONFIG.hop, 1)], 1)
    assert close(steps, network.encoder(audio))


def test_predictor_step_equals_the_window_far_beyond_its_context(network: TalkerNetwork) -> None:
    torch.manual_seed(1)
    frames = 5 * CONFIG.context_frames + 3
    latents, audio = torch.randn(2, frames, CONFIG.latent_dim), torch.randn(2, frames, CONFIG.audio_width)
    past = torch.cat((torch.zeros_like(latents[:, :1]), latents[:, :-1]), 1)
    style = torch.tensor([0, 1])
    for history in (None, 5, 1):
        expected = network.predictor(past, torch.arange(frames).expand(2, -1) > 0, audio, style, 0, history)
        state = network.predictor.init_state(2)
        steps = [
            network.predictor.step(past[:, n], audio[:, n], style, state, history) for n in range(frames)
        ]
        assert close(torch.stack(steps, 1), expected)


def test_the_predictors_context_is_bounded(network: TalkerNetwork) -> None:
    """A latent more than layers·h frames old has no effect; a latent inside the window has."""
    frames, layers = 40, CONFIG.layers
    latents, audio = torch.randn(1, frames, CONFIG.latent_dim), torch.randn(1, frames, CONFIG.audio_width)
    other = latents.clone()
    far = frames - 1 - layers * (CONFIG.context_frames - 1)
    other[:, :far] += 1.0
    style, known = torch.zeros(1, dtype=torch.int64), torch.ones(1, frames, dtype=torch.bool)
    a, b = (network.predictor(x, known, audio, style)[:, -1] for x in (latents, other))
    assert torch.equal(a, b) or close(a, b, 1e-6)
    other[:, far + 5] += 1.0
    assert not close(network.predictor(other, known, audio, style)[:, -1], a, 1e-6)


def test_codec_decodes_frame_by_frame_and_is_causal(network: TalkerNetwork) -> None:
    latents = torch.randn(2, 30, CONFIG.latent_dim)
    expected, state = network.codec.decode(latents), network.codec.init_state(2)
    steps = torch.cat([network.codec.decode(latents[:, n : n + 1], state) for n in range(30)], 1)
    assert close(steps, expected)
    later = latents.clone()
    later[:, 10:] = 0.0
    assert torch.equal(network.codec.decode(later)[:, :10], expected[:, :10])


def test_quantise_takes_the_nearest_code(network: TalkerNetwork) -> None:
    features = torch.randn(1, 4, CONFIG.latent_dim)
    quantized, indices = network.codec.quantize(features)
    vectors = features.view(4 * CONFIG.num_codebooks, CONFIG.code_dim)
    expected = torch.cdist(vectors, network.codec.codebook).argmin(1)
    assert torch.equal(indices.flatten(), expected)
    assert torch.equal(quantized.view_as(vectors), network.codec.codebook[expected])
    again, _ = network.codec.quantize(quantized)
    assert torch.equal(again, quantized)


def test_head_is_not_affine_and_sampler_is_the_stepped_formula(network: TalkerNetwork) -> None:
    sampler = HeadSampler(network.head, 4, NoiseSchedule())
    condition, noise = torch.randn(3, CONFIG.width), torch.randn(3, CONFIG.latent_dim)
    z, c = noise, sampler.coefficients
    for s in range(4):
        shift = network.head.timestep_shifts(torch.tensor([int(c.timesteps[s])]))
        z = float(c.keep[s]) * z + float(c.add[s]) * network.head(
            z, network.head.project_condition(condition), shift
        )
    assert close(sampler(condition, noise), z)
    middle = sampler((condition[:1] + condition[1:2]) / 2, (noise[:1] + noise[1:2]) / 2)
    ends = sampler(condition[:2], noise[:2]).mean(0, keepdim=True)
    assert not close(middle, ends, 1e-3)  # an affine head would give the mean


@pytest.mark.parametrize("others", [1, 3, 7])
def test_sharing_a_batch_changes_no_frame(network: TalkerNetwork, others: int) -> None:
    torch.manual_seed(others)
    sampler, style = HeadSampler(network.head, 3, NoiseSchedule()), torch.zeros(1 + others, dtype=torch.int64)
    audio = torch.randn(1 + others, 20 * CONFIG.hop) * 0.1
    noise = torch.randn(20, 1 + others, CONFIG.latent_dim)

    def run(rows: slice) -> torch.Tensor:
        state, motion = network.init_state(len(audio[rows])), []
        for n, hop in enumerate(audio[rows].split(CONFIG.hop, 1)):
            feature, _ = network.encode_hop(hop, state)
            motion.append(network.generate_frame(feature, noise[n, rows], style[rows], sampler, state))
        return torch.stack(motion, 1)

    assert close(run(slice(0, 1)), run(slice(None))[:1], 1e-4)


def test_reset_of_one_row_leaves_the_others(network: TalkerNetwork) -> None:
    state, fresh = network.init_state(3), network.init_state(3)
    network.encode_hop(torch.randn(3, CONFIG.hop), state)
    unchanged = state.encoder.features.samples[0].clone()
    state.reset(rows=[1])
    assert torch.equal(state.encoder.features.samples[1], fresh.encoder.features.samples[1])
    assert torch.equal(state.encoder.features.samples[0], unchanged) and unchanged.abs().max() > 0


def test_features_of_quiet_and_loud_audio_are_equal() -> None:
    log_mel = LogMel(TalkerConfig())
    torch.manual_seed(0)
    voice = torch.randn(1, 50 * 640) * (0.2 + torch.sin(torch.arange(50 * 640) / 4000.0).clamp(min=0))
    loud, soft = log_mel(voice * 0.3)[0], log_mel(voice * 0.03)[0]
    assert (loud - soft)[:, 2:].abs().max() < 0.02 < loud[:, 2:].std()
    silent, _ = log_mel(torch.zeros(1, 6400))
    assert torch.isfinite(silent).all() and silent.max() <= -0.7


def test_mel_filters_cover_the_band_once() -> None:
    filters = mel_filters(64)
    assert filters.shape == (257, 64) and (filters >= 0).all()
    assert torch.allclose(filters.sum(0), torch.ones(64), atol=1e-4)
    peaks = filters.argmax(0)
    assert (peaks.diff() >= 0).all()


def test_checkpoint_round_trip_and_its_errors(network: TalkerNetwork, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", network)
    again = checkpoint.load(tmp_path / "c")
    assert again.config == CONFIG
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    (tmp_path / "c" / checkpoint.WEIGHTS).write_bytes(b"broken")
    with pytest.raises(TalkerError, match="cannot be read"):
        checkpoint.load(tmp_path / "c")
    checkpoint.save(tmp_path / "d", network)
    text = (tmp_path / "d" / checkpoint.CONFIG).read_text()
    (tmp_path / "d" / checkpoint.CONFIG).write_text(text.replace('"width": 32', '"width": 64', 1))
    with pytest.raises(TalkerError, match="does not fit"):
        checkpoint.load(tmp_path / "d")
    (tmp_path / "d" / checkpoint.CONFIG).write_text('{"hops": 3}')
    with pytest.raises(TalkerError, match="unknown fields"):
        checkpoint.load(tmp_path / "d")
