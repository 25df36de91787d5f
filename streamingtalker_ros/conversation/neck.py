# SPDX-License-Identifier: Apache-2.0
"""The neck: limits of the head's turn, how much of a gaze shift it takes, and its motion."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

from streamingtalker_ros.errors import TalkerError

# Up to 10° from straight ahead the eyes turn alone; beyond, the head takes most of the rest, less of it
# upwards and downwards (Freedman & Sparks 1997; Stahl 1999: the eye-only range and the slope beyond it;
# Goossens & Van Opstal 1997 for the vertical)
EYE_ONLY_RAD: Final = math.radians(10.0)
YAW_SHARE: Final = 0.75
PITCH_SHARE: Final = 0.5
# Eyes are rarely held further from the middle of their range than this: the head takes the rest (Stahl 1999)
CUSTOMARY_YAW_RAD: Final = math.radians(22.5)
CUSTOMARY_PITCH_RAD: Final = math.radians(18.0)

# Stiffness of the critically damped turn: its peak velocity is 10 / e = 3.7 times the amplitude per second,
# as of human gaze shifts (Guitton & Volle 1987)
STIFFNESS_PER_S: Final = 10.0


@dataclass(frozen=True)
class NeckLimits:
    """Limits of a head's rotation; the defaults are those of a person at ease.

    A command of the conversation as well (`Stream.apply`): it is a setting, which `reset` does not clear.

    Attributes:
        yaw: rad, to the right (negative) and to the left.
        pitch: rad, up (negative) and down.
        roll: rad, to the left shoulder (negative) and to the right.
        max_velocity: rad/s of yaw and pitch.
        max_acceleration: rad/s² of yaw and pitch.

    Raises:
        TalkerError: If a range does not hold 0, or a number is not finite.
    """

    yaw: tuple[float, float] = (math.radians(-55.0), math.radians(55.0))
    pitch: tuple[float, float] = (math.radians(-35.0), math.radians(40.0))
    roll: tuple[float, float] = (math.radians(-35.0), math.radians(35.0))
    max_velocity: float = 3.5
    max_acceleration: float = 100.0

    def __post_init__(self) -> None:
        for low, high in (self.yaw, self.pitch, self.roll):
            if not -math.pi <= low <= 0.0 <= high <= math.pi:
                raise TalkerError(
                    f"limits of the neck are {low:g} to {high:g} rad: give a range around 0 within ±3.14"
                )
        for name in ("max_velocity", "max_acceleration"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise TalkerError(f"{name} of the neck is {getattr(self, name):g}: give a number above 0")


def head_share(angle: float, share: float, customary: float) -> float:
    """Return the angle that the head takes of a gaze direction; the eyes take the rest.

    Args:
        angle: rad from straight ahead.
        share: Fraction of what lies beyond the eye-only range.
        customary: rad, the furthest that the eyes are held from the middle of their range.
    """
    size = abs(angle)
    head = max(share * (size - EYE_ONLY_RAD), size - customary, 0.0)
    return math.copysign(head, angle)


@dataclass
class HeadTurn:
    """Turn of the head for the gaze: a critically damped motion within the limits.

    Attributes:
        yaw: rad, to the person's left.
        pitch: rad, down.
        yaw_velocity: rad/s.
        pitch_velocity: rad/s.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    yaw_velocity: float = 0.0
    pitch_velocity: float = 0.0

    def reset(self) -> None:
        """Return to straight ahead, in place."""
        for field in fields(self):
            setattr(self, field.name, field.default)

    def is_near_rest(self, angle: float, velocity: float) -> bool:
        """Whether the turn is over.

        Args:
            angle: rad, largest turn that counts as none.
            velocity: rad/s, largest velocity that counts as none.
        """
        return (
            max(abs(self.yaw), abs(self.pitch)) < angle
            and max(abs(self.yaw_velocity), abs(self.pitch_velocity)) < velocity
        )

    def advance(self, goal: tuple[float, float], limits: NeckLimits, seconds: float) -> None:
        """Move towards a goal.

        Args:
            goal: (yaw, pitch) in rad.
            limits: Of the neck.
            seconds: Duration of the step.
        """
        # a slow neck is moved less stiffly, so that it can brake in time: the greatest acceleration of the
        # critically damped turn is stiffness² · amplitude
        reach = max(limits.yaw[1] - limits.yaw[0], limits.pitch[1] - limits.pitch[0], 0.1)
        stiffness = min(STIFFNESS_PER_S, math.sqrt(limits.max_acceleration / reach))
        self.yaw, self.yaw_velocity = _approach(
            self.yaw, self.yaw_velocity, _clamp(goal[0], limits.yaw), limits, stiffness, seconds
        )
        self.pitch, self.pitch_velocity = _approach(
            self.pitch, self.pitch_velocity, _clamp(goal[1], limits.pitch), limits, stiffness, seconds
        )


def _clamp(value: float, limits: tuple[float, float]) -> float:
    return min(max(value, limits[0]), limits[1])


def _approach(
    position: float, velocity: float, goal: float, limits: NeckLimits, stiffness: float, seconds: float
) -> tuple[float, float]:
    """Return position and velocity after one step of the critically damped motion, exact for a fixed goal."""
    offset = position - goal
    slope = velocity + stiffness * offset
    decay = math.exp(-stiffness * seconds)
    new_velocity = (slope - stiffness * (offset + slope * seconds)) * decay
    new_position = goal + (offset + slope * seconds) * decay
    step = limits.max_velocity * seconds
    if abs(new_position - position) > step:
        new_position = position + math.copysign(step, new_position - position)
        new_velocity = math.copysign(limits.max_velocity, new_position - position)
    return new_position, new_velocity
