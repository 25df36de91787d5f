# SPDX-License-Identifier: Apache-2.0
"""The condition predictor as stage 2 runs it: all rows of a window at once, with dropout, at the rows' own places.

Row for row what `predictor.step` gives from its ring of h rows (test/training/test_vertex_training.py), for a window that
begins anywhere; dropout stands where torch's TransformerDecoderLayer, which the release used, has it.
"""

import torch
from torch.nn import functional as F

from streamingtalker_ros.model.vertex.predictor import alibi_slopes


def conditions(predictor, past, audio, style, first, reach=None, dropout=0.0):
    """past (B, T, H·C): the latents before frames first … first + T − 1; audio (B, T, audio_dim) of those frames;
    style, first (B,) int64; reach: rows that attention sees, at most and by default h. Returns (B, T, d)."""
    c, T = predictor.config, past.shape[1]
    row = torch.arange(T, device=past.device)
    place = predictor.position[(first[:, None] + row) % c.positional_period]  # (B, T, d)
    x = F.dropout(predictor.latent_in(past) + predictor.identity(style)[:, None] + place, dropout)
    heard = predictor.audio_in(audio)
    distance = row[:, None] - row[None]  # (T, T)
    slope = torch.tensor(alibi_slopes(c.heads), device=past.device)[:, None, None]
    bias = -slope * torch.div(distance, c.positional_period, rounding_mode="floor")  # (heads, T, T)
    unseen = (distance < 0) | (distance >= (reach or c.context_frames))
    bias = bias.masked_fill(unseen, float("-inf"))
    for layer in predictor.layers:
        q, k, v = layer.project(x)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias
        attended = F.dropout(scores.softmax(-1), dropout) @ v  # (B, heads, T, d/heads)
        x = layer.norm1(x + F.dropout(layer.out(attended.transpose(1, 2).flatten(2)), dropout))
        # the attention to sound has one key, whose weight is 1: dropout drops a head of it
        value = layer.audio_v(heard).unflatten(-1, (c.heads, -1))
        value = value * F.dropout(torch.ones_like(value[..., :1]), dropout)
        x = layer.norm2(x + F.dropout(layer.audio_out(value.flatten(2)), dropout))
        hidden = F.dropout(layer.activation(layer.up(x)), dropout)
        x = layer.norm3(x + F.dropout(layer.down(hidden), dropout))
    return x
