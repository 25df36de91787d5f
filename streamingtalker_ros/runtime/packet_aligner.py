# SPDX-License-Identifier: Apache-2.0
"""Packets of audio in, pieces of 16 kHz mono on an unbroken grid of samples out.

Takes `AudioPacket`s of any format; decodes, places each by the audio clock, resamples. Decides what a packet
is (next, after a gap, duplicate, late, the beginning of a new stream) and counts it. Knows no model and no
wall clock.
"""

import copy
from collections import deque
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.audio.clock import MAX_GAP_S, AudioClock
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.audio.resample import Resampler

_RECENT = 64  # stamps kept to tell a duplicate from a straggler


@dataclass
class Piece:
    """Audio on the grid. pcm: (n,) float32 at 16 kHz; clock: gives the stamp of its samples (`stamp_of(index,
    16000)`); first: it begins a new stream, of which it holds sample 0; heard: it came from a packet; retold: its
    format is another than that of the audio before."""

    pcm: np.ndarray
    arrival: float
    clock: AudioClock
    first: bool = False
    heard: bool = True
    retold: bool = False


class PacketAligner:
    """fallback: the AudioFormat of packets without one. statistics: a Statistics to count in."""

    def __init__(self, fallback, statistics) -> None:
        self.fallback = fallback
        self._statistics = statistics
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next packet begins a new one."""
        self._kind = None  # (format, stamped) of the packets so far
        self._clock = None
        self._recent = deque(maxlen=_RECENT)

    def take(self, packet):
        """AudioPacket -> a list of Pieces: none for a packet that is left out, two when a new stream ends an
        old one (whose resampler still held some audio)."""
        format = packet.format or self.fallback
        kind = (format, packet.stamp is not None)
        pieces, retold = [], self._kind is not None and kind != self._kind
        if retold:
            self._statistics.format_changes += 1
            pieces = self._end(packet.arrival)
            self.reset()
        if self._kind is None:
            self._begin(kind)
        samples = self._decoder.sample_count(packet.payload)
        if packet.stamp is not None and (packet.stamp, samples) in self._recent:
            self._statistics.duplicates += 1
            return pieces
        stamp = packet.stamp
        if stamp is None:
            stamp = packet.received - samples * NS_PER_S // format.sample_rate
        if self._rested and stamp - self._end_stamp >= MAX_GAP_S * NS_PER_S:
            # the pause was filled with idle frames; after a long one the voice begins afresh
            self._begin(kind)
        cut = 0
        if self._rested and packet.stamp is not None:
            cut = self._meet(stamp, samples)
            stamp, samples = stamp + cut * NS_PER_S // format.sample_rate, samples - cut
            if cut and not samples:
                self._statistics.late += 1
                return pieces
            self._statistics.overlaps += cut > 0
        known = self._clock.started
        clock = copy.copy(self._clock)  # after a jump the old clock still stamps the frames that are owed
        place = clock.assign(stamp, samples)
        if place.kind == "jump":
            self._statistics.discontinuities += 1
            pieces += self._end(packet.arrival)
            self._begin(kind, clock)
        else:
            self._clock.__dict__.update(clock.__dict__)
        if place.kind == "late":
            self._statistics.late += 1
            return pieces
        self._recent.append((packet.stamp, samples))
        if place.kind == "gap":
            self._statistics.gaps += 1
        if place.kind == "overlap":
            self._statistics.overlaps += 1
        if place.kind != "ok" and place.kind != "overlap":
            self._decoder.reset()
        pcm = self._decode(packet.payload)[place.skip + cut :]
        first = place.kind in ("start", "jump") or not known
        pieces.append(Piece(self._grid(pcm, place.gap), packet.arrival, self._clock, first, retold=retold))
        self._end_stamp = self._clock.stamp_of(self._clock.samples)
        return pieces

    def rest(self):
        """The packets have stopped: the audio that the resampler held, (m,) at 16 kHz; once, until audio
        comes again."""
        if self._kind is None or self._rested:
            return np.zeros(0, np.float32)
        self._rested = True
        tail = self._resampler.finish()
        self._given += len(tail)
        return tail

    def fill(self, samples) -> None:
        """`samples` of silence at 16 kHz were put on the grid after `rest`."""
        if self._kind is None:  # after an interruption the next audio begins anew
            return
        self._given += samples
        self._clock.insert_silence(
            max(0, round(self._given * self._clock.rate / SAMPLE_RATE) - self._clock.samples)
        )

    def _begin(self, kind, clock=None) -> None:
        format, stamped = self._kind = kind
        self._decoder = PcmDecoder(format)
        self._resampler = Resampler(format.sample_rate, SAMPLE_RATE)
        self._clock = clock or AudioClock(format.sample_rate, arrival=not stamped)
        self._given = 0  # samples at 16 kHz on the grid so far
        self._rested = False
        self._end_stamp = 0  # ns, the end of the packets' audio
        self._recent.clear()

    def _meet(self, stamp, samples):
        """Audio returns after our own silence, whose end is known: stretch it up to the audio, or say how
        many of the packet's samples it has replaced already."""
        rate = self._clock.rate
        error = stamp - self._clock.stamp_of(self._clock.samples)
        shift = (abs(error) * rate + NS_PER_S // 2) // NS_PER_S
        if abs(error) >= MAX_GAP_S * NS_PER_S:
            return 0
        if error < 0:
            return min(shift, samples)
        self._clock.insert_silence(shift)
        return 0

    def _end(self, arrival):
        tail = self.rest()
        return [Piece(tail, arrival, self._clock)] if len(tail) else []

    def _decode(self, payload):
        before = self._decoder.nonfinite
        pcm = self._decoder.decode(payload)
        self._statistics.nonfinite += self._decoder.nonfinite - before
        return pcm

    def _grid(self, pcm, gap):
        """The packet's samples with the silence before them, at 16 kHz, after all that was given."""
        if self._rested:  # the resampler has ended; its silence is made at 16 kHz
            self._rested = False
            self._resampler.reset()
            start = self._clock.samples - len(pcm)
            lead = max(0, round(start * SAMPLE_RATE / self._clock.rate) - self._given)
            out = np.concatenate([np.zeros(lead, np.float32), self._resampler.accept(pcm)])
        else:
            out = self._resampler.accept(np.concatenate([np.zeros(gap, np.float32), pcm]) if gap else pcm)
        self._given += len(out)
        return out
