# SPDX-License-Identifier: Apache-2.0
"""Network of the blendshape family: encoder, codec, predictor and head, with the state of B streams.

`encode_hop` takes one hop of audio per stream, `generate_frame` returns one frame of motion per stream; frame
n is generated after hop n + lookahead_frames was encoded. One function each serves CPU, CUDA, one stream and
many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.codec import CodecState, MotionCodec
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.diffusion_head import DiffusionHead
from streamingtalker_ros.model.blendshape.encoder import AudioEncoder, EncoderState
from streamingtalker_ros.model.blendshape.predictor import ConditionPredictor, PredictorState


class LatentSampler(Protocol):
    """Turns a condition and noise into a latent: `HeadSampler`, or `FusedSampler`."""

    def __call__(self, condition: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Sample (B, D) latents from condition (B, width) and noise (B, D)."""
        ...

    def guided(
        self, cond: torch.Tensor, uncond: torch.Tensor, guidance: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Sample (B, D) latents with classifier-free guidance (B, 1).

        Args:
            cond: (B, width) condition with the audio.
            uncond: (B, width) condition without it.
            guidance: (B, 1) scale; 0 gives the unconditional and 1 the conditional prediction.
            noise: (B, D) noise that sampling begins with.

        Returns:
            (B, D) latents.
        """
        ...


@dataclass
class NetworkState:
    """State of B streams, all of fixed size.

    Attributes:
        encoder: Of the audio encoder.
        predictor: Of the condition predictor.
        codec: Of the decoder.
        latent: (B, D), the latent of the frame before.
    """

    encoder: EncoderState
    predictor: PredictorState
    codec: CodecState
    latent: torch.Tensor

    def reset(self, rows: slice | list[int] = slice(None)) -> None:
        """Reset the state of some rows of the batch."""
        for module_state in (self.encoder, self.predictor, self.codec):
            module_state.reset(rows)
        self.latent[rows] = 0.0


class TalkerNetwork(nn.Module):
    """Audio encoder, motion codec, condition predictor and diffusion head.

    Args:
        config: Sizes of the network; None for the defaults.
    """

    def __init__(self, config: TalkerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TalkerConfig()
        self.encoder = AudioEncoder(config)
        self.codec = MotionCodec(config)
        self.predictor = ConditionPredictor(config)
        self.head = DiffusionHead(config)

    def init_state(self, batch: int) -> NetworkState:
        """Return the state at the start of `batch` streams, on the network's device."""
        latent = self.codec.latent_mean.new_zeros(batch, self.config.latent_dim)
        return NetworkState(
            self.encoder.init_state(batch),
            self.predictor.init_state(batch),
            self.codec.init_state(batch),
            latent,
        )

    def encode_hop(self, hop: torch.Tensor, state: NetworkState) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode one hop of audio.

        Args:
            hop: (B, config.hop) samples in -1..1.
            state: Its encoder is updated in place.

        Returns:
            Features (B, audio_width), and `AudioEncoder.auxiliary_logits` (B, 1 to 7).
        """
        features = self.encoder(hop, state.encoder)  # (B, 1, audio_width)
        return features[:, 0], self.encoder.auxiliary_logits(features, state.encoder)[:, 0]

    def generate_frame(
        self,
        feature: torch.Tensor,
        noise: torch.Tensor,
        style: torch.Tensor,
        sampler: LatentSampler,
        state: NetworkState,
        context_frames: int | None = None,
        guidance: torch.Tensor | None = None,
        uncond: PredictorState | None = None,
    ) -> torch.Tensor:
        """Generate one frame of motion.

        Args:
            feature: (B, audio_width) of the hop that completes the frame's look-ahead.
            noise: (B, D) noise that sampling begins with.
            style: (B,) rows of the style embedding.
            sampler: The diffusion steps.
            state: Predictor, codec and latent are updated in place.
            context_frames: As in `ConditionPredictor.step`.
            guidance: (B, 1) scale of classifier-free guidance on the audio; None for none.
            uncond: With guidance, the state of the unconditional branch, whose audio feature is zeros as in a
                fraction of the training's windows.

        Returns:
            (B, motion_dim), weights not yet clipped to 0..1.
        """
        condition = self.predictor.step(state.latent, feature, style, state.predictor, context_frames)
        if guidance is None or uncond is None:
            latent = sampler(condition, noise)
        else:
            silence = torch.zeros_like(feature)
            unconditional = self.predictor.step(state.latent, silence, style, uncond, context_frames)
            latent = sampler.guided(condition, unconditional, guidance, noise)
        state.latent.copy_(latent)
        return self.codec.decode(state.latent[:, None], state.codec)[:, 0]
