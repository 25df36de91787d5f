# SPDX-License-Identifier: Apache-2.0
"""The fused frame step equals the plain one for many streams, guidance, short contexts and many steps."""

from __future__ import annotations

import pytest
import torch

from streamingtalker_ros import Talker
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.diffusion_head import HeadSampler
from streamingtalker_ros.model.blendshape.fused_inference import FusedNetwork, FusedSampler
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.model.blendshape.state_pool import state_tensors
from streamingtalker_ros.model.ddim import NoiseSchedule

CONFIGS = {
    "narrow": TalkerConfig(
        audio_width=48,
        audio_blocks=3,
        column_blocks=4,
        codec_width=24,
        width=32,
        feedforward=40,
        context_frames=7,
        positional_period=5,
        head_width=16,
        head_blocks=2,
        styles=("neutral", "lively"),
        open_vowel_thresholds=(0.1, 0.2),
        lip_measure_weight=0.5,
        articulation_context_frames=2,
    ),
    "one layer": TalkerConfig(
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
}


@pytest.fixture(scope="module", params=[*CONFIGS, "shipped"])
def network(request: pytest.FixtureRequest, torch_talker: Talker) -> TalkerNetwork:
    if request.param == "shipped":
        return torch_talker.network
    torch.manual_seed(0)
    network = TalkerNetwork(CONFIGS[request.param]).eval().requires_grad_(False)
    for (
        parameter
    ) in network.parameters():  # biases, norms and the first latent are not left at their trivial values
        parameter += 0.1 * torch.randn_like(parameter)
    for name in ("motion_mean", "motion_scale", "latent_mean", "latent_scale"):
        getattr(network.codec, name).add_(0.3 * torch.rand_like(getattr(network.codec, name)))
    return network


@pytest.mark.parametrize(
    "batch, steps, context_frames, guided",
    [(1, 4, None, False), (3, 4, None, True), (2, 1, 0, False), (2, 9, 3, True), (5, 50, 1, False)],
)
def test_fused_equals_eager(
    network: TalkerNetwork, batch: int, steps: int, context_frames: int | None, guided: bool
) -> None:
    c = network.config
    torch.manual_seed(1)
    frames = c.context_frames + 9  # once around the ring
    if context_frames is not None and context_frames > 0:  # the rest of the ring is not seen
        frames = min(frames, 20)
    audio = torch.randn(frames, batch, c.hop) * torch.logspace(-3, -0.5, frames)[:, None, None]
    audio[4:6] = 0.0
    noise, style = torch.randn(frames, batch, c.latent_dim), torch.arange(batch) % len(c.styles)
    guidance = torch.rand(batch, 1) * 3 if guided else None
    fused = FusedNetwork(network)
    eager = (network, HeadSampler(network.head, steps, NoiseSchedule()))
    variants = [
        (*eager, 1.0),
        (fused, FusedSampler(network.head, steps, NoiseSchedule()), 1.0),
        (*eager, 1.0 + 1e-6),
    ]
    results = []
    with torch.inference_mode():
        for variant, sampler, noise_scale in variants:
            state, uncond = network.init_state(batch), network.predictor.init_state(batch)
            rows = []
            for n in range(frames):
                feature, logits = variant.encode_hop(audio[n], state)
                motion = variant.generate_frame(
                    feature, noise_scale * noise[n], style, sampler, state, context_frames, guidance, uncond
                )
                rows.append(torch.cat((feature, logits, motion), 1))
            results.append(
                (torch.stack(rows), [part.clone() for part in state_tensors(state) if part.numel()])
            )
    (eager, eager_state), (fast, fast_state), (_, nudged_state) = results
    assert (eager - fast).abs().max() <= 1e-4 * eager.abs().max()  # generation is autoregressive
    assert (eager[:3] - fast[:3]).abs().max() <= 1e-5 * eager.abs().max()
    # latents diverge; a minimal change of the noise shows how far the eager network itself does
    for a, b, nudged in zip(eager_state, fast_state, nudged_state, strict=True):
        magnitude, rounding = (
            max(float(a.float().abs().max()), 1.0),
            float((a.float() - nudged.float()).abs().max()),
        )
        assert float((a.float() - b.float()).abs().max()) <= 1e-3 * magnitude + rounding


def test_weights_keep_their_values_names_and_shapes(network: TalkerNetwork) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    FusedNetwork(network)
    FusedSampler(network.head, 4, NoiseSchedule())
    after = network.state_dict()
    assert list(before) == list(after)
    assert all(
        torch.equal(before[name], after[name]) and before[name].shape == after[name].shape for name in before
    )
