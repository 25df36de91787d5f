# SPDX-License-Identifier: Apache-2.0
"""The autoregressive condition predictor: past latents and the frame's audio give the condition of the diffusion head.

As in the paper: past latent -> linear, + style embedding, + periodic positional encoding, transformer layers with
ALiBi-style self-attention over at most h frames and cross-attention to the one audio feature of the same frame, which
with a single allowed key is out_proj(v_proj(feature)).
`forward` computes all frames of a window (training); `step` computes one frame from a ring of cached keys and values
whose size and cost never change. Both attend to the same h frames, so they give the same numbers.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


def alibi_slopes(heads):
    """The geometric series of ALiBi (Press et al. 2022): 2^(-8 i / heads), i = 1…heads."""
    return torch.tensor([2.0 ** (-8.0 * i / heads) for i in range(1, heads + 1)])


def periodic_encoding(period, width):
    """Sinusoids (Vaswani et al. 2017) of the frame modulo `period`: (period, width)."""
    position = torch.arange(period)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    table = torch.zeros(period, width)
    table[:, 0::2], table[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
    return table


@dataclass
class PredictorState:
    """A ring of h frames per layer; row n mod h holds frame n."""

    past: torch.Tensor  # (B, layers, h, 2·width): keys, then values
    frame: torch.Tensor  # (B,) int64: index of the frame to come
    held: torch.Tensor  # (B,) int64: frames that the ring has taken; fewer than `frame` where it joined later

    def reset(self, rows=slice(None)) -> None:
        self.past[rows] = 0.0
        self.frame[rows] = 0
        self.held[rows] = 0


class Layer(nn.Module):
    """Pre-norm: self-attention over the past, the frame's audio, feed-forward."""

    def __init__(self, config) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.norm_self, self.norm_audio, self.norm_out = nn.LayerNorm(d), nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.attended = nn.Linear(d, d)
        self.audio_value, self.audio_out = nn.Linear(config.audio_width, d), nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, config.feedforward), nn.Linear(config.feedforward, d)

    def project(self, x):
        """(B, T, d) -> q, k, v, each (B, heads, T, d_head)."""
        return self.qkv(self.norm_self(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def finish(self, x, attended, audio):
        x = x + self.attended(attended.transpose(1, 2).flatten(2))
        x = x + self.audio_out(self.audio_value(audio))
        return x + self.down(nn.functional.gelu(self.up(self.norm_out(x))))


class ConditionPredictor(nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        self.history, self.period = config.history, config.period
        self.latent_in = nn.Linear(config.latent_dim, config.width)
        self.no_latent = nn.Parameter(torch.zeros(config.width))  # stands for the latent before frame 0
        self.style = nn.Embedding(len(config.styles), config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("slopes", alibi_slopes(config.heads), persistent=False)
        self.register_buffer("position", periodic_encoding(config.period, config.width), persistent=False)
        slot = torch.arange(config.history)
        ages = (
            slot[:, None] - slot
        ) % config.history  # (h, h): age of each row of the ring as row n mod h sees it
        bias = -self.slopes[:, None] * ages[:, None]  # (h, heads, h)
        self.register_buffer("ages", ages, persistent=False)
        self.register_buffer("ring_bias", bias, persistent=False)

    def embed(self, latents, known):
        """Latents (…, D) and whether each is known (…) -> (…, width); an unknown past is one learned vector."""
        return torch.where(known[..., None], self.latent_in(latents), self.no_latent)

    def forward(self, past, known, audio, style, first=0, history=None):
        """past (B, T, D): row n is latent n - 1; known (B, T) bool; audio (B, T, audio_width); style (B,) rows;
        first (B,) or int: index of row 0; history: frames that attention sees, at most h. -> (B, T, width)."""
        frames = past.shape[1]
        index = torch.arange(frames, device=past.device)
        rows = (torch.as_tensor(first, device=past.device).view(-1, 1) + index) % self.period  # (B or 1, T)
        x = self.embed(past, known) + self.style(style)[:, None] + self.position[rows]
        distance = index[:, None] - index[None, :]  # (T, T)
        seen = (distance >= 0) & (distance < (history or self.history))
        bias = torch.where(seen, -self.slopes[:, None, None] * distance, -math.inf)  # (heads, T, T)
        for layer in self.layers:
            q, k, v = layer.project(x)
            attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            x = layer.finish(x, attended, audio)
        return self.norm(x)

    def state(self, batch):
        zeros = self.slopes.new_zeros(batch, len(self.layers), self.history, 2 * self.position.shape[1])
        return PredictorState(
            zeros, *(torch.zeros(batch, dtype=torch.int64, device=self.slopes.device) for _ in range(2))
        )

    def ring(self, state, history=None):
        """Where the frame to come goes and what it sees: its row (B, layers) in the ring of all voices and layers,
        flattened, and the bias (B, heads, 1, h) of attention. history: as `step` takes it."""
        batch, layers = len(state.frame), len(self.layers)
        slot = state.frame % self.history  # (B,)
        rows = (
            torch.arange(batch * layers, device=slot.device).view(batch, layers) * self.history
            + slot[:, None]
        )
        reach = torch.clamp(state.held + 1, max=self.history if history is None else max(history, 1))
        unseen = self.ages[slot] >= reach[:, None]  # (B, h)
        return rows, self.ring_bias[slot].masked_fill(unseen[:, None], -math.inf)[:, :, None]

    def step(self, past, audio, style, state, history=None):
        """One frame: past (B, D) latent of the frame before, audio (B, audio_width), style (B,) -> (B, width).

        history: frames of the past that count, at most h; 0 hides even the frame before.
        """
        frame, h = state.frame, self.history
        x = (
            self.embed(past, (frame > 0) & (history != 0))
            + self.style(style)
            + self.position[frame % self.period]
        )
        x, (rows, bias) = x[:, None], self.ring(state, history)  # (B, 1, width)
        for i, layer in enumerate(self.layers):
            q, k, v = layer.project(x)
            new = torch.cat((k, v), 1).flatten(1)  # (B, 2·width)
            state.past.view(-1, new.shape[1]).index_copy_(0, rows[:, i], new)
            keys, values = state.past[:, i].view(-1, h, 2, layer.heads, k.shape[-1]).permute(2, 0, 3, 1, 4)
            attended = nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=bias)
            x = layer.finish(x, attended, audio[:, None])
        frame += 1
        state.held += 1
        return self.norm(x)[:, 0]
