# SPDX-License-Identifier: Apache-2.0
"""Keeps joints within position, velocity and acceleration, whatever they are told to do.

Time moves on in steps of any length; between them each joint runs a path of piecewise constant acceleration
that never leaves its limits, so that the commands, sampled from it, do not either. The law of every step: the
joint must be able to stop before its position limits, v²/2a ≤ what is left of the way.
"""

import numpy as np


class Limiter:
    """J joints. low, high, velocity, acceleration: (J,) float64, the latter two above 0; start: (J,)
    positions. `position` and `speed` (J,) are the path's state."""

    def __init__(self, low, high, velocity, acceleration, start) -> None:
        self.low, self.high, self.velocity, self.acceleration = (
            np.asarray(values, np.float64) for values in (low, high, velocity, acceleration)
        )
        self.place(start)

    def place(self, position) -> None:
        """The joints stand at these positions now, (J,); beyond a limit counts as at it."""
        self.position = np.clip(np.asarray(position, np.float64), self.low, self.high)
        self.speed = np.zeros_like(self.position)

    def follow(self, target, dt) -> None:
        """Move for `dt` seconds towards `target` (J,), as fast as the limits allow, to stop there."""
        if not dt > 0:
            return
        target = np.clip(target, self.low, self.high)
        p, v, a = self.position, self.speed, self.acceleration
        way = target - p
        ahead = np.where(way == 0, np.sign(v), np.sign(way))  # the target lies this way
        wanted = ahead * self._stopping(ahead * way, ahead * v, dt)
        wanted = np.clip(wanted, v - a * dt, v + a * dt)
        wanted = np.clip(wanted, -self.velocity, self.velocity)
        position = p + (v + wanted) * dt / 2
        # within this step: a stop on the target, at constant deceleration and then rest
        along = np.sign(v) * way
        arrives = (v != 0) & (along >= v * v / (2 * a) * (1 - 1e-9)) & (along <= np.abs(v) * dt / 2)
        self.speed = np.where(arrives, 0.0, wanted)
        # a joint whose new target is too near brakes; if it comes to rest in this step, then before the limit,
        # for it could always have stopped there
        self.position = np.clip(np.where(arrives, target, position), self.low, self.high)

    def brake(self, dt) -> None:
        """Move for `dt` seconds with the brakes on."""
        v, a = self.speed, self.acceleration
        time = np.minimum(np.abs(v) / a, max(dt, 0.0))
        position = self.position + np.sign(v) * (np.abs(v) - a * time / 2) * time
        self.position = np.clip(position, self.low, self.high)
        self.speed = np.where(time * a >= np.abs(v), 0.0, v - np.sign(v) * a * time)

    def _stopping(self, way, speed, dt):
        """The highest speed after `dt` from which a joint still stops within `way`; 0 where none does, which
        the caller sees to."""
        a = self.acceleration
        left = way - speed * dt / 2
        return np.sqrt(np.maximum((a * dt / 2) ** 2 + 2 * a * left, 0.0)).clip(a * dt / 2) - a * dt / 2
