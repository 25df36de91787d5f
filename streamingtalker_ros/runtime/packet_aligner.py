# SPDX-License-Identifier: Apache-2.0
"""Aligns audio packets of any format to an unbroken grid of 16 kHz mono samples.

Decodes each `AudioPacket`, places it by the audio clock and resamples it. Classifies packets (in order, after
a gap, duplicate, late, start of a new stream) and counts them. Where stamps contradict the packets, the count
of samples decides. Independent of models and of the wall clock.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import MAX_GAP_S, STAMP_TOLERANCE_S, AudioClock, Placement
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.runtime.format_correction import MAX_ENCODING_PACKETS, FormatCorrection
from streamingtalker_ros.runtime.frames import WarningCallback
from streamingtalker_ros.runtime.packet_history import Coverage, PacketHistory, is_constant
from streamingtalker_ros.runtime.stamp_monitor import StampFault, StampMonitor
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.runtime.timeline import AudioSegment

_MAX_RECENT_PACKETS: Final = 64  # packets remembered to recognize a duplicate
_MAX_MISSING_S: Final = 0.5  # of audio in a row without stamps, in a stream that has them
_MAX_LONGER_PACKETS: Final = 10  # that audio_info may be late when it announces another format
_MAX_OUTLIER_PACKETS: Final = 5  # packets after which a clock that jumps back was not set on purpose
_MAX_OUTLIER_S: Final = 0.2  # and s of audio
_OUTLIER_TOLERANCE_S: Final = 0.1
_STRAGGLER_S: Final = 0.1  # by which a single packet of a trusted sender must be late to be dropped
_MAX_STRAGGLER_INTERVAL_S: Final = (
    10.0  # of audio: a second late packet within it shows that stamps are wrong
)
_MAX_SILENT_DUPLICATES: Final = 2  # packets in a row of digital silence with one stamp
_MAX_LATE_PACKETS: Final = 2  # packets in a row that may lie where silence was inserted
_GAP_NS: Final = round(MAX_GAP_S * NS_PER_S)
_TOLERANCE_NS: Final = round(STAMP_TOLERANCE_S * NS_PER_S)
_MAX_SHIFT_NS: Final = NS_PER_S // 10  # of the grid, when stamps are used again


@dataclass(frozen=True)
class _PacketKind:
    """What the packets of a stream have in common."""

    format: AudioFormat
    has_stamps: bool
    publisher: str


class _StampAction(Enum):
    USE_STAMP = "the stamp places the packet"
    COUNT = "the count of samples places the packet"
    DROP = "silence has taken the packet's place"
    SHIFT = "the stamps of the grid follow the packet's"
    RESTART = "a new stream begins"


@dataclass
class _Jump:
    """The last jump of the sender's clock."""

    expected_stamp: int  # ns, where the packet that jumped would have been without the jump
    packets: int = 0  # since
    seconds: float = 0.0  # of audio since


def _ignore_fault(kind: str, message: str) -> None: ...


