# SPDX-License-Identifier: Apache-2.0
"""The last bytes of a stream with their places, to tell audio that is sent again from new audio."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import Final

from streamingtalker_ros.audio.clock import MAX_GAP_S, STAMP_TOLERANCE_S
from streamingtalker_ros.audio.packet import AudioFormat

_MAX_SECONDS: Final = MAX_GAP_S + 0.1
_MAX_COMPARED_SAMPLES: Final = 64


class Coverage(Enum):
    """What lies where the beginning of a packet would be placed."""

    EQUAL = "the same audio"
    DIFFERENT = "other audio"
    SILENCE = "no received audio"
    UNKNOWN = "silence that was received, in both"


def is_constant(payload: bytes) -> bool:
    """Return whether all bytes are equal, as in digital silence.

    Args:
        payload: The bytes of a packet.
    """
    return payload == payload[:1] * len(payload)


class PacketHistory:
    """Remembers the latest packets of a stream.

    Args:
        audio_format: Layout of the payloads.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._frame_bytes = audio_format.frame_bytes
        self._max_samples = round(_MAX_SECONDS * audio_format.sample_rate)
        self._tolerance = round(STAMP_TOLERANCE_S * audio_format.sample_rate)
        self._packets: deque[tuple[int, int, bytes]] = deque()  # first sample, end, bytes

    def append(self, end: int, payload: bytes) -> None:
        """Remember a packet.

        Args:
            end: Sample of the stream at which it ends.
            payload: Its bytes.
        """
        payload = payload[-self._max_samples * self._frame_bytes :]
        self._packets.append((end - len(payload) // self._frame_bytes, end, payload))
        while self._packets[0][1] < end - self._max_samples:
            self._packets.popleft()

    def compare(self, start: int, payload: bytes, end: int) -> Coverage:
        """Compare a packet with what was received where it would be placed.

        Args:
            start: Sample of the stream at which the packet would begin.
            payload: Its bytes.
            end: Sample at which the stream ends.

        Returns:
            The comparison of the first samples of the packet that lie on received audio.
        """
        stop = min(end, start + len(payload) // self._frame_bytes)
        if self._packets and stop <= self._packets[0][0]:
            return Coverage.DIFFERENT  # too old to be remembered
        for first, last, _ in self._packets:
            begin = max(first, start)
            if begin >= min(last, stop):
                continue
            head = payload[(begin - start) * self._frame_bytes :]
            count = min(stop - begin, last - begin, _MAX_COMPARED_SAMPLES)
            head = head[: count * self._frame_bytes]
            # the grid may differ from the stamps by the tolerance
            near = self._bytes_between(begin - self._tolerance, begin + count + self._tolerance)
            if head not in near:
                return Coverage.DIFFERENT
            return Coverage.UNKNOWN if is_constant(head) else Coverage.EQUAL
        return Coverage.SILENCE

    def _bytes_between(self, start: int, stop: int) -> bytes:
        """Return the received bytes within a range of samples; what was not received is left out."""
        parts = [
            data[max(0, start - first) * self._frame_bytes : max(0, stop - first) * self._frame_bytes]
            for first, last, data in self._packets
            if first < stop and last > start
        ]
        return b"".join(parts)
