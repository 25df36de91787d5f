# SPDX-License-Identifier: Apache-2.0
"""The condition predictor: past latents and audio features -> one condition per frame.

A post-norm transformer decoder. Self-attention is causal with a temporal bias; cross-attention may see one
key only (frame n sees audio feature n), and a softmax over one key is 1: it is out_proj(v_proj(feature)).
`forward` computes all rows of a clip; `step` one row, from cached keys and values of the last h rows.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.model.vertex.codec import position_table


def slopes(heads):
    """ALiBi's geometric series (Press, Smith, Lewis 2022) of one slope per head, as a list."""
    if heads & (heads - 1) == 0:
        return [2.0 ** (-8.0 * (i + 1) / heads) for i in range(heads)]
    below = 2 ** math.floor(math.log2(heads))
    return slopes(below) + slopes(2 * below)[0::2][: heads - below]


class Layer(nn.Module):
    """self-attention ▸ norm ▸ audio ▸ norm ▸ feed-forward ▸ norm, each added to what came in."""

    def __init__(self, c) -> None:
        super().__init__()
        d = c.width
        self.heads, self.activation = c.heads, F.gelu if c.activation == "gelu" else F.relu
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.audio_v, self.audio_out = nn.Linear(d, d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, c.ff), nn.Linear(c.ff, d)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)

    def project(self, x):  # (B, T, d) -> q, k, v, each (B, heads, T, d/heads)
        B, T, d = x.shape
        return self.qkv(x).view(B, T, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)

    def attend(self, q, k, v, bias):  # bias broadcasts to (B, heads, T, keys)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))  # (B, T, d)

    def finish(self, x, attended, audio):  # each (B, T, d)
        x = self.norm1(x + attended)
        x = self.norm2(x + self.audio_out(self.audio_v(audio)))
        return self.norm3(x + self.down(self.activation(self.up(x))))


@dataclass
class PredictorState:
    """Keys and values of the last h rows of B voices, each at its own frame; row n lies at n mod h."""

    keys: list  # per layer (B, heads, h, d/heads)
    values: list  # the same
    rows: torch.Tensor  # (B,) int64, rows written so far

    def reset(self) -> None:
        for tensor in [*self.keys, *self.values, self.rows]:
            tensor.zero_()

    @classmethod
    def gather(cls, states):
        """Several voices' states as one batch: a copy, or the state itself when it is alone."""
        if len(states) == 1:
            return states[0]
        keys, values = (
            list(map(torch.cat, zip(*rings)))
            for rings in ([s.keys for s in states], [s.values for s in states])
        )
        return cls(keys, values, torch.cat([s.rows for s in states]))

    def scatter(self, states) -> None:
        """Give each voice its part of the batch back, in place."""
        for i, state in enumerate(states if len(states) > 1 else []):
            for mine, theirs in zip(
                [*self.keys, *self.values, self.rows], [*state.keys, *state.values, state.rows]
            ):
                theirs.copy_(mine[i : i + 1])


class Predictor(nn.Module):
    def __init__(self, c) -> None:
        super().__init__()
        self.config = c
        d = c.width
        self.latent_in = nn.Linear(c.latent_dim, d)  # the head uses this very map too
        self.audio_in = nn.Linear(c.audio_dim, d)
        self.identity = nn.Embedding(len(c.identities), d)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.register_buffer("position", position_table(c.period, d), persistent=False)  # (period, d)
        distance = torch.arange(c.history)
        bias = -torch.tensor(slopes(c.heads))[:, None] * (distance // c.period)  # (heads, h)
        # ring_bias[n mod h] is the bias of each slot of the ring as row n sees it
        turn = (distance[:, None] - distance[None]) % c.history  # (h, h): distance of slot s from row n
        # (h, heads, h)
        self.register_buffer("ring_bias", bias[:, turn].transpose(0, 1).contiguous(), persistent=False)

    def forward(self, past, audio, identity):
        """All conditions of a clip, as published.

        past (B, T, H·C): row n is the latent before frame n; audio (B, ≥ T, audio_dim); identity (B,) row
        numbers. Returns (B, T, d).
        """
        c, T = self.config, past.shape[1]
        row = torch.arange(T, device=past.device)
        x = self.latent_in(past) + self.identity(identity)[:, None] + self.position[row % c.period]
        heard = self.audio_in(audio[:, :T])
        distance = row[:, None] - row[None]  # (T, T)
        slope = torch.tensor(slopes(c.heads), device=past.device)[:, None, None]
        bias = -slope * torch.div(distance, c.period, rounding_mode="floor")  # (heads, T, T)
        bias = bias.masked_fill(distance < 0, float("-inf"))
        for layer in self.layers:
            q, k, v = layer.project(x)
            x = layer.finish(x, layer.attend(q, k, v, bias), heard)
        return x

    def init_state(self, batch=1):
        """A fresh PredictorState for `batch` voices."""
        c = self.config

        def ring():
            return self.latent_in.weight.new_zeros(batch, c.heads, c.history, c.width // c.heads)

        rows = torch.zeros(batch, dtype=torch.int64, device=self.position.device)
        return PredictorState([ring() for _ in self.layers], [ring() for _ in self.layers], rows)

    def step(self, latent, audio, identity, state):
        """The condition of the next frame; equal to `forward`'s row while at most h rows have been.

        latent (B, H·C) of the frame before, audio (B, audio_dim), identity (B,) -> (B, d); `state` moves on.
        """
        c, n = self.config, state.rows  # (B,)
        voice, slot = torch.arange(len(n), device=n.device), n % c.history
        x = self.latent_in(latent) + self.identity(identity) + self.position[n % c.period]
        x, heard = x[:, None], self.audio_in(audio)[:, None]  # (B, 1, d) both
        unwritten = torch.arange(c.history, device=n.device) > n[:, None]  # (B, h), none in a full ring
        bias = self.ring_bias[slot].masked_fill(unwritten[:, None], float("-inf"))  # (B, heads, h)
        for layer, keys, values in zip(self.layers, state.keys, state.values):
            q, k, v = layer.project(x)
            keys[voice, :, slot], values[voice, :, slot] = k[:, :, 0], v[:, :, 0]
            x = layer.finish(x, layer.attend(q, keys, values, bias[:, :, None]), heard)
        state.rows += 1
        return x[:, 0]
