# SPDX-License-Identifier: Apache-2.0
"""The assembled network of the default family: encoder, codec, predictor and head, with the state of B voices.

`listen` takes one hop of audio per voice, `speak` makes one frame of motion per voice; a frame n is spoken after hop
n + lookahead_frames was heard. One function each serves CPU, CUDA, one voice and many.
"""

from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.model.blendshape.codec import CodecState, MotionCodec
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.diffusion_head import DiffusionHead
from streamingtalker_ros.model.blendshape.encoder import AudioEncoder, EncoderState
from streamingtalker_ros.model.blendshape.predictor import ConditionPredictor, PredictorState


@dataclass
class NetworkState:
    """Everything that B voices remember between frames; all of fixed size."""

    encoder: EncoderState
    predictor: PredictorState
    codec: CodecState
    latent: torch.Tensor  # (B, D): the latent of the frame before

    def reset(self, rows=slice(None)) -> None:
        for part in (self.encoder, self.predictor, self.codec):
            part.reset(rows)
        self.latent[rows] = 0.0


class TalkerNetwork(nn.Module):
    def __init__(self, config=TalkerConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = AudioEncoder(config)
        self.codec = MotionCodec(config)
        self.predictor = ConditionPredictor(config)
        self.head = DiffusionHead(config)

    def state(self, batch):
        """Fresh state of `batch` voices, on the network's device."""
        latent = self.codec.latent_mean.new_zeros(batch, self.config.latent_dim)
        return NetworkState(
            self.encoder.state(batch), self.predictor.state(batch), self.codec.state(batch), latent
        )

    def listen(self, hop, state):
        """hop (B, config.hop) of audio -> its feature (B, audio_width) and `AudioEncoder.cues` (B, 1 to 5)."""
        feature = self.encoder(hop, state.encoder)[:, 0]
        return feature, self.encoder.cues(feature)

    def speak(self, feature, noise, style, sampler, state, history=None, guidance=None, blind=None):
        """feature (B, audio_width), noise (B, D), style (B,) rows of the embedding, sampler: what turns noise into
        a latent (see `HeadSampler`), history: see `ConditionPredictor.step`. -> motion (B, motion_dim), unclipped.

        guidance (B, 1): classifier-free guidance on the audio, or None for none; blind: the PredictorState of the
        branch that hears nothing, whose audio feature is zeros as in a share of the training's windows."""
        condition = self.predictor.step(state.latent, feature, style, state.predictor, history)
        if guidance is None:
            latent = sampler(condition, noise)
        else:
            unheard = self.predictor.step(state.latent, torch.zeros_like(feature), style, blind, history)
            latent = sampler.guided(condition, unheard, guidance, noise)
        state.latent.copy_(latent)
        return self.codec.decode(state.latent[:, None], state.codec)[:, 0]
