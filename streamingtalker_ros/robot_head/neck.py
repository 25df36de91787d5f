# SPDX-License-Identifier: Apache-2.0
"""Limits of a robot's neck, from the joints of its head's YAML file that follow the head's angles."""

from __future__ import annotations

import math
from typing import Final

from streamingtalker_ros.conversation.neck import NeckLimits
from streamingtalker_ros.robot_head.config import ANGLES, RobotHead, load_head

MAX_ANGLE_RAD: Final = math.radians(80.0)
"""Of each angle; beyond, the angles of a head do not describe it uniquely."""

_MIN_RATE: Final = 1e-3


def load_neck_limits(source: str) -> NeckLimits:
    """Return the limits of a head's neck.

    Args:
        source: Path of a YAML file, or the name of one in config/heads; empty for those of a person.

    Raises:
        TalkerError: If the file does not exist or is not valid.
    """
    return neck_limits(load_head(source)) if source else NeckLimits()


def neck_limits(head: RobotHead) -> NeckLimits:
    """Return the angles, velocity and acceleration that no joint's limits are exceeded by.

    A joint that follows several angles, as in a differential neck, grants each of them its part of the
    joint's range. An angle that no joint follows is 0: such a head looks with its eyes alone.

    Args:
        head: The head.
    """
    ranges: dict[str, tuple[float, float] | None] = dict.fromkeys(ANGLES)
    defaults = NeckLimits()
    velocity, acceleration = defaults.max_velocity, defaults.max_acceleration
    for joint in head.joints:
        gains = {angle: joint.gains[angle] for angle in ANGLES if joint.gains.get(angle)}
        total = sum(abs(gain) for gain in gains.values())
        for angle, gain in gains.items():
            if len(gains) == 1:
                ends = sorted(((joint.min - joint.offset) / gain, (joint.max - joint.offset) / gain))
            else:
                room = min(joint.max - joint.offset, joint.offset - joint.min) / total
                ends = [-room, room]
            low, high = ranges[angle] or (-MAX_ANGLE_RAD, MAX_ANGLE_RAD)
            ranges[angle] = min(max(low, ends[0]), 0.0), max(min(high, ends[1]), 0.0)
        if total:
            velocity = min(velocity, joint.max_velocity / total)
            acceleration = min(acceleration, joint.max_acceleration / total)
    yaw, pitch, roll = (ranges[angle] or (0.0, 0.0) for angle in ANGLES)
    return NeckLimits(yaw, pitch, roll, max(velocity, _MIN_RATE), max(acceleration, _MIN_RATE))
