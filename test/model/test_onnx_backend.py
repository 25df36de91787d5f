# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime gives torch's frames: float32 to 1e-4, int8 closely, alone and in batches of any mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamingtalker_ros import Talker
from streamingtalker_ros.model.blendshape.backend import FrameBackend
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.diffusion_head import DiffusionHead
from streamingtalker_ros.model.blendshape.features import LogMel
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.blendshape.numpy_features import PAST_COLUMNS, HopFeatures
from streamingtalker_ros.model.blendshape.onnx_backend import timestep_shifts
from streamingtalker_ros.model.blendshape.onnx_state import AgeBias, DelayLines
from support.backends import ONNX_VARIANTS, VARIANTS, Variant, make_talker

ONNX_FLOAT32, ONNX_INT8 = ONNX_VARIANTS
CONFIGS = {
    "narrow": TalkerConfig(
        audio_width=48,
        audio_blocks=6,
        column_blocks=4,
        codec_width=24,
        width=32,
        feedforward=40,
        context_frames=7,
        positional_period=5,
        head_width=16,
        head_blocks=2,
        styles=("neutral", "lively"),
        bilabial_thresholds=(0.1, 0.2),
        lip_measure_weight=0.5,
        articulation_context_frames=3,
    ),
    "one layer, other hop": TalkerConfig(
        hop=480,
        audio_width=32,
        audio_blocks=1,
        codec_width=32,
        width=64,
        heads=2,
        layers=1,
        context_frames=12,
        head_width=32,
        head_blocks=1,
        lookahead_frames=1,
        num_mels=40,
    ),
    "no blocks": TalkerConfig(
        audio_width=24,
        audio_blocks=0,
        bilabial_thresholds=(0.1, 0.2),
        articulation_context_frames=1,
        codec_width=16,
        width=32,
        layers=1,
        feedforward=32,
        context_frames=1,
        head_width=16,
        head_blocks=1,
    ),
}


def random_network(name: str) -> TalkerNetwork:
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIGS[name]).eval().requires_grad_(False)
    for parameter in network.parameters():  # biases, norms and the first latent are not left trivial
        parameter += 0.1 * torch.randn_like(parameter)
    for name in ("motion_mean", "motion_scale", "latent_mean", "latent_scale"):
        getattr(network.codec, name).add_(0.3 * torch.rand_like(getattr(network.codec, name)))
    return network


@pytest.fixture(scope="module", params=CONFIGS)
def network(request: pytest.FixtureRequest) -> TalkerNetwork:
    return random_network(request.param)


def generate(
    backend: FrameBackend, voices: int, steps: int, context_frames: int | None, guided: bool
) -> npt.NDArray[np.float32]:
    """Features, logits and motion of some frames of random audio, (frames, voices, …), step by step."""
    config = backend.config
    rng = np.random.default_rng(1)
    frames = config.context_frames + 19  # once around every ring
    hops = rng.standard_normal((frames, voices, config.hop)).astype(np.float32)
    hops *= np.logspace(-3, -0.5, frames, dtype=np.float32)[:, None, None]
    hops[4:6] = 0.0
    noise = rng.standard_normal((frames, voices, config.latent_dim)).astype(np.float32)
    style = [voice % len(config.styles) for voice in range(voices)]
    rows = [backend.open_row() for _ in range(voices)]
    uncond_rows = [backend.open_uncond_row(0) for _ in rows] if guided else []
    guidance = [0.5 + voice for voice in range(voices)] if guided else []
    results: list[npt.NDArray[np.float32]] = []
    for n in range(frames):
        features, logits = backend.encode_hops(rows, hops[n])
        motion = backend.generate(
            rows, features, noise[n], style, steps, context_frames, uncond_rows, guidance
        )
        results.append(np.concatenate((features, logits, motion), 1))
    return np.stack(results)


CASES: list[tuple[int, int, int | None, bool]] = [
    (1, 4, None, False),
    (3, 4, None, True),
    (2, 1, 0, False),
    (1, 9, 3, True),
    (5, 30, 1, False),
]


@pytest.mark.parametrize("voices, steps, context_frames, guided", CASES)
def test_float32_equals_torch_for_any_network(
    network: TalkerNetwork, voices: int, steps: int, context_frames: int | None, guided: bool
) -> None:
    context = None if context_frames is None else min(context_frames, network.config.context_frames)
    case = voices, steps, context, guided
    expected, got = (
        generate(make_talker(network, variant).backend, *case) for variant in (VARIANTS[0], ONNX_FLOAT32)
    )
    assert np.abs(expected - got).max() <= 1e-4 * max(float(np.abs(expected).max()), 1.0)


