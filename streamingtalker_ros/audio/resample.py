# SPDX-License-Identifier: Apache-2.0
"""Resamples mono audio, in a stream (`Resampler`) or as a whole (`to_16k`), with the same result.

The concatenated output does not depend on how the input was cut. Input at the output rate passes unchanged
and without delay. soxr's fixed-rate engines work in blocks and delay the audio by a varying 20 to 120 ms; its
variable-rate engine, used here at a constant ratio, has a constant delay of 10 to 14 ms (30 ms from 8 kHz)
and a flat pass band up to 7.9 kHz; `tools/benchmarks/resample_delay.py` makes the table in docs/audio.md.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError

_MAX_ROUNDING_SAMPLES: Final = 2.0  # by which the delay varies
_PROBE_SECONDS: Final = 0.25  # of silence, by which the delay is measured


class Resampler:
    """Streaming resampler of one voice.

    Args:
        input_rate: Hz.
        output_rate: Hz.

    Attributes:
        input_rate: Hz.
        output_rate: Hz.

    Raises:
        TalkerError: if a rate is not positive.
    """

    def __init__(self, input_rate: float, output_rate: float = SAMPLE_RATE) -> None:
        if input_rate <= 0 or output_rate <= 0:
            raise TalkerError(
                f"cannot resample {input_rate} Hz to {output_rate} Hz: rates are positive numbers"
            )
        self.input_rate, self.output_rate = int(input_rate), int(output_rate)
        self._engine = _create_engine(self.input_rate, self.output_rate)
        self.reset()

    @property
    def delay(self) -> float:
        """Seconds of input that are held back at most; 0 at equal rates."""
        return _measure_delay(self.input_rate, self.output_rate)

    @property
    def surplus(self) -> float:
        """Output samples by which the next output may exceed the next input, both counted at the output rate.

        That is 2 at most by rounding, since the delay is constant, and more only before the first output.
        """
        if self._engine is None:
            return 0.0
        held = 0.0 if self._samples_out else self._samples_in * self.output_rate / self.input_rate
        return held + _MAX_ROUNDING_SAMPLES

    def reset(self) -> None:
        """Discard all audio: the next sample is the first of a new signal."""
        self._samples_in = self._samples_out = 0
        self._finished = False
        if self._engine is not None:
            self._engine.clear()

    def accept(self, pcm: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Resample the next samples.

        Args:
            pcm: (n,) float32 at the input rate.

        Returns:
            (m,) float32 at the output rate: everything that is complete.

        Raises:
            TalkerError: after `finish`.
        """
        if self._finished:
            raise TalkerError("this resampler has finished: call reset() before accept()")
        samples = np.ascontiguousarray(pcm, np.float32)
        if self._engine is None:
            return samples.copy()
        if not len(samples):
            return np.zeros(0, np.float32)
        out: npt.NDArray[np.float32] = self._engine.resample_chunk(samples)
        self._samples_in += len(samples)
        self._samples_out += len(out)
        return out

    def finish(self) -> npt.NDArray[np.float32]:
        """Return the rest of the signal, (m,) float32.

        The whole output then has ceil(samples · output_rate / input_rate) samples.
        """
        if self._finished or self._engine is None or not self._samples_in:
            self._finished = True
            return np.zeros(0, np.float32)
        self._finished = True
        rest: npt.NDArray[np.float32] = self._engine.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = -(-self._samples_in * self.output_rate // self.input_rate) - self._samples_out
        return np.pad(rest[:missing], (0, max(0, missing - len(rest))))


def _create_engine(input_rate: int, output_rate: int) -> Any:
    if input_rate == output_rate:
        return None
    return soxr.ResampleStream(input_rate, output_rate, 1, dtype="float32", quality="HQ", vr=True)


@functools.lru_cache(maxsize=64)
def _measure_delay(input_rate: int, output_rate: int) -> float:
    """Resample silence millisecond by millisecond and return the largest lag in seconds."""
    engine = _create_engine(input_rate, output_rate)
    if engine is None:
        return 0.0
    chunk = max(1, input_rate // 1000)
    samples_in = samples_out = 0
    max_lag = 0.0
    for _ in range(math.ceil(_PROBE_SECONDS * input_rate / chunk)):
        samples_out += len(engine.resample_chunk(np.zeros(chunk, np.float32)))
        samples_in += chunk
        max_lag = max(max_lag, samples_in / input_rate - samples_out / output_rate)
    return max_lag


def to_16k(pcm: npt.ArrayLike, rate: float) -> npt.NDArray[np.float32]:
    """Resample a whole clip to 16 kHz, exactly as a `Resampler` does in a stream.

    Args:
        pcm: (n,) float32 mono.
        rate: Hz.

    Returns:
        (ceil(n · 16000 / rate),) float32.
    """
    resampler = Resampler(rate, SAMPLE_RATE)
    return np.concatenate([resampler.accept(pcm), resampler.finish()])
