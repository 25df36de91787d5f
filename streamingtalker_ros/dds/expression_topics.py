# SPDX-License-Identifier: Apache-2.0
"""Topics and services of emotions and head gestures of the talker without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, DiscoveredPublisher
from streamingtalker_ros.dds.subscription import AdaptiveSubscription
from streamingtalker_ros.runtime import expression_input
from streamingtalker_ros.runtime.expression_input import ExpressionInput

if TYPE_CHECKING:
    from streamingtalker_ros.runtime.worker import TalkerWorker

_TYPES: Final = {
    expression_input.EXPRESSION_TOPIC: (
        expression_input.EXPRESSION_TYPE,
        expression_input.HRI_EXPRESSION_TYPE,
    ),
    expression_input.GESTURE_TOPIC: (expression_input.GESTURE_TYPE,),
}
_DEPTH: Final = 100


class ExpressionTopics:
    """Subscriptions to `expression` and `gesture`, and the services that publish there.

    Args:
        node: The node.
        worker: Receives the commands.
        frame_id: tf frame of the head.
    """

    def __init__(self, node: DdsNode, worker: TalkerWorker, frame_id: str) -> None:
        self._node, self._worker, self._frame_id = node, worker, frame_id
        self._input = ExpressionInput(worker, worker.warn_once)
        self._subscriptions: list[AdaptiveSubscription] = []
        self._writers: dict[str, Any] = {}

    def open(self) -> None:
        """Create publishers, subscriptions and services."""
        callbacks = {
            expression_input.EXPRESSION_TOPIC: self._on_expression,
            expression_input.GESTURE_TOPIC: self._on_gesture,
        }
        for topic, types in _TYPES.items():
            self._writers[topic] = self._node.create_publisher(topic, types[0], self._node.qos(depth=_DEPTH))
            self._subscriptions.append(
                AdaptiveSubscription(
                    self._node, topic, types, callbacks[topic], self._worker.warn_once, _DEPTH
                )
            )
        self._node.create_service(
            "~/set_expression", expression_input.SET_EXPRESSION_SERVICE, self._on_set_expression
        )
        self._node.create_trigger_service("~/clear_expression", lambda: self._on_set_expression(None))
        self._node.create_service("~/gesture", expression_input.MAKE_GESTURE_SERVICE, self._on_make_gesture)

    def on_publisher_discovered(self, publisher: DiscoveredPublisher) -> None:
        """Follow a publisher of one of the topics.

        Args:
            publisher: That was discovered.
        """
        for subscription in self._subscriptions:
            subscription.on_publisher_discovered(publisher)

    def _on_expression(self, message: Any, type_name: str) -> None:
        self._input.on_expression(message, type_name, time.time_ns())

    def _on_gesture(self, message: Any, _: str) -> None:
        self._input.on_gesture(message, time.time_ns())

    def _write(self, topic: str, fill: Callable[[Any, Any, int, str], Any], request: Any) -> None:
        message = message_types.message_class(_TYPES[topic][0])()
        self._writers[topic].write(fill(message, request, time.time_ns(), self._frame_id))

    def _on_set_expression(self, request: Any) -> str:
        self._write(expression_input.EXPRESSION_TOPIC, expression_input.expression_message, request)
        return expression_input.EXPRESSION_CLEARED if request is None else expression_input.EXPRESSION_SET

    def _on_make_gesture(self, request: Any) -> str:
        self._write(expression_input.GESTURE_TOPIC, expression_input.gesture_message, request)
        return expression_input.GESTURE_BEGINS
