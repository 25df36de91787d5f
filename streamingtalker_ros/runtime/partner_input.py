# SPDX-License-Identifier: Apache-2.0
"""Audio of the conversation partner between its packets and the frames that hear it.

    partner = PartnerInput(parameters.partner_audio_format, warn)
    partner.push(packet)                      # any thread
    partner.receive()                         # the thread that drives the session
    pcm = partner.window(frame_stamp, 640, now)  # what a frame hears, or None

Packets are decoded and placed by their stamps as those of the face's own audio. A frame hears the audio that
ends `delay_s` before its stamp: the longest packet and a margin, so that a packet has arrived whatever the
network does, and a recording that is replayed gives the frames of the live run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import AudioClock
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.audio_queue import BoundedAudioQueue
from streamingtalker_ros.runtime.frames import WarningCallback
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.statistics import Statistics

MARGIN_S: Final = 0.08
"""s by which the network may delay a packet more than the audio of the face."""

MAX_QUEUED_S: Final = 10.0
"""s of audio that wait for their frames at most; the oldest is dropped."""

MAX_SKEW_S: Final = 2.0
"""s between the stamps of the partner and of the frames from which on they are of two clocks."""

_NS_PER_SAMPLE: Final = NS_PER_S // SAMPLE_RATE


class PartnerInput:
    """Queue of a partner's audio, addressed by stamps.

    Args:
        default_format: Layout of the packets that do not describe theirs.
        warn: Receives what is wrong with packets.

    Attributes:
        statistics: Counters of the partner's packets.
    """

    def __init__(self, default_format: AudioFormat, warn: WarningCallback) -> None:
        self.statistics = Statistics()
        self._default_format = default_format
        self._warn_user = warn
        self._queue = BoundedAudioQueue(MAX_QUEUED_S, self.statistics, self._warn)
        self._aligner = PacketAligner(default_format, self.statistics, self._warn)
        self._pieces: deque[tuple[int, npt.NDArray[np.float32]]] = deque()  # ns of the first sample, samples
        self._clock: AudioClock | None = None
        self._position = 0  # samples of the partner's stream so far
        self._longest_packet_s = 0.0
        self._last_arrival = 0.0  # s
        self._offset = 0  # ns added to the partner's stamps

    def push(self, packet: AudioPacket) -> bool:
        """Queue a packet; returns at once, from any thread.

        Args:
            packet: The packet.

        Returns:
            False if it is rejected: empty, too long, or the queue is full.
        """
        return self._queue.push(packet, packet.format or self._default_format)

    def reject(self, kind: str, message: str) -> None:
        """Count and report a message that could not be converted to an AudioPacket.

        Args:
            kind: Kind of the problem.
            message: For the user.
        """
        self._queue.reject(kind, message)

    @property
    def queued_seconds(self) -> float:
        """Duration of the packets that wait."""
        return self._queue.seconds

    @property
    def first_stamp(self) -> int | None:
        """Stamp in ns of the first sample that no frame has heard; None without audio."""
        return self._pieces[0][0] + self._offset if self._pieces else None

    @property
    def delay_s(self) -> float:
        """Seconds from a sound to the stamp of the frame that hears it."""
        return self._longest_packet_s + MARGIN_S

    def receive(self) -> None:
        """Decode and place the packets that have arrived."""
        while self._queue:
            packet, _ = self._queue.pop()
            if isinstance(packet, AudioPacket):
                self._place(packet)
        while self._pieces and self._pieces[-1][0] - self._pieces[0][0] > MAX_QUEUED_S * NS_PER_S:
            self._pieces.popleft()

    def window(self, frame_stamp: int, count: int, now: float) -> npt.NDArray[np.float32] | None:
        """Return what a frame hears, and drop what was before.

        Args:
            frame_stamp: ns, stamp of the frame.
            count: Samples that a frame lasts.
            now: s, the present time on the clock of the packets' arrival.

        Returns:
            (count,) float32 at 16 kHz, silence where no audio is; None where there is none at all.
        """
        if not self._pieces:
            return None
        end = frame_stamp - round(self.delay_s * NS_PER_S)
        if now - self._last_arrival < MAX_SKEW_S:
            self._check_skew(end)
        begin = end - count * _NS_PER_SAMPLE
        samples: npt.NDArray[np.float32] | None = None
        while self._pieces:
            stamp, pcm = self._pieces[0]
            first = (stamp + self._offset - begin + _NS_PER_SAMPLE // 2) // _NS_PER_SAMPLE
            if first >= count:
                break
            start, stop = max(first, 0), min(first + len(pcm), count)
            if stop > start:
                samples = np.zeros(count, np.float32) if samples is None else samples
                samples[start:stop] = pcm[start - first : stop - first]
            if first + len(pcm) > count:
                break  # the rest belongs to later frames
            self._pieces.popleft()
        return samples

    def clear(self) -> None:
        """Discard all audio, and what was found out about the sender."""
        while self._queue:
            self._queue.pop()
        self._aligner.forget_sender()
        self._pieces.clear()
        self._clock = None
        self._position = self._offset = 0
        self._longest_packet_s = 0.0

    def _warn(self, kind: str, message: str) -> None:
        self._warn_user(f"partner_{kind}", f"partner_audio: {message}")

    def _place(self, packet: AudioPacket) -> None:
        try:
            duration = self._aligner.duration(packet)
            segments = self._aligner.align(packet)
        except TalkerError as error:
            self._queue.reject("format", str(error), counted=True)
            return
        self._last_arrival = max(self._last_arrival, packet.arrival)
        self._longest_packet_s = max(self._longest_packet_s, duration)
        for segment in segments:
            if segment.starts_stream or self._clock is None:
                self._position = 0
            self._clock = segment.clock
            if len(segment.pcm):
                self._pieces.append((segment.clock.stamp_of(self._position, SAMPLE_RATE), segment.pcm))
                self._position += len(segment.pcm)

    def _check_skew(self, end: int) -> None:
        """Follow a partner whose clock is not that of the frames.

        Args:
            end: ns, where the window of a frame ends.
        """
        stamp, pcm = self._pieces[-1]
        skew = stamp + len(pcm) * _NS_PER_SAMPLE + self._offset - end
        if abs(skew) > MAX_SKEW_S * NS_PER_S:
            side = "ahead of" if skew > 0 else "behind"
            self._warn(
                "clock",
                f"its stamps are {abs(skew) / NS_PER_S:.1f} s {side} those of the face: it is heard as it "
                "arrives; let both senders use the same clock",
            )
            self._offset -= skew


class PartnerSink:
    """Receives the partner's packets for a session, in place of its own audio; see `messaging.AudioSink`.

    Args:
        push: Queues a packet, such as `TalkerWorker.push_partner`.
        partner: Where rejected messages are counted.
        report: Reports a mistake of the sender.
    """

    def __init__(
        self, push: Callable[[AudioPacket], bool], partner: PartnerInput, report: WarningCallback
    ) -> None:
        self._push, self._partner, self._report = push, partner, report

    @property
    def queued_seconds(self) -> float:
        """Duration of the queued audio."""
        return self._partner.queued_seconds

    def push(self, packet: AudioPacket) -> bool:
        """Queue a packet; return whether it is accepted.

        Args:
            packet: The packet.
        """
        return self._push(packet)

    def reject(self, kind: str, message: str) -> None:
        """Count and report a message that cannot be used.

        Args:
            kind: Kind of the problem.
            message: For the user.
        """
        self._partner.reject(kind, message)

    def interrupt(self) -> None:
        """Do nothing: another partner interrupts nobody."""

    def report_sender_fault(self, kind: str, message: str) -> None:
        """Report a mistake of the sender.

        Args:
            kind: Kind of the mistake.
            message: For the user.
        """
        self._report(f"partner_{kind}", message)

    def sender_faults(self) -> list[str]:
        """Return nothing: mistakes of the partner's sender are reported once."""
        return []

    def count_other_publisher(self) -> None:
        """Count a message of a publisher that is not followed."""
        self._partner.statistics.other_publishers += 1
