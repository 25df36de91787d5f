# SPDX-License-Identifier: Apache-2.0
"""Condition predictor: past latents and audio features give one condition per frame.

A post-norm transformer decoder. Self-attention is causal with a temporal bias; cross-attention may see one
key only (frame n sees audio feature n), and a softmax over one key is 1: it is out_proj(v_proj(feature)).
`forward` computes all rows of a clip; `step` one row, from cached keys and values of the last h rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.model.vertex.codec import position_table
from streamingtalker_ros.model.vertex.config import VertexConfig


def alibi_slopes(heads: int) -> list[float]:
    """Return ALiBi's geometric series (Press, Smith, Lewis 2022), one slope per head.

    Args:
        heads: Number of attention heads, 1 or more.

    Returns:
        Positive slopes below 1; a head's bias is −slope · distance in frames.
    """
    if heads & (heads - 1) == 0:
        return [2.0 ** (-8.0 * (i + 1) / heads) for i in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return alibi_slopes(below) + alibi_slopes(2 * below)[0::2][: heads - below]


class Layer(nn.Module):
    """Self-attention, norm, audio, norm, feed-forward, norm; each is added to its input.

    Args:
        config: Sizes of the network.
    """

    def __init__(self, config: VertexConfig) -> None:
        super().__init__()
        d = config.width
        self.heads, self.activation = config.heads, F.gelu if config.activation == "gelu" else F.relu
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.audio_v, self.audio_out = nn.Linear(d, d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, config.feedforward), nn.Linear(config.feedforward, d)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """Compute queries, keys and values: (B, T, d) -> (3, B, heads, T, d/heads).

        Args:
            x: (B, T, d) input of the layer.
        """
        B, T, d = x.shape
        return self.qkv(x).view(B, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Attend with a bias that broadcasts to (B, heads, T, keys); returns (B, T, d).

        Args:
            q: (B, heads, T, d/heads) queries.
            k: (B, heads, keys, d/heads) keys.
            v: (B, heads, keys, d/heads) values.
            bias: Added to the scaled scores; −inf hides a key.
        """
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))

    def combine(self, x: torch.Tensor, attended: torch.Tensor, audio: torch.Tensor) -> torch.Tensor:
        """Add attention, audio and feed-forward to the residual stream; all (B, T, d).

        Args:
            x: Input of the layer.
            attended: Result of `attend`.
            audio: Projected audio features of the same rows.
        """
        x = self.norm1(x + attended)
        x = self.norm2(x + self.audio_out(self.audio_v(audio)))
        return self.norm3(x + self.down(self.activation(self.up(x))))


@dataclass
class PredictorState:
    """Keys and values of the last h rows of B streams, each at its own frame; row n lies at n mod h.

    Attributes:
        keys: Per layer (B, heads, h, d/heads).
        values: The same.
        rows: (B,) int64, rows written so far.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    rows: torch.Tensor

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors in a fixed order."""
        return [*self.keys, *self.values, self.rows]

    def reset(self) -> None:
        """Zero the state in place."""
        for tensor in self.tensors():
            tensor.zero_()

    @classmethod
    def gather(cls, states: Sequence[PredictorState]) -> PredictorState:
        """Return several streams' states as one batch: a copy, or the state itself if there is only one."""
        if len(states) == 1:
            return states[0]
        layers = range(len(states[0].keys))
        keys = [torch.cat([state.keys[i] for state in states]) for i in layers]
        values = [torch.cat([state.values[i] for state in states]) for i in layers]
        return cls(keys, values, torch.cat([state.rows for state in states]))

    def scatter(self, states: Sequence[PredictorState]) -> None:
        """Copy each stream's row of the batch back to its state, in place.

        Args:
            states: The states given to `gather`, in the same order; a single one is this state itself and is
                left alone.
        """
        for i, state in enumerate(states if len(states) > 1 else []):
            for batch, single in zip(self.tensors(), state.tensors(), strict=True):
                single.copy_(batch[i : i + 1])


