# SPDX-License-Identifier: Apache-2.0
"""Writes frames and rigs into the messages of faces, of any transport."""

from __future__ import annotations

import array
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.visemes import OCULUS_VISEMES
from streamingtalker_ros.messaging.header import set_header

SHAPE_NAMES: Final = list(ARKIT_NAMES)
MOTION_TYPE: Final = "streamingtalker_ros/msg/FaceMotion"
VERTICES_TYPE: Final = "streamingtalker_ros/msg/FaceVertices"
MODEL_TYPE: Final = "streamingtalker_ros/msg/FaceModel"
VISEMES_TYPE: Final = "streamingtalker_ros/msg/Visemes"
VISEME_NAMES: Final = list(OCULUS_VISEMES)


class StampedFrame(Protocol):
    """A frame of any family, with a stamp."""

    @property
    def index(self) -> int:
        """Its number in the stream."""
        ...

    @property
    def stamp(self) -> int:
        """Time of its first audio sample in ns."""
        ...


class MotionFrame(StampedFrame, Protocol):
    """A stamped frame of the blendshape family."""

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(52,) weights in 0..1, in the order of ARKIT_NAMES."""
        ...

    @property
    def head(self) -> npt.NDArray[np.float32]:
        """(4,) rotation of the head, a quaternion xyzw."""
        ...

    @property
    def speaking(self) -> bool:
        """Voice activity."""
        ...


def as_float_array(values: npt.ArrayLike) -> array.array[float]:
    """Return any array flattened to `array.array("f")`, the type that both transports serialize fastest.

    Args:
        values: Numbers of any shape, which are converted to float32 and flattened in C order.
    """
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())


def to_face_motion(message: Any, frame: MotionFrame, frame_id: str) -> Any:
    """Write a frame into a FaceMotion message.

    Args:
        message: an empty FaceMotion.
        frame: the weights, the head rotation and the stamp.
        frame_id: tf frame of the head.

    Returns:
        The message.
    """
    set_header(message.header, frame.stamp, frame_id)
    message.frame, message.names, message.weights = frame.index, SHAPE_NAMES, as_float_array(frame.weights)
    head = message.head
    head.x, head.y, head.z, head.w = (float(value) for value in frame.head)
    message.speaking = bool(frame.speaking)
    return message


def to_visemes(message: Any, frame: MotionFrame, weights: npt.NDArray[np.float32], frame_id: str) -> Any:
    """Write the visemes of a frame into a Visemes message.

    Args:
        message: an empty Visemes.
        frame: its index, stamp and voice activity are used.
        weights: (15,) in the order of `OCULUS_VISEMES`.
        frame_id: tf frame of the head.

    Returns:
        The message.
    """
    set_header(message.header, frame.stamp, frame_id)
    message.frame, message.names, message.weights = frame.index, VISEME_NAMES, as_float_array(weights)
    message.speaking = bool(frame.speaking)
    return message


def to_face_vertices(
    message: Any, frame: StampedFrame, offsets: npt.NDArray[np.float32], frame_id: str
) -> Any:
    """Write the vertex offsets of a frame into a FaceVertices message.

    Args:
        message: an empty FaceVertices.
        frame: its index and stamp are used.
        offsets: (V, 3) displacements from the vertices of FaceModel, in metres.
        frame_id: tf frame of the head.

    Returns:
        The message.
    """
    set_header(message.header, frame.stamp, frame_id)
    message.frame, message.offsets = frame.index, as_float_array(offsets)
    return message


def to_face_model(message: Any, rig: Rig, frame_rate: float, frame_id: str, stamp: int = 0) -> Any:
    """Write the rest pose of a rig into a FaceModel message.

    Args:
        message: an empty FaceModel.
        rig: vertices, triangles and shape names.
        frame_rate: frames per second of the motion that follows.
        frame_id: tf frame of the head.
        stamp: ns, stamp of the message.

    Returns:
        The message.
    """
    set_header(message.header, stamp, frame_id)
    message.name, message.frame_rate, message.shape_names = rig.name, float(frame_rate), list(rig.shape_names)
    message.vertices = as_float_array(rig.vertices)
    message.triangles = array.array("I", np.ascontiguousarray(rig.triangles, np.uint32).tobytes())
    return message
