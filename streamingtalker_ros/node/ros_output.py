"""What the rclpy node publishes: FaceMotion, FaceVertices, the latched FaceModel.

Takes the core's `FaceFrame`s (any thread) and sends them as messages stamped with the audio's time. The publishers are
lifecycle publishers: they send only while the node is active.
"""
from array import array

import numpy as np
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from streamingtalker_ros.msg import FaceModel, FaceMotion, FaceVertices

from ..face.arkit import ARKIT_NAMES
from ..face.rig import default_rig
from .lineages import fill_stamp

MOTION_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
VERTICES_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def floats(values):
    """ndarray of any shape -> array('f'), which rclpy takes whole, without looking at each number."""
    flat = array("f")
    flat.frombytes(np.ascontiguousarray(values, np.float32).tobytes())
    return flat


class FaceOutput:
    """node: an rclpy lifecycle node; settings: Settings; talker: streaming.Talker."""

    def __init__(self, node, settings, talker):
        self._node = node
        self._frame_rate = talker.frame_rate
        self._rig = default_rig()
        self._motion = node.create_lifecycle_publisher(FaceMotion, "face_motion", MOTION_QOS)
        self._model = node.create_lifecycle_publisher(FaceModel, "face_model", LATCHED_QOS)
        self._vertices = None
        if settings.publish_vertices:
            self._vertices = node.create_lifecycle_publisher(FaceVertices, "face_vertices", VERTICES_QOS)
        self._message = FaceMotion(names=list(ARKIT_NAMES))  # one for all frames: its names are checked once
        self._message.header.frame_id = settings.frame_id
        self._frame_id = settings.frame_id

    def send_model(self):
        """Latch the face at rest; late subscribers get it too. Call it when the node is active."""
        rig = self._rig
        message = FaceModel(name=rig.name, frame_rate=float(self._frame_rate), shape_names=list(rig.shape_names),
                            vertices=floats(rig.vertices))
        message.triangles = array("I", np.asarray(rig.triangles, np.uint32).ravel().tolist())
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.header.frame_id = self._frame_id
        self._model.publish(message)

    def send(self, frame):
        """Publish a FaceFrame. Called by the core's worker, one frame at a time."""
        if not self._node.context.ok():
            return  # the process is ending
        message = self._message
        fill_stamp(message.header.stamp, frame.stamp)
        message.frame = frame.index
        message.weights = floats(frame.weights)
        head = message.head
        head.x, head.y, head.z, head.w = (float(value) for value in frame.head)
        message.speaking = bool(frame.speaking)
        self._motion.publish(message)
        if self._vertices is not None:
            surface = FaceVertices(header=message.header, frame=frame.index)
            surface.offsets = floats(self._rig.offsets(frame.weights))
            self._vertices.publish(surface)

    def destroy(self):
        """Give the publishers back."""
        for publisher in (self._motion, self._model, self._vertices):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)
