# SPDX-License-Identifier: Apache-2.0
"""Log-mel features of one hop in NumPy: what `features.LogMel` computes, for voices that run without torch.

The spectrum is a real Fourier transform in float64; `LogMel` multiplies by its matrix in float32. Both agree
to rounding (test/model/test_onnx_backend.py). The rows of a batch are computed independently, bit for bit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.blendshape.config import COLUMN_SAMPLES, ENCODER_KERNEL, TalkerConfig
from streamingtalker_ros.model.blendshape.feature_constants import (
    FFT_SIZE,
    LEVEL_RELEASE,
    MAX_MEL_HZ,
    MIN_LEVEL,
    MIN_MEL_HZ,
    POWER_FLOOR,
    WINDOW_SAMPLES,
)

FloatArray = npt.NDArray[np.float32]

PAST_SAMPLES = WINDOW_SAMPLES - COLUMN_SAMPLES
PAST_COLUMNS = ENCODER_KERNEL - 1


def mel_edges(num_mels: int) -> npt.NDArray[np.float64]:
    """Return the edges of mel bands in Hz, (num_mels + 2,), as `features.mel_edges`."""

    def hz_to_mel(frequency: float) -> float:
        return 2595.0 * float(np.log10(1.0 + frequency / 700.0))

    edges = np.linspace(hz_to_mel(MIN_MEL_HZ), hz_to_mel(MAX_MEL_HZ), num_mels + 2)
    return 700.0 * (10.0 ** (edges / 2595.0) - 1.0)


def mel_filters(num_mels: int, sample_rate: int) -> FloatArray:
    """Return triangular filters, (FFT_SIZE//2 + 1, num_mels), each with sum 1, as `features.mel_filters`.

    Args:
        num_mels: Number of bands.
        sample_rate: Samples per second of the audio, in Hz.
    """
    edges = mel_edges(num_mels)
    bins = np.arange(FFT_SIZE // 2 + 1)[:, None] * (sample_rate / FFT_SIZE)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(np.minimum(rising, falling), 0.0)
    return (filters / np.maximum(filters.sum(0), 1e-6)).astype(np.float32)


class HopFeatures:
    """Log-mel features of one hop of B voices, as the encoder's first convolution reads them.

    Args:
        config: `hop`, `num_mels` and the rates are used.
    """

    def __init__(self, config: TalkerConfig) -> None:
        self.hop, self.columns, self.num_mels = config.hop, config.columns, config.num_mels
        self.release = np.float32(LEVEL_RELEASE / config.frame_rate)
        phase = 2.0 * np.pi / WINDOW_SAMPLES * np.arange(WINDOW_SAMPLES)
        window = 0.5 - 0.5 * np.cos(phase)  # Hann, periodic
        self.window = window * (2.0 / window.sum())  # a full-scale sine has power 1 in its bin
        self.filters = mel_filters(config.num_mels, config.sample_rate)

    def init_state(self, rows: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the state of voices at their start.

        Args:
            rows: Number of voices.

        Returns:
            The last samples (rows, PAST_SAMPLES), the level (rows,) and the last columns (rows, PAST_COLUMNS,
            num_mels).
        """
        return (
            np.zeros((rows, PAST_SAMPLES), np.float32),
            np.full(rows, MIN_LEVEL, np.float32),
            np.zeros((rows, PAST_COLUMNS, self.num_mels), np.float32),
        )

    def compute(
        self,
        hops: FloatArray,
        state: tuple[FloatArray, FloatArray, FloatArray],
        taps: FloatArray,
        loudness: FloatArray,
    ) -> None:
        """Compute the features of the next hop.

        Args:
            hops: (B, hop) samples in -1..1.
            state: Of B voices, as `init_state` returns it; updated in place.
            taps: (B, columns, ENCODER_KERNEL · num_mels), filled.
            loudness: (B, 1) over the level, scaled for the encoder, filled.
        """
        samples, level, past_columns = state
        batch, num_mels = len(hops), self.num_mels
        joined = np.concatenate((samples, hops), 1, dtype=np.float64)
        samples[:] = joined[:, self.hop :]
        step = joined.strides[1]
        windows = np.ndarray(
            (batch, self.columns, WINDOW_SAMPLES),
            np.float64,
            joined,
            strides=(joined.strides[0], COLUMN_SAMPLES * step, step),
        )
        spectrum = np.fft.rfft(windows * self.window, FFT_SIZE)
        squared = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        power = squared @ self.filters  # (B, columns, num_mels), one product for each voice
        mean_power = np.log(power.reshape(batch, -1).mean(1) + np.float32(POWER_FLOOR))
        np.maximum(level - self.release, np.float32(MIN_LEVEL), out=level)
        np.maximum(level, mean_power, out=level)
        columns = np.empty((batch, PAST_COLUMNS + self.columns, num_mels), np.float32)
        columns[:, :PAST_COLUMNS] = past_columns
        mels = columns[:, PAST_COLUMNS:]
        np.log(power + np.float32(POWER_FLOOR), out=mels)
        mels -= level[:, None, None]
        mels *= np.float32(0.25)
        mels += np.float32(1.0)
        np.clip(mels, -2.0, 2.0, out=mels)
        past_columns[:] = columns[:, self.columns :]
        row, column, item = columns.strides
        taps[:] = np.ndarray(taps.shape, np.float32, columns, strides=(row, column, item))
        loudness[:, 0] = np.maximum(mean_power - level, np.float32(-12.0)) * np.float32(0.25) + np.float32(
            1.0
        )
