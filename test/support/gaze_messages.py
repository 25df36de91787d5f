# SPDX-License-Identifier: Apache-2.0
"""Messages of the topic gaze_target, for any transport's message classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamingtalker_ros.messaging.header import set_header
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE


def gaze_message(
    message_class: Callable[[str], Any], point: Sequence[float], stamp: int = 0, frame: str = ""
) -> Any:
    """A PointStamped.

    Args:
        message_class: Returns the class of a type.
        point: x, y, z.
        stamp: ns; 0 is a stamp that was never set.
        frame: frame_id.
    """
    message = message_class(GAZE_TYPE)()
    set_header(message.header, stamp, frame)
    message.point.x, message.point.y, message.point.z = (float(value) for value in point)
    return message
