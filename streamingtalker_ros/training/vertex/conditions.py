# SPDX-License-Identifier: Apache-2.0
"""Teacher-forced conditions: the condition predictor over all rows of a window at once, with dropout.

Row for row equal to `predictor.step` with its ring buffer of h rows, for a window that begins anywhere in a
stream. Dropout stands where torch's TransformerDecoderLayer, which the release used, has it.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from streamingtalker_ros.model.vertex.predictor import Layer, Predictor, alibi_slopes


def teacher_forced_conditions(
    predictor: Predictor,
    past: torch.Tensor,
    audio: torch.Tensor,
    style: torch.Tensor,
    first: torch.Tensor,
    reach: int | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Conditions of the frames first … first + T − 1.

    Args:
        predictor: the condition predictor.
        past: (B, T, H·C) latents of the frames before.
        audio: (B, T, audio_dim) features of the frames.
        style: (B,) int64 rows of the identity embedding.
        first: (B,) int64 index of the first frame.
        reach: rows that attention sees; by default, and at most, h.
        dropout: probability.

    Returns:
        (B, T, d).
    """
    c, T = predictor.config, past.shape[1]
    row = torch.arange(T, device=past.device)
    position = predictor.position[(first[:, None] + row) % c.positional_period]  # (B, T, d)
    x = F.dropout(predictor.latent_in(past) + predictor.identity(style)[:, None] + position, dropout)
    context = predictor.audio_in(audio)
    distance = row[:, None] - row[None]  # (T, T)
    slope = torch.tensor(alibi_slopes(c.heads), device=past.device)[:, None, None]
    bias = -slope * torch.div(distance, c.positional_period, rounding_mode="floor")  # (heads, T, T)
    is_masked = (distance < 0) | (distance >= (reach or c.context_frames))
    bias = bias.masked_fill(is_masked, float("-inf"))
    for layer in predictor.layers:
        assert isinstance(layer, Layer)
        q, k, v = layer.project(x)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias
        attended = F.dropout(scores.softmax(-1), dropout) @ v  # (B, heads, T, d/heads)
        x = layer.norm1(x + F.dropout(layer.out(attended.transpose(1, 2).flatten(2)), dropout))
        # cross-attention to the audio has one key, whose weight is 1: dropout drops whole heads of it
        value = layer.audio_v(context).unflatten(-1, (c.heads, -1))
        value = value * F.dropout(torch.ones_like(value[..., :1]), dropout)
        x = layer.norm2(x + F.dropout(layer.audio_out(value.flatten(2)), dropout))
        hidden = F.dropout(layer.activation(layer.up(x)), dropout)
        x = layer.norm3(x + F.dropout(layer.down(hidden), dropout))
    return x
