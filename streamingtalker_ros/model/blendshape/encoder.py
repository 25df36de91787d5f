# SPDX-License-Identifier: Apache-2.0
"""The audio encoder of the default family: log-mel features to one vector per motion frame, causal.

`forward(audio (B, n·hop)) -> (B, n, audio_width)`; row m has heard audio up to (m + 1)·hop samples and nothing later.
The look-ahead is made outside, by giving row n + lookahead_frames to frame n.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.causal_layers import CausalConv, ResidualBlock
from streamingtalker_ros.model.blendshape.features import FeatureState, LogMel

WIDE = 10.0  # of a logit, what speaks against pressing wide-open lips together
DROPOUT = 0.2  # in training, half of it at the columns; some hundred speakers are soon known by heart


def evidence(closure, opening=None):
    """What speaks for pressing the lips together, a logit: that of a p, b or m, less what pressing takes from the motion where
    an ear tells how wide the lips are apart, in parts of a wide-open mouth. Floats, arrays or tensors of one shape."""
    return closure if opening is None else closure - WIDE * (0.5 * (opening + abs(opening)))


@dataclass
class EncoderState:
    """What the encoder remembers: the features' past and each convolution's context."""

    features: FeatureState
    contexts: list  # of (B, reach, C)

    def reset(self, rows=slice(None)) -> None:
        self.features.reset(rows)
        for context in self.contexts:
            context[rows] = 0.0


class AudioEncoder(nn.Module):
    def __init__(self, config) -> None:
        super().__init__()
        self.log_mel = LogMel(config)
        width, columns, narrow = config.audio_width, self.log_mel.columns, 96
        self.columns_in = CausalConv(config.mels, narrow, kernel=3)  # at 100 columns/s
        self.frames_in = CausalConv(columns * narrow + 1, width, kernel=2)  # at 25 frames/s
        self.column_blocks = nn.ModuleList(
            ResidualBlock(narrow, 3, 2 ** max(i - 1, 0), 0.5 * DROPOUT) for i in range(config.column_blocks)
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(width, 3, 2 ** (i % 4), DROPOUT) for i in range(config.audio_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.voice = nn.Linear(width, 1)  # logit of "somebody speaks in this frame"
        # logits of "lips meet in a p, b or m in this frame" and "an open vowel sounds", learned by training/closure
        self.ears = [name for name in ("closure", "openness") if getattr(config, name)]
        for name in self.ears:
            self.add_module(name, nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 1)))
        self.tells_opening = config.opening > 0.0
        if self.tells_opening:  # the lip gap, in parts of a wide-open mouth
            self.opening = nn.Linear(width, 1)
        self.tells_width = config.lip_width > 0.0
        if self.tells_width:  # the mouth's width, in parts of what it is at rest: 0 there
            self.lip_width = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 1))

    def state(self, batch):
        layers = (self.columns_in, *self.column_blocks, self.frames_in, *self.blocks)
        return EncoderState(self.log_mel.state(batch), [layer.context(batch) for layer in layers])

    def forward(self, audio, state=None):
        return self.encode(*self.log_mel(audio, state and state.features), state)

    def encode(self, features, loudness, state=None):
        """features (B, n, columns, mels) and loudness (B, n) of `log_mel` -> (B, n, audio_width)."""
        contexts = iter(state.contexts) if state else itertools.repeat(None)
        batch, frames = loudness.shape
        x = nn.functional.gelu(self.columns_in(features.flatten(1, 2), next(contexts)))
        for block in self.column_blocks:
            x = block(x, next(contexts))
        x = x.view(batch, frames, -1)
        x = torch.cat((x, 0.25 * loudness[:, :, None].clamp(min=-12.0) + 1.0), -1)
        x = nn.functional.gelu(self.frames_in(x, next(contexts)))
        for block in self.blocks:
            x = block(x, next(contexts))
        return self.norm(x)  # (B, n, audio_width)

    def cues(self, feature):
        """feature (…, audio_width) -> (…, 1 to 5): the logit that somebody speaks; then, where the model has that ear,
        those of a p, b or m and of an open vowel, the lip gap in parts of a wide-open mouth, and how much wider the mouth
        is than at rest, in parts of that."""
        told = [
            self.voice,
            *(getattr(self, name) for name in self.ears),
            *([self.opening] if self.tells_opening else ()),
            *([self.lip_width] if self.tells_width else ()),
        ]
        return torch.cat([ear(feature) for ear in told], -1)
