# SPDX-License-Identifier: Apache-2.0
"""Augmentation of log-mel features equals the same augmentation of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from streamingtalker_ros.audio import augmentation
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.model.blendshape.config import TalkerConfig
from streamingtalker_ros.model.blendshape.feature_constants import MIN_LEVEL
from streamingtalker_ros.model.blendshape.features import LogMel
from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.training.feature_augmentation import (
    MICROPHONE_HZ,
    FeatureAugmentationConfig,
    limit_band,
    mix,
    normalize_level,
    reverberate,
    to_absolute,
)

Array = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def voice() -> Array:
    pcm, _ = soundfile.read(DEMO_AUDIO, dtype="float32", frames=5 * SAMPLE_RATE)
    return np.asarray(pcm, np.float32)


@pytest.fixture(scope="module")
def log_mel() -> LogMel:
    return LogMel(TalkerConfig())


def _config(**changes: Any) -> FeatureAugmentationConfig:
    """A configuration in which all effects but the passed ones are off."""
    nothing: dict[str, Any] = {
        "noise_prob": 0.0,
        "babble_prob": 0.0,
        "reverb_prob": 0.0,
        "band_limit_prob": 0.0,
        "telephone_prob": 0.0,
        "gain_db": (0.0, 0.0),
    }
    return FeatureAugmentationConfig(**{**nothing, **changes})


def _measure(log_mel: LogMel, pcm: Array) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log powers, normalised features and loudness of a sound."""
    audio = torch.from_numpy(np.ascontiguousarray(pcm, np.float32))[None]
    return log_mel.measure(audio)[0], *log_mel(audio)


def _quiet(batch_size: int = 1) -> torch.Tensor:
    return torch.full((batch_size,), MIN_LEVEL)


def _uniform(batch_size: int) -> tuple[Callable[..., torch.Tensor], Callable[[float, float], torch.Tensor]]:
    return (
        lambda *shape: torch.rand(shape),
        lambda low, high: low + (high - low) * torch.rand(batch_size),
    )


def test_level_normalization_is_undone_and_redone(log_mel: LogMel, voice: Array) -> None:
    power, mels, loudness = _measure(log_mel, voice)
    _, _, level = log_mel.measure(torch.from_numpy(voice)[None])
    mels_again, loudness_again = normalize_level(to_absolute(mels, level), _quiet())
    is_unclipped = mels > -1.9  # what lies further below the level was cut off
    is_sounding = loudness > -8.0
    assert torch.allclose(mels_again[is_unclipped], mels[is_unclipped], atol=0.03)
    assert torch.allclose(loudness_again[is_sounding], loudness[is_sounding], atol=0.02)
    *unchanged, snr = mix(power, _quiet(), power, _config())
    for first, second in zip(unchanged, normalize_level(power, _quiet()), strict=True):
        assert torch.allclose(first, second, atol=1e-5)
    assert snr.isinf().all()


@pytest.mark.parametrize("kind", ["white_noise", "pink_noise", "engine_noise"])
def test_added_noise_equals_noise_added_to_samples(log_mel: LogMel, voice: Array, kind: str) -> None:
    noise = getattr(augmentation, kind)(len(voice), np.random.default_rng(1))
    power, clean, _ = _measure(log_mel, voice)
    torch.manual_seed(0)
    noise_power = _measure(log_mel, 0.05 * noise)[0]
    mixed, loudness, snr = mix(power, _quiet(), noise_power, _config(noise_prob=1.0, snr_db=(10.0, 10.0)))
    _, expected, expected_loudness = _measure(log_mel, augmentation.add_noise(voice, noise, 10.0))
    change = (clean - expected).abs().mean()
    assert (mixed - expected).abs().mean() < 0.25 * change  # powers add up to their phases
    assert (loudness - expected_loudness).abs().mean() < 0.5  # nepers
    assert snr.tolist() == [10.0]


def test_gain_equals_amplified_samples(log_mel: LogMel, voice: Array) -> None:
    power, _, _ = _measure(log_mel, 0.1 * voice)
    torch.manual_seed(0)
    louder, loudness, _ = mix(power, _quiet(), power, _config(gain_db=(20.0, 20.0)))
    _, expected, expected_loudness = _measure(log_mel, voice)
    is_sounding = expected_loudness > -4.0
    assert (louder - expected)[is_sounding].abs().mean() < 0.05
    assert (loudness - expected_loudness)[is_sounding].abs().mean() < 0.1


def test_reverberation_is_causal_and_decays(log_mel: LogMel) -> None:
    click = np.concatenate((np.zeros(8000), 0.5 * np.ones(160), np.zeros(SAMPLE_RATE - 160)))
    power, _, _ = _measure(log_mel, click[: 24000 // HOP_LENGTH * HOP_LENGTH].astype(np.float32))
    torch.manual_seed(1)
    wet = reverberate(power.expand(8, -1, -1, -1), _uniform(8)[1])
    wet, dry = wet.flatten(1, 2).mean(-1), power.flatten(1, 2).mean(-1)
    assert torch.allclose(wet[:, :48], dry[:, :48].expand(8, -1), atol=0.05)  # before the click
    tail = wet[:, 56:70]
    assert (tail[:, 0] > dry[:, 56] + 2.0).all() and (tail.diff(dim=1) <= 0.0).all()


def test_band_limits_leave_the_middle_unchanged(log_mel: LogMel, voice: Array) -> None:
    power, _, _ = _measure(log_mel, voice)
    torch.manual_seed(2)
    batch = power.expand(16, -1, -1, -1)
    attenuation = (batch - limit_band(batch, 1.0, MICROPHONE_HZ, *_uniform(16))).mean((1, 2))
    assert attenuation[:, 12:40].abs().max() == 0.0
    assert (attenuation[:, -1] >= 0.0).all() and attenuation[:, -1].max() > 8.0


def test_a_telephone_channel_equals_filtered_samples(log_mel: LogMel, voice: Array) -> None:
    power, clean, _ = _measure(log_mel, voice)
    _, expected, expected_loudness = _measure(log_mel, augmentation.telephone(voice))
    torch.manual_seed(3)
    batch = power.expand(32, -1, -1, -1)
    mixed, loudness, _ = mix(batch, _quiet(32), batch, _config(telephone_prob=1.0))
    change = (clean - expected).abs().mean()
    error = (mixed - expected).abs().mean((1, 2, 3))
    assert error.min() < 0.3 * change and error.max() < change
    is_sounding = expected_loudness[0] > -6.0
    assert (loudness - expected_loudness)[:, is_sounding].abs().mean() < 0.1  # nepers
    above_band = mixed[..., -8:].mean((1, 2, 3)) - clean[..., -8:].mean()
    assert (above_band < -0.05).all()
    assert above_band.max() - above_band.min() > 0.1  # with and without quantisation noise
