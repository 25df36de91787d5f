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

from streamingtalker_ros.conversation.turn_taking import DialogueState
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.audio_input import AudioInput
from streamingtalker_ros.dds.expression_topics import ExpressionTopics
from streamingtalker_ros.dds.node import DdsNode, DiscoveredPublisher, matched_readers
from streamingtalker_ros.dds.say_action import SayAction
from streamingtalker_ros.dds.subscription import AdaptiveSubscription
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging import audio_common, face_message_builder, speech_messages
from streamingtalker_ros.messaging.diagnostics import DiagnosticsReporter
from streamingtalker_ros.messaging.dialogue_messages import (
    DIALOGUE_TOPIC,
    DIALOGUE_TYPE,
    build_dialogue_state,
)
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
        self.worker = TalkerWorker(
            talker,
            parameters,
            self._publish,
            self._warn,
            retains_audio=True,
            on_dialogue=self._on_dialogue,
        )
        self.worker.set_neck_limits(limits)
        self._audio = AudioInput(
            self.dds_node,
            self.worker,
            parameters.audio_topic,
            parameters.audio_info_topic,
            parameters.audio_format,
            parameters.audio_publisher,
        )
        self._partner_audio = AudioInput(
            self.dds_node,
            self.worker.partner,
            parameters.partner_audio_topic,
            parameters.partner_audio_info_topic,
            parameters.audio_format,
        )
        self.speech = NodeSpeech(
            parameters, self.worker, self._audio.receiver.on_speech, self._publish_speech_status, self._warn
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
        self._gaze_input = GazeInput(self.worker, self.worker.warn_once)
        self._subscriptions: list[AdaptiveSubscription] = []  # of gaze targets and texts
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
        self._dialogue_writer = self.dds_node.create_publisher(
            DIALOGUE_TOPIC, DIALOGUE_TYPE, self.dds_node.qos(depth=1, latched=True)
        )
        self._publish_dialogue(DialogueState.IDLE, time.time_ns())
        self._diagnostics_writer = self.dds_node.create_publisher("/diagnostics", _DIAGNOSTICS_TYPE)
        self.dds_node.create_trigger_service("~/reset", self._on_reset)
        self.dds_node.create_trigger_service("~/interrupt", self._on_interrupt)
        self._audio.open()
        self._partner_audio.open()
        self._subscribe(
            parameters.gaze_topic,
            GAZE_TYPE,
            lambda message: self._gaze_input.on_target(message, time.time_ns()),
        )
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
        self._audio.on_publisher_discovered(publisher)
        self._partner_audio.on_publisher_discovered(publisher)
        for subscription in self._subscriptions:
            subscription.on_publisher_discovered(publisher)
        self._expression_topics.on_publisher_discovered(publisher)

    def _subscribe(self, topic: str, type_name: str, on_message: Callable[[Any], object]) -> None:
        self._subscriptions.append(
            AdaptiveSubscription(
                self.dds_node,
                topic,
                [type_name],
                lambda message, _: on_message(message),
                self.worker.warn_once,
            )
        )

    def _on_reset(self) -> str:
        self.speech.interrupt()
        self._audio.receiver.reset()
        self._partner_audio.receiver.reset()
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

    def _on_dialogue(self, state: DialogueState, stamp: int, interrupted: bool) -> None:
        if interrupted:
            self.speech.interrupt()
        self._publish_dialogue(state, stamp, interrupted)

    def _publish_dialogue(self, state: DialogueState, stamp: int, interrupted: bool = False) -> None:
        self._dialogue_writer.write(
            build_dialogue_state(
                message_types.message_class, state, stamp, self.parameters.frame_id, interrupted
            )
        )

    def _create_speech_topics(self) -> Any:
        """Subscribe to texts, serve the action, and return the writer of the state of what is said."""
        SayAction(self.dds_node, self.speech)
        self._subscribe(
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
