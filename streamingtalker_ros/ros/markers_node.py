# SPDX-License-Identifier: Apache-2.0
"""The face_markers node on rclpy: hears `face_motion`, publishes `face_markers` for RViz and the head's transform
on `/tf`.

What is drawn, and when, is `markers`'. `main` is the executable.
"""

import time

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import serialize_message
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker

from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.msg import FaceMotion
from streamingtalker_ros.ros import parameters, qos, spin
from streamingtalker_ros.ros.audio_input import message_class
from streamingtalker_ros.rviz.markers import FaceMarkers


class FaceMarkersNode(Node):
    """Raises TalkerError for a parameter that cannot be, or a face that cannot be read."""

    def __init__(self, **kwargs) -> None:
        super().__init__("face_markers", **kwargs)
        value = parameters.value_of
        face = value(
            self,
            "face",
            "",
            "A face of yours: .glb, .gltf, .ply or a folder of .obj shapes; empty for the "
            "package's. Read-only.",
        )
        rate = value(self, "rate", 25.0, "Markers per second at most. Read-only.", (1.0, 120.0))
        rotate = value(
            self,
            "rotate",
            True,
            "Turn the face by a transform on /tf; false for a robot whose own neck turns. Read-only.",
        )
        face_frame = value(self, "face_frame", "face", "Frame of the turning head. Read-only.")
        frame_id = value(self, "frame_id", "head", "Frame of the face until face_motion tells it. Read-only.")
        self._markers = FaceMarkers(
            self._rig(face), message_class, serialize_message, rate, rotate, face_frame, frame_id
        )
        self._out = self.create_publisher(Marker, "face_markers", qos.MARKERS)
        self._tf = self.create_publisher(TFMessage, "/tf", qos.TRANSFORMS) if rotate else None
        self.create_subscription(FaceMotion, "face_motion", self._on_motion, qos.LATEST)
        self.create_timer(1.0 / rate, self._send, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @staticmethod
    def _rig(face):
        if not face:
            return default_rig()
        from streamingtalker_ros.face.formats.importers import load_face

        return load_face(face)

    def _on_motion(self, motion) -> None:
        turn = self._markers.on_motion(motion)
        if turn is not None:
            self._tf.publish(turn)
        self._send()

    def _send(self) -> None:
        now = self.get_clock().now().nanoseconds
        for blob in self._markers.markers(time.monotonic(), now, self._out.get_subscription_count()):
            self._out.publish(blob)


def main(args=None):
    """Run the node until SIGINT or SIGTERM. Returns the exit code."""
    return spin.run("face_markers", FaceMarkersNode, args)
