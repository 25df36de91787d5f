# SPDX-License-Identifier: Apache-2.0
"""The face_markers node without ROS: hears `face_motion`, publishes `face_markers` for RViz and the head's
transform on `/tf`."""

import logging
import time

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import Wire, readers
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.process import never_raising
from streamingtalker_ros.rviz.marker_cdr import MARKER_TYPE
from streamingtalker_ros.rviz.markers import FaceMarkers

TF = "tf2_msgs/msg/TFMessage"


class FaceMarkersNode:
    """rig: default the package's face; rate, rotate, face_frame, frame_id: as FaceMarkers; namespace, domain:
    as `Wire` takes them. `sent` counts markers, `lost` those that no listener took in time."""

    def __init__(
        self,
        rig=None,
        rate=25.0,
        rotate=True,
        face_frame="face",
        frame_id="head",
        namespace="",
        domain=None,
        warn=None,
    ) -> None:
        self._warn = never_raising(warn or logging.getLogger("streamingtalker_ros").warning)
        self._markers = FaceMarkers(
            rig or default_rig(),
            message_types.message_class,
            lambda message: message.serialize(),
            rate,
            rotate,
            face_frame,
            frame_id,
        )
        self._made = message_types.serialized_class(MARKER_TYPE)
        self.sent = self.lost = 0
        self.wire = Wire("face_markers", namespace, domain, self._warn)
        # reliable, as RViz asks for unless it is told otherwise; what it does not take in time is old
        self._writer = self.wire.publisher("face_markers", MARKER_TYPE, self.wire.qos(depth=2))
        self._tf = self.wire.publisher("/tf", TF, self.wire.qos(depth=100)) if rotate else None
        self.wire.subscribe("face_motion", face_messages.MOTION_TYPE, self._on_motion, self.wire.qos(depth=1))
        self.wire.every(1.0 / rate, self._send)
        self.wire.start()

    def close(self) -> None:
        """Leave the graph."""
        self.wire.close()
        self._writer = self._tf = None

    def _on_motion(self, motion) -> None:
        turn = self._markers.on_motion(motion)
        if turn is not None:
            self._tf.write(turn)
        self._send()

    def _send(self) -> None:
        listeners = readers(self._writer)
        for blob in self._markers.markers(time.monotonic(), time.time_ns(), listeners):
            try:
                self._writer.write(self._made(blob))
                self.sent += 1
            except Exception as error:  # a reader that does not keep up
                self.lost += 1
                if self.lost == 1:
                    self._warn(
                        f"a marker could not be sent ({type(error).__name__}: {error}): lower the rate if "
                        "this goes on"
                    )
