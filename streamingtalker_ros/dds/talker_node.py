# SPDX-License-Identifier: Apache-2.0
"""The talker node without ROS: the topics and services of the design on the ROS 2 wire.

Hears `audio` (either lineage of audio_common_msgs, found by the types that its publishers announce) and
`audio_info`; publishes `face_motion`, `face_model`, if asked `face_vertices`, and `/diagnostics`; serves
`~/reset` and `~/interrupt`.
"""

import logging
import time

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import Wire
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.messaging import audio_common, face_messages
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.diagnostics import DiagnosticsReporter
from streamingtalker_ros.process import never_raising
from streamingtalker_ros.runtime.parameters import NODE_NAME
from streamingtalker_ros.runtime.worker import TalkerWorker, load_talker


class TalkerNode:
    """settings: TalkerParameters; namespace, domain: as `Wire` takes them; talker: a loaded Talker, default the
    settings' own.

    Ready when constructed: the model is warm and the topics are up. Raises TalkerError when either cannot be.
    """

    def __init__(self, settings, namespace="", domain=None, talker=None, warn=None) -> None:
        self.settings = settings
        self._warn = never_raising(warn or logging.getLogger("streamingtalker_ros").warning)
        talker = talker or load_talker(settings)
        self.wire = Wire(NODE_NAME, namespace, domain, self._warn)
        self.core = TalkerWorker(talker, settings, self._publish, self._warn)
        self._audio_decoder = AudioMessageDecoder(self.core.reject)
        # a robot's several talkers are told apart by their namespaces
        name = f"{self.wire.namespace}/{NODE_NAME}".strip("/")
        self._diagnostics_reporter = DiagnosticsReporter(self.core, message_types.message_class, name)
        self._heard = {}  # audio type -> (handle, reliable)
        self._motion_class = message_types.message_class(face_messages.MOTION_TYPE)
        self._motion = self.wire.publisher("face_motion", face_messages.MOTION_TYPE)
        self._publish_model(talker)
        self._diagnostics = self.wire.publisher("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        self.wire.serve("~/reset", self._on_reset)
        self.wire.serve("~/interrupt", self._on_interrupt)
        self.wire.subscribe(settings.audio_info_topic, audio_common.INFO_TYPE, self._on_info)
        self.wire.watch_publishers(self._on_publisher)
        self.wire.every(1.0, self._diagnose)
        self.core.start()
        self.wire.start()

    def close(self) -> None:
        """Stop hearing, finish the frame at hand, leave the graph."""
        self.core.stop()
        self.wire.close()

    # -- in --

    def _on_publisher(self, topic, type_name, reliable) -> None:
        """Subscribe to the types that publishers of the audio topic bring; best effort where one of them
        is."""
        if topic != "rt" + self.wire.resolve(self.settings.audio_topic):
            return
        for name, lineage in audio_common.AUDIO_TYPES.items():
            if message_types.dds_typename(name) != type_name:
                continue
            handle, was_reliable = self._heard.get(name, (None, None))
            if handle is not None and (was_reliable is False or reliable):
                return
            if handle is not None:
                self.wire.unsubscribe(handle)
            self._heard[name] = (
                self.wire.subscribe(
                    self.settings.audio_topic,
                    name,
                    lambda message: self._on_audio(message, name),
                    self.wire.qos(depth=1000, reliable=reliable),
                    lineage,
                ),
                reliable,
            )
            return
        self.core.reject(
            "type",
            f"the publisher of {topic[2:]} sends {type_name}: send AudioData or "
            "AudioDataStamped (ros-drivers), or AudioStamped (mgonzs13)",
        )

    def _on_audio(self, message, name) -> None:
        packet = self._audio_decoder.decode(message, name)
        if packet is not None:
            self.core.push(packet)

    def _on_info(self, message) -> None:
        self._audio_decoder.on_audio_info(message)

    def _on_reset(self) -> str:
        self.core.reset()
        return "the next audio begins afresh"

    def _on_interrupt(self) -> str:
        self.core.interrupt()
        return "the queued audio is dropped, the mouth closes"

    # -- out --

    def _publish(self, frame) -> None:
        self._motion.write(face_messages.to_face_motion(self._motion_class(), frame, self.settings.frame_id))
        if self.settings.publish_vertices:
            self._vertices.write(
                face_messages.to_face_vertices(
                    self._vertices_class(), frame, self._rig.offsets(frame.weights), self.settings.frame_id
                )
            )

    def _publish_model(self, talker) -> None:
        self._rig = default_rig()
        # the writer is kept: a latched message lives as long as it
        self._model = self.wire.publisher(
            "face_model", face_messages.MODEL_TYPE, self.wire.qos(depth=1, latched=True)
        )
        model = message_types.message_class(face_messages.MODEL_TYPE)()
        self._model.write(
            face_messages.to_face_model(
                model, self._rig, talker.frame_rate, self.settings.frame_id, time.time_ns()
            )
        )
        if self.settings.publish_vertices:
            self._vertices_class = message_types.message_class(face_messages.VERTICES_TYPE)
            self._vertices = self.wire.publisher(
                "face_vertices", face_messages.VERTICES_TYPE, self.wire.qos(depth=5, reliable=False)
            )

    def _diagnose(self) -> None:
        self._diagnostics.write(self._diagnostics_reporter.build())
