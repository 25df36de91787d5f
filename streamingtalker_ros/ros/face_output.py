# SPDX-License-Identifier: Apache-2.0
"""Publishers of the rclpy talker, by its family, the latched FaceModel, and its live outputs."""

from __future__ import annotations

from typing import Any, Final

from rclpy.lifecycle import LifecycleNode

from streamingtalker_ros.conversation.turn_taking import DialogueState
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging.dialogue_messages import (
    DIALOGUE_TOPIC,
    DIALOGUE_TYPE,
    build_dialogue_state,
)
from streamingtalker_ros.messaging.face_message_builder import (
    MODEL_TOPIC,
    MOTION_TOPIC,
    TOPIC_TYPES,
    VERTICES_TOPIC,
    VISEMES_TOPIC,
    FaceMessageBuilder,
)
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.outputs import OutputGroup
from streamingtalker_ros.ros import qos
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.runtime.frames import PublishedFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters

_QOS: Final = {
    MOTION_TOPIC: qos.MOTION_PUBLISHER,
    VISEMES_TOPIC: qos.MOTION_PUBLISHER,
    VERTICES_TOPIC: qos.VERTICES,
    MODEL_TOPIC: qos.LATCHED,
}


class FaceOutput:
    """Lifecycle publishers of one talker; they publish only while the node is active.

    Args:
        node: The lifecycle node.
        parameters: Values of the parameters.
        talker: The model.

    Raises:
        TalkerError: If the talker cannot serve the outputs.
    """

    def __init__(self, node: LifecycleNode, parameters: TalkerParameters, talker: TalkerProtocol) -> None:
        self._node = node
        self._outputs = OutputGroup.of_talker(parameters.outputs, talker, node.get_logger().warning)
        self._builder = FaceMessageBuilder(
            talker, message_class, parameters.frame_id, default_rig(), parameters.publish_vertices
        )
        self._publishers = {
            topic: node.create_lifecycle_publisher(message_class(TOPIC_TYPES[topic]), topic, _QOS[topic])
            for topic in (
                *self._builder.topics,
                *(VISEMES_TOPIC,) * self._builder.has_visemes,
                MODEL_TOPIC,
            )
        }
        self._visemes_publisher = self._publishers.get(VISEMES_TOPIC)
        self._frame_id = parameters.frame_id
        self._publishers[DIALOGUE_TOPIC] = node.create_lifecycle_publisher(
            message_class(DIALOGUE_TYPE), DIALOGUE_TOPIC, qos.LATCHED
        )

    def open_outputs(self) -> None:
        """Open the live outputs; they send from the next frame on."""
        self._outputs.open()

    def output_statistics(self) -> list[dict[str, Any]]:
        """Return the address and the statistics of each live output."""
        return self._outputs.statistics()

    def close_outputs(self) -> None:
        """Publish that nobody speaks, let the face of the live outputs go to rest, and close them."""
        self.publish_dialogue(DialogueState.IDLE, self._node.get_clock().now().nanoseconds)
        self._outputs.close()
        for line in self._outputs.summary():
            self._node.get_logger().info(line)

    def publish_model(self) -> None:
        """Publish the face at rest and that nobody speaks, latched for late subscribers.

        The node must be active.
        """
        now = self._node.get_clock().now().nanoseconds
        self._publishers[MODEL_TOPIC].publish(self._builder.build_model(now))
        self.publish_dialogue(DialogueState.IDLE, now)

    def publish_dialogue(self, state: DialogueState, stamp: int, interrupted: bool = False) -> None:
        """Publish who speaks, latched for late subscribers.

        Args:
            state: Who speaks.
            stamp: ns, of the frame from which on it holds.
            interrupted: Whether the partner has interrupted the face.
        """
        message = build_dialogue_state(message_class, state, stamp, self._frame_id, interrupted)
        self._publishers[DIALOGUE_TOPIC].publish(message)

    def publish(self, frame: PublishedFrame) -> None:
        """Publish a frame; called in the worker's thread."""
        self._outputs.send(frame)
        for topic, message in self._builder.build(frame):
            self._publishers[topic].publish(message)
        if self._visemes_publisher is not None and self._visemes_publisher.get_subscription_count():
            self._visemes_publisher.publish(self._builder.build_visemes(frame))

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
