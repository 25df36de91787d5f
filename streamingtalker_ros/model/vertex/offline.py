# SPDX-License-Identifier: Apache-2.0
"""The published order of computation, frame by frame: the reference for everything that is faster here.

The whole utterance is encoded once, the history grows without limit, every frame takes S sampling steps, and
the whole past is decoded again for each frame. The cost of a frame grows with its index; use it for
comparison only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex import hubert
from streamingtalker_ros.model.vertex.diffusion_head import coefficients, sample_stepped
from streamingtalker_ros.model.vertex.network import VertexNetwork


@dataclass
class OfflineResult:
    """Intermediate and final results of the published order, for L frames of one voice.

    Attributes:
        audio_encoder_output: (N, audio_dim), 50 Hz.
        audio_features: (L, audio_dim), interpolated to the motion's frame rate.
        start_latent: (H·C,), quantized.
        conditions: (L, d), the predictor's newest row at each frame.
        latents: (L + 1, H·C), row 0 the start, row n + 1 that of frame n.
        frames: (L, V, 3), template added, in the checkpoint's own unit.
    """

    audio_encoder_output: torch.Tensor
    audio_features: torch.Tensor
    start_latent: torch.Tensor
    conditions: torch.Tensor
    latents: torch.Tensor
    frames: torch.Tensor


@torch.inference_mode()
def generate(
    network: VertexNetwork,
    audio: torch.Tensor,
    identity: int,
    noise: torch.Tensor,
    template: torch.Tensor | None = None,
    steps: int | None = None,
) -> OfflineResult:
    """Run one utterance in the published streaming order.

    Args:
        network: On the audio's device.
        audio: (n,) float32 at 16 kHz, already normalized (`hubert.normalize`).
        identity: Row of the identity embedding.
        noise: (≥ L, H·C), row n the white noise of frame n.
        template: (V, 3); None for the network's own.
        steps: Diffusion steps; None for the configuration's.

    Raises:
        TalkerError: If the noise is too short.
    """
    config = network.config
    raw = hubert.encode(network.audio, audio[None])  # (1, N, audio_dim)
    features = hubert.interpolate(raw, config.audio_fps, config.frame_rate)  # (1, L, audio_dim)
    if len(noise) < features.shape[1]:
        raise TalkerError(
            f"noise has {len(noise)} rows, the audio gives {features.shape[1]} frames: give a row for each"
        )
    template = network.template if template is None else template
    ddim = coefficients(config, steps or config.num_inference_steps)
    style = torch.tensor([identity], device=audio.device)
    start = network.codec.start_latent()
    past = start[None, None]  # (1, 1, H·C), grows
    conditions: list[torch.Tensor] = []
    frames: list[torch.Tensor] = []
    for n in range(features.shape[1]):
        condition = network.predictor(past, features, style)[:, -1]  # (1, d)
        latent = sample_stepped(
            network.head, network.predictor.latent_in, condition, noise[n : n + 1], ddim
        )  # (1, H·C)
        past = torch.cat((past, latent[:, None]), 1)  # (1, n + 2, H·C)
        offsets = network.codec.decode(past)[0, -1]  # (3V,): all rows are decoded, the newest is kept
        conditions.append(condition[0])
        frames.append(offsets.view(-1, 3) + template)
    return OfflineResult(raw[0], features[0], start, torch.stack(conditions), past[0], torch.stack(frames))


@torch.inference_mode()
def round_trip(
    network: VertexNetwork, offsets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Run the codec alone: offsets (T, 3V) -> quantized (T·H, C), indices (T·H,), decoded (T, 3V).

    Args:
        network: The network whose codec runs.
        offsets: (T, 3V) displacements from the rest pose in the template's unit, T ≥ 2.
    """
    code_dim = network.config.code_dim
    quantized, indices = network.codec.quantize(network.codec.encode(offsets[None]))
    return quantized.reshape(-1, code_dim), indices.reshape(-1), network.codec.decode(quantized)[0]
