# SPDX-License-Identifier: Apache-2.0
"""Writes joint commands into messages of any transport.

sensor_msgs/JointState, std_msgs/Float64MultiArray (a forward command controller of ros2_control),
trajectory_msgs/JointTrajectory (a joint trajectory controller), hri_msgs/FacialActionUnits.
"""

from __future__ import annotations

import array
from typing import Any

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.face.facs import action_units
from streamingtalker_ros.messaging.face_messages import as_float_array
from streamingtalker_ros.messaging.header import MessageClassLookup, set_header
from streamingtalker_ros.robot_head.config import OUTPUT_TYPES, Output, RobotHead
from streamingtalker_ros.robot_head.controller import Command


def message_type(output: Output) -> str:
    """Return the message type of an output, "package/msg/Name"."""
    return OUTPUT_TYPES[output.type]


def to_message(
    output: Output,
    message: Any,
    command: Command,
    head: RobotHead,
    now: int,
    message_class: MessageClassLookup,
) -> Any:
    """Write a command into a message of the output's type.

    Args:
        output: type and joints.
        message: an empty message of the type.
        command: positions and velocities of all joints.
        head: the joints' names and the command rate.
        now: stamp in ns.
        message_class: returns the class of a message type, for the points of a trajectory.

    Returns:
        The message.
    """
    joints = list(output.joints)
    positions = array.array("d", command.positions[joints].tolist())
    if output.type == "Float64MultiArray":
        message.data = positions
        return message
    if output.type == "FacialActionUnits":
        intensity, confidence = action_units(command.sources)
        set_header(message.header, now, "")
        message.intensity, message.confidence = as_float_array(intensity), as_float_array(confidence)
        return message
    names = [head.joints[joint].name for joint in joints]
    if output.type == "JointState":
        set_header(message.header, now, "")
        message.name, message.position = names, positions
        message.velocity = array.array("d", command.velocities[joints].tolist())
        return message
    # A stamp of 0 means now. No velocities: since Jazzy a trajectory that ends in motion is rejected by
    # default.
    point = message_class("trajectory_msgs/msg/JointTrajectoryPoint")()
    point.positions = positions
    point.time_from_start.sec, point.time_from_start.nanosec = divmod(round(NS_PER_S / head.rate), NS_PER_S)
    message.joint_names, message.points = names, [point]
    return message
