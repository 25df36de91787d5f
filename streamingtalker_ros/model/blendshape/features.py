# SPDX-License-Identifier: Apache-2.0
"""Log-mel features under a running level: 16 kHz audio (B, n·hop) to (B, n, 4, num_mels), causal.

A column covers 25 ms of audio ending at its own 10 ms, so that the four columns of motion frame m end with
the frame's audio. The level is a peak follower in place of the published per-utterance normalization: it
rises at once and falls by `LEVEL_RELEASE` per second, so that a quiet voice and a loud one give the same
features after the first syllable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.model.blendshape.config import COLUMN_SAMPLES, TalkerConfig
from streamingtalker_ros.model.blendshape.feature_constants import (
    FFT_SIZE,
    LEVEL_RELEASE,
    MAX_MEL_HZ,
    MIN_LEVEL,
    MIN_MEL_HZ,
    POWER_FLOOR,
    WINDOW_SAMPLES,
)
from streamingtalker_ros.model.constant_tables import build_table


def mel_edges(num_mels: int, low: float = MIN_MEL_HZ, high: float = MAX_MEL_HZ) -> torch.Tensor:
    """Return the edges of mel bands, equally spaced on the HTK scale m = 2595 log10(1 + f/700).

    Args:
        num_mels: Number of bands.
        low: First edge in Hz.
        high: Last edge in Hz.

    Returns:
        (num_mels + 2,) float64 in Hz; band k is the triangle over the edges k, k + 1, k + 2.
    """

    def hz_to_mel(f: float) -> float:
        return 2595.0 * math.log10(1.0 + f / 700.0)

    edges = torch.linspace(hz_to_mel(low), hz_to_mel(high), num_mels + 2, dtype=torch.float64)
    return 700.0 * (10.0 ** (edges / 2595.0) - 1.0)


def mel_filters(num_mels: int, sample_rate: int = SAMPLE_RATE) -> torch.Tensor:
    """Return triangular filters over `mel_edges`: (FFT_SIZE//2 + 1, num_mels), each with sum 1.

    Args:
        num_mels: Number of bands.
        sample_rate: Samples per second of the audio, in Hz.
    """
    edges = mel_edges(num_mels)
    bins = torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64)[:, None] * (sample_rate / FFT_SIZE)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    return (filters / filters.sum(0).clamp(min=1e-6)).float()  # each band is a mean of powers


def fourier_basis() -> torch.Tensor:
    """Return windowed cosines and sines: (WINDOW_SAMPLES, 2·(FFT_SIZE/2 + 1)), for a power spectrum."""
    window = torch.hann_window(WINDOW_SAMPLES, periodic=True, dtype=torch.float64)
    angle = (
        torch.arange(WINDOW_SAMPLES, dtype=torch.float64)[:, None]
        * torch.arange(FFT_SIZE // 2 + 1)
        * (2 * math.pi / FFT_SIZE)
    )
    scale = window[:, None] * (2.0 / window.sum())  # a full-scale sine has power 1 in its bin
    return torch.cat((angle.cos() * scale, angle.sin() * scale), 1).float()


@dataclass
class FeatureState:
    """State of the features of a batch of streams.

    Attributes:
        samples: (B, WINDOW_SAMPLES - COLUMN_SAMPLES), the end of the audio so far.
        level: (B,) log power, the running peak.
    """

    samples: torch.Tensor
    level: torch.Tensor

    def reset(self, rows: slice | list[int] = slice(None)) -> None:
        """Reset the state of some rows of the batch."""
        self.samples[rows] = 0.0
        self.level[rows] = MIN_LEVEL


class LogMel(nn.Module):
    """Normalized log-mel spectrum and relative loudness of audio.

    Args:
        config: `hop`, `num_mels` and the rates are used.
    """

    basis: torch.Tensor
    filters: torch.Tensor

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.hop, self.columns = config.hop, config.hop // COLUMN_SAMPLES
        self.release = LEVEL_RELEASE / config.frame_rate
        bins = FFT_SIZE // 2 + 1
        basis = build_table((WINDOW_SAMPLES, 2 * bins), fourier_basis)
        filters = build_table(
            (bins, config.num_mels), lambda: mel_filters(config.num_mels, config.sample_rate)
        )
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def init_state(self, batch: int) -> FeatureState:
        """Return the state at the start of `batch` streams."""
        device = self.basis.device
        return FeatureState(
            torch.zeros(batch, WINDOW_SAMPLES - COLUMN_SAMPLES, device=device),
            torch.full((batch,), MIN_LEVEL, device=device),
        )

    def forward(
        self, audio: torch.Tensor, state: FeatureState | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features.

        Args:
            audio: (B, n·hop) in -1..1.
            state: Updated in place; None for a clip from its start.

        Returns:
            Normalized log-mel (B, n, columns, num_mels), and the frames' loudness over the level (B, n),
            nepers.
        """
        power, loudness, level = self.measure(audio, state)
        return normalize_log_mel(power, level), loudness - level

    def measure(
        self, audio: torch.Tensor, state: FeatureState | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute features before normalization.

        Args:
            audio: (B, n·hop) in -1..1.
            state: Updated in place; None for a clip from its start.

        Returns:
            Log powers (B, n, columns, num_mels), the log of their mean (B, n), and the running level (B, n).
        """
        batch, frames = audio.shape[0], audio.shape[1] // self.hop
        past = audio.new_zeros(batch, WINDOW_SAMPLES - COLUMN_SAMPLES) if state is None else state.samples
        joined = torch.cat((past, audio), 1)
        columns = joined.unfold(1, WINDOW_SAMPLES, COLUMN_SAMPLES)  # (B, frames·columns, WINDOW_SAMPLES)
        spectrum = columns @ self.basis
        real, imaginary = spectrum.chunk(2, -1)
        power = (real.square() + imaginary.square()) @ self.filters  # (B, frames·columns, num_mels)
        power = power.view(batch, frames, self.columns, -1)
        loudness = torch.log(power.mean((2, 3)) + POWER_FLOOR)  # (B, frames)
        start = loudness.new_full((batch,), MIN_LEVEL) if state is None else state.level
        level = track_level(loudness, start, self.release)
        if state is not None:
            state.samples.copy_(joined[:, joined.shape[1] - (WINDOW_SAMPLES - COLUMN_SAMPLES) :])
            state.level.copy_(level[:, -1])
        return torch.log(power + POWER_FLOOR), loudness, level


def track_level(loudness: torch.Tensor, start: torch.Tensor, release: float) -> torch.Tensor:
    """Follow the peaks: level_t = max(loudness_t, level_{t-1} - release, MIN_LEVEL), by a running maximum.

    Args:
        loudness: (B, n) log power.
        start: (B,) level before the first frame.
        release: Fall per frame, nepers.

    Returns:
        (B, n) level.
    """
    ramp = release * torch.arange(1, loudness.shape[1] + 1, device=loudness.device)
    joined = torch.cat((start[:, None], loudness + ramp), 1)
    return (joined.cummax(1).values[:, 1:] - ramp).clamp(min=MIN_LEVEL)


def normalize_log_mel(power: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Return log powers over the level, in units of 4 nepers around 1, within ±2.

    Args:
        power: (B, n, columns, num_mels) log powers.
        level: (B, n) running level.
    """
    return ((power - level[:, :, None, None]) * 0.25 + 1.0).clamp(-2.0, 2.0)
