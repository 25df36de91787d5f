# SPDX-License-Identifier: Apache-2.0
"""What the rclpy node publishes: FaceMotion, FaceVertices where asked for, and the latched FaceModel.

Takes the core's `FaceFrame`s, from its worker's thread, and sends them as messages stamped with the audio's
time. The publishers are lifecycle publishers: they send only while the node is active.
"""

from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.msg import FaceModel, FaceMotion, FaceVertices
from streamingtalker_ros.ros import qos


class FaceOutput:
    """node: an rclpy lifecycle node; settings: TalkerParameters; frame_rate: frames per second of the model."""

    def __init__(self, node, settings, frame_rate) -> None:
        self._node, self._frame_id, self._frame_rate = node, settings.frame_id, frame_rate
        self._rig = default_rig()
        self._motion = node.create_lifecycle_publisher(FaceMotion, "face_motion", qos.MOTION)
        self._model = node.create_lifecycle_publisher(FaceModel, "face_model", qos.LATCHED)
        self._vertices = None
        if settings.publish_vertices:
            self._vertices = node.create_lifecycle_publisher(FaceVertices, "face_vertices", qos.VERTICES)

    def send_model(self) -> None:
        """Latch the face at rest, so that late subscribers get it too. Call it when the node is active."""
        now = self._node.get_clock().now().nanoseconds
        self._model.publish(
            face_messages.to_face_model(FaceModel(), self._rig, self._frame_rate, self._frame_id, now)
        )

    def send(self, frame) -> None:
        """Publish a FaceFrame."""
        self._motion.publish(face_messages.to_face_motion(FaceMotion(), frame, self._frame_id))
        if self._vertices is not None:
            self._vertices.publish(
                face_messages.to_face_vertices(
                    FaceVertices(), frame, self._rig.offsets(frame.weights), self._frame_id
                )
            )

    def destroy(self) -> None:
        """Give the publishers back."""
        for publisher in (self._motion, self._model, self._vertices):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)
