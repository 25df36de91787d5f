# SPDX-License-Identifier: Apache-2.0
"""A voice at any rate to 16 kHz, packet by packet.

Takes (n,) float32 chunks of any length and gives what is ready of the 16 kHz signal; the pieces joined are
the same numbers however the input was cut. 16 kHz passes untouched and undelayed.

soxr's fixed-rate resamplers work in blocks and hold audio back by a varying 20 to 120 ms; its variable-rate
engine, at a constant ratio, holds back a constant 10 to 14 ms (30 ms from 8 kHz) with a flat pass band to
7.9 kHz. `python tools/benchmarks/resample_delay.py` makes the table in docs/audio.md.
"""

import math

import numpy as np
import soxr

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError


class Resampler:
    """One voice's resampler.

    rate_in, rate_out: Hz. `delay`: seconds of input that are held back, the worst case; 0 at equal rates.
    Raises TalkerError for rates that are not positive.
    """

    def __init__(self, rate_in, rate_out=SAMPLE_RATE) -> None:
        if rate_in <= 0 or rate_out <= 0:
            raise TalkerError(f"cannot resample {rate_in} Hz to {rate_out} Hz: rates are positive numbers")
        self.rate_in, self.rate_out = int(rate_in), int(rate_out)
        self._engine = None
        if self.rate_in != self.rate_out:
            self._engine = soxr.ResampleStream(
                self.rate_in, self.rate_out, 1, dtype="float32", quality="HQ", vr=True
            )
        self.delay = self._measure_delay()
        self.reset()

    def reset(self) -> None:
        """Forget all audio: the next sample is the first of a new signal."""
        self._taken = self._given = 0
        self._ended = False
        if self._engine is not None:
            self._engine.clear()

    def accept(self, pcm):
        """pcm: (n,) float32 at rate_in -> (m,) float32 at rate_out, all that is ready."""
        if self._ended:
            raise TalkerError("this resampler has finished: call reset() before giving it more audio")
        pcm = np.ascontiguousarray(pcm, np.float32)
        if self._engine is None:
            return pcm.copy()
        if not len(pcm):
            return np.zeros(0, np.float32)
        out = self._engine.resample_chunk(pcm)
        self._taken += len(pcm)
        self._given += len(out)
        return out

    def finish(self):
        """The rest of the signal, (m,) float32; in all, ceil(samples · rate_out / rate_in) came out."""
        if self._ended or self._engine is None or not self._taken:
            self._ended = True
            return np.zeros(0, np.float32)
        self._ended = True
        out = self._engine.resample_chunk(np.zeros(0, np.float32), last=True)
        missing = -(-self._taken * self.rate_out // self.rate_in) - self._given
        return np.pad(out[:missing], (0, max(0, missing - len(out))))

    def _measure_delay(self):
        """Feed a quarter of a second of silence, millisecond by millisecond, and take the worst lag."""
        if self._engine is None:
            return 0.0
        step = max(1, self.rate_in // 1000)
        taken = given = 0
        worst = 0.0
        for _ in range(math.ceil(0.25 * self.rate_in / step)):
            given += len(self._engine.resample_chunk(np.zeros(step, np.float32)))
            taken += step
            worst = max(worst, taken / self.rate_in - given / self.rate_out)
        return worst


def to_16k(pcm, rate):
    """pcm: (n,) float32 mono at `rate` Hz -> (ceil(n · 16000 / rate),) float32 at 16 kHz."""
    resampler = Resampler(rate, SAMPLE_RATE)
    return np.concatenate([resampler.accept(pcm), resampler.finish()])
