# SPDX-License-Identifier: Apache-2.0
"""The head_driver node without ROS: hears `face_motion`, publishes the commands of a robot head's joints."""

import logging
import threading
import time

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import Wire
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.process import never_raising
from streamingtalker_ros.robot_head import HeadController, outputs

JOINT_STATE = "sensor_msgs/msg/JointState"


class HeadNode:
    """head: Head; namespace, domain: as `Wire` takes them. `sent` counts the commands."""

    def __init__(self, head, namespace="", domain=None, warn=None) -> None:
        self._warn = never_raising(warn or logging.getLogger("streamingtalker_ros").warning)
        self._stepping, self._unsent = threading.Lock(), set()
        self.controller, self.sent = HeadController(head, self._warn), 0
        self.wire = Wire("head_driver", namespace, domain, self._warn)
        self._writers = [
            (
                output,
                message_types.message_class(outputs.message_type(output)),
                self.wire.publisher(output.topic, outputs.message_type(output), self.wire.qos(depth=1)),
            )
            for output in head.outputs
        ]
        if head.feedback:
            self.wire.subscribe(
                head.feedback,
                JOINT_STATE,
                lambda message: self.controller.set_joint_state(message.name, message.position),
            )
        self.wire.subscribe(
            "face_motion",
            face_messages.MOTION_TYPE,
            lambda motion: self.controller.update(motion, time.time_ns()),
            self.wire.qos(depth=1000),
        )
        self.wire.every(1.0 / head.rate, self._step)
        self.wire.start()

    def rest(self, timeout=3.0):
        """Hear no more motion and bring the head to rest. Returns whether it is, after at most `timeout`
        seconds."""
        self.controller.begin_rest()
        deadline = time.monotonic() + timeout
        period = 1.0 / self.controller.head.rate
        sent, since = self.sent, time.monotonic()
        while not self.controller.at_rest and time.monotonic() < deadline:
            time.sleep(min(0.02, period))
            if self.sent != sent:
                sent, since = self.sent, time.monotonic()
            elif time.monotonic() - since > max(0.2, 3 * period):
                self._step()  # the wire's thread stands still, or has ended
                sent = self.sent
        return self.controller.at_rest

    def close(self) -> None:
        """Leave the graph; the joints stay where the last command put them."""
        self.wire.close()
        self._writers = []

    def _step(self) -> None:
        with self._stepping:
            self._command()

    def _command(self) -> None:
        now = time.time_ns()
        command = self.controller.step(now)
        if command is None:
            return
        for output, made, writer in self._writers:
            try:
                writer.write(
                    outputs.to_message(
                        output, made(), command, self.controller.head, now, message_types.message_class
                    )
                )
            except Exception as error:  # the other outputs still get theirs
                if output.topic not in self._unsent:
                    self._unsent.add(output.topic)
                    self._warn(
                        f"a command could not be sent on {output.topic} ({type(error).__name__}: {error})"
                    )
        self.sent += 1
