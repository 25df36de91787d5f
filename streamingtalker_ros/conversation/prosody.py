# SPDX-License-Identifier: Apache-2.0
"""Pitch and intensity of a voice, block by block, from audio up to the block's end and nothing later.

    tracker = ProsodyTracker()
    blocks = tracker.update(hop)  # one entry for each completed block of 10 ms

Pitch is the peak of the window's autocorrelation divided by that of the window itself (Boersma 1993,
"Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound"). Feeding a signal in pieces gives the blocks of the whole signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE

BLOCK_S: Final = 0.01
"""s, duration of a block."""

BLOCK_SAMPLES: Final = round(BLOCK_S * SAMPLE_RATE)

PITCH_RANGE_HZ: Final = (65.0, 400.0)
"""Hz, pitch of human voices that are tracked: from a low man's to a child's."""

VOICING_THRESHOLD: Final = 0.55
"""Harmonicity from which on a block counts as voiced (Boersma 1993 takes 0.45; noise reaches that here)."""

SILENCE_DB: Final = -100.0
"""dB of full scale, power of digital silence."""

_DECIMATION: Final = 2  # pitch is found at 8 kHz
_RATE: Final = SAMPLE_RATE // _DECIMATION
_WINDOW_BLOCKS: Final = (
    4  # blocks that a pitch window spans, the newest last: 2.6 periods of the lowest pitch
)
_WINDOW: Final = _WINDOW_BLOCKS * BLOCK_SAMPLES // _DECIMATION
_SHORTEST, _LONGEST = int(_RATE / PITCH_RANGE_HZ[1]), int(np.ceil(_RATE / PITCH_RANGE_HZ[0]))
_FFT: Final = 512  # at least _WINDOW + _LONGEST + 1
_OCTAVE_COST: Final = 0.05  # per octave of a longer period, so that a period wins over its multiples


def _tables() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a Hann window, and by lag what the window takes off the correlation, and the octave cost."""
    window = np.hanning(_WINDOW + 2)[1:-1]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2, _FFT)
    lags = np.arange(_SHORTEST - 1, _LONGEST + 2)
    cost = _OCTAVE_COST * np.log2(lags[1:-1] / _SHORTEST)
    return window.astype(np.float32), correlation[0] / correlation[lags], cost


_HANN, _GAINS, _COST = _tables()
_OFFSETS: Final = np.arange(_WINDOW)
_MIN_ENERGY: Final = 1e-12


@dataclass(frozen=True)
class ProsodyBlocks:
    """Prosody of n consecutive blocks of `BLOCK_S`, oldest first.

    Attributes:
        pitch_hz: (n,) float64, Hz; 0 where a block is not voiced.
        harmonicity: (n,) float64 in 0..1: height of the autocorrelation's peak; periodic sounds are near 1.
        power_db: (n,) float64, dB of full scale: power of the block without a constant offset.
    """

    pitch_hz: npt.NDArray[np.float64]
    harmonicity: npt.NDArray[np.float64]
    power_db: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.power_db)


class ProsodyTracker:
    """Tracks pitch and power of one voice."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all audio."""
        self._samples: npt.NDArray[np.float32] = np.zeros((_WINDOW_BLOCKS - 1) * BLOCK_SAMPLES, np.float32)

    def update(self, pcm: npt.NDArray[np.float32]) -> ProsodyBlocks:
        """Process audio of any length.

        Args:
            pcm: (n,) float32, mono, 16 kHz, in -1..1.

        Returns:
            The blocks that it completes.
        """
        samples = np.concatenate([self._samples, pcm])
        context = (_WINDOW_BLOCKS - 1) * BLOCK_SAMPLES
        count = (len(samples) - context) // BLOCK_SAMPLES
        used = samples[: context + count * BLOCK_SAMPLES]
        self._samples = samples[count * BLOCK_SAMPLES :]
        if not count:
            empty = np.zeros(0)
            return ProsodyBlocks(empty, empty, empty)
        blocks = used[context:].reshape(count, BLOCK_SAMPLES)
        blocks = blocks - np.add.reduce(blocks, axis=1, keepdims=True) / BLOCK_SAMPLES
        power = np.einsum("ij,ij->i", blocks, blocks).astype(np.float64) / BLOCK_SAMPLES
        power_db = 10.0 * np.log10(power + 10.0 ** (0.1 * SILENCE_DB))
        pitch, harmonicity = _find_pitch(used, count)
        return ProsodyBlocks(pitch, harmonicity, power_db)


def _find_pitch(
    samples: npt.NDArray[np.float32], count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return pitch in Hz and harmonicity, (count,) each, of windows that begin one block apart."""
    decimated = (samples[::_DECIMATION] + samples[1::_DECIMATION]) * 0.5
    starts = np.arange(count) * (BLOCK_SAMPLES // _DECIMATION)
    windows = decimated[starts[:, None] + _OFFSETS]
    windows -= np.add.reduce(windows, axis=1, keepdims=True) / _WINDOW
    windows *= _HANN
    spectrum = np.fft.rfft(windows, _FFT, axis=1)
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, _FFT, axis=1)
    energy = np.maximum(correlation[:, :1], _MIN_ENERGY)
    normalized = correlation[:, _SHORTEST - 1 : _LONGEST + 2] * _GAINS / energy
    before, at, after = normalized[:, :-2], normalized[:, 1:-1], normalized[:, 2:]
    # of each lag's parabola: the vertex, which lies between the samples
    curvature = np.maximum(2.0 * at - before - after, _MIN_ENERGY)
    slope = after - before
    height = at + slope * slope / (8.0 * curvature)
    score = np.where((at >= before) & (at > after), height - _COST, -1.0)
    rows, best = np.arange(count), score.argmax(axis=1)
    harmonicity = np.where(score[rows, best] > -1.0, np.clip(height[rows, best], 0.0, 1.0), 0.0)
    is_voiced = harmonicity >= VOICING_THRESHOLD
    lag = best + _SHORTEST + np.where(is_voiced, 0.5 * slope[rows, best] / curvature[rows, best], 0.0)
    return np.where(is_voiced, _RATE / lag, 0.0), harmonicity
