# SPDX-License-Identifier: Apache-2.0
"""Records FaceMotion messages from a ROS domain: for the demo, for tests, for a look at what a node sends."""

import threading
import time
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.dds.node import Wire, writers
from streamingtalker_ros.messaging.header import stamp_to_ns


@dataclass(frozen=True)
class Recorded:
    """One FaceMotion. arrival: seconds of time.monotonic(); stamp: ns; weights: (n,) float32; head: (4,)
    xyzw."""

    arrival: float
    stamp: int
    frame: int
    frame_id: str
    names: tuple
    weights: np.ndarray
    head: np.ndarray
    speaking: bool


class FaceMotionRecorder:
    """Collects in `frames` (a list of Recorded) what is published on `topic` until `close`. A context
    manager."""

    def __init__(self, domain=None, topic="face_motion", namespace="", name="face_motion_recorder") -> None:
        self.frames = []
        self._came = threading.Condition()
        self._wire = Wire(name, namespace, domain)
        self._reader = self._wire.subscribe(
            topic, "streamingtalker_ros/msg/FaceMotion", self._on_motion, self._wire.qos(depth=1000)
        )[2]
        self._wire.start()

    def wait(self, count, timeout):
        """Wait until `count` frames are there. Returns whether they are, after at most `timeout` seconds."""
        with self._came:
            return self._came.wait_for(lambda: len(self.frames) >= count, timeout)

    def wait_for_publisher(self, timeout) -> bool:
        """Wait until a talker is connected. Returns whether one is, after at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not writers(self._reader):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def close(self) -> None:
        self._reader = None
        self._wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _on_motion(self, message) -> None:
        head = message.head
        recorded = Recorded(
            time.monotonic(),
            stamp_to_ns(message.header.stamp),
            message.frame,
            message.header.frame_id,
            tuple(message.names),
            np.array(message.weights, np.float32),
            np.array([head.x, head.y, head.z, head.w], np.float32),
            message.speaking,
        )
        with self._came:
            self.frames.append(recorded)
            self._came.notify_all()
