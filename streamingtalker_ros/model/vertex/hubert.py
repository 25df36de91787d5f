# SPDX-License-Identifier: Apache-2.0
"""HuBERT from transformers: normalised 16 kHz audio -> features at 50 Hz -> features at the motion's rate.

Takes waveforms (B, n) and a configuration; gives (B, N, audio_dim), N = about 50 per second. Nothing is
downloaded: the weights come from the checkpoint.
"""

import torch
from torch.nn import functional as F

from streamingtalker_ros.errors import TalkerError, require


def build(config):
    """An untrained HubertModel in evaluation mode; config: dict of HubertConfig arguments, {} is the base.

    Raises TalkerError when transformers is absent or refuses the configuration.
    """
    transformers = require("transformers", "the published models' audio encoder")
    known = {
        key: value
        for key, value in config.items()
        if key not in ("transformers_version", "architectures", "dtype", "torch_dtype", "model_type")
    }
    try:
        settings = transformers.HubertConfig(**known)
        settings._attn_implementation = "eager"  # the recorded arithmetic; fused attention rounds otherwise
        return transformers.HubertModel(settings).eval()
    except Exception as error:  # its validators raise kinds of their own
        raise TalkerError(
            f"transformers refuses the HuBERT configuration: {str(error).splitlines()[0]}"
        ) from None


def geometry(model):
    """(stride, reach) in samples: feature i hears the samples from i·stride up to i·stride + reach."""
    stride, reach = 1, 1
    for kernel, step in zip(model.config.conv_kernel, model.config.conv_stride):
        reach, stride = reach + (kernel - 1) * stride, stride * step
    return stride, reach


def normalize(pcm):
    """(…, n) -> zero mean and unit variance over the utterance, (x − mean) / √(var + 1e-7), as published."""
    centred = pcm - pcm.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


def encode(model, audio):  # normalised (B, n) -> (B, N, audio_dim)
    return model(audio).last_hidden_state


def frame_count(features, audio_fps, frame_rate):
    """Motion frames of so many features; formed as published, whose rounding decides the floor."""
    return int(features * (frame_rate / audio_fps))


def interpolate(features, audio_fps, frame_rate):
    """(B, N, C) at audio_fps -> (B, L, C) at frame_rate: linear, corners aligned."""
    length = frame_count(features.shape[1], audio_fps, frame_rate)
    channels_first = features.transpose(1, 2)
    return F.interpolate(channels_first, size=length, mode="linear", align_corners=True).transpose(1, 2)


def gather_features(features, position):
    """Linear interpolation: features (B, N, C), position (B, T) float in 0 … N − 1 -> (B, T, C)."""
    low = position.floor().long().clamp(0, features.shape[1] - 1)
    high = (low + 1).clamp(max=features.shape[1] - 1)
    below, above = (features.gather(1, i[..., None].expand(-1, -1, features.shape[2])) for i in (low, high))
    return torch.lerp(below, above, (position - low)[..., None].to(features.dtype))
