# SPDX-License-Identifier: Apache-2.0
"""Records FaceMotion messages from a ROS domain, for the demo and for tests."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.dds.node import DdsNode, matched_writers
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from streamingtalker_ros.messaging.header import stamp_to_ns

_POLL_S = 0.02
MAX_FRAMES = 500_000
"""Messages that are recorded at most: more than five hours at 25 frames per second."""


@dataclass(frozen=True)
class RecordedFrame:
    """One FaceMotion message.

    Attributes:
        arrival: Seconds of `time.monotonic`.
        stamp: ns.
        frame: Index in the stream.
        frame_id: frame_id of the header.
        names: Names of the blendshapes.
        weights: (n,) float32, one for each name.
        head: (4,) float32 quaternion xyzw.
        speaking: Voice activity.
    """

    arrival: float
    stamp: int
    frame: int
    frame_id: str
    names: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    speaking: bool


class FaceMotionRecorder:
    """Collects the messages of a FaceMotion topic until `close`; a context manager.

    Args:
        domain: ROS domain, None for that of ROS_DOMAIN_ID.
        topic: Topic to record.
        namespace: Namespace of the node.
        name: Name of the node.
    """

    def __init__(
        self,
        domain: int | None = None,
        topic: str = "face_motion",
        namespace: str = "",
        name: str = "face_motion_recorder",
    ) -> None:
        self.frames: list[RecordedFrame] = []
        self._condition = threading.Condition()
        self._dds_node = DdsNode(name, namespace, domain)
        self._subscription: Any = self._dds_node.create_subscription(
            topic, MOTION_TYPE, self._on_motion, self._dds_node.qos(depth=1000)
        )
        self._dds_node.start()

    def wait(self, count: int, timeout: float) -> bool:
        """Wait until `count` frames have arrived, for at most `timeout` seconds; return whether they have."""
        with self._condition:
            return self._condition.wait_for(lambda: len(self.frames) >= count, timeout)

    def wait_for_publisher(self, timeout: float) -> bool:
        """Wait until a talker is connected, for at most `timeout` seconds; return whether one is."""
        deadline = time.monotonic() + timeout
        while not matched_writers(self._subscription.reader):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def close(self) -> None:
        """Leave the graph."""
        self._subscription = None
        self._dds_node.close()

    def __enter__(self) -> FaceMotionRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _on_motion(self, message: Any) -> None:
        head = message.head
        frame = RecordedFrame(
            time.monotonic(),
            stamp_to_ns(message.header.stamp),
            message.frame,
            message.header.frame_id,
            tuple(message.names),
            np.array(message.weights, np.float32),
            np.array([head.x, head.y, head.z, head.w], np.float32),
            message.speaking,
        )
        with self._condition:
            if len(self.frames) < MAX_FRAMES:
                self.frames.append(frame)
            self._condition.notify_all()
