# SPDX-License-Identifier: Apache-2.0
"""Log-mel features with a running level: 16 kHz audio (B, n·hop) in, (B, n, 4, mels) out, causal.

A column sees 25 ms of audio ending at its own 10 ms, so the four columns of motion frame m end with the frame's audio.
The level is a peak follower in place of the published per-utterance normalisation: it rises at once and falls by
`RELEASE` a second, so that a quiet voice and a loud one look alike after its first syllable.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

WINDOW, STRIDE, FFT = 400, 160, 512
FLOOR = 1e-10  # power added to each band: -100 dB of full scale, so that digital silence is finite
QUIET = math.log(
    1e-7
)  # mean band power of a voice near -50 dBFS: the level never falls lower, softer stays soft
RELEASE = 1.2  # nepers of power per second, 5.2 dB/s


def mel_edges(mels, low=50.0, high=7800.0):
    """Where bands begin, peak and end, equally spaced on the HTK mel scale, m = 2595 log10(1 + f/700). -> (mels + 2,) Hz,
    float64: band k is the triangle of k, k + 1, k + 2."""

    def to_mel(f):
        return 2595.0 * math.log10(1.0 + f / 700.0)

    edges = torch.linspace(to_mel(low), to_mel(high), mels + 2, dtype=torch.float64)
    return 700.0 * (10.0 ** (edges / 2595.0) - 1.0)


def mel_filters(mels, rate=16000):
    """Triangular filters over the bands of `mel_edges`. -> (FFT//2 + 1, mels)."""
    edges = mel_edges(mels)
    bins = torch.arange(FFT // 2 + 1, dtype=torch.float64)[:, None] * (rate / FFT)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    return (filters / filters.sum(0).clamp(min=1e-6)).float()  # each band is a mean of powers


@dataclass
class FeatureState:
    """What the features remember of one batch of voices."""

    samples: torch.Tensor  # (B, WINDOW - STRIDE): the end of the audio heard
    level: torch.Tensor  # (B,): log power, the running peak

    def reset(self, rows=slice(None)) -> None:
        self.samples[rows] = 0.0
        self.level[rows] = QUIET


class LogMel(nn.Module):
    """(B, n·hop) audio -> normalised log-mel (B, n, hop/STRIDE, mels) and the frame's loudness (B, n)."""

    def __init__(self, config) -> None:
        super().__init__()
        self.hop, self.columns = config.hop, config.hop // STRIDE
        self.release = RELEASE / config.frame_rate
        window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64)
        angle = (
            torch.arange(WINDOW, dtype=torch.float64)[:, None]
            * torch.arange(FFT // 2 + 1)
            * (2 * math.pi / FFT)
        )
        scale = window[:, None] * (2.0 / window.sum())  # a full-scale sine has power 1 in its bin
        basis = torch.cat((angle.cos() * scale, angle.sin() * scale), 1).float()  # (WINDOW, 2·(FFT/2+1))
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("filters", mel_filters(config.mels, config.sample_rate), persistent=False)

    def state(self, batch):
        device = self.basis.device
        return FeatureState(
            torch.zeros(batch, WINDOW - STRIDE, device=device), torch.full((batch,), QUIET, device=device)
        )

    def forward(self, audio, state=None):
        power, loudness, level = self.measure(audio, state)
        return normalised(power, level), loudness - level

    def measure(self, audio, state=None):
        """audio (B, n·hop) -> log powers (B, n, columns, mels), their log mean (B, n) and the running level (B, n)."""
        batch, frames = audio.shape[0], audio.shape[1] // self.hop
        past = audio.new_zeros(batch, WINDOW - STRIDE) if state is None else state.samples
        joined = torch.cat((past, audio), 1)
        columns = joined.unfold(1, WINDOW, STRIDE)  # (B, frames·columns, WINDOW)
        spectrum = columns @ self.basis
        real, imaginary = spectrum.chunk(2, -1)
        power = (real.square() + imaginary.square()) @ self.filters  # (B, frames·columns, mels)
        power = power.view(batch, frames, self.columns, -1)
        loudness = torch.log(power.mean((2, 3)) + FLOOR)  # (B, frames)
        start = loudness.new_full((batch,), QUIET) if state is None else state.level
        level = follow(loudness, start, self.release)
        if state is not None:
            state.samples.copy_(joined[:, joined.shape[1] - (WINDOW - STRIDE) :])
            state.level.copy_(level[:, -1])
        return torch.log(power + FLOOR), loudness, level


def follow(loudness, start, release):
    """level_t = max(loudness_t, level_{t-1} - release, QUIET) of loudness (B, n), for all t at once by a running maximum;
    start (B,): level_{-1}."""
    ramp = release * torch.arange(1, loudness.shape[1] + 1, device=loudness.device)
    joined = torch.cat((start[:, None], loudness + ramp), 1)
    return (joined.cummax(1).values[:, 1:] - ramp).clamp(min=QUIET)


def normalised(power, level):
    """Log powers (B, n, columns, mels) over the level (B, n), in units of 4 nepers around 1, within ±2."""
    return ((power - level[:, :, None, None]) * 0.25 + 1.0).clamp(-2.0, 2.0)
