# SPDX-License-Identifier: Apache-2.0
"""The motion codec: a VQ-VAE over motion frames, causal on both sides, no temporal down-sampling (paper, stage 1).

Motion (B, T, motion_dim) -> encoder -> H slots of C numbers a frame -> nearest entry of one codebook each ->
latent (B, T, H·C) -> decoder -> motion. Latents are scaled to unit variance, which the diffusion head expects.
Streaming uses the decoder alone: a generated latent is never quantized again.
"""

from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.causal_layers import CausalConv, ResidualBlock


@dataclass
class CodecState:
    """What the decoder remembers: each convolution's context."""

    contexts: list  # of (B, reach, C)

    def reset(self, rows=slice(None)) -> None:
        for context in self.contexts:
            context[rows] = 0.0


class CausalStack(nn.Module):
    """A causal convolution, two residual blocks and a map out: (B, T, inputs) -> (B, T, outputs)."""

    def __init__(self, inputs, width, outputs) -> None:
        super().__init__()
        self.first = CausalConv(inputs, width, kernel=2)
        self.blocks = nn.ModuleList(ResidualBlock(width, 2) for _ in range(2))
        self.out = nn.Linear(width, outputs)

    def contexts(self, batch):
        return [layer.context(batch) for layer in (self.first, *self.blocks)]

    def forward(self, x, contexts=None):
        contexts = iter(contexts or [None] * 3)
        x = nn.functional.gelu(self.first(x, next(contexts)))
        for block in self.blocks:
            x = block(x, next(contexts))
        return self.out(x)


class MotionCodec(nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        self.slots, self.code_dim = config.slots, config.code_dim
        self.encoder = CausalStack(config.motion_dim, config.codec_width, config.latent_dim)
        self.decoder = CausalStack(config.latent_dim, config.codec_width, config.motion_dim)
        self.codebook = nn.Parameter(torch.randn(config.codes, config.code_dim) * 0.5)
        # motion is seen centred and scaled, latents leave with unit variance; both measured in training
        self.register_buffer("motion_mean", torch.zeros(config.motion_dim))
        self.register_buffer("motion_scale", torch.ones(config.motion_dim))
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_scale", torch.ones(config.latent_dim))

    def state(self, batch):
        return CodecState(self.decoder.contexts(batch))

    def features(self, motion):
        """(B, T, motion_dim) -> (B, T, H·C), before quantisation."""
        return self.encoder((motion - self.motion_mean) / self.motion_scale)

    def quantize(self, features):
        """(B, T, H·C) -> the nearest codes (B, T, H·C) and their indices (B, T, H)."""
        slots = features.unflatten(-1, (self.slots, self.code_dim))
        flat = slots.reshape(-1, self.code_dim)
        distance = (
            self.codebook.square().sum(1) - 2.0 * flat @ self.codebook.t()
        )  # + |flat|², the same for all
        indices = distance.argmin(1)
        return self.codebook[indices].view_as(features), indices.view(slots.shape[:-1])

    def encode(self, motion):
        """(B, T, motion_dim) -> unit-variance quantized latents (B, T, H·C): what the diffusion head learns."""
        return (self.quantize(self.features(motion))[0] - self.latent_mean) / self.latent_scale

    def decode(self, latents, state=None):
        """(B, T, H·C) unit-variance latents -> motion (B, T, motion_dim), not yet clipped."""
        raw = self.decoder(latents * self.latent_scale + self.latent_mean, state and state.contexts)
        return raw * self.motion_scale + self.motion_mean
