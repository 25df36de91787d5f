# SPDX-License-Identifier: Apache-2.0
"""The head_driver node without ROS: `face_motion` in, commands for the joints of a robot head out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.process import LOGGER_NAME, never_raising
from streamingtalker_ros.robot_head import HeadController, RobotHead, outputs

JOINT_STATE_TYPE: Final = "sensor_msgs/msg/JointState"
_REST_POLL_S: Final = 0.02
_MIN_STALL_S: Final = 0.2  # without a command, after which the control thread counts as stalled


class HeadNode:
    """Drives one robot head.

    Args:
        head: The head.
        namespace: Namespace of the node.
        domain: ROS domain, None for that of ROS_DOMAIN_ID.
        warn: Receives warnings, default the package's logger.
    """

    def __init__(
        self,
        head: RobotHead,
        namespace: str = "",
        domain: int | None = None,
        warn: Callable[[str], Any] | None = None,
    ) -> None:
        self._warn = never_raising(warn or logging.getLogger(LOGGER_NAME).warning)
        self._step_lock = threading.Lock()
        self._warned_topics: set[str] = set()
        self.controller = HeadController(head, self._warn)
        self.commands_sent = 0
        self.dds_node = DdsNode("head_driver", namespace, domain, self._warn)
        self._outputs: list[tuple[Any, Callable[..., Any], Any]] = [
            (
                output,
                message_types.message_class(outputs.message_type(output)),
                self.dds_node.create_publisher(
                    output.topic, outputs.message_type(output), self.dds_node.qos(depth=1)
                ),
            )
            for output in head.outputs
        ]
        if head.feedback:
            self.dds_node.create_subscription(
                head.feedback,
                JOINT_STATE_TYPE,
                lambda message: self.controller.set_joint_state(message.name, message.position),
            )
        self.dds_node.create_subscription(
            "face_motion",
            face_messages.MOTION_TYPE,
            lambda motion: self.controller.update(motion, time.time_ns()),
            self.dds_node.qos(depth=100),  # of more that wait, the newest are followed
        )
        self._closing = threading.Event()
        # not a timer of the node: commands must not wait for messages, however many or large they are
        self._control_thread = threading.Thread(target=self._control, name="head control", daemon=True)
        self.dds_node.start()
        self._control_thread.start()

    def rest(self, timeout: float = 3.0) -> bool:
        """Ignore further motion and move the head to its rest position.

        Args:
            timeout: s to wait at most.

        Returns:
            Whether the head is at rest.
        """
        self.controller.begin_rest()
        deadline = time.monotonic() + timeout
        period = 1.0 / self.controller.head.rate
        sent, last_command = self.commands_sent, time.monotonic()
        while not self.controller.at_rest and time.monotonic() < deadline:
            time.sleep(min(_REST_POLL_S, period))
            if self.commands_sent != sent:
                sent, last_command = self.commands_sent, time.monotonic()
            elif not self._control_thread.is_alive() or time.monotonic() - last_command > max(
                _MIN_STALL_S, 3 * period
            ):
                self._step()  # in place of the thread, which has ended or is blocked
                sent = self.commands_sent
        return self.controller.at_rest

    def close(self) -> None:
        """Leave the graph; the joints keep the position of the last command."""
        self._closing.set()
        self._control_thread.join(_MIN_STALL_S)
        self.dds_node.close()
        self._outputs = []

    def _control(self) -> None:
        period = 1.0 / self.controller.head.rate
        next_time = time.monotonic()
        while not self._closing.wait(max(0.0, next_time - time.monotonic())):
            self._step()
            next_time = max(next_time + period, time.monotonic())

    def _step(self) -> None:
        with self._step_lock:
            self._send_command()

    def _send_command(self) -> None:
        now = time.time_ns()
        command = self.controller.step(now)
        if command is None:
            return
        for output, message_class, writer in self._outputs:
            try:
                message = outputs.to_message(
                    output, message_class(), command, self.controller.head, now, message_types.message_class
                )
                writer.write(message)
            except Exception as error:  # the other outputs must still receive theirs
                if output.topic not in self._warned_topics:
                    self._warned_topics.add(output.topic)
                    self._warn(
                        f"a command could not be sent on {output.topic} ({type(error).__name__}: {error})"
                    )
        self.commands_sent += 1
