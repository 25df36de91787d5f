# SPDX-License-Identifier: Apache-2.0
"""FaceMotion messages for the tests of nodes that subscribe to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE, as_float_array
from streamingtalker_ros.messaging.header import set_header


def shape_weights(**shapes: float) -> npt.NDArray[np.float32]:
    """Return 52 weights, of which the named ones are set."""
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in shapes.items():
        weights[INDEX[name]] = value
    return weights


def face_motion(
    weights: npt.ArrayLike,
    stamp: int,
    head: Iterable[float] = (0.0, 0.0, 0.0, 1.0),
    names: Iterable[str] = ARKIT_NAMES,
    frame_id: str = "head",
) -> Any:
    """Return a FaceMotion message of `dds.message_types`."""
    message = message_types.message_class(MOTION_TYPE)()
    set_header(message.header, stamp, frame_id)
    message.names, message.weights = list(names), as_float_array(weights)
    message.head.x, message.head.y, message.head.z, message.head.w = (float(value) for value in head)
    return message
