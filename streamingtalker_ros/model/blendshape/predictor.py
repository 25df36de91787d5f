# SPDX-License-Identifier: Apache-2.0
"""Autoregressive condition predictor: past latents and audio give the condition of the diffusion head.

As in the paper: past latent → linear, + style embedding, + periodic positional encoding, then transformer
layers with ALiBi-biased self-attention over at most h frames and cross-attention to the one audio feature of
the same frame, which with a single allowed key is out_proj(v_proj(feature)).

`forward` computes all frames of a window (training); `step` computes one frame from a ring of cached keys and
values whose size and cost never change. Both attend to the same h frames, so they give the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.constant_tables import build_table


def alibi_slopes(heads: int) -> torch.Tensor:
    """Return the geometric series of ALiBi (Press et al. 2022): (heads,) 2^(-8 i / heads), i = 1 … heads."""
    return torch.tensor([2.0 ** (-8.0 * i / heads) for i in range(1, heads + 1)])


def periodic_encoding(period: int, width: int) -> torch.Tensor:
    """Return sinusoids (Vaswani et al. 2017) of the frame modulo `period`: (period, width)."""
    position = torch.arange(period)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(period, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * frequency), torch.cos(position * frequency)
    return table


def ring_ages(rows: int) -> torch.Tensor:
    """Return the age of each slot of a ring as seen from row n mod `rows`: (rows, rows) int64, in frames."""
    slot = torch.arange(rows)
    return (slot[:, None] - slot) % rows


@dataclass
class PredictorState:
    """Ring of h frames per layer; row n mod h holds frame n.

    Attributes:
        cache: (B, layers, h, 2·width), keys, then values.
        frame: (B,) int64, index of the next frame.
        num_cached: (B,) int64, frames written to the ring; fewer than `frame` where the row joined later.
    """

    cache: torch.Tensor
    frame: torch.Tensor
    num_cached: torch.Tensor

    def reset(self, rows: slice | list[int] = slice(None)) -> None:
        """Reset the state of some rows of the batch."""
        self.cache[rows] = 0.0
        self.frame[rows] = 0
        self.num_cached[rows] = 0


class Layer(nn.Module):
    """Pre-norm transformer layer: self-attention over the past, the frame's audio, feed-forward.

    Args:
        config: Sizes of the network.
    """

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.norm_self, self.norm_audio = nn.LayerNorm(d), nn.LayerNorm(d)
        self.norm_feedforward = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.attention_out = nn.Linear(d, d)
        self.audio_value, self.audio_out = nn.Linear(config.audio_width, d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, config.feedforward), nn.Linear(config.feedforward, d)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Compute queries, keys and values: (B, T, d) -> (3, B, heads, T, d/heads).

        Args:
            x: (B, T, d) residual stream, not yet normalized.
        """
        return self.qkv(self.norm_self(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def combine(self, x: torch.Tensor, attended: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Add attention, audio and feed-forward to the residual stream.

        Args:
            x: (B, T, d).
            attended: (B, heads, T, d/heads) result of self-attention.
            audio: (B, T, audio_width).

        Returns:
            (B, T, d).
        """
        x = x + self.attention_out(attended.transpose(1, 2).flatten(2))
        x = x + self.audio_out(self.audio_value(audio))
        return x + self.down(nn.functional.gelu(self.up(self.norm_feedforward(x))))


class ConditionPredictor(nn.Module):
    """Transformer over past latents with the audio of each frame.

    Args:
        config: Sizes of the network.
    """

    slopes: torch.Tensor
    position: torch.Tensor
    ages: torch.Tensor
    ring_bias: torch.Tensor

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.context_frames, self.positional_period = config.context_frames, config.positional_period
        self.latent_in = nn.Linear(config.latent_dim, config.width)
        self.no_latent = nn.Parameter(torch.zeros(config.width))  # stands for the latent before frame 0
        styles = (len(config.styles), config.width)
        self.style = nn.Embedding.from_pretrained(
            build_table(styles, lambda: torch.randn(styles)), freeze=False
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        period, heads, rows = config.positional_period, config.heads, config.context_frames
        self.register_buffer("slopes", alibi_slopes(heads), persistent=False)
        position = build_table((period, config.width), lambda: periodic_encoding(period, config.width))
        self.register_buffer("position", position, persistent=False)
        ages = build_table((rows, rows), lambda: ring_ages(rows), torch.int64)
        bias = build_table((rows, heads, rows), lambda: -self.slopes[:, None] * ages[:, None])
        self.register_buffer("ages", ages, persistent=False)
        self.register_buffer("ring_bias", bias, persistent=False)

    def embed(self, latents: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Embed past latents; unknown latents are replaced by a learned vector.

        Args:
            latents: (…, D).
            known: (…) bool.

        Returns:
            (…, width).
        """
        return torch.where(known[..., None], self.latent_in(latents), self.no_latent)

    def forward(
        self,
        past: torch.Tensor,
        known: torch.Tensor,
        audio: torch.Tensor,
        style: torch.Tensor,
        first: torch.Tensor | int = 0,
        context_frames: int | None = None,
    ) -> torch.Tensor:
        """Compute the conditions of all frames of a window.

        Args:
            past: (B, T, D); row n is latent n - 1.
            known: (B, T) bool, whether that latent is known.
            audio: (B, T, audio_width).
            style: (B,) rows of the style embedding.
            first: (B,) or int, frame index of row 0.
            context_frames: Frames that attention sees, at most h; None for h.

        Returns:
            (B, T, width).
        """
        frames = past.shape[1]
        index = torch.arange(frames, device=past.device)
        rows = torch.as_tensor(first, device=past.device).view(-1, 1) + index  # (B or 1, T)
        x = self.embed(past, known) + self.style(style)[:, None]
        x = x + self.position[rows % self.positional_period]
        distance = index[:, None] - index[None, :]  # (T, T)
        visible = (distance >= 0) & (distance < (context_frames or self.context_frames))
        bias = torch.where(visible, -self.slopes[:, None, None] * distance, -math.inf)  # (heads, T, T)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            q, k, v = layer.project(x)
            attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            x = layer.combine(x, attended, audio)
        return self.norm(x)

    def init_state(self, batch: int) -> PredictorState:
        """Return the state at the start of `batch` streams."""
        shape = batch, len(self.layers), self.context_frames, 2 * self.position.shape[1]
        frame = torch.zeros(batch, dtype=torch.int64, device=self.slopes.device)
        return PredictorState(self.slopes.new_zeros(shape), frame, frame.clone())

    def ring(
        self, state: PredictorState, context_frames: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute where the next frame is written and what it attends to.

        Args:
            state: Of B streams.
            context_frames: As in `step`.

        Returns:
            Rows (B, layers) in the ring of all streams and layers, flattened; and the bias (B, heads, 1, h)
            of attention.
        """
        batch, layers = len(state.frame), len(self.layers)
        slot = state.frame % self.context_frames  # (B,)
        rows = (
            torch.arange(batch * layers, device=slot.device).view(batch, layers) * self.context_frames
            + slot[:, None]
        )
        limit = self.context_frames if context_frames is None else max(context_frames, 1)
        reach = torch.clamp(state.num_cached + 1, max=limit)
        hidden = self.ages[slot] >= reach[:, None]  # (B, h)
        return rows, self.ring_bias[slot].masked_fill(hidden[:, None], -math.inf)[:, :, None]

    def step(
        self,
        past: torch.Tensor,
        audio: torch.Tensor,
        style: torch.Tensor,
        state: PredictorState,
        context_frames: int | None = None,
    ) -> torch.Tensor:
        """Compute the condition of one frame.

        Args:
            past: (B, D) latent of the frame before.
            audio: (B, audio_width).
            style: (B,) rows of the style embedding.
            state: Updated in place.
            context_frames: Past frames that count, at most h; 0 hides even the frame before; None for h.

        Returns:
            (B, width).
        """
        frame, h = state.frame, self.context_frames
        x = (
            self.embed(past, (frame > 0) & (context_frames != 0))
            + self.style(style)
            + self.position[frame % self.positional_period]
        )
        rows, bias = self.ring(state, context_frames)
        x = x[:, None]  # (B, 1, width)
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            q, k, v = layer.project(x)
            new = torch.cat((k, v), 1).flatten(1)  # (B, 2·width)
            state.cache.view(-1, new.shape[1]).index_copy_(0, rows[:, i], new)
            keys, values = state.cache[:, i].view(-1, h, 2, layer.heads, k.shape[-1]).permute(2, 0, 3, 1, 4)
            attended = nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=bias)
            x = layer.combine(x, attended, audio[:, None])
        frame += 1
        state.num_cached += 1
        return self.norm(x)[:, 0]
