# SPDX-License-Identifier: Apache-2.0
"""The published order of computation, frame by frame: the referee of everything that is faster here.

The whole utterance is encoded once, the history grows without limit, every frame takes S sampling steps, and
the whole past is decoded again for each frame. Cost grows with the frame index; use it to compare, not to
perform.
"""

from dataclasses import dataclass

import torch

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.vertex import hubert
from streamingtalker_ros.model.vertex.diffusion_head import coefficients, sample_stepped


@dataclass
class ExactRun:
    """What the published code computes on the way, for L frames of one voice."""

    audio_encoder_output: torch.Tensor  # (N, audio_dim), 50 Hz
    audio_features: torch.Tensor  # (L, audio_dim), interpolated to the motion's rate
    start_latent: torch.Tensor  # (H·C,), quantized
    conditions: torch.Tensor  # (L, d), the predictor's newest row at each frame
    latents: torch.Tensor  # (L + 1, H·C), row 0 the start, row n + 1 that of frame n
    frames: torch.Tensor  # (L, V, 3), template added, in the checkpoint's own unit


@torch.inference_mode()
def generate(network, audio, identity, noise, template=None, steps=None):
    """Run one utterance in the published streaming order.

    audio: (n,) float32 at 16 kHz, already normalised (hubert.normalize); identity: row number;
    noise: (≥ L, H·C), row n the white noise of frame n; template: (V, 3), default the network's own.
    Raises TalkerError when the noise is too short.
    """
    c = network.config
    raw = hubert.encode(network.audio, audio[None])  # (1, N, audio_dim)
    features = hubert.interpolate(raw, c.audio_fps, c.frame_rate)  # (1, L, audio_dim)
    if len(noise) < features.shape[1]:
        raise TalkerError(
            f"noise has {len(noise)} rows, the audio gives {features.shape[1]} frames: give a row for each"
        )
    template = network.template if template is None else template
    sampler = coefficients(c, steps or c.steps)
    who = torch.tensor([identity], device=audio.device)
    start = network.codec.start_latent()
    past = start[None, None]  # (1, 1, H·C), grows
    conditions, frames = [], []
    for n in range(features.shape[1]):
        condition = network.predictor(past, features, who)[:, -1]  # (1, d)
        latent = sample_stepped(
            network.head, network.predictor.latent_in, condition, noise[n : n + 1], sampler
        )  # (1, H·C)
        past = torch.cat((past, latent[:, None]), 1)  # (1, n + 2, H·C)
        offsets = network.codec.decode(past)[0, -1]  # (3V,): all rows are decoded, the newest is kept
        conditions.append(condition[0])
        frames.append(offsets.view(-1, 3) + template)
    return ExactRun(raw[0], features[0], start, torch.stack(conditions), past[0], torch.stack(frames))


@torch.inference_mode()
def round_trip(network, offsets):
    """The codec alone: offsets (T, 3V) -> quantized (T·H, C), indices (T·H,), decoded (T, 3V)."""
    c = network.config
    quantized, indices = network.codec.quantize(network.codec.encode(offsets[None]))
    return quantized.reshape(-1, c.code_dim), indices.reshape(-1), network.codec.decode(quantized)[0]
