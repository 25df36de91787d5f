# SPDX-License-Identifier: Apache-2.0
"""Audio encoder of the blendshape family: log-mel features to one vector per motion frame, causal.

`forward(audio (B, n·hop)) -> (B, n, audio_width)`; row m depends on audio up to (m + 1)·hop samples and
nothing later. The caller adds the look-ahead by using row n + lookahead_frames for frame n.

Small auxiliary heads read voice activity and articulation off the same vectors: `vad_head` always;
`bilabial_head`, `open_vowel_head` and `lip_head`, which also see the frames just before, where the
configuration has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.face.mouth_measures import MEASURES
from streamingtalker_ros.model.blendshape.causal_layers import CausalConv, ResidualBlock, stack_taps
from streamingtalker_ros.model.blendshape.config import (
    COLUMN_CHANNELS,
    ENCODER_KERNEL,
    TalkerConfig,
    column_dilation,
    frame_dilation,
)
from streamingtalker_ros.model.blendshape.features import FeatureState, LogMel

DROPOUT = 0.2  # in training, half of it at the columns; the training voices are few enough to be memorized


@dataclass
class EncoderState:
    """State of the encoder.

    Attributes:
        features: Of the log-mel features.
        contexts: Of each convolution, (B, reach, C): `column_conv`, the column blocks, `frame_conv`, the
            blocks.
        articulation: (B, articulation_context_frames, audio_width) last features, for the articulation heads.
    """

    features: FeatureState
    contexts: list[torch.Tensor]
    articulation: torch.Tensor

    def reset(self, rows: slice | list[int] = slice(None)) -> None:
        """Reset the state of some rows of the batch."""
        self.features.reset(rows)
        for context in (*self.contexts, self.articulation):
            context[rows] = 0.0


class AudioEncoder(nn.Module):
    """Causal convolutions over log-mel columns, then over frames, with auxiliary heads.

    Args:
        config: Sizes of the network, and which articulation heads it has.
    """

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.log_mel = LogMel(config)
        width, columns, narrow = config.audio_width, self.log_mel.columns, COLUMN_CHANNELS
        self.column_conv = CausalConv(config.num_mels, narrow, kernel=3)  # at 100 columns/s
        self.frame_conv = CausalConv(columns * narrow + 1, width, kernel=2)  # at 25 frames/s
        self.column_blocks = nn.ModuleList(
            ResidualBlock(narrow, ENCODER_KERNEL, column_dilation(i), 0.5 * DROPOUT)
            for i in range(config.column_blocks)
        )
        self.blocks = nn.ModuleList(
            ResidualBlock(width, ENCODER_KERNEL, frame_dilation(i), DROPOUT)
            for i in range(config.audio_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.vad_head = nn.Linear(width, 1)  # logit of voice activity in this frame
        self.articulation_context_frames = config.articulation_context_frames
        inputs = (1 + config.articulation_context_frames) * width  # of each articulation head
        # logits of "this frame belongs to a p, b or m" and "to an open vowel", see
        # training/articulation_heads.py
        self.has_bilabial_head = bool(config.bilabial_thresholds)
        if self.has_bilabial_head:
            self.bilabial_head = nn.Sequential(nn.Linear(inputs, 64), nn.GELU(), nn.Linear(64, 1))
        self.has_open_vowel_head = bool(config.open_vowel_thresholds)
        if self.has_open_vowel_head:
            self.open_vowel_head = nn.Sequential(nn.Linear(inputs, 64), nn.GELU(), nn.Linear(64, 1))
        self.has_lip_head = config.lip_measure_weight > 0.0
        if self.has_lip_head:  # the measures of the mouth, see face/mouth_measures.py
            self.lip_head = nn.Sequential(nn.Linear(inputs, 128), nn.GELU(), nn.Linear(128, len(MEASURES)))

    @property
    def auxiliary_heads(self) -> dict[str, nn.Module]:
        """Modules by attribute name, in the order of `auxiliary_logits`."""
        return {"vad_head": self.vad_head, **self.articulation_heads}

    @property
    def articulation_heads(self) -> dict[str, nn.Module]:
        """Modules by attribute name that read `stack_features`, in the order of `auxiliary_logits`."""
        heads: dict[str, nn.Module] = {}
        if self.has_bilabial_head:
            heads["bilabial_head"] = self.bilabial_head
        if self.has_open_vowel_head:
            heads["open_vowel_head"] = self.open_vowel_head
        if self.has_lip_head:
            heads["lip_head"] = self.lip_head
        return heads

    def init_state(self, batch: int) -> EncoderState:
        """Return the state at the start of `batch` streams."""
        layers = (self.column_conv, *self.column_blocks, self.frame_conv, *self.blocks)
        contexts = [
            layer.init_context(batch) for layer in layers if isinstance(layer, (CausalConv, ResidualBlock))
        ]
        shape = batch, self.articulation_context_frames, self.vad_head.in_features
        articulation = self.vad_head.weight.new_zeros(shape)
        return EncoderState(self.log_mel.init_state(batch), contexts, articulation)

    def forward(self, audio: torch.Tensor, state: EncoderState | None = None) -> torch.Tensor:
        """Encode audio.

        Args:
            audio: (B, n·hop) at 16 kHz in -1..1.
            state: Updated in place; None for a clip from its start.

        Returns:
            (B, n, audio_width) features.
        """
        features, loudness = self.log_mel(audio, state.features if state else None)
        return self.encode(features, loudness, state)

    def encode(
        self, features: torch.Tensor, loudness: torch.Tensor, state: EncoderState | None = None
    ) -> torch.Tensor:
        """Encode log-mel features.

        Args:
            features: (B, n, columns, num_mels) of `log_mel`.
            loudness: (B, n) of `log_mel`.
            state: Its convolutions' contexts are updated in place; None for a clip from its start.

        Returns:
            (B, n, audio_width) features.
        """
        count = 2 + len(self.column_blocks) + len(self.blocks)
        contexts = iter(state.contexts if state else [None] * count)
        batch, frames = loudness.shape
        x = nn.functional.gelu(self.column_conv(features.flatten(1, 2), next(contexts)))
        for block in self.column_blocks:
            x = block(x, next(contexts))
        x = x.view(batch, frames, -1)
        x = torch.cat((x, 0.25 * loudness[:, :, None].clamp(min=-12.0) + 1.0), -1)
        x = nn.functional.gelu(self.frame_conv(x, next(contexts)))
        for block in self.blocks:
            x = block(x, next(contexts))
        return self.norm(x)  # (B, n, audio_width)

    def stack_features(self, features: torch.Tensor, state: EncoderState | None = None) -> torch.Tensor:
        """Put the features that the articulation heads read for a frame side by side.

        Args:
            features: (B, n, audio_width), of `forward`.
            state: Its features are updated in place; None for a clip from its start.

        Returns:
            (B, n, (1 + articulation_context_frames)·audio_width), the oldest frame's first.
        """
        context = state.articulation if state else None
        return stack_taps(features, 1 + self.articulation_context_frames, context=context)

    def auxiliary_logits(self, features: torch.Tensor, state: EncoderState | None = None) -> torch.Tensor:
        """Apply the auxiliary heads.

        Args:
            features: (B, n, audio_width), of `forward`.
            state: Its features are updated in place; None for a clip from its start.

        Returns:
            (B, n, 1 to 7): the logit of voice activity; then, where the model has the head, the logits of a
            bilabial and of an open vowel, and the four measures of the mouth in the order of `MEASURES`.
        """
        stacked = self.stack_features(features, state)
        articulation = [head(stacked) for head in self.articulation_heads.values()]
        return torch.cat((self.vad_head(features), *articulation), -1)
