# SPDX-License-Identifier: Apache-2.0
"""Pitch and intensity of a voice, block by block, from audio up to the block's end and nothing later.

    tracker = ProsodyTracker()
    blocks = tracker.update(hop)  # one entry for each completed block of 10 ms

Pitch is the peak of the window's autocorrelation divided by that of the window itself (Boersma 1993,
"Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound"). Feeding a signal in pieces gives the blocks of the whole signal.
"""

from __future__ import annotations

import functools
import math
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
"""Height of the peak, 1 for a periodic sound, from which on a block is voiced (Boersma 1993 takes 0.45; noise
reaches that here)."""

SILENCE_DB: Final = -100.0
"""dB of full scale, power of digital silence."""

_DECIMATION: Final = 2  # pitch is found at 8 kHz
_RATE: Final = SAMPLE_RATE // _DECIMATION
_WINDOW_BLOCKS: Final = (
    4  # blocks that a pitch window spans, the newest last: 2.6 periods of the lowest pitch
)
_WINDOW: Final = _WINDOW_BLOCKS * BLOCK_SAMPLES // _DECIMATION
_SHORTEST, _LONGEST = int(_RATE / PITCH_RANGE_HZ[1]), int(np.ceil(_RATE / PITCH_RANGE_HZ[0]))
_PADDED: Final = _WINDOW + _LONGEST + 1  # with zeros, so that each lag has as many products
_NUM_LAGS: Final = _LONGEST - _SHORTEST + 3  # with a neighbour at either end
_OCTAVE_COST: Final = 0.05  # per octave of a longer period, so that a period wins over its multiples


def _tables() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], list[float]]:
    """Return a padded Hann window, and by lag what it takes off the correlation, and the octave cost."""
    window = np.hanning(_WINDOW + 2)[1:-1]
    correlation = np.correlate(window, window, "full")[_WINDOW - 1 :]
    lags = np.arange(_SHORTEST - 1, _LONGEST + 2)
    cost = _OCTAVE_COST * np.log2(lags[1:-1] / _SHORTEST)
    padded = np.pad(window, (0, _PADDED - _WINDOW)).astype(np.float32)
    return padded, correlation[0] / correlation[lags], cost.tolist()


_HANN, _GAINS, _COST = _tables()
_PADDING: Final = np.zeros(_PADDED - _WINDOW, np.float32)
_MIN_POWER: Final = 10.0 ** (0.1 * SILENCE_DB)
_MIN_ENERGY: Final = 1e-12
_MIN_PEAK: Final = 0.2  # of the correlation; less between two samples does not reach the threshold


@dataclass(frozen=True)
class ProsodyBlocks:
    """Prosody of n consecutive blocks of `BLOCK_S`, oldest first.

    Attributes:
        pitch_hz: Hz; 0 where a block is not voiced.
        power_db: dB of full scale: power of the block without a constant offset.
    """

    pitch_hz: list[float]
    power_db: list[float]

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
        samples = np.concatenate((self._samples, pcm))
        context = (_WINDOW_BLOCKS - 1) * BLOCK_SAMPLES
        count = (len(samples) - context) // BLOCK_SAMPLES
        used = samples[: context + count * BLOCK_SAMPLES]
        self._samples = samples[count * BLOCK_SAMPLES :]
        if not count or not used.any():
            return ProsodyBlocks([0.0] * count, [SILENCE_DB] * count)
        blocks = used[context:].reshape(count, BLOCK_SAMPLES)
        blocks = blocks - np.add.reduce(blocks, axis=1, keepdims=True) / BLOCK_SAMPLES
        powers = [float(block.dot(block)) / BLOCK_SAMPLES for block in blocks]
        power_db = [10.0 * math.log10(power + _MIN_POWER) for power in powers]
        return ProsodyBlocks(_find_pitch(used, count), power_db)


@functools.lru_cache(maxsize=4)
def _window_indices(count: int) -> npt.NDArray[np.intp]:
    """Return (count, _PADDED) indices of the decimated samples of windows that begin one block apart."""
    starts = np.arange(count) * (BLOCK_SAMPLES // _DECIMATION)
    return starts[:, None] + np.arange(_PADDED)


def _find_pitch(samples: npt.NDArray[np.float32], count: int) -> list[float]:
    """Return pitch in Hz of windows that begin one block apart; 0 where one is not voiced."""
    decimated = np.concatenate((samples[::_DECIMATION] + samples[1::_DECIMATION], _PADDING))
    windows = decimated.take(_window_indices(count))
    windows -= np.add.reduce(windows[:, :_WINDOW], axis=1, keepdims=True) / _WINDOW
    windows *= _HANN
    # sums of products cost less than a Fourier transform: the windows are short, and few lags count
    correlation = np.concatenate([np.correlate(row[_SHORTEST - 1 :], row[:_WINDOW]) for row in windows])
    correlation = correlation.reshape(count, _NUM_LAGS) * _GAINS
    energies = [max(float(row.dot(row)), _MIN_ENERGY) for row in windows]
    correlation /= np.array(energies)[:, None]
    correlation = correlation.ravel()
    at = correlation[1:-1]
    is_peak = at > _MIN_PEAK
    is_peak &= at >= correlation[:-2]
    is_peak &= at > correlation[2:]
    pitch, best_score = [0.0] * count, [-1.0] * count
    for i in is_peak.nonzero()[0].tolist():
        block, lag = divmod(i + 1, _NUM_LAGS)
        if not 0 < lag < _NUM_LAGS - 1:  # a neighbour is that of another block
            continue
        before, peak, after = correlation[i : i + 3].tolist()
        # of the lag's parabola: the vertex, which lies between the samples
        curvature, slope = max(2.0 * peak - before - after, _MIN_ENERGY), after - before
        height = peak + slope * slope / (8.0 * curvature)
        score = height - _COST[lag - 1]
        if score > best_score[block]:
            best_score[block] = score
            is_voiced = height >= VOICING_THRESHOLD
            pitch[block] = _RATE / (lag + _SHORTEST - 1 + 0.5 * slope / curvature) if is_voiced else 0.0
    return pitch
