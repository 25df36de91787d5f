# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the sender of the audio, for the log and for /diagnostics."""

from __future__ import annotations

import threading
from typing import Final

from streamingtalker_ros.runtime.frames import Clock, WarningCallback

ACTIVE_S: Final = 30.0
"""Seconds that a fault counts as present after it occurred last."""


class SenderFaults:
    """Faults of the audio's sender that are present. Every method may be called from any thread.

    Args:
        warn: Receives a fault when it occurs, unless it is present already.
        clock: Time in seconds, monotonic.
    """

    def __init__(self, warn: WarningCallback, clock: Clock) -> None:
        self._warn = warn
        self._clock = clock
        self._lock = threading.Lock()
        self._faults: dict[str, tuple[str, float]] = {}  # by kind: message, time of the last occurrence

    def report(self, kind: str, message: str) -> None:
        """Record that a fault occurs.

        Args:
            kind: Kind of the fault; the message of one that is present does not change.
            message: For the user.
        """
        now = self._clock()
        with self._lock:
            present = self._faults.get(kind)
            is_new = present is None or now - present[1] > ACTIVE_S
            self._faults[kind] = (message if present is None or is_new else present[0], now)
        if is_new:
            self._warn(kind, message)

    def active(self) -> list[str]:
        """Return the messages of the faults that are present, the earliest kind first."""
        now = self._clock()
        with self._lock:
            self._faults = {kind: item for kind, item in self._faults.items() if now - item[1] <= ACTIVE_S}
            return [message for message, _ in self._faults.values()]

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()
