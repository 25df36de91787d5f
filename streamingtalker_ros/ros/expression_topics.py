# SPDX-License-Identifier: Apache-2.0
"""Topics and services of emotions and head gestures of the rclpy talker.

hri_msgs/Expression is accepted where that package is sourced.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.ros.subscription import AdaptiveSubscription
from streamingtalker_ros.runtime import expression_input
from streamingtalker_ros.runtime.expression_input import ExpressionInput

if TYPE_CHECKING:
    from streamingtalker_ros.runtime.parameters import TalkerParameters
    from streamingtalker_ros.runtime.worker import TalkerWorker

_DEPTH = 100


class ExpressionTopics:
    """Subscriptions to `expression` and `gesture`, and the services that publish there.

    Args:
        node: The node.
        parameters: Values of the parameters.
        worker: Receives the commands.
    """

    def __init__(self, node: Node, parameters: TalkerParameters, worker: TalkerWorker) -> None:
        self._node = node
        self._worker = worker
        self._frame_id = parameters.frame_id
        self._input = ExpressionInput(worker, worker.warn_once)
        self._subscriptions: list[AdaptiveSubscription] = []
        self._publishers = {
            topic: node.create_publisher(message_class(type_name), topic, _DEPTH)
            for topic, type_name in (
                (expression_input.EXPRESSION_TOPIC, expression_input.EXPRESSION_TYPE),
                (expression_input.GESTURE_TOPIC, expression_input.GESTURE_TYPE),
            )
        }
        set_expression = message_class(expression_input.SET_EXPRESSION_SERVICE)
        make_gesture = message_class(expression_input.MAKE_GESTURE_SERVICE)
        self._services = [
            node.create_service(set_expression, "~/set_expression", self._on_set_expression),
            node.create_service(Trigger, "~/clear_expression", self._on_clear_expression),
            node.create_service(make_gesture, "~/gesture", self._on_make_gesture),
        ]

    def open(self) -> None:
        """Create the subscriptions."""
        types = [expression_input.EXPRESSION_TYPE]
        if importlib.util.find_spec("hri_msgs") is not None:
            types.append(expression_input.HRI_EXPRESSION_TYPE)
        self._subscriptions = [
            # one for each type: the node itself publishes one of them
            *self._subscribe(
                expression_input.EXPRESSION_TOPIC,
                types,
                lambda message, type_name: self._input.on_expression(message, type_name, self._now()),
            ),
            *self._subscribe(
                expression_input.GESTURE_TOPIC,
                [expression_input.GESTURE_TYPE],
                lambda message, _: self._input.on_gesture(message, self._now()),
            ),
        ]

    def close(self) -> None:
        """Destroy the subscriptions."""
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []

    def destroy(self) -> None:
        """Destroy services and publishers, too."""
        self.close()
        for service in self._services:
            self._node.destroy_service(service)
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._services, self._publishers = [], {}

    def _subscribe(
        self, topic: str, types: list[str], on_message: Callable[[Any, str], None]
    ) -> list[AdaptiveSubscription]:
        def on_unsupported(name: str, found: list[str]) -> None:
            if not set(found) <= set(types):
                self._worker.warn_once(
                    f"{topic}_type", f"{name} carries {', '.join(found)}: publish {types[0]}"
                )

        return [
            AdaptiveSubscription(
                self._node,
                topic,
                [type_name],
                on_message,
                _DEPTH,
                on_unsupported=on_unsupported,
                on_damaged=lambda text: self._worker.warn_once(f"{topic}_damaged", text),
            )
            for type_name in types
        ]

    def _now(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _publish(self, topic: str, request: Any, response: Any, done: str) -> Any:
        """Publish a request on its topic, or respond with what is wrong with it."""
        is_gesture = topic == expression_input.GESTURE_TOPIC
        fill = expression_input.gesture_message if is_gesture else expression_input.expression_message
        message = message_class(
            expression_input.GESTURE_TYPE if is_gesture else expression_input.EXPRESSION_TYPE
        )()
        try:
            fill(message, request, self._now(), self._frame_id)
        except TalkerError as error:
            response.success, response.message = False, str(error)
        else:
            self._publishers[topic].publish(message)
            response.success, response.message = True, done
        return response

    def _on_set_expression(self, request: Any, response: Any) -> Any:
        done = expression_input.EXPRESSION_SET
        return self._publish(expression_input.EXPRESSION_TOPIC, request, response, done)

    def _on_clear_expression(self, request: Any, response: Any) -> Any:
        done = expression_input.EXPRESSION_CLEARED
        return self._publish(expression_input.EXPRESSION_TOPIC, None, response, done)

    def _on_make_gesture(self, request: Any, response: Any) -> Any:
        done = expression_input.GESTURE_BEGINS
        return self._publish(expression_input.GESTURE_TOPIC, request, response, done)
