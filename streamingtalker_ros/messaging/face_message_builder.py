# SPDX-License-Identifier: Apache-2.0
"""Messages of a talker's face: the topics of each family, and its frames as messages of these topics.

A blendshape talker publishes FaceMotion, to those who subscribe Visemes, and on request the FaceVertices of a
rig. A vertex talker publishes
FaceVertices only, in the axes of all messages: its frames hold no weights. The FaceModel of either describes
the face at rest. The node of rclpy, the node without ROS and bag replay share this class.
"""

from __future__ import annotations

import array
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.face.visemes import VisemeEstimator
from streamingtalker_ros.messaging.face_messages import (
    MODEL_TYPE,
    MOTION_TYPE,
    VERTICES_TYPE,
    VISEMES_TYPE,
    as_float_array,
    to_face_model,
    to_face_motion,
    to_face_vertices,
    to_visemes,
)
from streamingtalker_ros.messaging.header import MessageClassLookup, set_header

MOTION_TOPIC: Final = "face_motion"
VERTICES_TOPIC: Final = "face_vertices"
MODEL_TOPIC: Final = "face_model"
VISEMES_TOPIC: Final = "visemes"
TOPIC_TYPES: Final = {
    MOTION_TOPIC: MOTION_TYPE,
    VERTICES_TOPIC: VERTICES_TYPE,
    MODEL_TOPIC: MODEL_TYPE,
    VISEMES_TOPIC: VISEMES_TYPE,
}


class Talker(Protocol):
    """What the messages need of `model.protocol.TalkerProtocol`."""

    @property
    def family(self) -> Literal["blendshape", "vertex"]:
        """Which frames it generates."""
        ...

    @property
    def name(self) -> str:
        """Name of the checkpoint."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        ...

    @property
    def template(self) -> npt.NDArray[np.float32] | None:
        """(V, 3) rest pose in metres; None for the blendshape family."""
        ...

    @property
    def triangles(self) -> npt.NDArray[np.uint32] | None:
        """(T, 3) vertex indices; None for the blendshape family."""
        ...


class FaceMessageBuilder:
    """Builds the messages of one talker.

    Args:
        talker: The model.
        message_class: Returns the class of a message type.
        frame_id: tf frame of the head.
        rig: Face of a blendshape talker; unused for a vertex talker, whose checkpoint holds its face.
        publish_vertices: Whether a blendshape talker publishes the rig's FaceVertices, too.
    """

    def __init__(
        self,
        talker: Talker,
        message_class: MessageClassLookup,
        frame_id: str,
        rig: Rig,
        publish_vertices: bool = False,
    ) -> None:
        self._talker = talker
        self._message_class = message_class
        self._frame_id = frame_id
        self._rig = rig
        self._template = talker.template if talker.family == "vertex" else None
        topics = (MOTION_TOPIC, VERTICES_TOPIC) if publish_vertices else (MOTION_TOPIC,)
        self.topics: tuple[str, ...] = (VERTICES_TOPIC,) if talker.family == "vertex" else topics
        """Topics of the frames, of the keys of `TOPIC_TYPES`; `MODEL_TOPIC` is published besides."""
        self.has_visemes = talker.family == "blendshape"
        """Whether `build_visemes` builds the messages of `VISEMES_TOPIC`."""
        self._viseme_estimator = VisemeEstimator()

    def build_model(self, stamp: int) -> Any:
        """Return the FaceModel: the rig, or the template of a vertex talker without shape names.

        Args:
            stamp: ns.
        """
        message = self._message_class(MODEL_TYPE)()
        if self._template is None:
            return to_face_model(message, self._rig, self._talker.frame_rate, self._frame_id, stamp)
        set_header(message.header, stamp, self._frame_id)
        message.name, message.frame_rate = self._talker.name, float(self._talker.frame_rate)
        message.shape_names = []
        message.vertices = as_float_array(y_up_to_ros(self._template))
        triangles = np.zeros((0, 3)) if self._talker.triangles is None else self._talker.triangles
        message.triangles = array.array("I", np.ascontiguousarray(triangles, np.uint32).tobytes())
        return message

    def build(self, frame: Any) -> list[tuple[str, Any]]:
        """Return the messages of a frame.

        Args:
            frame: `runtime.frames.FaceFrame` of a blendshape talker, or `VertexFaceFrame` of a vertex talker.

        Returns:
            (topic, message) for each of `topics`.
        """
        if self._template is not None:
            offsets = y_up_to_ros(frame.vertices - self._template)
            return [(VERTICES_TOPIC, self._vertices(frame, offsets))]
        motion = to_face_motion(self._message_class(MOTION_TYPE)(), frame, self._frame_id)
        messages = [(MOTION_TOPIC, motion)]
        if VERTICES_TOPIC in self.topics:
            messages.append((VERTICES_TOPIC, self._vertices(frame, self._rig.offsets(frame.weights))))
        return messages

    def build_visemes(self, frame: Any) -> Any:
        """Return the Visemes of a frame, which are worth computing if somebody subscribes.

        Args:
            frame: `runtime.frames.FaceFrame`.
        """
        weights = self._viseme_estimator.estimate(frame.weights)
        return to_visemes(self._message_class(VISEMES_TYPE)(), frame, weights, self._frame_id)

    def _vertices(self, frame: Any, offsets: npt.NDArray[np.float32]) -> Any:
        return to_face_vertices(self._message_class(VERTICES_TYPE)(), frame, offsets, self._frame_id)
