# SPDX-License-Identifier: Apache-2.0
"""Augmentation of log-mel features: noise, reverberation, band limits, telephone channels and gain.

Log-mel features hold powers, and powers of independent sounds add, so these effects cost a few tensor
operations on a batch, where `audio.augmentation` filters samples. What only samples show (clipping) is left
to that module.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.model.blendshape.feature_constants import LEVEL_RELEASE, MIN_LEVEL, POWER_FLOOR
from streamingtalker_ros.model.blendshape.features import mel_edges, normalize_log_mel, track_level

COLUMN_S = 0.01  # duration of a log-mel column
NEPERS_PER_DB = 0.2302585  # of power
NEPERS_PER_60_DB = 13.8155
MICROPHONE_HZ = {"low": (0.0, 350.0), "high": (3000.0, 7900.0)}  # ranges of a small microphone's band limits
TELEPHONE_HZ = {"low": (250.0, 350.0), "high": (3200.0, 3600.0)}  # ITU-T G.712 passes 300 to 3400 Hz
MU_LAW_SNR_DB = (36.0, 40.0)  # of 8-bit mu-law steps, ITU-T G.711: 38 dB at any level
CREST_DB = 5.0  # a peak frame stands about this much above the mean of speech

Uniform = Callable[..., torch.Tensor]  # uniform(*shape) in 0..1
UniformBetween = Callable[[float, float], torch.Tensor]  # uniform_between(low, high) -> (B,)
Band = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class FeatureAugmentationConfig:
    """Probabilities per window, 0 turns an effect off; ranges are uniform."""

    noise_prob: float = 0.35  # a sound without speech is added
    babble_prob: float = 0.1  # other windows of the batch are added
    snr_db: tuple[float, float] = (3.0, 35.0)
    reverb_prob: float = 0.3
    band_limit_prob: float = 0.15  # a small microphone's band
    telephone_prob: float = 0.25  # a telephone's band; half of these with mu-law quantisation noise
    gain_db: tuple[float, float] = (-22.0, 14.0)


def to_absolute(mels: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Undo the level normalisation of `LogMel`.

    Args:
        mels: (B, n, columns, mels) normalised log-mel.
        level: (B, n) running level.

    Returns:
        (B, n, columns, mels) log powers.
    """
    return (mels - 1.0) * 4.0 + level[:, :, None, None]


def normalize_level(
    power: torch.Tensor, initial_level: torch.Tensor, frame_rate: float = FRAME_RATE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply the level normalisation of `LogMel`.

    Args:
        power: (B, n, columns, mels) log powers.
        initial_level: (B,) level before the first frame.
        frame_rate: frames/s.

    Returns:
        Normalised log-mel (B, n, columns, mels) and loudness over the level (B, n).
    """
    power = power.clamp(min=math.log(POWER_FLOOR))
    loudness = power.exp().mean((2, 3)).log()
    level = track_level(loudness, initial_level, LEVEL_RELEASE / frame_rate)
    return normalize_log_mel(power, level), loudness - level


def mix(
    power: torch.Tensor,
    initial_level: torch.Tensor,
    noise: torch.Tensor,
    config: FeatureAugmentationConfig | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Augment a batch of windows, with randomness from PyTorch's generator.

    Args:
        power: (B, n, columns, mels) log powers of the windows.
        initial_level: (B,) level before each window.
        noise: (B, n, columns, mels) log powers of sounds without speech.
        config: probabilities and ranges.

    Returns:
        Normalised log-mel (B, n, columns, mels), loudness (B, n), and the signal-to-noise ratio of what was
        added (B,) in dB, infinite where nothing was.
    """
    config = config or FeatureAugmentationConfig()
    batch_size, device = len(power), power.device

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, device=device)

    def uniform_between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * uniform(batch_size)

    peak = torch.log(torch.exp(power).mean((2, 3)) + POWER_FLOOR).amax(1)  # (B,)
    is_reverberant = (uniform(batch_size) < config.reverb_prob)[:, None, None, None]
    power = torch.where(is_reverberant, reverberate(power, uniform_between), power)
    gain = NEPERS_PER_DB * uniform_between(*config.gain_db)
    power, peak = power + gain[:, None, None, None], peak + gain
    # where nothing has sounded yet the level is at its floor, which a gain does not move
    initial_level = torch.where(initial_level > MIN_LEVEL, initial_level + gain, initial_level)
    other_voices = torch.stack(
        [
            power.roll(k, 0) + NEPERS_PER_DB * uniform_between(-8.0, 0.0)[:, None, None, None]
            for k in (1, 2, 3)
        ]
    )
    kind = uniform(batch_size)
    is_babble = (kind < config.babble_prob)[:, None, None, None]
    background = torch.where(is_babble, torch.logsumexp(other_voices, 0), noise)
    background_level = torch.log(torch.exp(background).mean((1, 2, 3)) + POWER_FLOOR)
    speech_level = peak.clamp(min=MIN_LEVEL) - CREST_DB * NEPERS_PER_DB
    snr = uniform_between(*config.snr_db)
    background = background + (speech_level - NEPERS_PER_DB * snr - background_level)[:, None, None, None]
    is_noisy = (kind < config.babble_prob + config.noise_prob)[:, None, None, None]
    power = torch.where(is_noisy, torch.logaddexp(power, background), power)
    background_start = background[:, 0].exp().mean((1, 2)).log()
    initial_level = torch.where(
        is_noisy[:, 0, 0, 0], torch.maximum(initial_level, background_start), initial_level
    )
    snr = torch.where(is_noisy[:, 0, 0, 0], snr, torch.full_like(snr, math.inf))
    power = limit_band(power, config.band_limit_prob, MICROPHONE_HZ, uniform, uniform_between)
    power = _telephone(power, config.telephone_prob, uniform, uniform_between)
    return *normalize_level(power, initial_level), snr


