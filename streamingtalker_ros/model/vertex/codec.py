# SPDX-License-Identifier: Apache-2.0
"""The paper's motion VQ-VAE: offsets (B, T, 3V) -> latents (B, T, H·C) -> nearest codes -> offsets.

No temporal down-sampling. Both halves look over all frames of the clip: attention without a mask, and an
instance norm whose statistics run over time, so a frame's value depends on the whole clip it is coded with.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Self-attention; scores are scaled by the full width^-1/2 (not a head's), as published."""

    def __init__(self, width, heads) -> None:
        super().__init__()
        self.heads, self.scale = heads, width**-0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x, last=None):
        """x (B, T, W) -> what the `last` rows, default all, take from all rows: (B, last, W)."""
        B, T, W = x.shape
        # (B, heads, T, W/heads)
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, W // self.heads).permute(2, 0, 3, 1, 4)
        q = q[:, :, T - (last or T) :]
        weights = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)  # (B, heads, last, T)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block with a GELU feed-forward."""

    def __init__(self, width, heads, ff) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-5), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.up, self.down = nn.Linear(width, ff), nn.Linear(ff, width)

    def forward(self, x, last=None):
        x = x[:, len(x[0]) - (last or len(x[0])) :] + self.attention(self.norm1(x), last)
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class TimeMixer(nn.Module):
    """Convolution, instance norm over time, linear, position, transformer blocks: (B, T ≥ 2, W) -> same.

    The published table of positions is indexed by the *batch* row, so each clip, computed alone, gets row 0:
    zeros on even channels, ones on odd ones. It is computed here, in no checkpoint.
    """

    def __init__(self, c) -> None:
        super().__init__()
        W = c.codec_width
        self.slope = c.codec_slope
        self.conv = nn.Conv1d(W, W, 5, padding=2, padding_mode="replicate")
        self.norm = nn.InstanceNorm1d(W, eps=1e-5, affine=c.codec_affine)
        self.linear = nn.Linear(W, W)
        self.blocks = nn.ModuleList(Block(W, c.codec_heads, c.codec_ff) for _ in range(c.codec_layers))
        self.register_buffer("position", torch.arange(W) % 2 * 1.0, persistent=False)

    def forward(self, x, last=None):
        """x (B, T, W) -> the `last` rows, default all: (B, last, W); the last block computes no others."""
        x = F.leaky_relu(self.conv(x.transpose(1, 2)), self.slope)  # (B, W, T)
        x = self.linear(self.norm(x).transpose(1, 2)) + self.position
        *inner, final_block = self.blocks
        for block in inner:
            x = block(x)
        return final_block(x, last)


class Codec(nn.Module):
    """Encoder, codebook, decoder. BIWI has one more linear (`post`, `pre`) on each side of the latent."""

    def __init__(self, c) -> None:
        super().__init__()
        self.config = c
        W, Z = c.codec_width, c.latent_dim
        extra = c.dataset == "biwi"
        self.slope = c.codec_slope
        self.enter = nn.Linear(3 * c.vertices, W)
        self.encoder = TimeMixer(c)
        self.post = nn.Linear(W, Z) if extra else nn.Identity()
        self.codebook = nn.Embedding(c.codes, c.code_dim)
        self.pre = nn.Linear(Z, W) if extra else nn.Identity()
        self.decoder = TimeMixer(c)
        self.leave = nn.Linear(W, 3 * c.vertices)

    def encode(self, offsets):  # (B, T, 3V) -> (B, T, H·C), not yet quantized
        return self.post(self.encoder(F.leaky_relu(self.enter(offsets), self.slope)))

    def quantize(self, latents):
        """(B, T, H·C) -> nearest codes in the same shape, and their indices (B, T, H)."""
        c = self.config
        slots = latents.reshape(-1, c.code_dim)  # (B·T·H, C)
        codes = self.codebook.weight  # (N, C)
        distance = slots.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * slots @ codes.T
        indices = distance.argmin(1)
        return codes[indices].view_as(latents), indices.view(*latents.shape[:2], c.slots)

    def decode(self, latents, last=None):
        """Latents (B, T, H·C) -> offsets of the `last` rows, by default of all: (B, last, 3V)."""
        return self.leave(
            self.decoder(self.pre(latents), last)
        )  # every row counts: attention and norm run over time

    def start_latent(self):
        """(H·C,): the all-zero clip of two frames, quantized, row 0; every history begins with it."""
        c = self.config
        rest = self.leave.weight.new_zeros(1, 2, 3 * c.vertices)
        return self.quantize(self.encode(rest))[0][0, 0]


def position_table(rows, width):
    """(rows, width) sinusoids, sines on even channels: row p holds sin and cos of p·10000^(−2i/width)."""
    p = torch.arange(rows, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    table = torch.zeros(rows, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(p * rate), torch.cos(p * rate)[:, : width // 2]
    return table
