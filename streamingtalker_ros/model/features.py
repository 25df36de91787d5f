"""Log-mel features with a running level: 16 kHz audio (B, n·hop) in, (B, n, 4, mels) out, causal.

A column sees 25 ms of audio ending at its own 10 ms, so the four columns of motion frame m end with the frame's audio.
The level is a peak follower in place of the published per-utterance normalisation: it rises at once and falls by
`RELEASE` a second, so that a quiet voice and a loud one look alike after its first syllable. Where the model wants that,
steady noise is subtracted from each band, but not from the level.
"""
import math
from dataclasses import dataclass

import torch
from torch import nn

WINDOW, STRIDE, FFT = 400, 160, 512
FLOOR = 1e-10  # power added to each band: -100 dB of full scale, so that digital silence is finite
QUIET = math.log(1e-7)  # mean band power of a voice near -50 dBFS: the level never falls lower, softer stays soft
RELEASE = 1.2  # nepers of power per second, 5.2 dB/s
RISE = 0.5  # nepers per second by which the steady noise is believed to grow while a voice stands above it
LEAST = 0.1  # of a band's power that stays where noise is subtracted, -10 dB


def mel_filters(mels, rate=16000, low=50.0, high=7800.0):
    """Triangular filters equally spaced on the HTK mel scale, m = 2595 log10(1 + f/700). -> (FFT//2 + 1, mels)."""
    def to_mel(f):
        return 2595.0 * math.log10(1.0 + f / 700.0)

    edges = torch.linspace(to_mel(low), to_mel(high), mels + 2, dtype=torch.float64)
    edges = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
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
    last: torch.Tensor  # (B, mels): power of the last frame, a mean of its columns
    noise: torch.Tensor  # (B, mels): power of the steady noise; infinite before the first frame

    def reset(self, rows=slice(None)):
        self.samples[rows] = 0.0
        self.level[rows] = QUIET
        self.last[rows] = 0.0
        self.noise[rows] = math.inf


class LogMel(nn.Module):
    """(B, n·hop) audio -> normalised log-mel (B, n, hop/STRIDE, mels) and the frame's loudness (B, n)."""

    def __init__(self, config):
        super().__init__()
        self.hop, self.columns = config.hop, config.hop // STRIDE
        self.release = RELEASE / config.frame_rate
        self.subtract, self.rise = config.subtract, RISE / config.frame_rate
        window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64)
        angle = (torch.arange(WINDOW, dtype=torch.float64)[:, None] * torch.arange(FFT // 2 + 1) * (2 * math.pi / FFT))
        scale = window[:, None] * (2.0 / window.sum())  # a full-scale sine has power 1 in its bin
        basis = torch.cat((angle.cos() * scale, angle.sin() * scale), 1).float()  # (WINDOW, 2·(FFT/2+1))
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("filters", mel_filters(config.mels, config.sample_rate), persistent=False)

    def state(self, batch):
        device = self.basis.device
        bands = self.filters.shape[1]
        return FeatureState(torch.zeros(batch, WINDOW - STRIDE, device=device),
                            torch.full((batch,), QUIET, device=device), torch.zeros(batch, bands, device=device),
                            torch.full((batch, bands), math.inf, device=device))

    def forward(self, audio, state=None):
        return self.leveled(self.measure(audio, state), state)

    def leveled(self, power, state=None, start=None):
        """Powers (B, n, columns, mels) -> normalised log-mel features of that shape and the frames' loudness (B, n),
        without the steady noise where the model wants that; start (B,): the level before them, where no state tells it."""
        loudness, level = self.level(power, start if state is None else state.level)
        if self.subtract:  # the level is that of all that sounds, so that noise alone stays far below it
            power = self._without_noise(power, state)
            loudness = torch.log(power.mean((2, 3)) + FLOOR)
        if state is not None:
            state.level.copy_(level[:, -1])
        return normalised(torch.log(power + FLOOR), level), loudness - level

    def level(self, power, start=None):
        """Powers (B, n, columns, mels) -> (loudness, level), (B, n) each: their log mean, and its running peak; start
        (B,): the level before them."""
        loudness = torch.log(power.mean((2, 3)) + FLOOR)
        start = loudness.new_full(loudness.shape[:1], QUIET) if start is None else start
        return loudness, follow(loudness, start, self.release)

    def _without_noise(self, power, state=None):
        """Spectral subtraction (Berouti et al. 1979) in the bands: the noise, `subtract` times, goes from each power, of
        which `LEAST` stays. The noise is the least that was heard, a mean of two frames, and may grow by `RISE` (minimum
        statistics, after Martin 1994); over-subtraction makes up for a minimum's being less than the mean."""
        mean = power.mean(2)  # (B, n, mels)
        last = torch.zeros_like(mean[:, 0]) if state is None else state.last
        noise = torch.full_like(last, math.inf) if state is None else state.noise
        heard = 0.5 * (mean + torch.cat((last[:, None], mean[:, :-1]), 1)) + FLOOR
        noise = torch.exp(-peak(-torch.log(heard), -torch.log(noise), self.rise))
        if state is not None:
            state.last.copy_(mean[:, -1])
            state.noise.copy_(noise[:, -1])
        return torch.maximum(power - self.subtract * noise[:, :, None], LEAST * power)

    def measure(self, audio, state=None):
        """audio (B, n·hop) -> powers (B, n, columns, mels) of its bands."""
        batch, frames = audio.shape[0], audio.shape[1] // self.hop
        past = audio.new_zeros(batch, WINDOW - STRIDE) if state is None else state.samples
        joined = torch.cat((past, audio), 1)
        columns = joined.unfold(1, WINDOW, STRIDE)  # (B, frames·columns, WINDOW)
        spectrum = columns @ self.basis
        real, imaginary = spectrum.chunk(2, -1)
        power = (real.square() + imaginary.square()) @ self.filters  # (B, frames·columns, mels)
        if state is not None:
            state.samples.copy_(joined[:, joined.shape[1] - (WINDOW - STRIDE):])
        return power.view(batch, frames, self.columns, -1)


def peak(values, start, release):
    """value_t = max(values_t, value_{t-1} - release) of values (B, n, …) for all t at once; start (B, …): value_{-1}."""
    ramp = (release * torch.arange(1, values.shape[1] + 1, device=values.device)).view(-1, *[1] * (values.dim() - 2))
    joined = torch.cat((start[:, None], values + ramp), 1)
    return joined.cummax(1).values[:, 1:] - ramp


def follow(loudness, start, release):
    """level_t = max(loudness_t, level_{t-1} - release, QUIET) of loudness (B, n); start (B,): level_{-1}."""
    return peak(loudness, start, release).clamp(min=QUIET)


def normalised(power, level):
    """Log powers (B, n, columns, mels) over the level (B, n), in units of 4 nepers around 1, within ±2."""
    return ((power - level[:, :, None, None]) * 0.25 + 1.0).clamp(-2.0, 2.0)
