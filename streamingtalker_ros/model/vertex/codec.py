# SPDX-License-Identifier: Apache-2.0
"""The paper's motion VQ-VAE: offsets (B, T, 3V) → latents (B, T, H·C) → nearest codes → offsets.

Without temporal down-sampling. Both halves depend on all frames of the clip: attention without a mask, and an
instance norm whose statistics run over time, so that a frame's value depends on the whole clip it is coded
with.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.model.vertex.config import VertexConfig


class Attention(nn.Module):
    """Self-attention; scores are scaled by the full width^-1/2 (not a head's), as published."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """Attend from the `last` rows, by default all, to all rows: (B, T, W) -> (B, last, W).

        Args:
            x: (B, T, W), one row per frame.
            last: Number of newest rows to attend from, 1 … T; None for all T.
        """
        B, T, W = x.shape
        # (B, heads, T, W/heads)
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
        q = q[:, :, T - (last or T) :]
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)  # (B, heads, last, T)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block with a GELU feed-forward."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-5), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.up, self.down = nn.Linear(width, feedforward), nn.Linear(feedforward, width)

    def forward(self, x: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """Apply to (B, T, W); returns the `last` rows, by default all.

        Args:
            x: (B, T, W), one row per frame.
            last: Number of newest rows to return, 1 … T; None for all T.

        Returns:
            (B, last, W).
        """
        x = x[:, len(x[0]) - (last or len(x[0])) :] + self.attention(self.norm1(x), last)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TimeMixer(nn.Module):
    """Convolution, instance norm over time, linear, position, transformer blocks: (B, T ≥ 2, W) -> same.

    The published table of positions is indexed by the *batch* row, so each clip, computed alone, gets row 0:
    zeros on even channels, ones on odd ones. It is computed here and stored in no checkpoint.
    """

    position: torch.Tensor

    def __init__(self, config: VertexConfig) -> None:
        super().__init__()
        W = config.codec_width
        self.slope = config.codec_slope
        self.conv = nn.Conv1d(W, W, 5, padding=2, padding_mode="replicate")
        self.norm = nn.InstanceNorm1d(W, eps=1e-5, affine=config.codec_affine)
        self.linear = nn.Linear(W, W)
        self.blocks = nn.ModuleList(
            Block(W, config.codec_heads, config.codec_feedforward) for _ in range(config.codec_layers)
        )
        self.register_buffer("position", torch.arange(W) % 2 * 1.0, persistent=False)

    def forward(self, x: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """Apply to (B, T, W); returns the `last` rows, by default all, alone computed in the last block.

        Args:
            x: (B, T, W), one row per frame, T ≥ 2.
            last: Number of newest rows to return, 1 … T; None for all T.

        Returns:
            (B, last, W).
        """
        x = F.leaky_relu(self.conv(x.transpose(1, 2)), self.slope)  # (B, W, T)
        x = self.linear(self.norm(x).transpose(1, 2)) + self.position
        *inner, final_block = self.blocks
        for block in inner:
            x = block(x)
        return final_block(x, last)


class Codec(nn.Module):
    """Encoder, codebook and decoder; BIWI has one more linear layer on each side of the latent.

    Args:
        config: Sizes of the network.
    """

    def __init__(self, config: VertexConfig) -> None:
        super().__init__()
        self.config = config
        W, Z = config.codec_width, config.latent_dim
        extra = config.dataset == "biwi"
        self.slope = config.codec_slope
        self.enter = nn.Linear(3 * config.vertices, W)
        self.encoder = TimeMixer(config)
        self.post = nn.Linear(W, Z) if extra else nn.Identity()
        self.codebook = nn.Embedding(config.codebook_size, config.code_dim)
        self.pre = nn.Linear(Z, W) if extra else nn.Identity()
        self.decoder = TimeMixer(config)
        self.leave = nn.Linear(W, 3 * config.vertices)

    def encode(self, offsets: torch.Tensor) -> torch.Tensor:
        """Encode offsets without quantization: (B, T, 3V) -> (B, T, H·C)."""
        return self.post(self.encoder(F.leaky_relu(self.enter(offsets), self.slope)))

    def quantize(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the nearest codes of latents (B, T, H·C), of the same shape, and their indices (B, T, H)."""
        config = self.config
        vectors = latents.reshape(-1, config.code_dim)  # (B·T·H, C)
        codes = self.codebook.weight  # (N, C)
        distance = vectors.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * vectors @ codes.T
        indices = distance.argmin(1)
        return codes[indices].view_as(latents), indices.view(*latents.shape[:2], config.num_codebooks)

    def decode(self, latents: torch.Tensor, last: int | None = None) -> torch.Tensor:
        """Decode latents to offsets.

        Args:
            latents: (B, T, H·C); every row counts, since attention and norm run over time.
            last: Rows to return; None for all.

        Returns:
            (B, last, 3V).
        """
        return self.leave(self.decoder(self.pre(latents), last))

    def start_latent(self) -> torch.Tensor:
        """Return the first latent (H·C,) of every history: row 0 of an all-zero clip of two frames."""
        rest = self.leave.weight.new_zeros(1, 2, 3 * self.config.vertices)
        return self.quantize(self.encode(rest))[0][0, 0]


def position_table(rows: int, width: int) -> torch.Tensor:
    """Return (rows, width) sinusoids: row p holds sin (even channels) and cos of p·10000^(−2i/width)."""
    p = torch.arange(rows, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    table = torch.zeros(rows, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(p * frequency), torch.cos(p * frequency)[:, : width // 2]
    return table
