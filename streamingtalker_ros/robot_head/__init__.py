# SPDX-License-Identifier: Apache-2.0
"""Drives a robot's head by face motion: FaceMotion messages in, limited joint commands out; no transport.

`config` reads the YAML of a head, `playout_buffer` finds the motion that is due, `joint_limits` keeps every
joint within position, velocity and acceleration, `controller` combines them, `outputs` writes the messages.
"""

from streamingtalker_ros.robot_head.config import RobotHead, load_head
from streamingtalker_ros.robot_head.controller import Command, HeadController

__all__ = ["Command", "HeadController", "RobotHead", "load_head"]
