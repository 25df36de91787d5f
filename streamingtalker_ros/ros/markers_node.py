# SPDX-License-Identifier: Apache-2.0
"""The face_markers node on rclpy: the face as `face_markers` for RViz, the head's rotation on `/tf`.

It shows `face_motion` on a rig, or the mesh of a vertex talker, recognized by its `face_model`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import serialize_message

from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.messaging.face_messages import MODEL_TYPE, MOTION_TYPE, VERTICES_TYPE
from streamingtalker_ros.ros import parameters, qos
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.ros.parameters import NodeParameter
from streamingtalker_ros.ros.spin import spin_node
from streamingtalker_ros.ros.subscription import subscribe
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE
from streamingtalker_ros.rviz.markers import FaceMarkers

FACE: Final = NodeParameter(
    "face",
    "",
    "maya, kofi, lin, erik, amara or sam, or a face of yours: .glb, .gltf, .ply or a folder of .obj shapes; "
    "empty for the package's.",
)
RATE: Final = NodeParameter("rate", 25.0, "Markers per second at most.", (1.0, 120.0))
ROTATE: Final = NodeParameter(
    "rotate", True, "Rotate the face by a transform on /tf; false for a robot whose neck turns."
)
FACE_FRAME: Final = NodeParameter("face_frame", "face", "Frame of the rotating head.")
FRAME_ID: Final = NodeParameter("frame_id", "head", "Frame of the face until face_motion states it.")
PARAMETERS: Final = (FACE, RATE, ROTATE, FACE_FRAME, FRAME_ID)
"""Parameters of the node."""


class FaceMarkersNode(Node):
    """Publishes the markers of one face.

    Args:
        kwargs: Of `rclpy.node.Node`.

    Raises:
        TalkerError: If a parameter is invalid or the face cannot be read.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("face_markers", **kwargs)
        face = parameters.declare_value(self, FACE)
        rate = parameters.declare_value(self, RATE)
        rotate = parameters.declare_value(self, ROTATE)
        face_frame = parameters.declare_value(self, FACE_FRAME)
        frame_id = parameters.declare_value(self, FRAME_ID)
        parameters.warn_of_unknown(self)
        self._markers = FaceMarkers(
            _load_rig(face), message_class, serialize_message, rate, rotate, face_frame, frame_id
        )
        self._marker_publisher = self.create_publisher(
            message_class(MARKER_TYPE), "face_markers", qos.MARKERS_PUBLISHER
        )
        self._tf_publisher: Any = None
        if rotate:
            transforms = message_class("tf2_msgs/msg/TFMessage")
            self._tf_publisher = self.create_publisher(transforms, "/tf", qos.TRANSFORMS_PUBLISHER)
        self._vertices_subscription: Any = None
        subscribe(self, MOTION_TYPE, "face_motion", self._on_motion, qos.LATEST_SUBSCRIPTION)
        subscribe(self, MODEL_TYPE, "face_model", self._on_model, qos.LATCHED)
        self.create_timer(1.0 / rate, self._publish_due, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_model(self, model: Any) -> None:
        if self._markers.on_model(model) and self._vertices_subscription is None:
            self._vertices_subscription = subscribe(
                self, VERTICES_TYPE, "face_vertices", self._on_vertices, qos.VERTICES
            )

    def _on_vertices(self, vertices: Any) -> None:
        self._markers.on_vertices(vertices)
        self._publish_due()

    def _on_motion(self, motion: Any) -> None:
        transform = self._markers.on_motion(motion)
        if transform is not None:
            self._tf_publisher.publish(transform)
        self._publish_due()

    def _publish_due(self) -> None:
        now = self.get_clock().now().nanoseconds
        subscribers = self._marker_publisher.get_subscription_count()
        for data in self._markers.markers(time.monotonic(), now, subscribers):
            self._marker_publisher.publish(data)


def _load_rig(path: str) -> Rig:
    from streamingtalker_ros.face.named_faces import open_face

    return open_face(path)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives; return the exit code.

    Args:
        args: Command line with the program's name first; None for that of the process.

    Returns:
        0 after a signal, 2 if the node could not be created.
    """
    return spin_node("face_markers", FaceMarkersNode, args)
