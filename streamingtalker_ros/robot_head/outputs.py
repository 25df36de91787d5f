# SPDX-License-Identifier: Apache-2.0
"""Commands into messages: sensor_msgs/JointState, std_msgs/Float64MultiArray (a ros2_control forward command
controller), trajectory_msgs/JointTrajectory (a joint trajectory controller), hri_msgs/FacialActionUnits.

Fills messages by their fields alone, for rclpy's classes and for those of `messages`.
"""

import array

from streamingtalker_ros.face.facs import action_units
from streamingtalker_ros.messaging.face_messages import as_float_array
from streamingtalker_ros.messaging.header import set_header
from streamingtalker_ros.robot_head.config import OUTPUT_TYPES


def type_name(output):
    """An Output's message type, "package/msg/Name"."""
    return OUTPUT_TYPES[output.type]


def fill(output, message, command, head, now, make):
    """Write a Command into a message of the output's type. now: ns; make: type name -> message class, for the
    point of a trajectory. Returns the message."""
    chosen = list(output.joints)
    positions = array.array("d", command.positions[chosen].tolist())
    if output.type == "Float64MultiArray":
        message.data = positions
        return message
    if output.type == "FacialActionUnits":
        intensity, confidence = action_units(command.sources)
        set_header(message.header, now, "")
        message.intensity, message.confidence = as_float_array(intensity), as_float_array(confidence)
        return message
    names = [head.joints[place].name for place in chosen]
    if output.type == "JointState":
        set_header(message.header, now, "")
        message.name, message.position = names, positions
        message.velocity = array.array("d", command.velocities[chosen].tolist())
        return message
    # a stamp of 0 means now. No velocities: a trajectory that ends in motion is refused by default since Jazzy
    point = make("trajectory_msgs/msg/JointTrajectoryPoint")()
    point.positions = positions
    seconds, point.time_from_start.nanosec = divmod(round(1e9 / head.rate), 1_000_000_000)
    point.time_from_start.sec = seconds
    message.joint_names, message.points = names, [point]
    return message
