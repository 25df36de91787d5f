# SPDX-License-Identifier: Apache-2.0
"""A saccade: the rapid turn of the eyes from one direction to another, as a continuous trajectory.

Its duration and peak velocity follow the main sequence (Bahill, Clark & Stark 1975, "The main sequence, a
tool for studying human eye movements"; Baloh et al. 1975): 21 ms + 2.2 ms per degree, and a peak velocity of
1.65 times the mean, that is 258°/s at 5°, 384°/s at 10° and 508°/s at 20°.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

MIN_DURATION_S: Final = 0.021
DURATION_S_PER_DEG: Final = 0.0022
_HALF_SINE: Final = 0.75  # of the velocity profile; the rest is minimum jerk: peak / mean = 1.65


def saccade_duration(amplitude_deg: float) -> float:
    """Return the duration of a saccade in seconds.

    Args:
        amplitude_deg: Its amplitude in degrees, 0 or more.
    """
    return MIN_DURATION_S + DURATION_S_PER_DEG * amplitude_deg


@dataclass(frozen=True)
class Saccade:
    """Trajectory of one saccade.

    Attributes:
        start: (yaw, pitch) in rad at its beginning.
        end: (yaw, pitch) in rad at its end.
        amplitude: rad, angle between the two directions.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    amplitude: float

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return saccade_duration(math.degrees(self.amplitude))

    def progress(self, seconds: float) -> float:
        """Return the fraction of the way, 0 to 1.

        Args:
            seconds: Time since the beginning.
        """
        u = min(max(seconds / self.duration, 0.0), 1.0)
        minimum_jerk = u * u * u * (10.0 - u * (15.0 - 6.0 * u))
        return _HALF_SINE * (0.5 - 0.5 * math.cos(math.pi * u)) + (1.0 - _HALF_SINE) * minimum_jerk

    def position(self, seconds: float) -> tuple[float, float]:
        """Return the direction as (yaw, pitch) in rad.

        Args:
            seconds: Time since the beginning.
        """
        fraction = self.progress(seconds)
        (yaw, pitch), (end_yaw, end_pitch) = self.start, self.end
        return yaw + fraction * (end_yaw - yaw), pitch + fraction * (end_pitch - pitch)

    def velocity(self, seconds: float) -> float:
        """Return the angular velocity in rad/s.

        Args:
            seconds: Time since the beginning.
        """
        u = seconds / self.duration
        if not 0.0 <= u <= 1.0:
            return 0.0
        rate = _HALF_SINE * 0.5 * math.pi * math.sin(math.pi * u)
        rate += (1.0 - _HALF_SINE) * 30.0 * u * u * (1.0 - u) ** 2
        return self.amplitude * rate / self.duration
