# SPDX-License-Identifier: Apache-2.0
"""Aligns audio packets of any format to an unbroken grid of 16 kHz mono samples.

Decodes each `AudioPacket`, places it by the audio clock and resamples it. Classifies packets (in order, after
a gap, duplicate, late, start of a new stream) and counts them. Independent of models and of the wall clock.
"""

from __future__ import annotations

import copy
from collections import deque
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import MAX_GAP_S, AudioClock
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.runtime.timeline import AudioSegment

_MAX_RECENT_PACKETS = 64  # packets remembered to distinguish a duplicate from a late packet

_PacketKind: TypeAlias = tuple[AudioFormat, bool]  # format, and whether packets carry stamps


class PacketAligner:
    """Turns packets into `AudioSegment`s.

    Args:
        default_format: Layout of the packets that do not describe theirs.
        statistics: Counts what happened to the packets.
    """

    def __init__(self, default_format: AudioFormat, statistics: Statistics) -> None:
        self.default_format = default_format
        self._statistics = statistics
        self.reset()

    def reset(self) -> None:
        """Discard the stream: the next packet begins a new one."""
        self._kind: _PacketKind | None = None  # of the packets so far
        self._recent: deque[tuple[int | None, int]] = deque(maxlen=_MAX_RECENT_PACKETS)  # stamp, samples

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
        audio_format = packet.format or self.default_format
        kind = (audio_format, packet.stamp is not None)
        segments: list[AudioSegment] = []
        format_changed = self._kind is not None and kind != self._kind
        if format_changed:
            self._statistics.format_changes += 1
            segments = self._flush_segment(packet.arrival)
            self.reset()
        if self._kind is None:
            self._begin(kind)
        samples = self._decoder.sample_count(packet.payload)
        if packet.stamp is not None and (packet.stamp, samples) in self._recent:
            self._statistics.duplicates += 1
            return segments
        stamp = packet.stamp
        if stamp is None:
            stamp = packet.received - samples * NS_PER_S // audio_format.sample_rate
        if self._is_flushed and stamp - self._end_stamp >= MAX_GAP_S * NS_PER_S:
            # the pause was filled with idle frames; after a long one the audio begins a new stream
            self._begin(kind)
        skipped = 0
        if self._is_flushed and packet.stamp is not None:
            skipped = self._resume_after_idle(stamp, samples)
            stamp, samples = stamp + skipped * NS_PER_S // audio_format.sample_rate, samples - skipped
            if skipped and not samples:
                self._statistics.late += 1
                return segments
            self._statistics.overlaps += skipped > 0
        was_started = self._clock.started
        clock = copy.copy(self._clock)  # after a discontinuity the old clock still stamps the pending frames
        placement = clock.assign(stamp, samples)
        if placement.kind == "jump":
            self._statistics.discontinuities += 1
            segments += self._flush_segment(packet.arrival)
            self._begin(kind, clock)
        else:
            self._clock.__dict__.update(clock.__dict__)
        if placement.kind == "late":
            self._statistics.late += 1
            return segments
        self._recent.append((packet.stamp, samples))
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
        self._end_stamp = self._clock.stamp_of(self._clock.samples)
        return segments

    def flush(self) -> npt.NDArray[np.float32]:
        """Return the audio that the resampler holds, (n,) at 16 kHz: the packets have stopped.

        A second call returns nothing until audio arrives again.
        """
        if self._kind is None or self._is_flushed:
            return np.zeros(0, np.float32)
        self._is_flushed = True
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
        audio_format, stamped = kind
        self._decoder = PcmDecoder(audio_format)
        self._resampler = Resampler(audio_format.sample_rate, SAMPLE_RATE)
        self._clock = clock or AudioClock(audio_format.sample_rate, arrival=not stamped)
        self._samples_out = 0  # samples at 16 kHz on the grid so far
        self._is_flushed = False
        self._end_stamp = 0  # ns, the end of the received audio
        self._recent.clear()

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
