# SPDX-License-Identifier: Apache-2.0
"""Bounded queue between the transports' threads and the thread that drives the session."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.runtime.frames import WarningCallback
from streamingtalker_ros.runtime.statistics import Statistics

_DURATION_TOLERANCE_S = 1e-6  # rounding errors of the sum of durations
MAX_BYTES_PER_S = 2 * 1024 * 1024  # of `max_seconds`; 2 channels of float32 at 96 kHz are 0.75 MB/s
MAX_PACKETS_PER_S = 1000  # of `max_seconds`
MAX_COMMANDS = 1000


@dataclass(frozen=True)
class EndOfAudio:
    """Marks the end of the audio in the queue.

    Attributes:
        epoch: Number of the timeline that follows, or None to keep the current one.
        time: s, when the end was announced.
    """

    epoch: int | None
    time: float


class BoundedAudioQueue:
    """Audio packets and commands for the session, with back-pressure: a full queue rejects packets.

    It is bounded in duration, and in proportion to that in bytes and in packets.

    Every method may be called from any thread.

    Args:
        max_seconds: Audio that the queue holds at most.
        statistics: Counts packets and rejected packets.
        warn: Receives the reason of each rejection.
    """

    def __init__(self, max_seconds: float, statistics: Statistics, warn: WarningCallback) -> None:
        self._max_seconds = max_seconds
        self._statistics = statistics
        self._warn = warn
        self._lock = threading.Lock()
        self._items: deque[tuple[AudioPacket | EndOfAudio, float]] = deque()  # with the duration in s
        self._bytes = 0  # of the queued payloads
        self._commands: list[Callable[[], None]] = []
        self.seconds = 0.0
        """Duration of the queued audio."""

    def push(self, packet: AudioPacket, audio_format: AudioFormat) -> bool:
        """Queue a packet.

        Args:
            packet: The packet.
            audio_format: Layout of its payload.

        Returns:
            False if the packet is rejected: empty, longer than the queue, or the queue is full.
        """
        seconds = len(packet.payload) / (audio_format.frame_bytes * audio_format.sample_rate)
        with self._lock:
            self._statistics.packets += 1
            if not len(packet.payload):
                self._reject("empty", "an audio packet without data was dropped: check the sender")
                return False
            if self.seconds + seconds > self._max_seconds + _DURATION_TOLERANCE_S:
                self._reject(
                    "full",
                    f"more than {self._max_seconds:g} s of audio are queued: send it nearer to its time, "
                    "or raise queue_seconds",
                )
                return False
            if (
                self._bytes + len(packet.payload) > self._max_seconds * MAX_BYTES_PER_S
                or len(self._items) >= self._max_seconds * MAX_PACKETS_PER_S
            ):
                self._reject(
                    "memory",
                    f"{self._bytes / 1e6:.0f} MB of audio in {len(self._items)} packets are queued: send it "
                    "nearer to its time, in packets of 10 ms or more, with fewer channels or at a lower rate",
                )
                return False
            self.seconds += seconds
            self._bytes += len(packet.payload)
            self._items.append((packet, seconds))
        return True

    def push_end(self, end: EndOfAudio) -> None:
        """Queue the end of the audio behind the packets."""
        with self._lock:
            self._items.append((end, 0.0))

    def restore_end(self, end: EndOfAudio) -> None:
        """Put an end of audio back that was popped too early."""
        with self._lock:
            self._items.appendleft((end, 0.0))

    def reject(self, kind: str, message: str, counted: bool = False) -> None:
        """Count and report a message that cannot be used.

        Args:
            kind: Kind of the problem.
            message: For the user.
            counted: Whether the packet was pushed before, and is among the counted packets already.
        """
        with self._lock:
            self._statistics.packets += not counted
            self._reject(kind, message)

    def post(self, command: Callable[[], None], drop_audio: bool = False) -> None:
        """Queue a command for the thread that drives the session.

        Args:
            command: Called there.
            drop_audio: Whether to drop the queued audio.
        """
        with self._lock:
            if len(self._commands) >= MAX_COMMANDS:
                self._warn("commands", f"{MAX_COMMANDS} commands wait: further ones are dropped")
                return
            self._commands.append(command)
            if drop_audio:
                self._items.clear()
                self.seconds, self._bytes = 0.0, 0

    def take_commands(self) -> list[Callable[[], None]]:
        """Remove and return the queued commands, oldest first."""
        with self._lock:
            commands, self._commands = self._commands, []
        return commands

    @property
    def has_commands(self) -> bool:
        """Whether a command is queued."""
        return bool(self._commands)

    @property
    def has_packet_next(self) -> bool:
        """Whether the oldest item is a packet."""
        with self._lock:
            return bool(self._items) and isinstance(self._items[0][0], AudioPacket)

    def pop(self) -> tuple[AudioPacket | EndOfAudio | None, float]:
        """Remove the oldest item.

        Returns:
            The item and its duration in seconds, or (None, 0.0) if the queue is empty.
        """
        with self._lock:
            if not self._items:
                return None, 0.0
            item, seconds = self._items.popleft()
            if isinstance(item, AudioPacket):
                self._bytes -= len(item.payload)
            self.seconds = max(0.0, self.seconds - seconds) if self._items else 0.0
            return item, seconds

    def __bool__(self) -> bool:
        return bool(self._items)

    def _reject(self, kind: str, message: str) -> None:
        self._statistics.rejected += 1
        self._warn(kind, message)
