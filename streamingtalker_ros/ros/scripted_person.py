# SPDX-License-Identifier: Apache-2.0
"""The scripted_person node on rclpy: a person that walks by, and what the face says and shows to it.

It stands in for person detection and a dialogue manager: it publishes the person's position on `gaze_target`,
an emotion on `expression` and a text on `say`, each on a schedule of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from rclpy.node import Node

from streamingtalker_ros.messaging.speech_messages import SAY_TOPIC, TEXT_TYPE
from streamingtalker_ros.ros import parameters, qos
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.ros.parameters import NodeParameter
from streamingtalker_ros.ros.spin import spin_node
from streamingtalker_ros.runtime.expression_input import EXPRESSION_TYPE
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE

DISTANCE_M: Final = 1.5
STRIDE_M: Final = 0.7  # to each side
STRIDE_S: Final = 8.0  # there and back
GAZE_RATE_HZ: Final = 10.0
EMOTIONS: Final = ("neutral", "happy", "surprised", "sad", "thinking")
TEXTS: Final = (
    "Good morning! How are you today?",
    "I am glad that you are here.",
    "Oh! I did not know that.",
    "I am sorry about that.",
    "Let me think about it for a moment.",
)

FRAME_ID: Final = NodeParameter("frame_id", "head", "frame_id of the person's position.")
EMOTION_PERIOD: Final = NodeParameter(
    "emotion_period", 8.0, "Seconds between two emotions.", limits=(0.1, 3600.0)
)
SAY_PERIOD: Final = NodeParameter(
    "say_period", 12.0, "Seconds between two texts; 0: nothing is said.", limits=(0.0, 3600.0)
)
PARAMETERS: Final = (FRAME_ID, EMOTION_PERIOD, SAY_PERIOD)
"""Parameters of the node."""


class ScriptedPerson(Node):
    """Publishes a walking person, emotions and texts.

    Args:
        kwargs: Of `rclpy.node.Node`.

    Raises:
        TalkerError: If a parameter is invalid.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("scripted_person", **kwargs)
        self._frame_id = parameters.declare_value(self, FRAME_ID)
        emotion_period = parameters.declare_value(self, EMOTION_PERIOD)
        say_period = parameters.declare_value(self, SAY_PERIOD)
        parameters.warn_of_unknown(self)
        self._point, self._emotion, self._text = map(message_class, (GAZE_TYPE, EXPRESSION_TYPE, TEXT_TYPE))
        self._gaze_publisher = self.create_publisher(self._point, "gaze_target", qos.MOTION_PUBLISHER)
        self._emotion_publisher = self.create_publisher(self._emotion, "expression", qos.MOTION_PUBLISHER)
        self._say_publisher = self.create_publisher(self._text, SAY_TOPIC, qos.MOTION_PUBLISHER)
        self._steps = self._emotions = self._texts = 0
        self.create_timer(1.0 / GAZE_RATE_HZ, self._publish_position)
        self.create_timer(emotion_period, self._publish_emotion)
        if say_period:
            self.create_timer(say_period, self._publish_text)

    def _publish_position(self) -> None:
        point = self._point()
        point.header.stamp = self.get_clock().now().to_msg()
        point.header.frame_id = self._frame_id
        angle = 2.0 * math.pi * self._steps / (GAZE_RATE_HZ * STRIDE_S)
        point.point.x, point.point.y, point.point.z = DISTANCE_M, STRIDE_M * math.sin(angle), 0.05
        self._gaze_publisher.publish(point)
        self._steps += 1

    def _publish_emotion(self) -> None:
        emotion = self._emotion()
        emotion.header.stamp = self.get_clock().now().to_msg()
        self._emotions += 1
        emotion.name = EMOTIONS[self._emotions % len(EMOTIONS)]
        emotion.strength = 0.8
        self._emotion_publisher.publish(emotion)

    def _publish_text(self) -> None:
        text = self._text()
        text.data = TEXTS[self._texts % len(TEXTS)]
        self._texts += 1
        self._say_publisher.publish(text)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal arrives; return the exit code.

    Args:
        args: Command line with the program's name first; None for that of the process.

    Returns:
        0 after a signal, 2 if the node could not be created.
    """
    return spin_node("scripted_person", ScriptedPerson, args)
