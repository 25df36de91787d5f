# SPDX-License-Identifier: Apache-2.0
"""Finds out when recorded messages arrived at the node, without the delay of the recorder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from streamingtalker_ros.audio.clock import MAX_GAP_S

MAX_NETWORK_DELAY_S: Final = 60.0
"""Delay beyond that of other messages, from which on the time of a recording is taken for damaged."""


class ArrivalTimes:
    """Times at which the messages of one topic arrived.

    A recorder that stalls makes packets look late that were not; the node would have filled the stall with
    silence and dropped the audio. So a packet arrives as long after its last sample as the fastest one did,
    unless half a second lies between the two: that is another clock, or a real pause.

    Args:
        warn: Receives the kind of a problem and a message.
    """

    def __init__(self, warn: Callable[[str, str], object]) -> None:
        self._warn = warn
        self._delay: float | None = None  # s from `end` to `recorded`, the least so far

    def arrival(self, end: float | None, recorded: float, now: float) -> float:
        """Return when a message arrived, in s of the clock.

        Args:
            end: When the last sample of its packet ended, or its command was stamped; None without a stamp.
            recorded: When it was recorded.
            now: The present time of the clock.
        """
        if end is None:
            return recorded
        delay = recorded - end
        if self._delay is None or abs(delay - self._delay) >= MAX_GAP_S:
            is_damaged = self._delay is not None and delay - self._delay > MAX_NETWORK_DELAY_S
            if is_damaged and abs(end + (self._delay or 0.0) - now) < MAX_NETWORK_DELAY_S:
                self._warn("time", "a message has the time of another day: its stamp is used instead")
                return end + (self._delay or 0.0)
            self._delay = delay
        self._delay = min(delay, self._delay)
        return end + self._delay