def reverberate(power: torch.Tensor, uniform_between: UniformBetween) -> torch.Tensor:
    """Add a diffuse tail: RT60 of 0.15 to 0.7 s, direct-to-reverberant ratio of 0 to 15 dB.

    Args:
        power: (B, n, columns, mels) log powers.
        uniform_between: random numbers (B,) of a range.

    Returns:
        (B, n, columns, mels) log powers.
    """
    batch_size, frames, columns, mels = power.shape
    rt60_s, drr_db = uniform_between(0.15, 0.7), uniform_between(0.0, 15.0)
    age_s = COLUMN_S * torch.arange(1, 41, device=power.device)
    tail = torch.exp(-NEPERS_PER_60_DB * age_s / rt60_s[:, None])  # (B, 40)
    tail = tail / tail.sum(1, keepdim=True) * torch.exp(-NEPERS_PER_DB * drr_db)[:, None]
    kernel = torch.cat((tail.flip(1), torch.ones(batch_size, 1, device=power.device)), 1)[
        :, None
    ]  # (B, 1, 41)
    rows = (power.exp() - POWER_FLOOR).clamp(min=0.0).flatten(1, 2).permute(2, 0, 1)  # (mels, B, n·columns)
    smeared = functional.conv1d(functional.pad(rows, (40, 0)), kernel, groups=batch_size)
    return torch.log(smeared + POWER_FLOOR).permute(1, 2, 0).view(batch_size, frames, columns, mels)


def limit_band(
    power: torch.Tensor, prob: float, band: Band, uniform: Uniform, uniform_between: UniformBetween
) -> torch.Tensor:
    """Attenuate bands outside a random pass band by 2 nepers per band of distance, at most 12.

    Args:
        power: (B, n, columns, mels) log powers.
        prob: probability that a window is limited.
        band: ranges in Hz of the pass band's edges "low" and "high".
        uniform: random numbers in 0..1 of a shape.
        uniform_between: random numbers (B,) of a range.
    """
    mel = torch.log1p(_band_centers(power) / 700.0)
    low, high = (torch.log1p(uniform_between(*band[edge]) / 700.0)[:, None] for edge in ("low", "high"))
    outside = torch.maximum(low - mel, mel - high) / (mel[1] - mel[0])  # (B, mels), in bands
    outside = outside.clamp(0.0, 6.0)
    outside = torch.where(uniform(len(power), 1) < prob, outside, torch.zeros_like(outside))
    return power - 2.0 * outside[:, None, None]


def _telephone(
    power: torch.Tensor, prob: float, uniform: Uniform, uniform_between: UniformBetween
) -> torch.Tensor:
    """Limit windows to a telephone's band, and add mu-law quantisation noise to half of these.

    The noise follows the sound's level and is white: its power per Hz is the same in all bands, so it is
    audible only above the pass band.
    """
    narrow = limit_band(power, 1.0, TELEPHONE_HZ, uniform, uniform_between)
    bandwidth = 700.0 + _band_centers(power)  # up to a factor: bands are equally wide on the mel scale
    mean = torch.log(narrow.exp() @ (bandwidth / bandwidth.sum()))[..., None]  # over frequency
    quantization = mean - NEPERS_PER_DB * uniform_between(*MU_LAW_SNR_DB)[:, None, None, None]
    has_noise = (uniform(len(power)) < 0.5)[:, None, None, None]
    channel = torch.where(has_noise, torch.logaddexp(narrow, quantization), narrow)
    return torch.where((uniform(len(power)) < prob)[:, None, None, None], channel, power)


def _band_centers(power: torch.Tensor) -> torch.Tensor:
    """Centre frequency of each band of log powers (…, mels): (mels,) Hz."""
    return mel_edges(power.shape[-1])[1:-1].to(power)
