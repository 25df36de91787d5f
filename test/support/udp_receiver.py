# SPDX-License-Identifier: Apache-2.0
"""A receiver of datagrams on the loopback interface, and frames of a synthetic face for the outputs."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE, NS_PER_S
from streamingtalker_ros.runtime.frames import FaceFrame

PERIOD_NS = round(NS_PER_S / FRAME_RATE)


class UdpReceiver:
    """Collects datagrams with their times of arrival until the block ends.

    Args:
        port: Where; 0 for any.
    """

    def __init__(self, port: int = 0) -> None:
        self.datagrams: list[bytes] = []
        self.times: list[float] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def __enter__(self) -> UdpReceiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_closing = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._is_closing:
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue
            self.times.append(time.monotonic())
            self.datagrams.append(data)


def unused_port() -> int:
    """A port of the loopback interface at which nothing receives."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def random_motion(count: int, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights (count, 52) in 0..1 and small rotations of the head (count, 4)."""
    random = np.random.default_rng(seed)
    head = random.normal(size=(count, 4)) * 0.1 + [0.0, 0.0, 0.0, 1.0]
    head /= np.linalg.norm(head, axis=1, keepdims=True)
    return random.uniform(0, 1, (count, 52)).astype(np.float32), head.astype(np.float32)


def to_frame(
    index: int, stamp: int, weights: npt.NDArray[np.float32], head: npt.NDArray[np.float32]
) -> FaceFrame:
    """A frame as a node publishes it."""
    return FaceFrame(
        index=index,
        stamp=stamp,
        idle=False,
        speaking=True,
        arrival=None,
        epoch=0,
        epoch_stamp=0,
        model_seconds=0.0,
        weights=weights,
        head=head,
    )
