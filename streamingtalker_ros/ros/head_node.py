# SPDX-License-Identifier: Apache-2.0
"""The head_driver node on rclpy: hears `face_motion`, publishes the commands of a robot head's joints.

What is commanded is `heads`', from a YAML file. `main` is the executable; ended by a signal, it brings the head to
rest first.
"""

import time

from rclpy.node import Node

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.msg import FaceMotion
from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.robot_head import HeadController, load_head, outputs
from streamingtalker_ros.ros import parameters, qos
from streamingtalker_ros.ros import spin as ros_run
from streamingtalker_ros.ros.audio_input import message_class

LONGEST_REST = 3.0  # s to come to rest in, at the end


class HeadNode(Node):
    """Raises TalkerError when the YAML says what cannot be, or a message type that it asks for is not there."""

    def __init__(self, **kwargs) -> None:
        super().__init__("head_driver", **kwargs)
        self._faults = FaultLog()
        source = parameters.value_of(
            self,
            "head",
            "jaw",
            "YAML file of the head's joints (docs/heads.md), or one of the package: jaw, "
            "animatronic, pan_tilt, arkit, facs. Read-only.",
        )
        self.controller = HeadController(load_head(source), self.get_logger().warning)
        head = self.controller.head
        self._outputs = [opened for opened in map(self._open, head.outputs) if opened]
        if not self._outputs:
            raise TalkerError(
                f"the head {head.name} has no output whose messages are sourced: build "
                f"{outputs.message_type(head.outputs[0]).partition('/')[0]} and source it"
            )
        if head.feedback:
            self.create_subscription(
                message_class("sensor_msgs/msg/JointState"),
                head.feedback,
                lambda message: self.controller.set_joint_state(message.name, message.position),
                qos.LATEST,
            )
        self.create_subscription(FaceMotion, "face_motion", self._on_motion, qos.HEARD_MOTION)
        self.create_timer(1.0 / head.rate, self._step)
        topics = ", ".join(publisher.topic_name for _, _, publisher in self._outputs)
        self.get_logger().info(
            f"head {head.name}: {len(head.joints)} joints, {head.rate:g} commands per second on {topics}"
        )

    def _open(self, output):
        """Output -> (output, its message class, publisher), or None where its messages are not sourced."""
        name = outputs.message_type(output)
        try:
            made = message_class(name)
        except (ModuleNotFoundError, AttributeError):
            self.get_logger().warning(
                f"the output {output.topic} is left out: it needs {name.partition('/')[0]}, "
                "which is not sourced"
            )
            return None
        return output, made, self.create_publisher(made, output.topic, qos.COMMANDS)

    def _on_motion(self, motion) -> None:
        self.controller.update(motion, self.get_clock().now().nanoseconds)

    def _step(self) -> None:
        now = self.get_clock().now().nanoseconds
        command = self.controller.step(now)
        if command is None:
            return
        for output, made, publisher in self._outputs:
            try:
                publisher.publish(
                    outputs.to_message(output, made(), command, self.controller.head, now, message_class)
                )
            except Exception as fault:  # the other outputs still get theirs
                self._faults.log(f"a command could not be sent on {output.topic}", fault)


def rest(node, spin) -> None:
    """Bring the head to rest before the process ends; the joints stay where the last command put them."""
    node.controller.begin_rest()
    deadline = time.monotonic() + LONGEST_REST
    while not node.controller.at_rest and time.monotonic() < deadline:
        spin(0.02)


def main(args=None):
    """Run the node until SIGINT or SIGTERM. Returns the exit code."""
    return ros_run.run("head_driver", HeadNode, args, rest)
