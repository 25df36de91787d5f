# SPDX-License-Identifier: Apache-2.0
"""Speech of the rclpy talker: topic and action `say`, `say_state`, and the sound in step with the face.

`SayAction` exists as long as the node, because goals outlive transitions; `SpeechTopics` belongs to one
configuration. Where tts_msgs of ROS4HRI is sourced, its action is served, too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Final

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.lifecycle import LifecycleNode
from rclpy.task import Future

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common, speech_messages
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.messaging.speech_messages import ROS4HRI_TTS, SAY, SAY_TOPIC, SpeechAction
from streamingtalker_ros.ros import qos
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.ros.subscription import AdaptiveSubscription
from streamingtalker_ros.runtime.frames import PublishedFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.speech import NodeSpeech
from streamingtalker_ros.runtime.worker import TalkerWorker
from streamingtalker_ros.speech_synthesis.speaker import SpeechState, SpeechStatus, Utterance

_SAY_DEPTH: Final = 10


class SpeechTopics:
    """What the node says by its topics, and `audio_synced`.

    Args:
        node: The lifecycle node.
        variant: Which audio_common_msgs is sourced.
        parameters: Values of the parameters.
        worker: Drives the face.
        push: Receives the packets of what is said, as `AudioReceiver.on_speech`.

    Raises:
        TalkerError: If the text-to-speech command is not installed, or there is no loudspeaker to play on.
    """

    def __init__(
        self,
        node: LifecycleNode,
        variant: Variant,
        parameters: TalkerParameters,
        worker: TalkerWorker,
        push: Callable[[Any], object],
    ) -> None:
        self._node = node
        self._frame_id = parameters.frame_id
        self.speech = NodeSpeech(
            parameters, worker, push, self._publish_status, node.get_logger().warning, self._now_ns
        )
        self._builder = speech_messages.SyncedAudioBuilder(message_class, variant, parameters.frame_id)
        self._synced_publisher = self._create_publisher(
            self._builder.type_name, speech_messages.AUDIO_SYNCED_TOPIC, qos.SYNCED_PUBLISHER
        )
        self._info_publisher = (
            self._create_publisher(
                audio_common.INFO_TYPE, speech_messages.AUDIO_SYNCED_INFO_TOPIC, qos.LATCHED
            )
            if self._builder.has_info
            else None
        )
        self._status_publisher = (
            self._create_publisher(
                speech_messages.STATUS_TYPE, speech_messages.SAY_STATE_TOPIC, qos.SPEECH_STATUS
            )
            if self.speech.has_tts
            else None
        )
        self._subscription: AdaptiveSubscription | None = None

    def open(self) -> None:
        """Begin to say what is asked for; the node must be active."""
        if self._info_publisher is not None:
            self._info_publisher.publish(self._builder.build_info())
        if self.speech.has_tts:
            self.speech.start()
            self._subscription = AdaptiveSubscription(
                self._node,
                speech_messages.SAY_TOPIC,
                [speech_messages.TEXT_TYPE],
                lambda message, _: self.speech.accept_text(message.data),
                _SAY_DEPTH,
                on_unsupported=lambda name, found: self._node.get_logger().warning(
                    f"{name} carries {', '.join(found)}: publish {speech_messages.TEXT_TYPE}"
                ),
                on_damaged=self._node.get_logger().warning,
            )

    def publish(self, frame: PublishedFrame) -> None:
        """Publish the audio of a frame, with the frame; called in the worker's thread.

        Args:
            frame: The frame, which has just been published.
        """
        if frame.audio is not None and self._synced_publisher.get_subscription_count():
            self._synced_publisher.publish(self._builder.build(frame.audio, frame.stamp))
        self.speech.on_frame(frame)

    def close(self) -> None:
        """Drop all that is said, and unsubscribe."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self.speech.close()

    def destroy(self) -> None:
        """Destroy the publishers."""
        self.close()
        for publisher in (self._synced_publisher, self._info_publisher, self._status_publisher):
            if publisher is not None:
                self._node.destroy_lifecycle_publisher(publisher)

    def _create_publisher(self, type_name: str, topic: str, profile: Any) -> Any:
        return self._node.create_lifecycle_publisher(message_class(type_name), topic, profile)

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _publish_status(self, status: SpeechStatus) -> None:
        if self._status_publisher is not None:
            message = message_class(speech_messages.STATUS_TYPE)()
            self._status_publisher.publish(
                speech_messages.to_speech_status(message, status, self._now_ns(), self._frame_id)
            )


def create_say_actions(
    node: LifecycleNode, parameters: TalkerParameters, speech: Callable[[], NodeSpeech | None]
) -> list[SayAction]:
    """Return the servers of the actions of a node with a text-to-speech command.

    Args:
        node: The node.
        parameters: Values of the parameters.
        speech: As of `SayAction`.
    """
    actions = {SAY_TOPIC: SAY}
    if parameters.tts_action and importlib.util.find_spec("tts_msgs") is not None:
        actions[parameters.tts_action] = ROS4HRI_TTS
    return [SayAction(node, name, action, speech) for name, action in actions.items()]


class SayAction:
    """Server of an action: goals are said one after another, to cancel one is to interrupt it.

    Args:
        node: The node.
        name: Name of the action.
        action: Its type and fields.
        speech: Returns what says the texts; None while the node is not active.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        action: SpeechAction,
        speech: Callable[[], NodeSpeech | None],
    ) -> None:
        self._node = node
        self._action = action
        self._speech = speech
        self._type = message_class(action.type_name)
        self._utterances: dict[bytes, Utterance] = {}  # by the number of the goal
        self._server = ActionServer(
            node,
            self._type,
            name,
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )

    def _on_goal(self, _: Any) -> GoalResponse:
        return GoalResponse.REJECT if self._speech() is None else GoalResponse.ACCEPT

    def _on_cancel(self, goal: Any) -> CancelResponse:
        utterance, speech = self._utterances.get(bytes(goal.goal_id.uuid)), self._speech()
        if utterance is not None and speech is not None:
            speech.cancel(utterance)
        return CancelResponse.ACCEPT

    async def _execute(self, goal: Any) -> Any:
        done: Future = Future()

        def on_status(status: SpeechStatus) -> None:
            if status.state.is_final:
                done.set_result(status)
                if self._node.executor is not None:
                    self._node.executor.wake()
            elif fields := self._action.feedback(status):
                goal.publish_feedback(self._type.Feedback(**fields))

        speech, key = self._speech(), bytes(goal.goal_id.uuid)
        status = SpeechStatus("", "", SpeechState.FAILED, message="the node is not active: activate it")
        try:
            if speech is not None:
                utterance = speech.say(*self._action.content(goal.request), on_status)
                self._utterances[key] = utterance
                if goal.is_cancel_requested:
                    speech.cancel(utterance)
                status = await done
        except TalkerError as error:
            status = SpeechStatus("", "", SpeechState.FAILED, message=str(error))
        finally:
            self._utterances.pop(key, None)
        if status.state is SpeechState.FINISHED:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return self._type.Result(**self._action.result(status))
