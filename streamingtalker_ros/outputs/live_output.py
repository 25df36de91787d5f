# SPDX-License-Identifier: Apache-2.0
"""A live output: a thread that sends the face's poses as datagrams, at the receiver's rate.

A receiver that is absent, slow or gone costs datagrams, which are counted, and one message of the log for
each kind of fault; never a frame of the talker.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.outputs.address import OutputAddress, parse_address
from streamingtalker_ros.outputs.livelink import LiveLinkEncoder
from streamingtalker_ros.outputs.osc import OscEncoder
from streamingtalker_ros.outputs.timeline import MAX_PENDING_FRAMES, OutputTimeline, Pose
from streamingtalker_ros.outputs.vmc import VmcEncoder
from streamingtalker_ros.process import LOGGER_NAME, FaultLog, never_raising

DEFAULT_FRAME_RATE: Final = 25.0
_MAX_WAIT_S: Final = 0.25
_RETRY_S: Final = 5.0  # after a host whose name is not known
_MAX_CLOSING_S: Final = 2.0  # longer than a timeline takes to close
_JOIN_MARGIN_S: Final = 0.5
_POLL_S: Final = 0.01  # interval at which `drain` looks
_FAULT_PAUSE_S: Final = 0.1
_MAX_STAMP_NS: Final = 1 << 63
_SEND_BUFFER_BYTES: Final = 1 << 18


class Encoder(Protocol):
    """Encodes poses for one protocol."""

    def encode(self, pose: Pose) -> bytes:
        """Return the datagram of a pose.

        Args:
            pose: The pose, with its number.
        """
        ...


ENCODERS: Final[dict[str, Callable[[OutputAddress], Encoder]]] = {
    "livelink": LiveLinkEncoder,
    "vmc": VmcEncoder,
    "osc": OscEncoder,
}
"""Encoder of each scheme of `address.SCHEMES`."""


class MotionFrame(NamedTuple):
    """A frame to send, where there is no frame of a talker.

    Attributes:
        time: Seconds.
        weights: (52,) in 0..1, in the order of `ARKIT_NAMES`.
        head: (4,) quaternion xyzw.
    """

    time: float
    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]


class LiveOutput:
    """Sends the frames of a talker to one receiver.

    Args:
        address: The receiver.
        frame_rate: Frames per second of the talker.
        warn: Receives one message for each kind of fault, from any thread; default the package's logger.
    """

    def __init__(
        self,
        address: OutputAddress,
        frame_rate: float = DEFAULT_FRAME_RATE,
        warn: Callable[[str], Any] | None = None,
    ) -> None:
        self.address = address
        self._warn = never_raising(warn or logging.getLogger(LOGGER_NAME).warning)
        self._warned: set[str] = set()
        self._faults = FaultLog()
        self._frame_rate = frame_rate
        self._encoder = ENCODERS[address.scheme](address)
        self._queue: deque[tuple[Any, float]] = deque()  # frames with their times of arrival
        self._condition = threading.Condition()
        self._is_closing = self._is_pending = False
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._next_attempt = 0.0
        self._frames = self._sent = self._dropped = self._dropped_frames = self._num_faults = 0

    def open(self) -> None:
        """Start sending; nothing is sent before the first frame."""
        if self._thread is None or not self._thread.is_alive():
            self._is_closing, self._next_attempt = False, 0.0
            self._thread = threading.Thread(target=self._run, name=f"output {self.address}", daemon=True)
            self._thread.start()

    def send(self, frame: Any) -> None:
        """Queue a frame. Never blocks, never raises.

        Args:
            frame: A frame of a blendshape talker: `weights`, `head`, and `stamp` in ns or `time` in s; its
                arrays do not change afterwards. One that cannot be used is dropped, counted, and reported
                once.
        """
        arrival = time.monotonic()
        with self._condition:
            if self._is_closing or len(self._queue) >= MAX_PENDING_FRAMES:
                self._dropped_frames += 1
                return
            self._queue.append((frame, arrival))
            self._condition.notify()

    def drain(self, timeout: float) -> bool:
        """Wait until the poses of all frames have been sent, which takes as long as the frames last.

        Args:
            timeout: s to wait at most.

        Returns:
            Whether all have been sent.
        """
        deadline = time.monotonic() + timeout
        while not self._is_drained and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self._is_drained

    @property
    def _is_drained(self) -> bool:
        with self._condition:
            return self._thread is None or not (self._queue or self._is_pending)

    def close(self) -> None:
        """Send the next half second of frames at most, let the face go to rest and stop sending."""
        self.begin_closing()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_MAX_CLOSING_S + _JOIN_MARGIN_S)  # it may wait for a name server; it ends by itself

    def begin_closing(self) -> None:
        """Begin what `close` does, without waiting for its end."""
        with self._condition:
            self._is_closing = True
            self._condition.notify()

    def statistics(self) -> dict[str, int]:
        """Return the numbers of frames received and dropped, of poses sent and dropped, and of faults.

        A fault is a frame that cannot be used, a failed look-up or transmission, or an error of ours.
        """
        return {
            "frames": self._frames,
            "sent": self._sent,
            "dropped": self._dropped,
            "dropped_frames": self._dropped_frames,
            "faults": self._num_faults,
        }

    def summary(self) -> str:
        """Return the statistics in one line."""
        lost = f", {self._dropped_frames} frames dropped" if self._dropped_frames else ""
        return (
            f"{self.address}: {self._sent} poses sent, {self._dropped} not received, "
            f"{self._num_faults} faults{lost}"
        )

    def _count_fault(self, kind: str, message: str) -> None:
        """Count a fault, and report the first of its kind."""
        self._num_faults += 1
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(message)

    # ------------------------------------------------------------------------------------------------ thread

    def _run(self) -> None:
        now = time.time()
        local = time.localtime(now)
        seconds = local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + now % 1.0
        timeline = OutputTimeline(self.address.rate, self._frame_rate, seconds, time.monotonic())
        deadline: float | None = None  # of closing
        try:
            while deadline is None or not (timeline.is_finished or time.monotonic() >= deadline):
                try:
                    if self._step(timeline) and deadline is None:
                        deadline = time.monotonic() + _MAX_CLOSING_S
                except Exception as fault:  # a bug of ours: the next frame may do
                    self._num_faults += 1
                    self._faults.log(f"the output {self.address} failed", fault)
                    if self._is_closing and deadline is None:
                        deadline = time.monotonic() + _MAX_CLOSING_S
                    time.sleep(_FAULT_PAUSE_S)
        finally:
            self._is_pending = False
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _step(self, timeline: OutputTimeline) -> bool:
        """Wait for the next event and do what is due; return whether the output is closing."""
        frames, is_closing = self._wait(timeline)
        for frame, arrival in frames:
            self._add(timeline, frame, arrival)
        if is_closing:
            timeline.close()
        for pose in timeline.take(time.monotonic()):
            self._send_pose(pose)
        self._is_pending = not timeline.is_drained
        return is_closing

    def _add(self, timeline: OutputTimeline, frame: Any, arrival: float) -> None:
        """Add a frame to the timeline, or drop it."""
        try:
            stamp = getattr(frame, "stamp", None)
            stamp_ns = round(frame.time * NS_PER_S) if stamp is None else int(stamp)
            if abs(stamp_ns) > _MAX_STAMP_NS:
                raise ValueError("its stamp is out of range")
            weights, head = np.array(frame.weights, np.float32), np.array(frame.head, np.float32)
            is_valid = weights.shape == (len(ARKIT_NAMES),) and head.shape == (4,)
            if not is_valid or not np.isfinite(weights).all() or not 0.0 < float(head @ head) < np.inf:
                raise ValueError("its weights or its head are not numbers")
        except Exception as error:
            self._dropped_frames += 1
            self._count_fault(
                "frame",
                f"a frame could not be sent to {self.address} ({type(error).__name__}: "
                f"{shorten(str(error))}): send frames of a blendshape talker, 52 weights and a quaternion",
            )
            return
        self._frames += 1
        self._dropped_frames += not timeline.add(stamp_ns, arrival, weights, head)

    def _wait(self, timeline: OutputTimeline) -> tuple[list[tuple[Any, float]], bool]:
        """Wait until a frame arrives, a pose is due or the output is to close; return the frames."""
        due = timeline.next_due()
        with self._condition:
            if not self._queue and (timeline.is_closed or not self._is_closing):
                timeout = _MAX_WAIT_S if due is None else min(max(0.0, due - time.monotonic()), _MAX_WAIT_S)
                self._condition.wait(timeout)
            frames = list(self._queue)
            self._queue.clear()
            self._is_pending = self._is_pending or bool(frames)
            return frames, self._is_closing

    def _send_pose(self, pose: Pose) -> None:
        try:
            datagram = self._encoder.encode(pose)
        except Exception as fault:  # a bug of ours: the next pose may do
            self._dropped += 1
            self._num_faults += 1
            self._faults.log(f"encoding a pose for {self.address} failed", fault)
            return
        if self._socket is None:
            self._connect()
        if self._socket is None or not self._send_datagram(self._socket, datagram):
            self._dropped += 1
        else:
            self._sent += 1

    def _send_datagram(self, connection: socket.socket, datagram: bytes) -> bool:
        try:
            connection.send(datagram)
            return True
        except ConnectionRefusedError:  # the receiver's system says so about the datagram before
            self._count_fault(
                "refused",
                f"nothing receives at {self.address}: start the receiver, or correct the output's address",
            )
            self._dropped += 1
            self._sent -= 1
            with contextlib.suppress(OSError):
                connection.send(datagram)
                return True
            return False
        except (BlockingIOError, InterruptedError):
            self._count_fault(
                "slow",
                f"the network to {self.address} is slower than the output: lower its rate, as in ?rate=30",
            )
            return False
        except OSError as error:
            self._count_fault(
                f"send {error.errno}",
                f"sending to {self.address} failed ({error.strerror or error}): check the network and the "
                "output's address",
            )
            self._socket = None  # the address may have changed
            connection.close()
            return False

    def _connect(self) -> None:
        if time.monotonic() < self._next_attempt:
            return
        self._next_attempt = time.monotonic() + _RETRY_S
        connection: socket.socket | None = None
        try:
            found = socket.getaddrinfo(self.address.host, self.address.port, type=socket.SOCK_DGRAM)
            # receivers listen on IPv4, while localhost and other names may stand for IPv6 first
            family, kind, protocol, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)
            connection = socket.socket(family, kind, protocol)
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            connection.connect(place)
            self._socket = connection
        except (OSError, UnicodeError) as error:
            if connection is not None:
                connection.close()
            self._count_fault(
                "resolve",
                f"the host of the output {self.address} cannot be reached "
                f"({getattr(error, 'strerror', None) or error}): correct its name; it is tried again every "
                f"{_RETRY_S:g} s",
            )


def open_output(
    url: str, frame_rate: float = DEFAULT_FRAME_RATE, warn: Callable[[str], Any] | None = None
) -> LiveOutput:
    """Open a live output.

    Args:
        url: Address of the receiver, as `address.parse_address` reads it.
        frame_rate: Frames per second of the talker.
        warn: Receives one message for each kind of fault, from any thread; default the package's logger.

    Returns:
        The output, which sends from its first frame on.

    Raises:
        TalkerError: If the address is invalid.
    """
    output = LiveOutput(parse_address(url), frame_rate, warn)
    output.open()
    return output


class Talker(Protocol):
    """What the outputs of a node need of `model.protocol.TalkerProtocol`."""

    @property
    def family(self) -> str:
        """Which frames it generates."""
        ...

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        ...


class OutputGroup:
    """Any number of live outputs that get the same frames.

    Args:
        urls: Their addresses; empty ones are ignored.
        frame_rate: Frames per second of the talker.
        warn: Receives one message for each kind of fault, from any thread; default the package's logger.

    Raises:
        TalkerError: If an address is invalid.
    """

    def __init__(
        self,
        urls: Iterable[str],
        frame_rate: float = DEFAULT_FRAME_RATE,
        warn: Callable[[str], Any] | None = None,
    ) -> None:
        addresses = [parse_address(url) for url in urls if url]
        self.outputs = [LiveOutput(address, frame_rate, warn) for address in addresses]

    @classmethod
    def of_talker(
        cls, urls: Iterable[str], talker: Talker, warn: Callable[[str], Any] | None = None
    ) -> OutputGroup:
        """Return the outputs of a talker.

        Args:
            urls: Their addresses; empty ones are ignored.
            talker: The talker whose frames they get.
            warn: As of the class.

        Raises:
            TalkerError: If an address is invalid, or the talker's frames have no weights.
        """
        group = cls(urls, talker.frame_rate, warn)
        if group.outputs and talker.family != "blendshape":
            raise TalkerError(
                f"a {talker.family} checkpoint has no weights for the output {group.outputs[0].address}: "
                "choose a blendshape checkpoint, or no output"
            )
        return group

    def open(self) -> None:
        """Start sending; nothing is sent before the first frame."""
        for output in self.outputs:
            output.open()

    def send(self, frame: Any) -> None:
        """Queue a frame for each output. Never blocks, never raises.

        Args:
            frame: A frame of a blendshape talker.
        """
        for output in self.outputs:
            output.send(frame)

    def drain(self, timeout: float) -> bool:
        """Wait until the poses of all frames have been sent by all outputs.

        Args:
            timeout: s to wait at most.

        Returns:
            Whether all have been sent.
        """
        deadline = time.monotonic() + timeout
        return all([output.drain(deadline - time.monotonic()) for output in self.outputs])

    def close(self) -> None:
        """Close all outputs at once, as `LiveOutput.close` does."""
        for output in self.outputs:
            output.begin_closing()
        for output in self.outputs:
            output.close()

    def statistics(self) -> list[dict[str, Any]]:
        """Return the address and the statistics of each output."""
        return [{"address": str(output.address), **output.statistics()} for output in self.outputs]

    def summary(self) -> list[str]:
        """Return one line for each output."""
        return [output.summary() for output in self.outputs]
