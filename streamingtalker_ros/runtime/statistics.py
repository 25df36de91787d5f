# SPDX-License-Identifier: Apache-2.0
"""Counters of a session, and a bounded sample of its latencies for percentiles."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field


class Reservoir:
    """Uniform sample, of bounded size, of all values added (Vitter's algorithm R), for percentiles.

    Args:
        size: Values retained at most.
    """

    def __init__(self, size: int = 2048) -> None:
        self._size = size
        self._count = 0
        self._values: list[float] = []
        self._random = random.Random(0)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Add a value; beyond the size it replaces a random one, or is dropped."""
        self._count += 1
        if len(self._values) < self._size:
            self._values.append(value)
        elif (index := self._random.randrange(self._count)) < self._size:
            self._values[index] = value

    def percentile(self, percent: int) -> float:
        """Return the percentile of the sample by the nearest rank; 0.0 if nothing was added.

        Args:
            percent: 0 to 100.
        """
        if not self._values:
            return 0.0
        ordered = sorted(self._values)
        return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * percent // 100) - 1))]


@dataclass
class Statistics:
    """Counters since the start.

    Only the thread that drives the session writes them, except `packets`, `rejected` and `other_publishers`.
    """

    packets: int = 0  # received
    rejected: int = 0  # of those, not usable: unknown encoding, empty, too long, queue full
    frames: int = 0  # published frames of audio
    idle_frames: int = 0  # published frames of generated silence after the audio
    dropped: int = 0  # frames of audio that were skipped under overload, or failed
    suppressed: int = 0  # frames of a new stream whose time had been published already
    streams: int = 0  # streams started
    gaps: int = 0  # gaps under 0.5 s, filled with silence
    overlaps: int = 0  # packets whose beginning had been received already
    late: int = 0  # packets that arrived after their time had been replaced by silence
    duplicates: int = 0  # packets that arrived twice
    ignored_stamps: int = (
        0  # packets placed by the count of samples, because stamps contradict it or are missing
    )
    other_publishers: int = 0  # messages of publishers that are not followed
    discontinuities: int = 0  # gaps of 0.5 s and more, and jumps of the sender's clock: a new stream each
    format_changes: int = 0  # changes of rate, channels or encoding: a new stream each
    nonfinite: int = 0  # NaN and infinite samples, replaced by silence
    overloads: int = 0  # times that old audio was skipped to catch up
    interrupts: int = 0
    yielded: int = 0  # packets that continued what the partner had interrupted
    errors: int = 0  # exceptions of the model or of the publisher that were handled
    model_seconds: float = 0.0  # time that the model worked
    latency: Reservoir = field(default_factory=Reservoir, repr=False)  # s

    def as_dict(self) -> dict[str, float]:
        """Return the counters, and the 50th and 99th percentile of the latency in milliseconds."""
        values = {
            item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "latency"
        }
        values["model_seconds"] = round(self.model_seconds, 4)
        for percent in (50, 99):
            values[f"latency_p{percent}_ms"] = round(1000 * self.latency.percentile(percent), 2)
        return values

    def summary(self) -> str:
        """Return the counts of frames and the latency in one line."""
        values = self.as_dict()
        p50, p99 = values["latency_p50_ms"], values["latency_p99_ms"]
        return (
            f"frames of audio {self.frames}, idle {self.idle_frames}, dropped {self.dropped}, "
            f"latency p50 {p50:.1f} ms p99 {p99:.1f} ms "
            "(from the arrival of the last needed sample to publication)"
        )
