# SPDX-License-Identifier: Apache-2.0
"""Places decoded audio at its time stamps: a gap becomes silence, repeated samples are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError

TOLERANCE_S: Final = 0.02
"""Deviation of a stamp from the count of samples that is rounding of the container, or its clock's drift."""
MAX_SILENCE_RATIO: Final = 30
"""Silence per sample of sound: more than a recorder leaves out that sends one packet in 400 ms of a pause."""
MAX_SILENCE_VALUES: Final = 15_000_000
"""Silence beyond that, samples times channels (60 MB), so that a damaged stamp fills no memory."""
MAX_OVERLAP_S: Final = 1.0
"""Stamps that jump back by more begin anew, as behind the joint of two files."""
_BLOCK_S: Final = 1.0


class GapFiller:
    """Keeps the samples of one track where their time stamps say.

    Args:
        rate: Samples per second.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._start: float | None = None
        self._position = 0  # samples since the first one
        self._silent = 0  # samples of them that were inserted

    def place(
        self, samples: npt.NDArray[np.float32], time: float | None
    ) -> Iterator[npt.NDArray[np.float32]]:
        """Yield silence for what is missing before some samples, then those that are new.

        Args:
            samples: (n, channels) of one decoded frame.
            time: Seconds of its first sample; None if the container has no stamp for it.

        Yields:
            Blocks (m, channels) that follow each other without a gap.

        Raises:
            TalkerError: If the stamps jump ahead by more than the constants above allow.
        """
        if time is not None:
            if self._start is None or time < self._end() - MAX_OVERLAP_S:
                self._start = time - self._position / self._rate
            missing = round((time - self._start) * self._rate) - self._position
            if missing > TOLERANCE_S * self._rate:
                sound = self._position - self._silent
                limit = MAX_SILENCE_RATIO * sound + MAX_SILENCE_VALUES // samples.shape[1]
                if self._silent + missing > limit:
                    raise TalkerError(
                        f"its time stamps jump ahead by {missing / self._rate:.0f} s, more silence than is "
                        "filled in: cut the file there"
                    )
                yield from self._silence(missing, samples.shape[1])
            elif missing < -TOLERANCE_S * self._rate:
                samples = samples[-missing:]
        self._position += len(samples)
        if len(samples):
            yield samples

    def _end(self) -> float:
        """Seconds on the clock of the stamps at which the samples so far end."""
        return (self._start or 0.0) + self._position / self._rate

    def _silence(self, count: int, channels: int) -> Iterator[npt.NDArray[np.float32]]:
        self._position += count
        self._silent += count
        size = round(_BLOCK_S * self._rate)
        for first in range(0, count, size):
            yield np.zeros((min(size, count - first), channels), np.float32)
