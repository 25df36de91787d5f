# SPDX-License-Identifier: Apache-2.0
"""What the core counts: `Statistics`, and a bounded reservoir of latencies for its percentiles."""

import dataclasses
import random
from dataclasses import dataclass, field


class Reservoir:
    """A uniform sample of everything added, of bounded size (Vitter's algorithm R), for percentiles."""

    def __init__(self, size=2048) -> None:
        self._size, self._seen, self._kept = size, 0, []
        self._random = random.Random(0)

    def add(self, value) -> None:
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(value)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self._kept[place] = value

    def percentile(self, percent):
        """The value under which `percent` of the sample lies (nearest rank); 0.0 when nothing was added."""
        if not self._kept:
            return 0.0
        ordered = sorted(self._kept)
        return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100) - 1))]


@dataclass
class Statistics:
    """Counters since the start. Only the core's worker writes them, except `packets` and `refused`."""

    packets: int = 0  # offered to the core
    rejected: int = 0  # of those, not usable: of unknown encoding, empty, too long, no room
    frames: int = 0  # published frames of audio
    idle_frames: int = 0  # published frames of silence of our own, after the audio
    dropped: int = 0  # frames of audio that were skipped under overload, or failed
    suppressed: int = 0  # frames of a new stream whose time had been published already
    streams: int = 0  # times that frame 0 began
    gaps: int = 0  # holes under 0.5 s, filled with silence
    overlaps: int = 0  # packets whose beginning had been heard already
    late: int = 0  # packets that came when their time had passed as silence
    duplicates: int = 0  # packets that came twice
    discontinuities: int = 0  # holes of 0.5 s and more, and clocks that were set: a new stream each
    format_changes: int = 0  # changes of rate, channels or encoding: a new stream each
    nonfinite: int = 0  # NaN and infinite samples, made silence
    overloads: int = 0  # times that old audio was skipped to catch up
    interrupts: int = 0
    errors: int = 0  # exceptions of the model or of publishing, survived
    model_seconds: float = 0.0  # seconds that the model worked for the frames above
    latency: Reservoir = field(default_factory=Reservoir, repr=False)

    def as_dict(self):
        """Numbers only: the counters, latency percentiles in milliseconds, busy seconds."""
        values = {
            item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "latency"
        }
        values["model_seconds"] = round(self.model_seconds, 4)
        for percent in (50, 99):
            values[f"latency_p{percent}_ms"] = round(1000 * self.latency.percentile(percent), 2)
        return values

    def summary(self) -> str:
        """The counts of frames and the latency, as one line."""
        value = self.as_dict()
        p50, p99 = value["latency_p50_ms"], value["latency_p99_ms"]
        return (
            f"frames of audio {self.frames}, idle {self.idle_frames}, dropped {self.dropped}, "
            f"latency p50 {p50:.1f} ms p99 {p99:.1f} ms "
            "(from the arrival of the last needed sample to publication)"
        )
