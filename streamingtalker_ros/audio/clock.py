# SPDX-License-Identifier: Apache-2.0
"""The audio clock: packet stamps to sample time.

Takes each packet's stamp (integer nanoseconds, the time of its first sample) and its number of samples; says
how the packet lies on the stream's unbroken grid of samples, and which stamp any sample has. Hears nothing.

The rules. A packet is expected where the last one ended; `error` = its stamp minus that time.
  start    the first packet: its stamp is the time of sample 0
  ok       |error| < tolerance: jitter. The grid follows errors over 1 ms slowly, so that the drift between
           two clocks is tracked and a single late stamp does nothing
  gap      error ≥ tolerance, under 0.5 s: `gap` samples are missing; put as many of silence before the packet
  overlap  error ≤ -tolerance: the first `skip` samples have been heard; leave them out
  late     the whole packet has been heard, or silence has taken its place: a duplicate or a straggler;
           leave all of it out
  jump     |error| ≥ 0.5 s: another time; the packet's stamp is sample 0 of a new stream
"""

from dataclasses import dataclass

from streamingtalker_ros.audio.constants import NS_PER_S

TOLERANCE = 0.015  # s; under one lost packet of 20 ms, the usual size; over software jitter
ARRIVAL_TOLERANCE = 0.2  # s; for times of arrival, which wait for the network and for the scheduler
LONGEST_GAP = 0.5  # s
_STEADY = NS_PER_S // 1000  # errors up to here are rounding: the grid stays exact
_FOLLOW = 5.0  # s; time constant of following drift: 15 ms of error move the grid by 0.3 % at most


@dataclass(frozen=True)
class Placement:
    """Where a packet lies: kind, samples of silence to put before it, samples to leave out at its front."""

    kind: str
    gap: int = 0
    skip: int = 0


class AudioClock:
    """The clock of one stream of packets.

    rate: samples per second of the packets. tolerance: seconds of stamp error that are jitter.
    arrival: stamps are times of arrival (messages without a header), which say nothing about the past: such
    packets never overlap and never jump back, so that a voice sent faster than real time is heard whole.

    Use, for each packet:
        place = clock.place(stamp_ns, decoder.count(data))
        if place.kind not in ("ok", "overlap"): decoder.reset()         # what its tail waits for is lost
        if place.kind in ("start", "jump"): resampler.reset() and open a new stream
        pcm = concatenate([zeros(place.gap), decoder.decode(data)[place.skip:]])  # the grid is unbroken
        stream.accept(resampler.accept(pcm))
    and for frame n of a stream with hop 640 at 16 kHz: stamp = clock.stamp_of(n * 640, 16000).
    """

    def __init__(self, rate, tolerance=None, arrival=False) -> None:
        self.rate = int(rate)
        self.arrival = arrival
        usual = ARRIVAL_TOLERANCE if arrival else TOLERANCE
        self._tolerance = _ns(usual if tolerance is None else tolerance)
        self._longest = _ns(LONGEST_GAP)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: the next packet is a start."""
        self.samples = 0  # samples on the grid since the start, silence included
        self._origin = None  # ns, time of sample 0 as known now

    @property
    def started(self):
        return self._origin is not None

    def place(self, stamp_ns, n_samples):
        """stamp_ns: int, time of the packet's first sample; n_samples: int. Moves on; returns a Placement."""
        if self._origin is None:
            return self._begin("start", stamp_ns, n_samples)
        error = stamp_ns - self.stamp_of(self.samples)
        if self.arrival and error <= -self._tolerance:
            error = 0  # ahead of real time: new audio all the same
        if abs(error) >= self._longest:
            return self._begin("jump", stamp_ns, n_samples)
        if abs(error) < self._tolerance:
            if abs(error) > _STEADY:
                self._origin += int(error * min(1.0, n_samples / (self.rate * _FOLLOW)))
            self.samples += n_samples
            return Placement("ok")
        shift = (abs(error) * self.rate + NS_PER_S // 2) // NS_PER_S
        if error > 0:
            self.samples += shift + n_samples
            return Placement("gap", gap=shift)
        if shift >= n_samples:
            return Placement("late", skip=n_samples)
        self.samples += n_samples - shift
        return Placement("overlap", skip=shift)

    def fill(self, n_samples) -> None:
        """The caller put n_samples of silence on the grid by itself, because no packet came."""
        self.samples += n_samples

    def stamp_of(self, index, rate=None):
        """Time in integer ns of sample `index`, counted from the start at `rate` (default: the packets' own).

        Exact to the nanosecond for any length of stream. Raises RuntimeError before the first packet.
        """
        if self._origin is None:
            raise RuntimeError("the audio clock has no packet yet, so no sample has a time")
        rate = self.rate if rate is None else rate
        return self._origin + (index * NS_PER_S + rate // 2) // rate

    def _begin(self, kind, stamp_ns, n_samples):
        self._origin = int(stamp_ns)
        self.samples = n_samples
        return Placement(kind)


def _ns(seconds):
    return int(round(seconds * NS_PER_S))
