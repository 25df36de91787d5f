# SPDX-License-Identifier: Apache-2.0
"""Audio clock: maps packet stamps to positions on one unbroken grid of samples, and back.

A packet is expected where the previous one ended; `error` is its stamp minus that time. The rules:

  start    the first packet: its stamp is the time of sample 0
  ok       |error| < tolerance: jitter. The grid follows errors over 1 ms slowly, so that the drift between
           two clocks is tracked and a single late stamp has no effect
  gap      error ≥ tolerance, under 0.5 s: `gap` samples are missing; insert as much silence before the packet
  overlap  error ≤ -tolerance: the first `skip` samples were received before; drop them
  late     all of the packet was received before, or silence was inserted in its place: drop it
  jump     |error| ≥ 0.5 s: a discontinuity; the packet's stamp is sample 0 of a new stream
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from streamingtalker_ros.audio.constants import NS_PER_S

STAMP_TOLERANCE_S: Final = (
    0.015  # less than one lost packet of 20 ms, more than the jitter of software stamps
)
ARRIVAL_TOLERANCE_S: Final = (
    0.2  # for times of arrival, which include delays of the network and the scheduler
)
MAX_GAP_S: Final = 0.5
DRIFT_TIME_CONSTANT_S: Final = 5.0  # 15 ms of error move the grid by 0.3 % at most
_ROUNDING_NS: Final = NS_PER_S // 1000  # errors up to this are rounding: the grid stays exact


@dataclass(frozen=True)
class Placement:
    """Where a packet lies on the grid.

    Attributes:
        kind: the rule that applies; see the module.
        gap: samples of silence to insert before the packet.
        skip: samples to drop from its start.
    """

    kind: Literal["start", "ok", "gap", "overlap", "late", "jump"]
    gap: int = 0
    skip: int = 0


class AudioClock:
    """The clock of one stream of packets.

    For each packet:

        placement = clock.assign(stamp_ns, decoder.sample_count(payload))
        if placement.kind not in ("ok", "overlap"): decoder.reset()     # the rest of the last packet is lost
        if placement.kind in ("start", "jump"): resampler.reset() and open a new stream
        pcm = concatenate([zeros(placement.gap), decoder.decode(payload)[placement.skip:]])
        stream.accept(resampler.accept(pcm))

    and the stamp of frame n of a stream with hop 640 at 16 kHz is clock.stamp_of(n * 640, 16000).

    Args:
        rate: samples per second of the packets.
        tolerance: stamp error in seconds that counts as jitter; default STAMP_TOLERANCE_S or
            ARRIVAL_TOLERANCE_S.
        arrival: stamps are times of arrival (messages without a header), which carry no information about the
            past: such packets never overlap and never jump back, so that audio sent faster than real time is
            kept complete.

    Attributes:
        rate: samples per second of the packets.
        arrival: whether stamps are times of arrival.
        samples: samples on the grid since the start, silence included.
    """

    def __init__(self, rate: float, tolerance: float | None = None, arrival: bool = False) -> None:
        self.rate = int(rate)
        self.arrival = arrival
        default = ARRIVAL_TOLERANCE_S if arrival else STAMP_TOLERANCE_S
        self._tolerance_ns = _to_ns(default if tolerance is None else tolerance)
        self._max_gap_ns = _to_ns(MAX_GAP_S)
        self.reset()

    def reset(self) -> None:
        """Start over: the next packet is a start."""
        self.samples = 0
        self._origin: int | None = None  # ns, current estimate of the time of sample 0

    @property
    def started(self) -> bool:
        """Whether a packet was assigned since the last reset."""
        return self._origin is not None

    def assign(self, stamp_ns: int, sample_count: int, by_arrival: bool = False) -> Placement:
        """Assign the next packet its place on the grid.

        Args:
            stamp_ns: time of the packet's first sample.
            sample_count: its length.
            by_arrival: whether `stamp_ns` is derived from the time of arrival, in a stream that has stamps.
        """
        if self._origin is None:
            return self._start("start", stamp_ns, sample_count)
        error = stamp_ns - self.stamp_of(self.samples)
        tolerance_ns = self._tolerance_ns if not by_arrival else _to_ns(ARRIVAL_TOLERANCE_S)
        if (self.arrival or by_arrival) and error <= -tolerance_ns:
            error = 0  # faster than real time, but new audio all the same
        if abs(error) >= self._max_gap_ns:
            return self._start("jump", stamp_ns, sample_count)
        if abs(error) < tolerance_ns:
            if abs(error) > _ROUNDING_NS:
                self._origin += int(error * min(1.0, sample_count / (self.rate * DRIFT_TIME_CONSTANT_S)))
            self.samples += sample_count
            return Placement("ok")
        shift = (abs(error) * self.rate + NS_PER_S // 2) // NS_PER_S
        if error > 0:
            self.samples += shift + sample_count
            return Placement("gap", gap=shift)
        if shift >= sample_count:
            return Placement("late", skip=sample_count)
        self.samples += sample_count - shift
        return Placement("overlap", skip=shift)

    def insert_silence(self, sample_count: int) -> None:
        """Advance the grid by silence that the caller inserted because no packet arrived.

        Args:
            sample_count: Length of the silence in samples at `rate`, at least 0.
        """
        self.samples += sample_count

    def shift(self, offset_ns: int) -> None:
        """Move the times of all samples.

        Args:
            offset_ns: ns, positive for later times.
        """
        if self._origin is not None:
            self._origin += offset_ns

    def stamp_of(self, index: int, rate: int | None = None) -> int:
        """Return the time of a sample in ns, exact to the nanosecond for any length of stream.

        Args:
            index: sample index, counted from the start of the stream.
            rate: samples per second that `index` counts, default the packets' own.

        Raises:
            RuntimeError: before the first packet.
        """
        if self._origin is None:
            raise RuntimeError("the audio clock has no packet yet, so no sample has a time")
        rate = self.rate if rate is None else rate
        return self._origin + (index * NS_PER_S + rate // 2) // rate

    def _start(self, kind: Literal["start", "jump"], stamp_ns: int, sample_count: int) -> Placement:
        self._origin = int(stamp_ns)
        self.samples = sample_count
        return Placement(kind)


def _to_ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
