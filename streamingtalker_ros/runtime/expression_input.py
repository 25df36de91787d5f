# SPDX-License-Identifier: Apache-2.0
"""Emotions and head gestures of topics and services: messages become stamped commands.

A service is shorthand: its request is checked, stamped and published on the topic, from which it takes effect
as from any other publisher, so that a recording of the topics holds everything.
"""

from __future__ import annotations

import math
from typing import Any, Final

from streamingtalker_ros.conversation.commands import Express, Gesture
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.header import set_header, stamp_to_ns
from streamingtalker_ros.runtime.frames import WarningCallback
from streamingtalker_ros.runtime.gaze_input import CommandSink

EXPRESSION_TOPIC: Final = "expression"
GESTURE_TOPIC: Final = "gesture"
EXPRESSION_TYPE: Final = "streamingtalker_ros/msg/Expression"
HRI_EXPRESSION_TYPE: Final = "hri_msgs/msg/Expression"
"""ROS4HRI's, of which the confidence serves as strength."""
GESTURE_TYPE: Final = "streamingtalker_ros/msg/Gesture"
SET_EXPRESSION_SERVICE: Final = "streamingtalker_ros/srv/SetExpression"
MAKE_GESTURE_SERVICE: Final = "streamingtalker_ros/srv/MakeGesture"

EXPRESSION_SET: Final = "the emotion blends in"
EXPRESSION_CLEARED: Final = "the face returns to the emotion of the parameter"
GESTURE_BEGINS: Final = "the gesture begins, or waits for the one before"

_EXPRESSION_FIELDS: Final = ("name", "strength", "valence", "arousal", "decay")
_GESTURE_FIELDS: Final = ("name", "amplitude", "count")


class ExpressionInput:
    """Receives the messages of the topics `expression` and `gesture`.

    Args:
        sink: Receives the commands.
        warn: Receives what is wrong with messages; it limits how often a kind is reported.
    """

    def __init__(self, sink: CommandSink, warn: WarningCallback) -> None:
        self._sink = sink
        self._warn = warn

    def on_expression(self, message: Any, type_name: str, received: int) -> None:
        """Process a message; it is dropped with one warning if it holds no emotion.

        Args:
            message: Of `type_name`.
            type_name: `EXPRESSION_TYPE` or `HRI_EXPRESSION_TYPE`.
            received: ns, when it was received on the clock of the stamps; it stands in for a stamp that was
                not set.
        """
        try:
            command = to_express(message, type_name)
        except TalkerError as error:
            self._warn(EXPRESSION_TOPIC, f"a message on {EXPRESSION_TOPIC} is ignored: {error}")
        else:
            self._sink.command(command, stamp_to_ns(message.header.stamp) or received)

    def on_gesture(self, message: Any, received: int) -> None:
        """Process a message; it is dropped with one warning if it holds no gesture.

        Args:
            message: Of `GESTURE_TYPE`.
            received: ns, as of `on_expression`.
        """
        try:
            command = to_gesture(message)
        except TalkerError as error:
            self._warn(GESTURE_TOPIC, f"a message on {GESTURE_TOPIC} is ignored: {error}")
        else:
            self._sink.command(command, stamp_to_ns(message.header.stamp) or received)


def to_express(message: Any, type_name: str = EXPRESSION_TYPE) -> Express:
    """Return the emotion of a message, or of a request of the service.

    Args:
        message: Expression of this package or of hri_msgs, or a request of SetExpression.
        type_name: `HRI_EXPRESSION_TYPE` for that of hri_msgs.

    Raises:
        TalkerError: If a field is invalid; the text says which.
    """
    valence, arousal = (_number(value) for value in (message.valence, message.arousal))
    if type_name == HRI_EXPRESSION_TYPE:
        name, decay = message.expression, None
        strength = _number(message.confidence) or 1.0  # 0 is what a sender without confidences leaves
    else:
        name, strength = message.name, float(message.strength)
        decay = _number(message.decay)
    if not valence and not arousal:
        valence = arousal = None
    return Express(name, strength, valence, arousal, decay or None)


def to_gesture(message: Any) -> Gesture:
    """Return the gesture of a message, or of a request of the service.

    Args:
        message: Gesture, or a request of MakeGesture.

    Raises:
        TalkerError: If a field is invalid; the text says which.
    """
    return Gesture(message.name, float(message.amplitude) or None, int(message.count) or None)


def expression_message(message: Any, request: Any, stamp: int, frame_id: str) -> Any:
    """Write a request of SetExpression into an Expression message, and return the message.

    Args:
        message: An empty message, which is modified.
        request: None returns to the emotion of the parameter.
        stamp: ns, the present time.
        frame_id: tf frame of the head.

    Raises:
        TalkerError: If a field is invalid; the text says which.
    """
    if request is not None:
        to_express(request)
        for name in _EXPRESSION_FIELDS:
            setattr(message, name, getattr(request, name))
    set_header(message.header, stamp, frame_id)
    return message


def gesture_message(message: Any, request: Any, stamp: int, frame_id: str) -> Any:
    """Write a request of MakeGesture into a Gesture message, and return the message.

    Args:
        message: An empty message, which is modified.
        request: The request.
        stamp: ns, the present time.
        frame_id: tf frame of the head.

    Raises:
        TalkerError: If a field is invalid; the text says which.
    """
    to_gesture(request)
    for name in _GESTURE_FIELDS:
        setattr(message, name, getattr(request, name))
    set_header(message.header, stamp, frame_id)
    return message


def _number(value: Any) -> float | None:
    """Return a field's number; None for NaN, which says that it was not set."""
    number = float(value)
    return None if math.isnan(number) else number
