# SPDX-License-Identifier: Apache-2.0
"""The face_markers node without ROS: the face as `face_markers` for RViz, the head's rotation on `/tf`.

It shows `face_motion` on a rig, or the mesh of a vertex talker, recognized by its `face_model`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.process import LOGGER_NAME, never_raising
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE
from streamingtalker_ros.rviz.markers import FaceMarkers

TF_TYPE: Final = "tf2_msgs/msg/TFMessage"


class FaceMarkersNode:
    """Publishes the markers of one face.

    Args:
        rig: Face that FaceMotion moves, default the package's.
        rate: Markers per second at most.
        rotate: Rotate the head by a transform.
        face_frame: tf frame of the rotating head.
        frame_id: tf frame of the face until the first message states it.
        namespace: Namespace of the node.
        domain: ROS domain, None for that of ROS_DOMAIN_ID.
        warn: Receives warnings, default the package's logger.

    Attributes:
        sent: Number of markers that were sent.
        dropped: Number of markers that could not be sent in time.
    """

    def __init__(
        self,
        rig: Rig | None = None,
        rate: float = 25.0,
        rotate: bool = True,
        face_frame: str = "face",
        frame_id: str = "head",
        namespace: str = "",
        domain: int | None = None,
        warn: Callable[[str], Any] | None = None,
    ) -> None:
        self._warn = never_raising(warn or logging.getLogger(LOGGER_NAME).warning)
        self._markers = FaceMarkers(
            rig or default_rig(),
            message_types.message_class,
            lambda message: message.serialize(),
            rate,
            rotate,
            face_frame,
            frame_id,
        )
        self._marker_class = message_types.serialized_class(MARKER_TYPE)
        self.sent = self.dropped = 0
        self.dds_node = node = DdsNode("face_markers", namespace, domain, self._warn)
        # reliable, as RViz requests by default; a marker that is not received in time is out of date
        self._writer: Any = node.create_publisher("face_markers", MARKER_TYPE, node.qos(depth=2))
        self._tf_writer: Any = node.create_publisher("/tf", TF_TYPE, node.qos(depth=100)) if rotate else None
        self._has_vertices_subscription = False
        node.create_subscription("face_motion", face_messages.MOTION_TYPE, self._on_motion, node.qos(depth=1))
        node.create_subscription(
            "face_model", face_messages.MODEL_TYPE, self._on_model, node.qos(depth=1, latched=True)
        )
        node.create_timer(1.0 / rate, self._publish_due)
        node.start()

    def close(self) -> None:
        """Leave the graph."""
        self.dds_node.close()
        self._writer = self._tf_writer = None

    def _on_model(self, model: Any) -> None:
        if self._markers.on_model(model) and not self._has_vertices_subscription:
            self._has_vertices_subscription = True
            qos = self.dds_node.qos(depth=1, reliable=False)
            self.dds_node.create_subscription(
                "face_vertices", face_messages.VERTICES_TYPE, self._on_vertices, qos
            )

    def _on_vertices(self, vertices: Any) -> None:
        self._markers.on_vertices(vertices)
        self._publish_due()

    def _on_motion(self, motion: Any) -> None:
        transform = self._markers.on_motion(motion)
        if transform is not None:
            self._tf_writer.write(transform)
        self._publish_due()

    def _publish_due(self) -> None:
        subscribers = matched_readers(self._writer)
        for data in self._markers.markers(time.monotonic(), time.time_ns(), subscribers):
            try:
                self._writer.write(self._marker_class(data))
                self.sent += 1
            except Exception as error:  # a reader that is too slow
                self.dropped += 1
                if self.dropped == 1:
                    self._warn(
                        f"a marker could not be sent ({type(error).__name__}: {error}): lower the rate if "
                        "this goes on"
                    )
