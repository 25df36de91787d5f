# SPDX-License-Identifier: Apache-2.0
"""Gaze targets of the rclpy talker: the topic `gaze_target`, points of other frames through tf2.

tf2 is used where it is sourced and only from the first point of another frame on. A lookup never waits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from rclpy.node import Node
from rclpy.time import Time

from streamingtalker_ros.conversation.gaze_geometry import Vector, quaternion_matrix, rotate
from streamingtalker_ros.ros.subscription import AdaptiveSubscription
from streamingtalker_ros.runtime.gaze_input import (
    GAZE_TYPE,
    FrameUnknownError,
    GazeInput,
    TransformPendingError,
)

if TYPE_CHECKING:
    from streamingtalker_ros.runtime.parameters import TalkerParameters
    from streamingtalker_ros.runtime.worker import TalkerWorker

GAZE_DEPTH: Final = 10
TRANSFORM_WAIT_S: Final = 2.0
"""Time in which the first transforms may arrive before a missing one is reported."""


class GazeTopic:
    """Subscription to the gaze targets, which follows the QoS of the publishers.

    Args:
        node: The node.
        parameters: Values of the parameters.
        worker: Receives the commands.
    """

    def __init__(self, node: Node, parameters: TalkerParameters, worker: TalkerWorker) -> None:
        self._node = node
        self._parameters = parameters
        self._worker = worker
        self._transforms = TransformLookup(node)
        self._input = GazeInput(
            worker, worker.warn_once, self._to_face if self._transforms.is_available else None
        )
        self._subscription: AdaptiveSubscription | None = None

    def open(self) -> None:
        """Create the subscription."""
        self._subscription = AdaptiveSubscription(
            self._node,
            self._parameters.gaze_topic,
            [GAZE_TYPE],
            lambda message, type_name: self._on_target(message),
            GAZE_DEPTH,
            on_unsupported=lambda topic, found: self._worker.warn_once(
                "gaze_type", f"{topic} carries {', '.join(found)}: publish {GAZE_TYPE}"
            ),
            on_damaged=lambda text: self._worker.warn_once("gaze_damaged", text),
        )

    def close(self) -> None:
        """Destroy the subscriptions."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._transforms.close()

    def _on_target(self, message: Any) -> None:
        self._input.on_target(message, self._node.get_clock().now().nanoseconds)

    def _to_face(self, point: Vector, frame: str, stamp: int) -> Vector:
        return self._transforms.transform(point, frame, self._parameters.frame_id, stamp)


class TransformLookup:
    """Transforms of tf2, where it is sourced; it listens from the first lookup on.

    Args:
        node: The node, whose executor receives /tf and /tf_static.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tf2: Any = None
        try:
            import tf2_ros
        except ImportError:
            pass
        else:
            self._tf2 = tf2_ros
        self._buffer: Any = None
        self._listener: Any = None
        self._start_time = 0.0

    @property
    def is_available(self) -> bool:
        """Whether tf2 is sourced."""
        return self._tf2 is not None

    def transform(self, point: Vector, frame: str, target_frame: str, stamp: int) -> Vector:
        """Return a point of one frame in another one, at once.

        Args:
            point: Metres.
            frame: Its frame.
            target_frame: The other one.
            stamp: ns, the time of the transform; without one of that time the newest is used.

        Raises:
            FrameUnknownError: If there is no transform.
            TransformPendingError: If the listener has just begun.
        """
        if self._listener is None:
            self._buffer = self._tf2.Buffer(node=self._node)
            self._listener = self._tf2.TransformListener(self._buffer, self._node)
            self._start_time = time.monotonic()
        source, target = frame.lstrip("/"), target_frame.lstrip("/")
        clock_type = self._node.get_clock().clock_type
        reason = ""
        for when in (Time(nanoseconds=stamp, clock_type=clock_type), Time(clock_type=clock_type)):
            try:
                found = self._buffer.lookup_transform(target, source, when).transform
            except Exception as error:  # of tf2, which has several, and of its conversion of names
                reason = str(error)
                continue
            q, t = found.rotation, found.translation
            x, y, z = rotate(quaternion_matrix((q.x, q.y, q.z, q.w)), point)
            return x + t.x, y + t.y, z + t.z
        if time.monotonic() - self._start_time < TRANSFORM_WAIT_S:
            raise TransformPendingError(reason)
        raise FrameUnknownError(reason)

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.unregister()
            self._buffer = self._listener = None
