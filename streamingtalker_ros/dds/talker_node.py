# SPDX-License-Identifier: Apache-2.0
"""The talker node without ROS: audio in, the motion of a face out, on the topics of the ROS 2 node.

It subscribes to `audio` (either variant of audio_common_msgs, found by the types of the publishers) and
`audio_info`; it publishes `face_motion` and `visemes`, or `face_vertices`, by the family of the talker,
`face_model` and `/diagnostics`, and `audio_synced`, the audio in step with the face; it sends the motion to
the live outputs of the parameter `outputs`; it serves `~/reset` and `~/interrupt`. With a text-to-speech
command it says what arrives on the topic and the action `say`, and publishes `say_state`. The eyes and the
head look at the points of `gaze_target`; the face shows the emotions of `expression` and makes the gestures
of `gesture`, for which there are services, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.expression_topics import ExpressionTopics
from streamingtalker_ros.dds.node import DdsNode, DiscoveredPublisher, Subscription, matched_readers
from streamingtalker_ros.dds.say_action import SayAction
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging import audio_common, face_message_builder, speech_messages
from streamingtalker_ros.messaging.audio_receiver import AudioReceiver
from streamingtalker_ros.messaging.diagnostics import DiagnosticsReporter
from streamingtalker_ros.messaging.face_message_builder import (
    MODEL_TOPIC,
    TOPIC_TYPES,
    VERTICES_TOPIC,
    VISEMES_TOPIC,
)
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.outputs import OutputGroup
from streamingtalker_ros.process import LOGGER_NAME, never_raising
from streamingtalker_ros.robot_head.neck import load_neck_limits
from streamingtalker_ros.runtime.frames import PublishedFrame
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE, GazeInput
from streamingtalker_ros.runtime.parameters import NODE_NAME, TalkerParameters
from streamingtalker_ros.runtime.speech import NodeSpeech
from streamingtalker_ros.runtime.worker import TalkerWorker, load_talker
from streamingtalker_ros.speech_synthesis.speaker import SpeechStatus

_DIAGNOSTICS_TYPE: Final = "diagnostic_msgs/msg/DiagnosticArray"
_DIAGNOSTICS_PERIOD_S: Final = 1.0

SYNCED_VARIANT: Final = "ros-drivers"
"""Variant of audio_common_msgs of `audio_synced`."""


class TalkerNode:
    """Loads the talker, warms it up and starts the node.

    Args:
        parameters: Values of the parameters.
        namespace: Namespace of the node.
        domain: ROS domain, None for that of ROS_DOMAIN_ID.
        talker: A loaded talker, default the one that the parameters name.
        warn: Receives warnings, default the package's logger.

    Raises:
        TalkerError: If the talker cannot be loaded or the domain cannot be joined.
    """

    def __init__(
        self,
        parameters: TalkerParameters,
        namespace: str = "",
        domain: int | None = None,
        talker: TalkerProtocol | None = None,
        warn: Callable[[str], Any] | None = None,
    ) -> None:
        self.parameters = parameters
        self._warn = never_raising(warn or logging.getLogger(LOGGER_NAME).warning)
        limits = load_neck_limits(parameters.gaze_head)
        talker = talker or load_talker(parameters)
        self.outputs = OutputGroup.of_talker(parameters.outputs, talker, self._warn)
        self.dds_node = DdsNode(NODE_NAME, namespace, domain, self._warn)
        self.worker = TalkerWorker(talker, parameters, self._publish, self._warn, retains_audio=True)
        self.worker.set_neck_limits(limits)
        self._audio_receiver = AudioReceiver(
            self.worker,
            self.dds_node.resolve_name(parameters.audio_topic),
            parameters.audio_format,
            parameters.audio_publisher,
            self.dds_node.node_name,
            self._is_publisher_present,
        )
        self.speech = NodeSpeech(
            parameters, self.worker, self._audio_receiver.on_speech, self._publish_speech_status, self._warn
        )
        self._synced_audio = speech_messages.SyncedAudioBuilder(
            message_types.message_class, SYNCED_VARIANT, parameters.frame_id
        )
        # the namespace distinguishes the talkers of one robot
        name = f"{self.dds_node.namespace}/{NODE_NAME}".strip("/")
        self._diagnostics_reporter = DiagnosticsReporter(
            self.worker,
            message_types.message_class,
            name,
            outputs=self.outputs.statistics,
            extra=self.speech.diagnostics,
        )
        self._audio_subscriptions: dict[tuple[str, bool], Subscription] = {}  # by type and reliability
        self._gaze_input = GazeInput(self.worker, self.worker.warn_once)
        self._gaze_subscriptions: dict[bool, Subscription] = {}  # by reliability
        self._expression_topics = ExpressionTopics(self.dds_node, self.worker, parameters.frame_id)
        self._builder = face_message_builder.FaceMessageBuilder(
            talker,
            message_types.message_class,
            parameters.frame_id,
            default_rig(),
            parameters.publish_vertices,
        )
        self._writers = {
            topic: self.dds_node.create_publisher(topic, TOPIC_TYPES[topic], self._frame_qos(topic))
            for topic in self._builder.topics
        }
        self._visemes_writer = (
            self.dds_node.create_publisher(VISEMES_TOPIC, TOPIC_TYPES[VISEMES_TOPIC], self.dds_node.qos())
            if self._builder.has_visemes
            else None
        )
        self._synced_writer = self.dds_node.create_publisher(
            speech_messages.AUDIO_SYNCED_TOPIC,
            self._synced_audio.type_name,
            self.dds_node.qos(depth=100),
            SYNCED_VARIANT,
        )
        self._synced_info_writer = self.dds_node.create_publisher(
            speech_messages.AUDIO_SYNCED_INFO_TOPIC,
            audio_common.INFO_TYPE,
            self.dds_node.qos(depth=1, latched=True),
        )
        self._synced_info_writer.write(self._synced_audio.build_info())
        self._speech_status_writer = self._create_speech_topics() if self.speech.has_tts else None
        # keep a reference to the writer: a latched message exists as long as its writer
        self._model_writer = self.dds_node.create_publisher(
            MODEL_TOPIC, TOPIC_TYPES[MODEL_TOPIC], self.dds_node.qos(depth=1, latched=True)
        )
        self._model_writer.write(self._builder.build_model(time.time_ns()))
        self._diagnostics_writer = self.dds_node.create_publisher("/diagnostics", _DIAGNOSTICS_TYPE)
        self.dds_node.create_trigger_service("~/reset", self._on_reset)
        self.dds_node.create_trigger_service("~/interrupt", self._on_interrupt)
        self._info_subscriptions: dict[tuple[bool, bool], Subscription] = {}  # by reliability and durability
        self._subscribe_info(reliable=True, latched=False)
        self._subscribe_gaze(reliable=True)
        self._expression_topics.open()
        self.dds_node.watch_node_names()
        self.dds_node.on_publisher_discovered(self._on_publisher_discovered)
        self.dds_node.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)
        self.outputs.open()
        self.worker.start()
        self.speech.start()
        self.dds_node.start()

    @property
    def topics(self) -> list[str]:
        """Full names of the topics that frames are published on."""
        return [self.dds_node.resolve_name(topic) for topic in self._builder.topics]

    def close(self) -> None:
        """Finish the present frame, let the face of the outputs go to rest, and leave the graph."""
        self.speech.close()
        self.worker.stop()
        self.outputs.close()
        self.dds_node.close()

    # -------------------------------------------------------------------------------------------------- input

    def _on_publisher_discovered(self, publisher: DiscoveredPublisher) -> None:
        """Subscribe to the type of a publisher of audio, and with the QoS of one that offers another.

        A best-effort subscription alone would lose messages of reliable publishers, and a latched one would
        receive nothing from volatile ones.
        """
        topic = publisher.topic
        if topic == "rt" + self.dds_node.resolve_name(self.parameters.audio_info_topic):
            if publisher.type_name == message_types.dds_typename(audio_common.INFO_TYPE):
                self._subscribe_info(publisher.is_reliable, publisher.is_latched)
            return
        if topic == "rt" + self.dds_node.resolve_name(self.parameters.gaze_topic):
            if publisher.type_name != message_types.dds_typename(GAZE_TYPE):
                self.worker.warn_once(
                    "gaze_type",
                    f"the publisher of {topic[2:]} sends {publisher.type_name}: send {GAZE_TYPE}",
                )
            elif not publisher.is_reliable:
                self._subscribe_gaze(reliable=False)
            return
        if self._expression_topics.on_publisher_discovered(publisher):
            return
        if topic != "rt" + self.dds_node.resolve_name(self.parameters.audio_topic):
            return
        for name, variant in audio_common.AUDIO_TYPES.items():
            if message_types.dds_typename(name) == publisher.type_name:
                self._subscribe_audio(name, variant, reliable=True)
                if not publisher.is_reliable:
                    self._subscribe_audio(name, variant, reliable=False)
                return
        self.worker.reject(
            "type",
            f"the publisher of {topic[2:]} sends {publisher.type_name}: send AudioData or "
            "AudioDataStamped (ros-drivers), or AudioStamped (mgonzs13)",
        )

    def _subscribe_audio(self, name: str, variant: audio_common.Variant, reliable: bool) -> None:
        if (name, reliable) not in self._audio_subscriptions:
            self._audio_subscriptions[name, reliable] = self.dds_node.create_subscription(
                self.parameters.audio_topic,
                name,
                lambda message: self._on_audio(message, name, reliable),
                self.dds_node.qos(depth=1000, reliable=reliable),
                variant,
            )

    def _subscribe_info(self, reliable: bool, latched: bool) -> None:
        """Subscribe to the audio's format; messages that two subscriptions receive are the same."""
        if (reliable, latched) not in self._info_subscriptions:
            self._info_subscriptions[reliable, latched] = self.dds_node.create_subscription(
                self.parameters.audio_info_topic,
                audio_common.INFO_TYPE,
                lambda message: self._on_audio_info(message, self._info_subscriptions[reliable, latched]),
                self.dds_node.qos(reliable=reliable, latched=latched),
            )

    def _on_audio_info(self, message: Any, subscription: Subscription) -> None:
        publisher = self.dds_node.publisher_id(subscription, message)
        self._audio_receiver.on_audio_info(message, publisher)

    def _on_audio(self, message: Any, type_name: str, reliable: bool) -> None:
        subscription = self._audio_subscriptions[type_name, reliable]
        if not reliable and self.dds_node.is_publisher_reliable(subscription, message):
            return  # the reliable subscription receives it, too
        publisher = self.dds_node.publisher_id(subscription, message)
        self._audio_receiver.on_audio(message, type_name, publisher)

    def _subscribe_gaze(self, reliable: bool) -> None:
        if reliable not in self._gaze_subscriptions:
            self._gaze_subscriptions[reliable] = self.dds_node.create_subscription(
                self.parameters.gaze_topic,
                GAZE_TYPE,
                lambda message: self._on_gaze_target(message, reliable),
                self.dds_node.qos(reliable=reliable),
            )

    def _on_gaze_target(self, message: Any, reliable: bool) -> None:
        if not reliable and self.dds_node.is_publisher_reliable(self._gaze_subscriptions[False], message):
            return  # the reliable subscription receives it, too
        self._gaze_input.on_target(message, time.time_ns())

    def _is_publisher_present(self, publisher: str) -> bool:
        return any(
            self.dds_node.is_publisher_present(subscription, publisher)
            for subscription in self._audio_subscriptions.values()
        )

    def _on_reset(self) -> str:
        self.speech.interrupt()
        self._audio_receiver.reset()
        self.worker.reset()
        return "the next audio begins a new stream"

    def _on_interrupt(self) -> str:
        self.speech.interrupt()
        self.worker.interrupt()
        return "the queued audio is dropped, the mouth closes"

    # ------------------------------------------------------------------------------------------------- output

    def _frame_qos(self, topic: str) -> list[Any]:
        if topic == VERTICES_TOPIC:
            return self.dds_node.qos(depth=5, reliable=False)
        return self.dds_node.qos()

    def _publish(self, frame: PublishedFrame) -> None:
        self.outputs.send(frame)
        for topic, message in self._builder.build(frame):
            self._writers[topic].write(message)
        if self._visemes_writer is not None and matched_readers(self._visemes_writer):
            self._visemes_writer.write(self._builder.build_visemes(frame))
        if frame.audio is not None and matched_readers(self._synced_writer):
            self._synced_writer.write(self._synced_audio.build(frame.audio, frame.stamp))
        self.speech.on_frame(frame)

    def _create_speech_topics(self) -> Any:
        """Subscribe to texts, serve the action, and return the writer of the state of what is said."""
        SayAction(self.dds_node, self.speech)
        self.dds_node.create_subscription(
            speech_messages.SAY_TOPIC,
            speech_messages.TEXT_TYPE,
            lambda message: self.speech.accept_text(message.data),
        )
        return self.dds_node.create_publisher(
            speech_messages.SAY_STATE_TOPIC,
            speech_messages.STATUS_TYPE,
            self.dds_node.qos(depth=10, latched=True),
        )

    def _publish_speech_status(self, status: SpeechStatus) -> None:
        if self._speech_status_writer is not None:
            message = message_types.message_class(speech_messages.STATUS_TYPE)()
            self._speech_status_writer.write(
                speech_messages.to_speech_status(message, status, time.time_ns(), self.parameters.frame_id)
            )

    def _publish_diagnostics(self) -> None:
        self._diagnostics_writer.write(self._diagnostics_reporter.build())
