# SPDX-License-Identifier: Apache-2.0
"""Limits of the neck from a head's YAML: no joint leaves its range, whatever the face looks at."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Modulation
from streamingtalker_ros.conversation.gaze import GazeController
from streamingtalker_ros.conversation.neck import NeckLimits
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rotation import quaternion_to_euler, rotation_vector_to_quaternion
from streamingtalker_ros.robot_head.config import ANGLES, SOURCES, load_head, parse_head
from streamingtalker_ros.robot_head.neck import load_neck_limits, neck_limits

DIFFERENTIAL = {
    "outputs": [{"type": "JointState", "topic": "joints"}],
    "defaults": {"max_velocity": 2.0, "max_acceleration": 20.0},
    "joints": {
        "pan": {"from": {"head_yaw": -2.0}, "min": -1.0, "max": 1.4, "offset": 0.2},
        "left": {"from": {"head_pitch": 1.0, "head_roll": 0.5}, "min": -0.3, "max": 0.45},
        "right": {"from": {"head_pitch": 1.0, "head_roll": -0.5}, "min": -0.3, "max": 0.45},
    },
}


def test_a_joint_that_follows_one_angle_gives_its_range() -> None:
    limits = load_neck_limits("animatronic")
    assert limits.yaw == (-0.8, 0.8) and limits.pitch == (-0.4, 0.5) and limits.roll == (-0.3, 0.3)
    assert limits.max_velocity == 1.2 and limits.max_acceleration == 8.0


def test_gains_offsets_and_shared_joints_are_respected() -> None:
    limits = neck_limits(parse_head(DIFFERENTIAL, "differential"))
    assert limits.yaw == pytest.approx((-0.6, 0.6))
    assert limits.pitch == pytest.approx((-0.2, 0.2)) and limits.roll == pytest.approx((-0.2, 0.2))
    assert limits.max_velocity == pytest.approx(1.0)


def test_a_head_without_a_neck_looks_with_its_eyes() -> None:
    limits = load_neck_limits("jaw")
    assert limits.yaw == limits.pitch == limits.roll == (0.0, 0.0)
    assert load_neck_limits("") == NeckLimits()


def test_an_unknown_head_is_one_sentence() -> None:
    with pytest.raises(TalkerError, match="there is no head"):
        load_neck_limits("no_such_head")


@pytest.mark.parametrize("head", ["animatronic", "jaw", "differential"])
def test_no_joint_leaves_its_range_with_any_target(head: str) -> None:
    robot = parse_head(DIFFERENTIAL, head) if head == "differential" else load_head(head)
    limits, gaze, rng = neck_limits(robot), GazeController(), np.random.default_rng(1)
    gaze.limits = limits
    necks = [joint for joint in robot.joints if set(joint.gains) & set(ANGLES)]
    highest = dict.fromkeys(ANGLES, 0.0)
    for n in range(3000):
        if n % 25 == 0:
            direction = rng.normal((1.0, 0.0, 0.0), 1.0)
            gaze.look_at(LookAt(tuple(direction * 10.0 ** rng.uniform(-3.0, 3.0))))
        pose = FramePose(np.zeros(52, np.float32), rng.normal(0.0, 0.1, 3).astype(np.float32))
        gaze.step(FrameContext(n, 25.0, 0, False, np.zeros(640, np.float32), Modulation()), pose)
        angles = quaternion_to_euler(rotation_vector_to_quaternion(pose.rotation))
        values: dict[str, Any] = dict.fromkeys(SOURCES, 0.0) | dict(zip(ANGLES, angles, strict=True))
        for joint in necks:
            position = joint.offset + sum(gain * values[source] for source, gain in joint.gains.items())
            assert joint.min - 1e-5 <= position <= joint.max + 1e-5 or not gaze.is_active
        highest = {name: max(highest[name], abs(values[name])) for name in ANGLES}
    if head == "animatronic":
        assert math.isclose(highest["head_yaw"], 0.8, abs_tol=1e-4)  # the range is used
    assert set(ARKIT_NAMES) < set(SOURCES)
