# SPDX-License-Identifier: Apache-2.0
"""Clock of the talker's worker: wall time, or the simulated time of `/clock` with use_sim_time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_NS_TO_S = 1e-9


class SimClock:
    """Seconds of simulated time since it was created; monotonic.

    It is paused while the simulation is. If the simulated time is set back, as by a bag that is played
    in a loop, it continues from the last value.

    Args:
        node: An rclpy node with use_sim_time.
    """

    def __init__(self, node: Any) -> None:
        self._clock = node.get_clock()
        self._lock = threading.Lock()
        self._last_ns: int = self._clock.now().nanoseconds
        self._elapsed_ns = 0
        self._wall_time_ns: int | None = None  # of the last call, while wall time counts

    def __call__(self) -> float:
        """Return the present time in seconds."""
        with self._lock:
            now = self._clock.now().nanoseconds
            if self._wall_time_ns is None:
                self._elapsed_ns += max(0, now - self._last_ns)
            else:
                wall_time = time.monotonic_ns()
                self._elapsed_ns += wall_time - self._wall_time_ns
                self._wall_time_ns = wall_time
            self._last_ns = now
            return self._elapsed_ns * _NS_TO_S

    def use_wall_time(self, enabled: bool) -> None:
        """Set whether wall time counts from now on: a node may end while the simulation is paused.

        Args:
            enabled: True to count the wall time from now on, False to count the simulated time again.
        """
        self()
        with self._lock:
            self._wall_time_ns = time.monotonic_ns() if enabled else None


def create_clock(node: Any) -> Callable[[], float]:
    """Return `time.monotonic`, or a `SimClock` if the node's use_sim_time is true now."""
    return SimClock(node) if node.get_parameter("use_sim_time").value else time.monotonic
