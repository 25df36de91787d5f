# SPDX-License-Identifier: Apache-2.0
"""Fills our own messages from frames and rigs, by their fields alone: for rclpy's classes and for those of
`messages`."""

import array

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES

NAMES = list(ARKIT_NAMES)
MOTION, VERTICES, MODEL = (
    f"streamingtalker_ros/msg/{name}" for name in ("FaceMotion", "FaceVertices", "FaceModel")
)


def fill_header(header, ns, frame_id) -> None:
    """Write a time in ns and a frame_id into a std_msgs/Header."""
    header.stamp.sec, header.stamp.nanosec = divmod(int(ns), 1_000_000_000)
    header.frame_id = frame_id


def floats(values):
    """Any array -> array.array("f"), flat: what both transports write fastest."""
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())


def fill_motion(message, frame, frame_id):
    """A FaceFrame into FaceMotion."""
    fill_header(message.header, frame.stamp, frame_id)
    message.frame, message.names, message.weights = frame.index, NAMES, floats(frame.weights)
    head = message.head
    head.x, head.y, head.z, head.w = (float(value) for value in frame.head)
    message.speaking = bool(frame.speaking)
    return message


def fill_vertices(message, frame, rig, frame_id):
    """A FaceFrame, through a rig, into FaceVertices."""
    fill_header(message.header, frame.stamp, frame_id)
    message.frame, message.offsets = frame.index, floats(rig.offsets(frame.weights))
    return message


def fill_model(message, rig, frame_rate, frame_id, ns=0):
    """A rig into FaceModel; frame_rate: frames per second."""
    fill_header(message.header, ns, frame_id)
    message.name, message.frame_rate, message.shape_names = rig.name, float(frame_rate), list(rig.shape_names)
    message.vertices = floats(rig.vertices)
    message.triangles = array.array("I", np.ascontiguousarray(rig.triangles, np.uint32).tobytes())
    return message
