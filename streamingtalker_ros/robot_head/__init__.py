# SPDX-License-Identifier: Apache-2.0
"""A robot's head follows the face: YAML of the head's joints, FaceMotion in, limited joint commands out.

`config` reads the YAML, `playout` finds the motion that is due, `limits` keeps every joint within position,
velocity and acceleration, `driver` puts them together, `outputs` fills the messages. Transport-free.
"""

from streamingtalker_ros.robot_head.config import Head, load_head
from streamingtalker_ros.robot_head.driver import Command, HeadDriver

__all__ = ["Command", "Head", "HeadDriver", "load_head"]
