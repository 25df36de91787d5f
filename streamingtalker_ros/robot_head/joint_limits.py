# SPDX-License-Identifier: Apache-2.0
"""Limits joints in position, velocity and acceleration, for any sequence of targets: `JointLimiter`.

Time advances in steps of any length. Between them each joint follows a trajectory of piecewise constant
acceleration that never leaves its limits, so neither do the commands, which are sampled from it. The
invariant of every step: the joint can stop before its position limits, v²/2a ≤ the remaining distance. A step
whose arithmetic overflows leaves the joint where it is: positions and velocities are finite at any time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class JointLimiter:
    """Trajectory generator of J joints.

    Args:
        low: (J,) lowest positions, in the joints' units.
        high: (J,) highest positions.
        max_velocity: (J,) above 0, in units per second.
        max_acceleration: (J,) above 0, in units per second squared.
        start: (J,) positions at the beginning.

    Attributes:
        position: (J,) current positions.
        velocity: (J,) current velocities.
    """

    def __init__(
        self,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        max_velocity: npt.ArrayLike,
        max_acceleration: npt.ArrayLike,
        start: npt.ArrayLike,
    ) -> None:
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        self.max_velocity = np.asarray(max_velocity, np.float64)
        self.max_acceleration = np.asarray(max_acceleration, np.float64)
        self.position: FloatArray
        self.velocity: FloatArray
        self.set_position(start)

    def set_position(self, position: npt.ArrayLike) -> None:
        """Set the joints to these positions, (J,), at rest; positions beyond a limit are clipped to it.

        Args:
            position: (J,) in the joints' units; NaN counts as 0.
        """
        self.position = np.clip(np.nan_to_num(np.asarray(position, np.float64)), self.low, self.high)
        self.velocity = np.zeros_like(self.position)

    def step_toward(self, target: npt.ArrayLike, dt: float) -> None:
        """Move for `dt` seconds towards `target`, (J,), as fast as the limits allow, so as to stop there."""
        if not dt > 0:
            return
        target = np.clip(target, self.low, self.high)
        position, velocity, acceleration = self.position, self.velocity, self.max_acceleration
        distance = target - position
        direction = np.where(distance == 0, np.sign(velocity), np.sign(distance))
        desired = direction * self._stopping_speed(direction * distance, direction * velocity, dt)
        desired = np.clip(desired, velocity - acceleration * dt, velocity + acceleration * dt)
        desired = np.clip(desired, -self.max_velocity, self.max_velocity)
        next_position = position + (velocity + desired) * dt / 2
        # within this step: a stop on the target, at constant deceleration and then at rest
        ahead = np.sign(velocity) * distance
        arrives = (
            (velocity != 0)
            & (ahead >= velocity * velocity / (2 * acceleration) * (1 - 1e-9))
            & (ahead <= np.abs(velocity) * dt / 2)
        )
        self.velocity = np.where(arrives, 0.0, desired)
        # A joint whose new target is too near brakes. If it comes to rest in this step, then before the
        # limit, because it could always have stopped there.
        self.position = np.clip(np.where(arrives, target, next_position), self.low, self.high)
        self._hold_if_not_finite(position)

    def brake(self, dt: float) -> None:
        """Move for `dt` seconds at the highest deceleration until the joints stand still."""
        position, velocity, acceleration = self.position, self.velocity, self.max_acceleration
        braking_time = np.minimum(np.abs(velocity) / acceleration, max(dt, 0.0))
        distance = (np.abs(velocity) - acceleration * braking_time / 2) * braking_time
        self.position = np.clip(self.position + np.sign(velocity) * distance, self.low, self.high)
        self.velocity = np.where(
            braking_time * acceleration >= np.abs(velocity),
            0.0,
            velocity - np.sign(velocity) * acceleration * braking_time,
        )
        self._hold_if_not_finite(position)

    def _hold_if_not_finite(self, previous: FloatArray) -> None:
        """Stop the joints whose step gave no finite number at their previous positions, (J,)."""
        finite = np.isfinite(self.position) & np.isfinite(self.velocity)
        if not finite.all():
            self.position = np.where(finite, self.position, previous)
            self.velocity = np.where(finite, self.velocity, 0.0)

    def _stopping_speed(self, distance: FloatArray, speed: FloatArray, dt: float) -> FloatArray:
        """Return the highest speed after `dt` from which a joint still stops within `distance`.

        It is 0 where no speed does; the caller's limits take care of that.
        """
        acceleration = self.max_acceleration
        remaining = distance - speed * dt / 2
        root = np.sqrt(np.maximum((acceleration * dt / 2) ** 2 + 2 * acceleration * remaining, 0.0))
        return root.clip(acceleration * dt / 2) - acceleration * dt / 2