class Predictor(nn.Module):
    """Transformer decoder over past latents with the audio of each frame.

    Args:
        config: Sizes of the network.
    """

    position: torch.Tensor
    ring_bias: torch.Tensor

    def __init__(self, config: VertexConfig) -> None:
        super().__init__()
        self.config = config
        d, h = config.width, config.context_frames
        self.latent_in = nn.Linear(config.latent_dim, d)  # the head uses this projection too
        self.audio_in = nn.Linear(config.audio_dim, d)
        self.identity = nn.Embedding(len(config.identities), d)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        table = position_table(config.positional_period, d)
        self.register_buffer("position", table, persistent=False)  # (period, d)
        distance = torch.arange(h)
        slopes = torch.tensor(alibi_slopes(config.heads))
        bias = -slopes[:, None] * (distance // config.positional_period)  # (heads, h)
        # ring_bias[n mod h] is the bias of each slot of the ring as row n sees it
        slot_distance = (distance[:, None] - distance[None]) % h  # (h, h): distance of slot s from row n
        # (h, heads, h)
        ring_bias = bias[:, slot_distance].transpose(0, 1).contiguous()
        self.register_buffer("ring_bias", ring_bias, persistent=False)

    def forward(self, past: torch.Tensor, audio: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        """Compute all conditions of a clip, as published.

        Args:
            past: (B, T, H·C); row n is the latent before frame n.
            audio: (B, ≥ T, audio_dim).
            identity: (B,) rows of the identity embedding.

        Returns:
            (B, T, d).
        """
        period, T = self.config.positional_period, past.shape[1]
        row = torch.arange(T, device=past.device)
        x = self.latent_in(past) + self.identity(identity)[:, None] + self.position[row % period]
        projected = self.audio_in(audio[:, :T])
        distance = row[:, None] - row[None]  # (T, T)
        slope = torch.tensor(alibi_slopes(self.config.heads), device=past.device)[:, None, None]
        bias = -slope * torch.div(distance, period, rounding_mode="floor")  # (heads, T, T)
        bias = bias.masked_fill(distance < 0, float("-inf"))
        for layer in self.layers:
            assert isinstance(layer, Layer)
            q, k, v = layer.project(x)
            x = layer.combine(x, layer.attend(q, k, v, bias), projected)
        return x

    def init_state(self, batch: int = 1) -> PredictorState:
        """Return the state at the start of `batch` streams."""
        config = self.config
        shape = batch, config.heads, config.context_frames, config.width // config.heads

        def rings() -> list[torch.Tensor]:
            return [self.latent_in.weight.new_zeros(shape) for _ in self.layers]

        rows = torch.zeros(batch, dtype=torch.int64, device=self.position.device)
        return PredictorState(rings(), rings(), rows)

    def step(
        self, latent: torch.Tensor, audio: torch.Tensor, identity: torch.Tensor, state: PredictorState
    ) -> torch.Tensor:
        """Compute the condition of the next frame; equals `forward`'s row while at most h rows were written.

        Args:
            latent: (B, H·C) of the frame before.
            audio: (B, audio_dim).
            identity: (B,) rows of the identity embedding.
            state: Advanced in place.

        Returns:
            (B, d).
        """
        h, n = self.config.context_frames, state.rows  # (B,)
        voice, slot = torch.arange(len(n), device=n.device), n % h
        x = self.latent_in(latent) + self.identity(identity)
        x = x + self.position[n % self.config.positional_period]
        x, projected = x[:, None], self.audio_in(audio)[:, None]  # (B, 1, d) both
        unwritten = torch.arange(h, device=n.device) > n[:, None]  # (B, h), none in a full ring
        bias = self.ring_bias[slot].masked_fill(unwritten[:, None], float("-inf"))  # (B, heads, h)
        for layer, keys, values in zip(self.layers, state.keys, state.values, strict=True):
            assert isinstance(layer, Layer)
            q, k, v = layer.project(x)
            keys[voice, :, slot], values[voice, :, slot] = k[:, :, 0], v[:, :, 0]
            x = layer.combine(x, layer.attend(q, keys, values, bias[:, :, None]), projected)
        state.rows += 1
        return x[:, 0]
