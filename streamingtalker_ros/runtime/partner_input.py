# SPDX-License-Identifier: Apache-2.0
"""Audio of the conversation partner between its packets and the frames that hear it.

    partner = PartnerInput(parameters, warn)
    partner.push(packet)                         # any thread
    partner.receive()                            # the thread that drives the session
    pcm = partner.window(frame_stamp, 640)       # what a frame hears, or None

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
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime.audio_queue import BoundedAudioQueue
from streamingtalker_ros.runtime.frames import WarningCallback
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.statistics import Statistics

MARGIN_S: Final = 0.08
"""s by which the network may delay a packet more than the audio of the face."""

MAX_PACKET_S: Final = 1.0
"""s of a packet that the delay allows for; a longer one is no microphone's."""

MAX_AHEAD_S: Final = 2.0
"""s by which the stamps of the partner may be ahead of those of the frames."""

CLOCK_CHECK_S: Final = 1.0
"""s of frames for which the partner's stamps have to be late or ahead to count as those of another clock."""

_NS_PER_SAMPLE: Final = NS_PER_S // SAMPLE_RATE


def _do_nothing() -> None: ...


class PartnerInput:
    """Queue of a partner's audio, addressed by stamps; a `messaging.AudioSink`.

    Args:
        parameters: Format of the packets that do not describe theirs, and the seconds that may wait.
        warn: Receives what is wrong with packets.

    Attributes:
        statistics: Counters of the partner's packets.
        on_packet: Called in the sender's thread when a packet has been queued.
    """

    def __init__(self, parameters: TalkerParameters, warn: WarningCallback) -> None:
        self.statistics = Statistics()
        self.on_packet: Callable[[], object] = _do_nothing
        self._default_format = parameters.audio_format
        self._max_seconds = parameters.queue_seconds
        self._warn_user = warn
        self._queue = BoundedAudioQueue(self._max_seconds, self.statistics, self._warn)
        self._aligner = PacketAligner(self._default_format, self.statistics, self._warn)
        self._pieces: deque[tuple[int, npt.NDArray[np.float32]]] = deque()  # ns of the first sample, samples
        self._clock: AudioClock | None = None
        self._position = 0  # samples of the partner's stream so far
        self._longest_packet_s = 0.0
        self._offset = 0  # ns added to the partner's stamps
        self._suspect_samples = 0  # of the frames since whose beginning they have been those of another clock

    # --------------------------------------------------------------------------------------------- any thread

    def push(self, packet: AudioPacket) -> bool:
        """Queue a packet; returns at once.

        Args:
            packet: Its stamp is on the clock of the audio's stamps.

        Returns:
            False if it is rejected: empty, too long, or the queue is full.
        """
        accepted = self._queue.push(packet, packet.format or self._default_format)
        self.on_packet()
        return accepted

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

    def interrupt(self) -> None:
        """Do nothing: a partner who speaks instead of another one interrupts nobody."""

    def report_sender_fault(self, kind: str, message: str) -> None:
        """Report a mistake of the sender.

        Args:
            kind: Kind of the mistake.
            message: For the user.
        """
        self._warn(kind, message)

    def sender_faults(self) -> list[str]:
        """Return nothing: mistakes of the partner's sender are reported once."""
        return []

    def count_other_publisher(self) -> None:
        """Count a message of a publisher that is not followed."""
        self.statistics.other_publishers += 1

    # ------------------------------------------------------------------------------------- the driving thread

    @property
    def first_stamp(self) -> int | None:
        """Stamp in ns of the first sample that no frame has heard; None without audio."""
        return self._pieces[0][0] + self._offset if self._pieces else None

    @property
    def delay_s(self) -> float:
        """Seconds from a sound to the stamp of the frame that hears it."""
        return min(self._longest_packet_s, MAX_PACKET_S) + MARGIN_S

    def receive(self) -> None:
        """Decode and place the packets that have arrived."""
        while self._queue:
            packet, _ = self._queue.pop()
            if isinstance(packet, AudioPacket):
                self._place(packet)
        while self._pieces and self._pieces[-1][0] - self._pieces[0][0] > self._max_seconds * NS_PER_S:
            self._pieces.popleft()

    def window(self, frame_stamp: int, count: int) -> npt.NDArray[np.float32] | None:
        """Return what a frame hears, and drop what was before.

        Args:
            frame_stamp: ns, stamp of the frame.
            count: Samples that a frame lasts.

        Returns:
            (count,) float32 at 16 kHz, silence where no audio is; None where there is none at all.
        """
        if not self._pieces:
            return None
        end = frame_stamp - round(self.delay_s * NS_PER_S)
        self._check_clock(end, count)
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

    def discard(self) -> None:
        """Drop the audio that waits, which no frame will hear."""
        self._pieces.clear()

    def reset(self) -> None:
        """Drop all audio, and forget the sender."""
        while self._queue:
            self._queue.pop()
        self._aligner.forget_sender()
        self._pieces.clear()
        self._clock = None
        self._position = self._offset = self._suspect_samples = 0
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
        self._longest_packet_s = max(self._longest_packet_s, duration)
        for segment in segments:
            if segment.starts_stream or self._clock is None:
                self._position = 0
            self._clock = segment.clock
            if len(segment.pcm):
                self._pieces.append((segment.clock.stamp_of(self._position, SAMPLE_RATE), segment.pcm))
                self._position += len(segment.pcm)

    def _check_clock(self, end: int, count: int) -> None:
        """Follow a partner whose clock is not that of the frames.

        Args:
            end: ns, where the window of a frame ends.
            count: Samples that it lasts.
        """
        stamp, pcm = self._pieces[-1]
        newest = stamp + len(pcm) * _NS_PER_SAMPLE + self._offset - end  # ns ahead of the window
        oldest = self._pieces[0][0] + self._offset - end
        is_late, is_ahead = newest < 0, oldest > MAX_AHEAD_S * NS_PER_S
        self._suspect_samples = self._suspect_samples + count if is_late or is_ahead else 0
        if self._suspect_samples < CLOCK_CHECK_S * SAMPLE_RATE:
            return
        self._warn(
            "clock",
            f"it is {abs(newest) / NS_PER_S:.1f} s too {'early' if is_ahead else 'late'} for its stamps and "
            "is heard as it arrives: let its sender and that of the face's audio use the same clock",
        )
        self._offset += round(MARGIN_S * NS_PER_S) - newest
        self._suspect_samples = 0
