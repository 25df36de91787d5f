# SPDX-License-Identifier: Apache-2.0
"""HuBERT from transformers: normalized 16 kHz audio → features at 50 Hz → features per motion frame.

Waveforms (B, n) give (B, N, audio_dim), N = about 50 per second. Nothing is downloaded: the weights come from
the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError, require

# keys of a HuBERT config.json that are not arguments of HubertConfig
_METADATA = ("transformers_version", "architectures", "dtype", "torch_dtype", "model_type")


def build(config: Mapping[str, Any]) -> nn.Module:
    """Return an untrained HubertModel in evaluation mode.

    Args:
        config: Arguments of transformers.HubertConfig; {} is the base model.

    Raises:
        TalkerError: If transformers is absent or rejects the configuration.
    """
    transformers = require("transformers", "the published models' audio encoder")
    arguments = {key: value for key, value in config.items() if key not in _METADATA}
    try:
        settings = transformers.HubertConfig(**arguments)
        settings._attn_implementation = "eager"  # the recorded arithmetic; fused attention rounds otherwise
        return transformers.HubertModel(settings).eval()
    except Exception as error:  # its validators raise types of their own
        reason = shorten(str(error), 200) or type(error).__name__
        raise TalkerError(f"transformers rejects the HuBERT configuration: {reason}") from None


def geometry(model: nn.Module) -> tuple[int, int]:
    """Return (stride, receptive field) in samples.

    Feature i depends on the samples from i·stride up to i·stride + receptive field.

    Args:
        model: HubertModel of `build`; only its configuration is read.
    """
    settings: Any = model.config
    stride, receptive_field = 1, 1
    for kernel, step in zip(settings.conv_kernel, settings.conv_stride, strict=True):
        receptive_field, stride = receptive_field + (kernel - 1) * stride, stride * step
    return stride, receptive_field


def normalize(pcm: torch.Tensor) -> torch.Tensor:
    """Return (x − mean) / √(var + 1e-7) over the utterance (…, n), as published.

    Args:
        pcm: (…, n) audio at 16 kHz, full scale ±1; each row is one utterance.

    Returns:
        (…, n) without unit.
    """
    centred = pcm - pcm.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()


def encode(model: nn.Module, audio: torch.Tensor) -> torch.Tensor:
    """Encode normalized audio: (B, n) -> (B, N, audio_dim).

    Args:
        model: HubertModel of `build`.
        audio: (B, n) normalized audio at 16 kHz, of at least the receptive field.
    """
    return model(audio).last_hidden_state


def frame_count(features: int, audio_fps: float, frame_rate: float) -> int:
    """Return the motion frames of so many features; formed as published, whose rounding decides the floor.

    Args:
        features: Number of features, 0 or more.
        audio_fps: Features per second.
        frame_rate: Motion frames per second.
    """
    return int(features * (frame_rate / audio_fps))


def interpolate(features: torch.Tensor, audio_fps: float, frame_rate: float) -> torch.Tensor:
    """Resample features (B, N, C) to the frame rate, (B, L, C): linear, corners aligned, as published.

    Args:
        features: (B, N, C) features of the audio encoder.
        audio_fps: Features per second.
        frame_rate: Motion frames per second.

    Returns:
        (B, L, C), L = `frame_count` of N.
    """
    length = frame_count(features.shape[1], audio_fps, frame_rate)
    channels_first = features.transpose(1, 2)
    return F.interpolate(channels_first, size=length, mode="linear", align_corners=True).transpose(1, 2)


def gather_features(features: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Interpolate features linearly at given positions.

    Args:
        features: (B, N, C).
        position: (B, T) floats in 0 … N − 1.

    Returns:
        (B, T, C).
    """
    low = position.floor().long().clamp(0, features.shape[1] - 1)
    high = (low + 1).clamp(max=features.shape[1] - 1)
    below, above = (features.gather(1, i[..., None].expand(-1, -1, features.shape[2])) for i in (low, high))
    return torch.lerp(below, above, (position - low)[..., None].to(features.dtype))
