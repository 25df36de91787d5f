# SPDX-License-Identifier: Apache-2.0
"""The bounded queue between the transports' threads and the worker: counts what comes, refuses what cannot be
kept."""

import threading
from collections import deque


class BoundedAudioQueue:
    """limit: seconds of audio that may wait; statistics: a Statistics to count in; complain: called with
    (kind, sentence) for what is refused. Every method may be called from any thread."""

    def __init__(self, limit, statistics, complain) -> None:
        self._limit, self._statistics, self._complain = limit, statistics, complain
        self._lock = threading.Lock()
        self._packets = deque()  # (AudioPacket, its seconds)
        self._requests = []
        self.seconds = 0.0  # of audio that wait

    def push(self, packet, format):
        """Queue an AudioPacket of an AudioFormat. Returns False when it is refused: empty, too long, or no
        room."""
        seconds = len(packet.payload) / (format.frame_bytes * format.sample_rate)
        with self._lock:
            self._statistics.packets += 1
            if not len(packet.payload):
                return self._refuse("empty", "a packet of audio without data was left out: check the sender")
            if self.seconds + seconds > self._limit + 1e-6:
                return self._refuse(
                    "full",
                    f"more than {self._limit:g} s of audio are waiting: send it "
                    "nearer to its time, or raise queue_seconds",
                )
            self.seconds += seconds
            self._packets.append((packet, seconds))
        return True

    def reject(self, kind, sentence, counted=False) -> None:
        """Count a message that is not usable; counted: it was pushed, and has been counted as a packet
        then."""
        with self._lock:
            self._statistics.packets += not counted
            self._refuse(kind, sentence)

    def request(self, action, drop=False) -> None:
        """Leave a callable for the worker; drop: and forget the audio that waits."""
        with self._lock:
            self._requests.append(action)
            if drop:
                self._packets.clear()
                self.seconds = 0.0

    def requests(self):
        """Take the callables left."""
        with self._lock:
            requests, self._requests = self._requests, []
        return requests

    @property
    def asked(self):
        """Whether a request waits."""
        return bool(self._requests)

    def pop(self):
        """Take the oldest packet -> (AudioPacket, its seconds), or (None, 0.0)."""
        with self._lock:
            if not self._packets:
                return None, 0.0
            packet, seconds = self._packets.popleft()
            self.seconds = max(0.0, self.seconds - seconds) if self._packets else 0.0
            return packet, seconds

    def __bool__(self) -> bool:
        return bool(self._packets)

    def _refuse(self, kind, sentence) -> bool:
        self._statistics.rejected += 1
        self._complain(kind, sentence)
        return False
