# SPDX-License-Identifier: Apache-2.0
"""Motion codec: a VQ-VAE over motion frames, causal, without temporal down-sampling (paper, stage 1).

Motion (B, T, motion_dim) → encoder → H vectors of C numbers per frame → nearest codebook entry each → latent
(B, T, H·C) → decoder → motion. Latents are scaled to unit variance, which the diffusion head expects.
Streaming runs the decoder alone: a generated latent is never quantized again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.causal_layers import CausalConv, ResidualBlock
from streamingtalker_ros.model.blendshape.config import DECODER_KERNEL, TalkerConfig
from streamingtalker_ros.model.constant_tables import build_table


@dataclass
class CodecState:
    """State of the decoder.

    Attributes:
        contexts: Of each convolution, (B, reach, C).
    """

    contexts: list[torch.Tensor]

    def reset(self, rows: slice | list[int] = slice(None)) -> None:
        """Zero the state of some rows of the batch."""
        for context in self.contexts:
            context[rows] = 0.0


class CausalStack(nn.Module):
    """A causal convolution, two residual blocks and a linear layer: (B, T, inputs) -> (B, T, outputs)."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.first = CausalConv(inputs, width, kernel=DECODER_KERNEL)
        self.blocks = nn.ModuleList(ResidualBlock(width, DECODER_KERNEL) for _ in range(2))
        self.out = nn.Linear(width, outputs)

    def init_contexts(self, batch: int) -> list[torch.Tensor]:
        """Return zero contexts of the three convolutions.

        Args:
            batch: Number of streams, 1 or more.

        Returns:
            Of each convolution, (batch, reach, C) zeros on this module's device.
        """
        blocks = [block for block in self.blocks if isinstance(block, ResidualBlock)]
        return [layer.init_context(batch) for layer in (self.first, *blocks)]

    def forward(self, x: torch.Tensor, contexts: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Apply to (B, T, inputs).

        Args:
            x: (B, T, inputs).
            contexts: Of `init_contexts`, updated in place; None for a clip from its start.

        Returns:
            (B, T, outputs).
        """
        first, *others = contexts or [None] * 3
        x = nn.functional.gelu(self.first(x, first))
        for block, context in zip(self.blocks, others, strict=True):
            x = block(x, context)
        return self.out(x)


class MotionCodec(nn.Module):
    """Encoder, codebook and decoder of motion.

    Args:
        config: Sizes of the network.
    """

    motion_mean: torch.Tensor
    motion_scale: torch.Tensor
    latent_mean: torch.Tensor
    latent_scale: torch.Tensor

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.num_codebooks, self.code_dim = config.num_codebooks, config.code_dim
        self.encoder = CausalStack(config.motion_dim, config.codec_width, config.latent_dim)
        self.decoder = CausalStack(config.latent_dim, config.codec_width, config.motion_dim)
        codes = (config.codebook_size, config.code_dim)
        self.codebook = nn.Parameter(build_table(codes, lambda: torch.randn(codes) * 0.5))
        # the encoder's input is centred and scaled, latents have unit variance; both are measured in training
        self.register_buffer("motion_mean", torch.zeros(config.motion_dim))
        self.register_buffer("motion_scale", torch.ones(config.motion_dim))
        self.register_buffer("latent_mean", torch.zeros(config.latent_dim))
        self.register_buffer("latent_scale", torch.ones(config.latent_dim))

    def init_state(self, batch: int) -> CodecState:
        """Return the decoder's state at the start of `batch` streams."""
        return CodecState(self.decoder.init_contexts(batch))

    def features(self, motion: torch.Tensor) -> torch.Tensor:
        """Encode motion without quantization: (B, T, motion_dim) -> (B, T, H·C)."""
        return self.encoder((motion - self.motion_mean) / self.motion_scale)

    def quantize(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace features by their nearest codes.

        Args:
            features: (B, T, H·C).

        Returns:
            The codes (B, T, H·C) and their indices (B, T, H).
        """
        vectors = features.unflatten(-1, (self.num_codebooks, self.code_dim))
        flat = vectors.reshape(-1, self.code_dim)
        distance = (
            self.codebook.square().sum(1) - 2.0 * flat @ self.codebook.t()
        )  # + |flat|², the same for all
        indices = distance.argmin(1)
        return self.codebook[indices].view_as(features), indices.view(vectors.shape[:-1])

    def encode(self, motion: torch.Tensor) -> torch.Tensor:
        """Encode motion to unit-variance quantized latents, the diffusion head's targets.

        Args:
            motion: (B, T, motion_dim).

        Returns:
            (B, T, H·C).
        """
        return (self.quantize(self.features(motion))[0] - self.latent_mean) / self.latent_scale

    def decode(self, latents: torch.Tensor, state: CodecState | None = None) -> torch.Tensor:
        """Decode latents to motion.

        Args:
            latents: (B, T, H·C), unit variance.
            state: Updated in place; None for a clip from its start.

        Returns:
            (B, T, motion_dim), not yet clipped to 0..1.
        """
        contexts = state.contexts if state else None
        raw = self.decoder(latents * self.latent_scale + self.latent_mean, contexts)
        return raw * self.motion_scale + self.motion_mean
