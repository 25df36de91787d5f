# SPDX-License-Identifier: Apache-2.0
"""The action `say` of the talker without ROS: goals are said in turn, to cancel one interrupts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streamingtalker_ros.dds.action_server import ActionServer, Goal, GoalState
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.speech_messages import SAY, SAY_TOPIC
from streamingtalker_ros.runtime.speech import NodeSpeech
from streamingtalker_ros.speech_synthesis.speaker import SpeechState, SpeechStatus


class SayAction:
    """Server of the action.

    Args:
        node: The node.
        speech: Says the texts.
    """

    def __init__(self, node: DdsNode, speech: NodeSpeech) -> None:
        self._speech = speech
        self._server = ActionServer(node, SAY_TOPIC, SAY.type_name, self._execute)

    def _execute(self, goal: Goal, request: Any) -> Callable[[], object]:
        try:
            utterance = self._speech.say(*SAY.content(request), lambda status: self._on_status(goal, status))
        except TalkerError as error:
            self._on_status(goal, SpeechStatus("", "", SpeechState.FAILED, message=str(error)))
            return lambda: None
        return lambda: self._speech.cancel(utterance)

    def _on_status(self, goal: Goal, status: SpeechStatus) -> None:
        if not status.state.is_final:
            self._server.publish_feedback(goal, **SAY.feedback(status))
            return
        if status.state is SpeechState.FINISHED:
            state = GoalState.SUCCEEDED
        elif goal.state is GoalState.CANCELING:
            state = GoalState.CANCELED
        else:
            state = GoalState.ABORTED
        self._server.end(goal, state, **SAY.result(status))