def test_int8_is_near_torch_for_any_network(network: TalkerNetwork) -> None:
    """One frame from the start: later ones of a random network diverge."""
    expected, got = (
        generate(make_talker(network, variant).backend, 2, 4, None, False)[:3]
        for variant in (VARIANTS[0], ONNX_INT8)
    )
    assert 0.0 < np.abs(expected - got).max() <= 0.05 * np.abs(expected).max()


SETTINGS: list[dict[str, Any]] = [
    {"seed": 0},
    {"seed": 1, "guidance": 2.5, "style": "grid_s1"},
    {"seed": 2, "context_frames": 5, "steps": 8, "style": "facegood"},
    {"seed": 3, "context_frames": 0, "steps": 1},
    {"seed": 4, "guidance": 0.0, "steps": 2, "mouth_expressiveness": 1.4},
]


def voices(speech: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Three voices: the sample, its reversal with noise, and a quiet one with a constant offset."""
    rng = np.random.default_rng(0)
    noisy = speech[::-1] + 0.01 * rng.standard_normal(len(speech))
    return [speech, noisy.astype(np.float32), (0.05 * np.roll(speech, 9000) + 0.02).astype(np.float32)]


def run_mixed(talker: Talker, audio: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Frames of streams of all settings, stepped together in ragged chunks."""
    streams = [talker.open_stream(**settings) for settings in SETTINGS]
    pcm = [audio[i % len(audio)] for i in range(len(streams))]
    rng, frames = np.random.default_rng(2), [[] for _ in streams]
    positions = [0] * len(streams)
    while any(position < len(each) for position, each in zip(positions, pcm, strict=True)):
        sizes = [int(rng.integers(0, 6000)) for _ in streams]
        chunks = [each[p : p + size] for each, p, size in zip(pcm, positions, sizes, strict=True)]
        for i, completed in enumerate(talker.accept(streams, chunks)):
            frames[i] += completed
            positions[i] += len(chunks[i])
    for stream, own in zip(streams, frames, strict=True):
        own += stream.finish()
    return [np.stack([np.r_[frame.weights, frame.head, frame.speaking] for frame in own]) for own in frames]


@pytest.fixture(scope="module")
def expected(torch_talker: Talker, speech: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    return run_mixed(torch_talker, voices(speech))


@pytest.mark.parametrize("variant", ONNX_VARIANTS, ids=str)
def test_the_shipped_model_gives_torchs_frames_for_mixed_settings(
    variant_talkers: dict[Variant, Talker],
    speech: npt.NDArray[np.float32],
    expected: list[npt.NDArray[np.float32]],
    variant: Variant,
) -> None:
    got = run_mixed(variant_talkers[variant], voices(speech))
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        difference = np.abs(mine - theirs)
        if variant == ONNX_FLOAT32:
            assert difference.max() <= 1e-4
        else:
            assert 0.0 < difference[:, :56].mean() <= 0.01
            # voice activity may begin or end a frame apart
            assert difference[:, 56].mean() <= 0.05


def test_neighbours_change_no_bit_of_an_int8_voice(
    variant_talkers: dict[Variant, Talker], speech: npt.NDArray[np.float32]
) -> None:
    talker, audio = variant_talkers[ONNX_INT8], voices(speech)
    together = run_mixed(talker, audio)
    for i, settings in enumerate(SETTINGS):
        stream = talker.open_stream(**settings)
        frames = stream.accept(audio[i % len(audio)]) + stream.finish()
        alone = np.stack([np.r_[frame.weights, frame.head, frame.speaking] for frame in frames])
        assert np.array_equal(together[i], alone)


def test_features_equal_torchs_hop_by_hop(speech: npt.NDArray[np.float32]) -> None:
    config = TalkerConfig()
    features, log_mel = HopFeatures(config), LogMel(config)
    hops = np.stack([audio[: 60 * config.hop].reshape(60, config.hop) for audio in voices(speech)], 1)
    hops[20:25] = 0.0
    batch = hops.shape[1]
    with torch.inference_mode():
        state = log_mel.init_state(batch)
        expected = [log_mel(torch.from_numpy(hop), state) for hop in hops]
    own = features.init_state(batch)
    taps = np.zeros((batch, config.columns, (PAST_COLUMNS + 1) * config.num_mels), np.float32)
    loudness, past = np.zeros((batch, 1), np.float32), np.zeros((batch, PAST_COLUMNS, config.num_mels))
    for hop, (mels, relative) in zip(hops, expected, strict=True):
        features.compute(hop, own, taps, loudness)
        columns = np.concatenate((past, mels[:, 0].numpy()), 1)
        joined = [columns[:, i : i + config.columns] for i in range(PAST_COLUMNS + 1)]
        np.testing.assert_allclose(taps, np.concatenate(joined, 2), atol=2e-3)
        scaled = 0.25 * relative.numpy().clip(min=-12.0) + 1.0
        np.testing.assert_allclose(loudness, scaled, atol=1e-4)
        past = columns[:, -PAST_COLUMNS:]


def test_delay_lines_return_the_rows_of_a_plain_history() -> None:
    """Rings of several reaches, voices at different frames, more frames than any ring holds."""
    rng = np.random.default_rng(0)
    offsets, new, width = [[-2, -1], [-16, -8], [-8, -4], [*range(-10, 0)]], 2, 3
    lines = DelayLines(offsets, new)
    pool = np.zeros((3, lines.slots, width), np.float32)
    flat = pool.reshape(-1, width)
    history = np.zeros((3, len(offsets), 16 + 2 * 40, width), np.float32)  # 16 rows before the first frame
    frames = [0, 0, 0]
    for _ in range(60):
        rows = [int(row) for row in rng.permutation(3)[: rng.integers(1, 4)]]
        reads, writes = lines.indices(rows, [frames[row] for row in rows])
        expected = [
            history[row, line, 16 + new * frames[row] + offset]
            for line, each in enumerate(offsets)
            for row in rows
            for offset in each
        ]
        assert np.array_equal(flat[reads], np.array(expected))
        values = rng.standard_normal((len(offsets), len(rows), new, width)).astype(np.float32)
        flat[writes] = values.reshape(-1, width)
        for i, row in enumerate(rows):
            first = 16 + new * frames[row]
            history[row, :, first : first + new] = values[:, i]
            frames[row] += 1


@pytest.mark.parametrize("context_frames", [None, 0, 1, 3, 5])
def test_the_age_bias_is_that_of_the_predictors_ring(context_frames: int | None) -> None:
    predictor = random_network("narrow").predictor
    heads, past = 4, predictor.context_frames
    bias, state = np.zeros((heads, past), np.float32), predictor.init_state(1)
    for frame in range(3 * past):
        for cached in (frame, min(frame, 2)):
            state.frame[0], state.num_cached[0] = frame, cached
            expected = predictor.ring(state, context_frames)[1][0, :, 0].numpy()
            AgeBias(heads, past).fill(bias, frame, cached, context_frames)
            others = np.arange(past) != frame % past  # the frame itself is no part of the past
            assert np.array_equal(bias[:, others], expected[:, others])
            assert np.isneginf(bias[:, ~others]).all() and (expected[:, ~others] == 0.0).all()


def test_timestep_shifts_are_those_of_the_head() -> None:
    head = DiffusionHead(CONFIGS["narrow"])
    tensors = {f"head.{name}": value.detach().numpy() for name, value in head.state_dict().items()}
    times = np.array([999, 500, 3, 0])
    expected = head.timestep_shifts(torch.from_numpy(times)).detach().numpy()
    np.testing.assert_allclose(timestep_shifts(times, tensors), expected, atol=1e-4)


def test_int8_keeps_outputs_of_no_weight_and_of_every_scale() -> None:
    """Each output has a scale of its own: a large one costs a small one nothing, and one of zeros stays 0."""
    network = random_network("narrow")
    tensors = network.state_dict()  # shares their memory
    weight = tensors["encoder.blocks.0.conv.linear.weight"]
    weight.mul_(torch.logspace(-3, 1, len(weight))[:, None])
    weight[5] = tensors["encoder.blocks.0.conv.linear.bias"][5] = 0.0
    tensors["encoder.blocks.1.out.weight"].zero_()
    expected, got = (
        generate(make_talker(network, variant).backend, 1, 4, None, False)[:3]
        for variant in (VARIANTS[0], ONNX_INT8)
    )
    assert 0.0 < np.abs(expected - got).max() <= 0.05 * np.abs(expected).max()