class PacketAligner:
    """Turns packets into `AudioSegment`s.

    Args:
        default_format: Layout of the packets that do not describe theirs.
        statistics: Counts what happened to the packets.
        report: Receives (kind, message) of what is wrong with the sender, for each packet that shows it.
    """

    def __init__(
        self, default_format: AudioFormat, statistics: Statistics, report: WarningCallback = _ignore_fault
    ) -> None:
        self._statistics = statistics
        self._report = report
        self._monitor = StampMonitor(report)
        self._correction = FormatCorrection(default_format, self._monitor)
        self._ignores_rare_stamps = False
        self.reset()

    def reset(self) -> None:
        """Discard the stream: the next packet begins a new one."""
        self._kind: _PacketKind | None = None  # of the packets so far
        self._recent: deque[tuple[int | None, int]] = deque(maxlen=_MAX_RECENT_PACKETS)  # stamp, payload hash
        self._jump: _Jump | None = None
        self._monitor.restart()

    def forget_sender(self) -> None:
        """Discard the stream, and what was found out about the sender."""
        self._correction.clear()
        self._ignores_rare_stamps = False
        self._monitor.reset()
        self.reset()

    def duration(self, packet: AudioPacket) -> float:
        """Return the duration of a packet in s, in its true format."""
        audio_format = self._correction.format(packet)
        return len(packet.payload) / (audio_format.frame_bytes * audio_format.sample_rate)

    def align(self, packet: AudioPacket) -> list[AudioSegment]:
        """Align one packet.

        Args:
            packet: The packet.

        Returns:
            Its segment; none for a packet that is dropped, two if a new stream ends an old one whose
            resampler still holds audio.

        Raises:
            TalkerError: If the format cannot be decoded.
        """
        if self._kind is None or self._packets < MAX_ENCODING_PACKETS:
            self._correction.check_encoding(packet)
        audio_format = self._correction.format(packet)
        kind = self._packet_kind(packet, audio_format)
        previous = self._kind
        segments: list[AudioSegment] = []
        format_changed = False
        if previous is not None and kind != previous:
            format_changed = (kind.format, kind.has_stamps) != (previous.format, previous.has_stamps)
            self._statistics.format_changes += format_changed
            segments = self._flush_segment(packet.arrival)
            self.reset()
            if (kind.format, kind.publisher) != (previous.format, previous.publisher):
                self._monitor.reset()
        if self._kind is None:
            self._begin(kind)
        samples = self._decoder.sample_count(packet.payload)
        digest = hash(packet.payload)
        is_repeated = packet.stamp is not None and (packet.stamp, digest) in self._recent
        if packet.is_repeated or (is_repeated and not self._is_silence_with_shared_stamp(packet)):
            self._statistics.duplicates += 1
            return segments
        self._monitor.observe(
            packet.stamp, packet.arrival, self.duration(packet), packet.received if packet.received else 0
        )
        self._packets += 1
        self._correction.check_rate(packet, audio_format)
        fault = self._correction.fault(packet)
        if fault is not None:
            self._report(*fault)
        stamp, by_count = self._stamp(packet, samples)
        if self._is_flushed and stamp - self._end_stamp >= MAX_GAP_S * NS_PER_S:
            # the pause was filled with idle frames; after a long one the audio begins a new stream
            self._begin(kind)
            if packet.stamp is not None and kind.has_stamps:
                stamp = packet.stamp
        skipped, restarts = 0, False
        if self._is_flushed and kind.has_stamps and not by_count:
            skipped = self._resume_after_idle(stamp, samples)
            stamp, samples = stamp + skipped * NS_PER_S // audio_format.sample_rate, samples - skipped
            if skipped and not samples:
                self._statistics.late += 1
                return segments
            self._statistics.overlaps += skipped > 0
        elif kind.has_stamps and not by_count and self._clock.started:
            action = self._check_stamp(packet, samples)
            if action is _StampAction.DROP:
                self._statistics.late += 1
                return segments
            if action is _StampAction.COUNT:
                stamp, by_count = self._clock.stamp_of(self._clock.samples), True
            elif action is _StampAction.SHIFT:
                self._clock.shift(stamp - self._clock.stamp_of(self._clock.samples))
            restarts = action is _StampAction.RESTART
        was_started = self._clock.started
        by_arrival = by_count and was_started
        self._statistics.ignored_stamps += by_arrival
        clock = copy.copy(self._clock)  # after a discontinuity the old clock still stamps the pending frames
        placement = clock.assign(stamp, samples, by_arrival)
        if restarts and placement.kind != "jump":
            clock.reset()
            clock.assign(stamp, samples)
            placement = Placement("jump")
        if placement.kind == "jump":
            if by_arrival and packet.stamp is not None:  # after a pause the stamp is as good as any
                clock.reset()
                clock.assign(packet.stamp, samples)
            self._statistics.discontinuities += 1
            segments += self._flush_segment(packet.arrival)
            self._begin(kind, clock)
        else:
            self._clock.__dict__.update(clock.__dict__)
        if placement.kind == "late":
            self._statistics.late += 1
            return segments
        self._recent.append((packet.stamp, digest))
        if placement.kind == "gap":
            self._statistics.gaps += 1
        if placement.kind == "overlap":
            self._statistics.overlaps += 1
        if placement.kind not in ("ok", "overlap"):
            self._decoder.reset()
        pcm = self._to_grid(self._decode(packet.payload)[placement.skip + skipped :], placement.gap)
        starts_stream = placement.kind in ("start", "jump") or not was_started
        segments.append(
            AudioSegment(pcm, packet.arrival, self._clock, starts_stream, format_changed=format_changed)
        )
        self._late_packets = self._silent_duplicates = 0
        self._history.append(self._clock.samples, packet.payload)
        self._end_stamp = self._clock.stamp_of(self._clock.samples)
        if not by_arrival or placement.kind in ("gap", "jump"):
            self._reference = packet.arrival, self._end_stamp
        return segments

    def flush(self) -> npt.NDArray[np.float32]:
        """Return the audio that the resampler holds, (n,) at 16 kHz: the packets have stopped.

        A second call returns nothing until audio arrives again.
        """
        if self._kind is None or self._is_flushed:
            return np.zeros(0, np.float32)
        self._is_flushed = True
        self._monitor.name_fault()
        tail = self._resampler.finish()
        self._samples_out += len(tail)
        return tail

    def insert_silence(self, samples: int) -> None:
        """Count `samples` of silence at 16 kHz that were put on the grid after `flush`."""
        if self._kind is None:  # after an interruption the next audio begins a new stream
            return
        self._samples_out += samples
        missing = round(self._samples_out * self._clock.rate / SAMPLE_RATE) - self._clock.samples
        self._clock.insert_silence(max(0, missing))

    def _begin(self, kind: _PacketKind, clock: AudioClock | None = None) -> None:
        self._kind = kind
        audio_format = kind.format
        self._decoder = PcmDecoder(audio_format)
        self._resampler = Resampler(audio_format.sample_rate, SAMPLE_RATE)
        self._clock = clock or AudioClock(audio_format.sample_rate, arrival=not kind.has_stamps)
        self._history = PacketHistory(audio_format)
        self._samples_out = 0  # samples at 16 kHz on the grid so far
        self._is_flushed = False
        self._end_stamp = 0  # ns, the end of the received audio
        self._reference = 0.0, 0  # s and ns: an arrival, and the end of the audio then
        self._missing_seconds = 0.0  # of audio in a row without stamps
        self._stamped_seconds = 0.0  # of audio with stamps
        self._packets = 0
        self._longer_packets = 0  # that seem longer than the steps of their stamps
        self._late_packets = 0  # packets in a row that lay where silence was inserted
        self._silent_duplicates = 0  # packets in a row of digital silence with one stamp
        self._seconds_since_straggler = _MAX_STRAGGLER_INTERVAL_S
        self._recent.clear()

    # --------------------------------------------------------------------------------------------------- kind

    def _packet_kind(self, packet: AudioPacket, audio_format: AudioFormat) -> _PacketKind:
        """Return the kind of a packet; one without a stamp does not end a stream that has stamps."""
        kind = _PacketKind(audio_format, packet.stamp is not None, packet.publisher)
        current = self._kind
        if current is None or (current.format, current.publisher) != (kind.format, kind.publisher):
            self._ignores_rare_stamps = False
            return kind
        seconds = self.duration(packet)
        if kind.has_stamps:
            self._missing_seconds = 0.0
            self._stamped_seconds += seconds
            if self._stamped_seconds > _MAX_MISSING_S:
                self._ignores_rare_stamps = False
            elif self._ignores_rare_stamps and not current.has_stamps:
                return current
            return kind
        if not current.has_stamps:
            self._stamped_seconds = 0.0
            return kind
        self._missing_seconds += seconds
        if not self._is_flushed:
            self._monitor.report_missing()
        if self._missing_seconds <= _MAX_MISSING_S:
            return current
        self._ignores_rare_stamps = self._stamped_seconds <= _MAX_MISSING_S
        return kind

    # ------------------------------------------------------------------------------------------------- stamps

    def _stamp(self, packet: AudioPacket, samples: int) -> tuple[int, bool]:
        """Return the stamp that places a packet, and whether it is derived from the count of samples."""
        assert self._kind is not None
        rate = self._kind.format.sample_rate
        if not self._kind.has_stamps or (packet.stamp is None and not self._clock.started):
            return packet.received - samples * NS_PER_S // rate, False
        if packet.stamp is not None and (self._monitor.fault is None or not self._clock.started):
            return packet.stamp, False
        end = self._clock.stamp_of(self._clock.samples)
        if (
            packet.stamp is not None
            and self._monitor.fault is not StampFault.JUMP
            and packet.stamp - end >= _GAP_NS
            and self._monitor.step > 0
        ):
            return packet.stamp, False  # the next sentence
        reference_arrival, reference_stamp = self._reference
        pause = packet.arrival - reference_arrival - samples / rate
        return max(end, reference_stamp + round(pause * NS_PER_S)), True

    def _check_stamp(self, packet: AudioPacket, samples: int) -> _StampAction:
        """Decide whether the stamp of a packet contradicts the packets before it."""
        assert packet.stamp is not None and self._kind is not None
        seconds = samples / self._kind.format.sample_rate
        self._seconds_since_straggler += seconds
        end = self._clock.stamp_of(self._clock.samples)
        error = packet.stamp - end
        if self._monitor.is_regained and abs(error) >= _TOLERANCE_NS:
            return _StampAction.RESTART if abs(error) >= _MAX_SHIFT_NS else _StampAction.SHIFT
        if abs(error) >= _GAP_NS and (error > 0 or self._monitor.step < 0):
            return self._check_jump(packet.stamp, end, seconds)
        if self._jump is not None:
            self._jump.packets += 1
            self._jump.seconds += seconds
        if error > -_TOLERANCE_NS:
            return _StampAction.USE_STAMP
        shift = (-error * self._clock.rate + NS_PER_S // 2) // NS_PER_S
        coverage = self._history.compare(self._clock.samples - shift, packet.payload, self._clock.samples)
        if coverage is Coverage.EQUAL or (coverage is Coverage.UNKNOWN and self._monitor.is_trusted):
            self._monitor.forget_rate()  # windows that overlap
            return _StampAction.USE_STAMP
        if coverage is Coverage.SILENCE:
            self._late_packets += 1
            if self._late_packets <= _MAX_LATE_PACKETS:
                return _StampAction.DROP
            self._monitor.distrust(error / NS_PER_S, jumps=True)
            return _StampAction.COUNT
        if self._monitor.step_is_as_before and self._longer_packets < _MAX_LONGER_PACKETS:
            self._longer_packets += 1  # another format, which has not been announced yet
            return _StampAction.USE_STAMP
        is_straggler = (
            self._monitor.is_trusted
            and self._monitor.step < 0
            and error <= -_STRAGGLER_S * NS_PER_S
            and self._seconds_since_straggler >= _MAX_STRAGGLER_INTERVAL_S
        )
        if is_straggler:
            self._seconds_since_straggler = 0.0
            return _StampAction.DROP
        self._monitor.distrust(error / NS_PER_S)
        return _StampAction.COUNT

    def _is_silence_with_shared_stamp(self, packet: AudioPacket) -> bool:
        """Return whether a packet that seems to be a duplicate is digital silence with a shared stamp."""
        if not is_constant(packet.payload):
            return False
        self._silent_duplicates += 1
        if self._silent_duplicates > _MAX_SILENT_DUPLICATES:
            self._monitor.distrust(0.0)
        return self._monitor.fault is not None

    def _check_jump(self, stamp: int, end: int, seconds: float) -> _StampAction:
        """Decide whether a jump of the sender's clock was set right again: then it is an error of stamps."""
        last, error = self._jump, (stamp - end) / NS_PER_S
        self._jump = _Jump(end)
        if last is None or last.packets > _MAX_OUTLIER_PACKETS or last.seconds > _MAX_OUTLIER_S:
            return _StampAction.USE_STAMP
        self._monitor.distrust(error, jumps=True)
        returned = abs(stamp - last.expected_stamp) / NS_PER_S
        if returned <= _OUTLIER_TOLERANCE_S + last.seconds + 2 * seconds:
            return _StampAction.USE_STAMP  # a new stream on the right clock
        return _StampAction.COUNT

    def _resume_after_idle(self, stamp: int, samples: int) -> int:
        """Extend the generated silence up to returning audio.

        Returns:
            Samples of the packet that the silence has replaced already.
        """
        rate = self._clock.rate
        error = stamp - self._clock.stamp_of(self._clock.samples)
        shift = (abs(error) * rate + NS_PER_S // 2) // NS_PER_S
        if abs(error) >= MAX_GAP_S * NS_PER_S:
            return 0
        if error < 0:
            return min(shift, samples)
        self._clock.insert_silence(shift)
        return 0

    def _flush_segment(self, arrival: float) -> list[AudioSegment]:
        tail = self.flush()
        return [AudioSegment(tail, arrival, self._clock)] if len(tail) else []

    def _decode(self, payload: bytes) -> npt.NDArray[np.float32]:
        previous_nonfinite = self._decoder.nonfinite
        pcm = self._decoder.decode(payload)
        self._statistics.nonfinite += self._decoder.nonfinite - previous_nonfinite
        return pcm

    def _to_grid(self, pcm: npt.NDArray[np.float32], gap: int) -> npt.NDArray[np.float32]:
        """Resample a packet, with `gap` samples of silence before it, to the next samples of the grid."""
        if self._is_flushed:  # the resampler has ended: its silence is generated at 16 kHz
            self._is_flushed = False
            self._resampler.reset()
            start = self._clock.samples - len(pcm)
            lead = max(0, round(start * SAMPLE_RATE / self._clock.rate) - self._samples_out)
            out = np.concatenate([np.zeros(lead, np.float32), self._resampler.accept(pcm)])
        else:
            out = self._resampler.accept(np.concatenate([np.zeros(gap, np.float32), pcm]) if gap else pcm)
        self._samples_out += len(out)
        return out
