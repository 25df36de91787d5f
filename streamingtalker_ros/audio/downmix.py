# SPDX-License-Identifier: Apache-2.0
"""Mixes interleaved channels to mono without cancellation: `Downmixer`, for streams and files alike.

The output is the mean of the channels. A stereo pair of which one channel is inverted (a swapped wire) would
cancel to silence in the mean, so the strongest channel replaces it there.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_BLOCK_S: Final = 0.02  # decisions are made at the ends of blocks, counted from the start of the stream
_TIME_CONSTANT_S: Final = 0.25  # of the smoothed energies
# The mean of C uncorrelated channels has 1/C of their mean energy. Below a tenth of that they cancel; for two
# channels that is a correlation below -0.9.
_CANCELLED_RATIO: Final = 0.1
_RESTORED_RATIO: Final = 0.4  # hysteresis: from here on the mean is used again
_MIN_ENERGY: Final = 1e-10  # -100 dBFS; in silence the last decision holds


class Downmixer:
    """Mixes the channels of one stream; the output does not depend on how the stream is cut.

    Every 20 ms the smoothed energy of the mean is compared with that of the channels. If the channels cancel,
    the output cross-fades to the channel with the most energy within the next 20 ms, and stays with it until
    the mean is restored. The decision uses past samples only.

    Args:
        channels: interleaved channels.
        rate: Hz.
    """

    def __init__(self, channels: int, rate: int) -> None:
        self._channels = channels
        self._block = max(1, round(rate * _BLOCK_S))
        self._smoothing = float(np.exp(-_BLOCK_S / _TIME_CONSTANT_S))
        self._pending: npt.NDArray[np.float32] = np.zeros((0, channels), np.float32)  # of the open block
        self._mean_energy = 0.0
        self._channel_energy = np.zeros(channels)
        self._previous: int | None = None  # channel that the open block fades from; None for the mean
        self._current: int | None = None  # channel that it fades to

    def mix(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Mix the next samples.

        Args:
            samples: (n, channels) float32.

        Returns:
            (n,) float32.
        """
        if self._channels == 1:
            return samples[:, 0]
        mixed = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
        start = -len(self._pending)  # of the open block, relative to `samples`
        pending = np.concatenate([self._pending, samples]) if len(self._pending) else samples
        complete = len(pending) // self._block
        blocks = pending[: complete * self._block].reshape(complete, self._block, self._channels)
        energies = np.square(blocks, dtype=np.float64).mean(axis=1)
        mean_energies = np.square(blocks.mean(axis=2, dtype=np.float64)).mean(axis=1)
        for index in range(complete):
            self._blend(mixed, samples, start)
            self._decide(float(mean_energies[index]), energies[index])
            start += self._block
        self._blend(mixed, samples, start)
        self._pending = pending[complete * self._block :].copy()
        return mixed

    def _decide(self, mean_energy: float, channel_energy: npt.NDArray[np.float64]) -> None:
        """Choose what the next block fades to."""
        keep = self._smoothing
        self._mean_energy = keep * self._mean_energy + (1 - keep) * mean_energy
        self._channel_energy = keep * self._channel_energy + (1 - keep) * channel_energy
        self._previous = self._current
        average = float(self._channel_energy.mean())
        if average < _MIN_ENERGY:
            return
        ratio = self._mean_energy / average * self._channels
        if self._current is None and ratio < _CANCELLED_RATIO:
            self._current = int(self._channel_energy.argmax())
        elif self._current is not None and ratio > _RESTORED_RATIO:
            self._current = None

    def _blend(self, mixed: npt.NDArray[np.float32], samples: npt.NDArray[np.float32], start: int) -> None:
        """Write the part of the block that begins at `start` over the mean."""
        if self._previous is None and self._current is None:
            return
        begin, end = max(start, 0), min(start + self._block, len(mixed))
        if begin >= end:
            return
        old = mixed[begin:end] if self._previous is None else samples[begin:end, self._previous]
        new = mixed[begin:end] if self._current is None else samples[begin:end, self._current]
        if self._previous == self._current:
            mixed[begin:end] = new
            return
        weight = (np.arange(begin - start, end - start, dtype=np.float32) + 1) / np.float32(self._block)
        mixed[begin:end] = old + weight * (new - old)


def downmix(samples: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """Mix a whole clip of (n, channels) float32 at `rate` Hz to (n,).

    Args:
        samples: (n, channels) float32, at least one channel.
        rate: Sample rate in Hz.

    Returns:
        (n,) float32; see `Downmixer`.
    """
    return Downmixer(samples.shape[1], rate).mix(samples)
