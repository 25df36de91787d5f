# SPDX-License-Identifier: Apache-2.0
# rclpy and its messages come with a ROS installation
# pyright: reportMissingImports=false
"""A client of an action of the talker for the ROS tests."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient

from support.ros_graph import Graph, wait_for


class Client:
    """A client of an action.

    Args:
        graph: The peer.
        action: Class of the action.
        name: Name of the action.

    Attributes:
        feedback: Of all goals so far.
    """

    def __init__(self, graph: Graph, action: Any, name: str) -> None:
        self.feedback: list[Any] = []
        self._action = action
        self._client = ActionClient(graph.node, action, name)
        assert self._client.wait_for_server(60), f"no action {name}"

    def send(self, **values: Any) -> Any:
        """Send a goal; return its handle."""
        future = self._client.send_goal_async(
            self._action.Goal(**values),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )
        assert wait_for(future.done, 60)
        return future.result()

    def _on_feedback(self, message: Any) -> None:
        self.feedback.append(message.feedback)

    def result(self, goal: Any) -> Any:
        """Wait for the end of a goal; return its status and its result."""
        future = goal.get_result_async()
        assert wait_for(future.done, 60)
        return future.result()

    def cancel(self, goal: Any) -> None:
        """Cancel a goal."""
        assert wait_for(goal.cancel_goal_async().done, 60)
