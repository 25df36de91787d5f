# SPDX-License-Identifier: Apache-2.0
"""Buffers stamped motion until the time at which its audio is heard: `PlayoutBuffer`.

A frame stamped t is due at t + delay. If no delay is set, it is the smallest with which frames arrive, plus
one frame, so that there is always a next frame to interpolate to. For an actuator with latency, motion is
sampled `lead` ahead, as far as it has arrived. Motion between two frames is interpolated linearly.
"""

from __future__ import annotations

import bisect
from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S

_MAX_FRAME_GAP_NS: Final = 250_000_000  # frames further apart are not interpolated
_MAX_AHEAD_NS: Final = 60 * NS_PER_S  # frames for a later time are rejected
_MAX_FRAMES: Final = 2048  # more than a minute at 25 frames per second
_RESTART_NS: Final = NS_PER_S  # stamps that jump forward by more, or backward at all, begin a new stream
_DELAY_HISTORY: Final = 50  # frames from which the delay is estimated
_PERIOD_FRAMES: Final = 8  # frames retained after their time, to know the frame period


class PlayoutBuffer:
    """Stamped frames of S values each; all times are ns of the clock of the stamps.

    Args:
        delay: s from a stamp until its frame is due, None to estimate it from arrivals.
    """

    def __init__(self, delay: float | None = None) -> None:
        self._fixed_delay = None if delay is None else round(delay * NS_PER_S)
        self.clear()

    def clear(self) -> None:
        """Discard all frames."""
        self._stamps: list[int] = []
        self._frames: list[npt.NDArray[np.float64]] = []
        self._latencies: deque[int] = deque(maxlen=_DELAY_HISTORY)  # ns, arrival minus stamp
        self._last_arrival: int | None = None

    @property
    def delay(self) -> int:
        """Nanoseconds from a stamp until its frame is due; 0 before any frame."""
        if self._fixed_delay is not None:
            return self._fixed_delay
        period = min((b - a for a, b in zip(self._stamps[-5:], self._stamps[-4:], strict=False)), default=0)
        return max(0, min(self._latencies, default=0) + min(period, _MAX_FRAME_GAP_NS))

    def add(self, stamp: int, values: npt.NDArray[np.float64], now: int) -> bool:
        """Add a frame.

        Args:
            stamp: time of the frame.
            values: (S,).
            now: time of its arrival.

        Returns:
            Whether it was accepted: not if it is due in more than a minute.
        """
        if self._last_arrival is not None and now < self._last_arrival - NS_PER_S:
            self.clear()  # the clock was set back
        if self._stamps and not 0 < stamp - self._stamps[-1] < _RESTART_NS:
            self.clear()  # a new stream, or an interruption
        if stamp + self.delay - now > _MAX_AHEAD_NS:
            return False
        self._latencies.append(now - stamp)
        self._stamps.append(stamp)
        self._frames.append(values)
        self._last_arrival = now
        if len(self._stamps) > _MAX_FRAMES:
            del self._stamps[0], self._frames[0]
        return True

    def is_stale(self, now: int, timeout: int) -> bool:
        """Return whether no frame arrived for `timeout` ns and all frames have been played.

        Args:
            now: Current time, ns of the clock of the stamps.
            timeout: Duration in ns, 0 and up.

        Returns:
            True also before the first frame, and if the clock was set back by more than 1 s.
        """
        return (
            self._last_arrival is None
            or now - max(self._last_arrival, self._stamps[-1] + self.delay) > timeout
            or now < self._last_arrival - NS_PER_S
        )

    def sample(self, now: int, lead: int = 0) -> npt.NDArray[np.float64] | None:
        """Return the values due at `now` + `lead`, (S,), or None before the first frame is due."""
        time = now - self.delay + lead
        following = bisect.bisect_right(self._stamps, time)
        if not following:
            return None
        if following == len(self._stamps):
            return self._frames[-1]
        start, end = self._stamps[following - 1], self._stamps[following]
        if end - start > _MAX_FRAME_GAP_NS:
            return self._frames[following - 1]
        fraction = (time - start) / (end - start)
        return (1 - fraction) * self._frames[following - 1] + fraction * self._frames[following]

    def discard(self, now: int, lead: int) -> None:
        """Discard frames that were due before `now` + `lead`, the smallest lead in use."""
        played = bisect.bisect_right(self._stamps, now - self.delay + lead) - 1
        if played > _PERIOD_FRAMES:
            del self._stamps[: played - _PERIOD_FRAMES], self._frames[: played - _PERIOD_FRAMES]
