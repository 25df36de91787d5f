# SPDX-License-Identifier: Apache-2.0
"""Server of a ROS 2 action over Cyclone DDS: the services, topics and states of rcl_action."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, Respond
from streamingtalker_ros.messaging.header import set_stamp, stamp_to_ns

_MAX_GOALS: Final = 100
"""Goals that are remembered: those that have ended for clients that ask late for the result."""

_MAX_WAITING: Final = 100
"""Requests for the result of one goal that wait."""

_ALL_GOALS: Final = bytes(16)
_STATUS_TYPE: Final = "action_msgs/msg/GoalStatus"


class GoalState(enum.IntEnum):
    """State of a goal, as in action_msgs/GoalStatus."""

    UNKNOWN = 0
    EXECUTING = 2
    CANCELING = 3
    SUCCEEDED = 4
    CANCELED = 5
    ABORTED = 6

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows."""
        return self >= GoalState.SUCCEEDED


class _CancelCode(enum.IntEnum):
    """Return code of action_msgs/CancelGoal."""

    NONE = 0
    UNKNOWN_GOAL = 2
    GOAL_ENDED = 3


def _do_nothing() -> None:
    pass


@dataclass(eq=False)
class Goal:
    """A goal of a client, from its acceptance on.

    Attributes:
        info: action_msgs/GoalInfo, its number and when it was accepted.
        state: Its state.
        cancel: Cancels it; nothing happens if it has ended.
        result: Its result, once it has ended.
        waiting: Clients that wait for the result.
    """

    info: Any
    state: GoalState = GoalState.EXECUTING
    cancel: Callable[[], object] = _do_nothing
    result: Any = None
    waiting: list[Respond] = field(default_factory=list)

    @property
    def identifier(self) -> bytes:
        """Its number, 16 bytes, chosen by the client."""
        return bytes(self.info.goal_id.uuid)


class ActionServer:
    """Server of one action.

    Args:
        node: The node; callbacks run in its thread.
        name: Name of the action, relative or absolute.
        type_name: "package/action/Name".
        execute: Receives each goal and its request, begins it, and returns what cancels it. Each goal ends
            with `end`, whether it was canceled or not.
    """

    def __init__(
        self, node: DdsNode, name: str, type_name: str, execute: Callable[[Goal, Any], Callable[[], object]]
    ) -> None:
        self._execute = execute
        self._lock = threading.RLock()  # not held while a goal is executed or canceled
        self._goals: dict[bytes, Goal] = {}
        self._result_class, self._feedback_class, self._feedback_message_class = (
            message_types.message_class(f"{type_name}_{part}")
            for part in ("Result", "Feedback", "FeedbackMessage")
        )
        self._feedback_writer = node.create_publisher(
            f"{name}/_action/feedback", f"{type_name}_FeedbackMessage"
        )
        self._status_writer = node.create_publisher(
            f"{name}/_action/status", f"{_STATUS_TYPE}Array", node.qos(depth=1, latched=True)
        )
        for service, service_type, callback in (
            ("send_goal", f"{type_name}_SendGoal", self._on_goal),
            ("get_result", f"{type_name}_GetResult", self._on_result_request),
            ("cancel_goal", "action_msgs/srv/CancelGoal", self._on_cancel_request),
        ):
            node.create_deferred_service(f"{name}/_action/{service}", service_type, callback)

    def publish_feedback(self, goal: Goal, **fields: Any) -> None:
        """Publish feedback of a goal, in any thread.

        Args:
            goal: The goal.
            fields: Those of the feedback.
        """
        message = self._feedback_message_class(
            goal_id=goal.info.goal_id, feedback=self._feedback_class(**fields)
        )
        self._feedback_writer.write(message)

    def end(self, goal: Goal, state: GoalState, **fields: Any) -> None:
        """End a goal, in any thread; only the first call counts.

        Args:
            goal: The goal.
            state: SUCCEEDED, CANCELED or ABORTED.
            fields: Those of the result.
        """
        with self._lock:
            if goal.state.has_ended:
                return
            goal.state, goal.cancel = state, _do_nothing
            goal.result = self._result_class(**fields)
            waiting, goal.waiting = goal.waiting, []
        self._publish_states()
        for respond in waiting:
            respond(status=goal.state, result=goal.result)

    def _on_goal(self, request: Any, respond: Respond) -> None:
        goal = Goal(message_types.message_class("action_msgs/msg/GoalInfo")(goal_id=request.goal_id))
        set_stamp(goal.info.stamp, time.time_ns())
        with self._lock:
            ended = [each.identifier for each in self._goals.values() if each.state.has_ended]
            for identifier in ended[: max(0, len(self._goals) - _MAX_GOALS + 1)]:
                del self._goals[identifier]
            is_accepted = goal.identifier not in self._goals and len(self._goals) < _MAX_GOALS
            if is_accepted:
                self._goals[goal.identifier] = goal
        respond(accepted=is_accepted, stamp=goal.info.stamp)
        if not is_accepted:
            return
        self._publish_states()
        try:
            cancel = self._execute(goal, request.goal)
        except Exception:  # the node reports it
            self.end(goal, GoalState.ABORTED)
            raise
        with self._lock:
            if not goal.state.has_ended:
                goal.cancel = cancel

    def _on_result_request(self, request: Any, respond: Respond) -> None:
        with self._lock:
            goal = self._goals.get(bytes(request.goal_id.uuid))
            if goal is not None and not goal.state.has_ended and len(goal.waiting) < _MAX_WAITING:
                goal.waiting.append(respond)
                return
        if goal is not None and goal.state.has_ended:
            respond(status=goal.state, result=goal.result)
        else:
            respond(status=GoalState.UNKNOWN)

    def _on_cancel_request(self, request: Any, respond: Respond) -> None:
        """Cancel a goal and those accepted up to a time; without both, all."""
        identifier = bytes(request.goal_info.goal_id.uuid)
        stamp = stamp_to_ns(request.goal_info.stamp)

        def is_meant(goal: Goal) -> bool:
            if stamp:
                return goal.identifier == identifier or stamp_to_ns(goal.info.stamp) <= stamp
            return identifier in (goal.identifier, _ALL_GOALS)

        with self._lock:
            goals = [
                goal for goal in self._goals.values() if goal.state is GoalState.EXECUTING and is_meant(goal)
            ]
            code = _CancelCode.NONE
            if not goals and not stamp and identifier != _ALL_GOALS:
                is_known = identifier in self._goals
                code = _CancelCode.GOAL_ENDED if is_known else _CancelCode.UNKNOWN_GOAL
            cancels = [goal.cancel for goal in goals]
            for goal in goals:
                goal.state = GoalState.CANCELING
        respond(return_code=code, goals_canceling=[goal.info for goal in goals])
        self._publish_states()
        for cancel in cancels:
            cancel()

    def _publish_states(self) -> None:
        status_class, array_class = (
            message_types.message_class(name) for name in (_STATUS_TYPE, f"{_STATUS_TYPE}Array")
        )
        with self._lock:
            states = [status_class(goal_info=goal.info, status=goal.state) for goal in self._goals.values()]
            self._status_writer.write(array_class(status_list=states))
