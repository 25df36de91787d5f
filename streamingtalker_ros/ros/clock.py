# SPDX-License-Identifier: Apache-2.0
"""The seconds by which the core paces, idles and catches up: real ones, or those of `/clock` under use_sim_time.

`clock_of(node)` gives the core its clock.
"""

import threading
import time


class SimulatedSeconds:
    """node: an rclpy node whose use_sim_time is set. Called, it gives the seconds that the simulation has run.

    They stand still while it does and never go back: where its time is set back, as a bag that loops does, they go
    on from where they were. They are no times of day.
    """

    def __init__(self, node) -> None:
        self._clock = node.get_clock()
        self._lock = threading.Lock()
        self._last, self._run = self._clock.now().nanoseconds, 0  # ns
        self._since = None  # ns of real time, while that is what counts

    def __call__(self):
        with self._lock:
            now = self._clock.now().nanoseconds
            if self._since is None:
                self._run += max(0, now - self._last)
            else:
                real = time.monotonic_ns()
                self._run, self._since = self._run + real - self._since, real
            self._last = now
            return self._run * 1e-9

    def run(self, real) -> None:
        """real: whether real time counts from now on, as for a node that ends while the simulation stands still."""
        self()
        with self._lock:
            self._since = time.monotonic_ns() if real else None


def clock_of(node):
    """A callable that gives seconds, monotonic: `time.monotonic` unless the node's parameter use_sim_time is
    true now.
    """
    return SimulatedSeconds(node) if node.get_parameter("use_sim_time").value else time.monotonic
