# SPDX-License-Identifier: Apache-2.0
"""Motion of a gaze target, estimated from its positions, by which the gaze predicts where it is.

People track a target whose motion is predictable without a lag (Bahill & McDonald 1983). Velocity and
acceleration are those of the polynomial that fits the positions of the last moments by least squares. They
count as far as the positions lie on it: neither a jump nor the noise of a tracker is a motion.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence
from typing import Final

from streamingtalker_ros.conversation.gaze_geometry import Vector

WINDOW_S: Final = 0.5
"""s of positions that are fitted: five at 8 Hz."""

MAX_PREDICTION_S: Final = 0.5
"""s after the newest position, beyond which the target is taken to be there again."""

_MAX_POSITIONS: Final = 10
_MIN_LINEAR, _MIN_QUADRATIC = 3, 5  # positions that a fit needs
_MAX_RESIDUAL: Final = 0.12  # fraction of the variance that a fit leaves, from which on it tells nothing
_MIN_VARIANCE_M2: Final = 1e-12
_STILL: Final[Vector] = (0.0, 0.0, 0.0)


class TargetMotion:
    """Motion of one target."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the target."""
        self._positions: deque[tuple[float, float, float, float]] = deque(maxlen=_MAX_POSITIONS)  # s, m
        self._time_s = 0.0
        self._velocity = self._acceleration = _STILL  # at the newest position

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: Duration of a frame.
        """
        self._time_s += seconds

    def measure(self, point: Vector, age_s: float) -> None:
        """Take a new position.

        Args:
            point: Metres.
            age_s: s since it was measured.
        """
        time_s, positions = self._time_s - age_s, self._positions
        while positions and positions[-1][0] >= time_s:
            positions.pop()
        while positions and positions[0][0] < time_s - WINDOW_S:
            positions.popleft()
        positions.append((time_s, *point))
        self._velocity, self._acceleration = _fit(positions)

    def predict(self) -> Vector | None:
        """Return where the target is now, in metres; None without one."""
        if not self._positions:
            return None
        time_s, x, y, z = self._positions[-1]
        return self._moved((x, y, z), self._time_s - time_s)

    def displacement(self, start_s: float, end_s: float) -> Vector:
        """Return how far it moves, in metres, between two moments.

        Args:
            start_s: s from now on.
            end_s: s from now on.
        """
        if self._velocity == self._acceleration == _STILL:
            return _STILL
        age_s = self._time_s - self._positions[-1][0]
        (x, y, z), (a, b, c) = self._moved(_STILL, age_s + end_s), self._moved(_STILL, age_s + start_s)
        return x - a, y - b, z - c

    def _moved(self, point: Vector, seconds: float) -> Vector:
        """Return a point moved by velocity and acceleration."""
        if seconds > MAX_PREDICTION_S:
            return point
        half = 0.5 * seconds * seconds
        (x, y, z), (u, v, w), (a, b, c) = point, self._velocity, self._acceleration
        return x + seconds * u + half * a, y + seconds * v + half * b, z + seconds * w + half * c


def _fit(positions: Sequence[tuple[float, float, float, float]]) -> tuple[Vector, Vector]:
    """Return velocity in m/s and acceleration in m/s² at the last of positions, time first.

    In floats: numpy costs more than the sums of so few numbers.
    """
    count = len(positions)
    if count < _MIN_LINEAR:
        return _STILL, _STILL
    time, *axes = [
        [value - sum(column) / count for value in column] for column in zip(*positions, strict=True)
    ]
    variance = sum(_dot(axis, axis) for axis in axes)
    if variance < _MIN_VARIANCE_M2:
        return _STILL, _STILL
    square = _dot(time, time)
    velocity = [_dot(time, axis) / square for axis in axes]
    acceleration = [0.0, 0.0, 0.0]
    residual = variance - square * _dot(velocity, velocity)
    if count >= _MIN_QUADRATIC:
        skew = sum(t * t * t for t in time) / square
        parabola = [t * (t - skew) - square / count for t in time]  # orthogonal to both lower powers
        size = _dot(parabola, parabola)
        curve = [_dot(parabola, axis) / size for axis in axes]
        quadratic = residual - size * _dot(curve, curve)
        if quadratic < 0.5 * residual:
            residual = max(quadratic, 0.0)
            slope = 2.0 * time[-1] - skew
            velocity = [v + slope * c for v, c in zip(velocity, curve, strict=True)]
            acceleration = [2.0 * c for c in curve]
    trust = max(1.0 - residual / variance / _MAX_RESIDUAL, 0.0)
    (u, v, w), (a, b, c) = velocity, acceleration
    return (trust * u, trust * v, trust * w), (trust * a, trust * b, trust * c)


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(map(operator.mul, first, second))
