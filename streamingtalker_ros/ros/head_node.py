# SPDX-License-Identifier: Apache-2.0
"""The head_driver node on rclpy: `face_motion` in, commands for the joints of a robot head out.

A YAML file describes the head (docs/heads.md). When a signal ends the process, the head moves to its rest
position first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from rclpy.node import Node

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.robot_head import HeadController, load_head, outputs
from streamingtalker_ros.ros import parameters, qos
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.ros.parameters import NodeParameter
from streamingtalker_ros.ros.spin import NodeFailureError, SpinOnce, spin_node
from streamingtalker_ros.ros.subscription import subscribe

MAX_REST_S: Final = 3.0  # to reach the rest position before the process ends
_REST_SPIN_S: Final = 0.02
_MIN_STALL_S: Final = 0.1  # without a step, after which the control loop counts as stalled


HEAD: Final = NodeParameter(
    "head",
    "jaw",
    "YAML file of the head's joints (docs/heads.md), or one of the package: jaw, animatronic, pan_tilt, "
    "arkit, facs.",
)
PARAMETERS: Final = (HEAD,)
"""Parameters of the node."""


class HeadNode(Node):
    """Drives one robot head.

    Args:
        kwargs: Of `rclpy.node.Node`.

    Raises:
        TalkerError: If the YAML file is invalid, or none of its outputs has a message type that is sourced.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("head_driver", **kwargs)
        self._faults = FaultLog()
        source = parameters.declare_value(self, HEAD)
        parameters.warn_of_unknown(self)
        self.controller = HeadController(load_head(source), self.get_logger().warning)
        self.steps = 0  # of the control loop
        head = self.controller.head
        self._outputs = [opened for opened in map(self._open_output, head.outputs) if opened]
        if not self._outputs:
            package = outputs.message_type(head.outputs[0]).partition("/")[0]
            raise TalkerError(
                f"the head {head.name} has no output whose messages are sourced: build {package} and "
                "source it"
            )
        if head.feedback:
            subscribe(
                self,
                "sensor_msgs/msg/JointState",
                head.feedback,
                lambda message: self.controller.set_joint_state(message.name, message.position),
                qos.LATEST_SUBSCRIPTION,
            )
        subscribe(self, MOTION_TYPE, "face_motion", self._on_motion, qos.MOTION_SUBSCRIPTION)
        self.create_timer(1.0 / head.rate, self.send_command)
        topics = ", ".join(publisher.topic_name for _, _, publisher in self._outputs)
        self.get_logger().info(
            f"head {head.name}: {len(head.joints)} joints, {head.rate:g} commands per second on {topics}"
        )

    def _open_output(self, output: Any) -> tuple[Any, Any, Any] | None:
        """Return (output, its message class, publisher), or None if its messages are not sourced."""
        type_name = outputs.message_type(output)
        try:
            output_class = message_class(type_name)
        except (ModuleNotFoundError, AttributeError):
            self.get_logger().warning(
                f"the output {output.topic} is skipped: it needs {type_name.partition('/')[0]}, "
                "which is not sourced"
            )
            return None
        return output, output_class, self.create_publisher(output_class, output.topic, qos.COMMANDS_PUBLISHER)

    def _on_motion(self, motion: Any) -> None:
        self.controller.update(motion, self.get_clock().now().nanoseconds)

    def send_command(self) -> None:
        """Move the joints by one step and publish their commands.

        Raises:
            NodeFailureError: If there is no step.
        """
        now = self.get_clock().now().nanoseconds
        try:
            command = self.controller.step(now)
        except Exception as fault:
            raise NodeFailureError("the head's control loop failed") from fault
        self.steps += 1
        if command is None:
            return
        for output, output_class, publisher in self._outputs:
            try:
                publisher.publish(
                    outputs.to_message(
                        output, output_class(), command, self.controller.head, now, message_class
                    )
                )
            except Exception as fault:  # the other outputs must still receive theirs
                self._faults.log(f"a command could not be sent on {output.topic}", fault)


def move_to_rest(node: HeadNode, spin_once: SpinOnce) -> None:
    """Move the head to its rest position; the joints keep the position of the last command.

    Args:
        node: The node whose head is moved.
        spin_once: Waits for a callback of the node, at most for the given time in seconds, and executes it.
    """
    node.controller.begin_rest()
    period = 1.0 / node.controller.head.rate
    deadline = time.monotonic() + MAX_REST_S
    last_steps, last_step = node.steps, time.monotonic()
    while not node.controller.at_rest and time.monotonic() < deadline:
        try:
            spin_once(min(_REST_SPIN_S, period))
        except Exception:  # the executor has failed, which is why the process ends
            time.sleep(min(_REST_SPIN_S, period))
        if node.steps != last_steps:
            last_steps, last_step = node.steps, time.monotonic()
        elif time.monotonic() - last_step > max(_MIN_STALL_S, 3 * period):
            node.send_command()  # in place of the timer, which does not run, or follows a paused simulation


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives; return the exit code.

    Args:
        args: Command line with the program's name first; None for that of the process.

    Returns:
        0 after a signal, 2 if the node could not be created.
    """
    return spin_node("head_driver", HeadNode, args, move_to_rest)
