# SPDX-License-Identifier: Apache-2.0
"""Decides whether the stamps of a sender can be used, and names what is wrong with them.

Senders stamp audio in many ways: one stamp for all packets of a sentence, the time of sending instead of that
of the first sample, stamps that jitter or jump, packets without one. Where stamps contradict the packets, the
count of samples is right, because it cannot be wrong. `PacketAligner` finds the contradictions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.runtime.frames import WarningCallback

AGREEMENT_S: Final = 0.005  # between the step of the stamps and the duration of a packet
MIN_TRUST_S: Final = 1.0  # of stamps that agree with the samples, before they are used again
MAX_TRUST_S: Final = 30.0  # the same, for a sender whose stamps were wrong again and again
TRUSTED_S: Final = 0.2  # of stamps that agree with the samples, after which one late packet proves nothing
NAMING_PACKETS: Final = 10  # packets after which the kind of a fault is named, or
_MIN_NAMING_PACKETS: Final = 3  # packets that last
_MIN_NAMING_S: Final = 1.0
_WINDOW: Final = 32  # packets that show the kind of a fault
_RATE_WINDOW: Final = 256  # packets that may show a wrong rate
_MIN_RATE_PACKETS: Final = 10  # that show a wrong rate
_RATE_REGULARITY: Final = 0.15  # of the mean step of stamps, by which each step may differ
_MIN_RATE_ERROR: Final = 0.05
_CLEAR_RATIO: Final = 2.5  # that so few packets show; for a smaller one
MIN_RATE_S: Final = 1.2  # of stamps are needed
_MIN_ARRIVAL_RATIO: Final = 1.2
_MIN_ARRIVAL_S: Final = 1.0  # of packets without stamps, that show a wrong rate
_MIN_JUMP_S: Final = 0.1  # error of rare stamps that jump rather than jitter
_MIN_AGE: Final = 0.5  # of a stamp at its packet's arrival, in packets, if it is the time of the first sample
_MAX_AGE: Final = 10.0  # with the delay of the network; more if the clocks differ
_SENDING_RATIO: Final = 0.3  # of the stamps' distance from the arrivals to that from the durations


class StampFault(Enum):
    """What is wrong with stamps; the value begins the log message."""

    SHARED = "packets share one stamp"
    SENDING = "stamps are sending times"
    JITTER = "stamps jitter"
    JUMP = "stamps jump forth and back"
    MISSING = "stamps are missing from some packets"


_REMEDY: Final = (
    "packets are placed by their sample count; stamp each packet with the time of its first sample, or none"
)


@dataclass(frozen=True)
class _Step:
    """From one packet to the next, in s: by the stamps, by the arrivals, by the duration of the first."""

    stamp: float
    arrival: float
    duration: float
    age: float | None  # of the first packet's stamp at its arrival, in s; None if not known


class StampMonitor:
    """Observes the stamps of one sender's packets.

    Args:
        report: Receives the kind and the message of a fault, for each packet that has it.

    Attributes:
        fault: What is wrong with the stamps, while they are not used.
        is_regained: Whether the stamps are used again from this packet on.
    """

    def __init__(self, report: WarningCallback) -> None:
        self._report = report
        self.reset()

    def reset(self) -> None:
        """Forget the sender."""
        self.fault: StampFault | None = None
        self._largest_error = 0.0  # s
        self._named: StampFault | None = None
        self._packets_since_fault = 0
        self._seconds_since_fault = 0.0
        self.is_regained = False
        self._trust_after = MIN_TRUST_S
        self._agreeing = 0.0  # s of audio in a row whose stamps agree with the samples
        self._steps: deque[_Step] = deque(maxlen=_RATE_WINDOW)
        self._arrivals: deque[_Step] = deque(maxlen=_RATE_WINDOW)  # of packets without stamps
        self._last: tuple[int | None, float, float, int] | None = None
        self._agreeing_before = 0.0
        self._has_step = False
        self._trusted_step: float | None = None  # s between stamps while they agreed with the samples

    def restart(self) -> None:
        """Forget the last packet: a stream begins."""
        self._last = None

    @property
    def step(self) -> float:
        """Seconds from the last stamp to this one; 0 if there was none."""
        return self._steps[-1].stamp if self._steps and self._has_step else 0.0

    @property
    def is_trusted(self) -> bool:
        """Whether the stamps before this packet agreed with the samples."""
        return self._agreeing_before >= TRUSTED_S

    @property
    def step_is_as_before(self) -> bool:
        """Whether stamps are as far apart as when they agreed with the samples: packets became longer."""
        return self._trusted_step is not None and abs(self.step - self._trusted_step) <= AGREEMENT_S

    def observe(self, stamp: int | None, arrival: float, duration: float, received: int) -> None:
        """Record a packet.

        Args:
            stamp: ns, or None.
            arrival: s.
            duration: s.
            received: ns on the clock of the stamps, 0 if not known.
        """
        last, self._last = self._last, (stamp, arrival, duration, received)
        self._agreeing_before = self._agreeing
        self._has_step = self.is_regained = False
        if last is None:
            return
        last_stamp, last_arrival, last_duration, last_received = last
        if stamp is None or last_stamp is None:
            if stamp is None and last_stamp is None:
                self._arrivals.append(_Step(0.0, arrival - last_arrival, last_duration, None))
            return
        age = (last_received - last_stamp) / NS_PER_S if last_received else None
        step = _Step((stamp - last_stamp) / NS_PER_S, arrival - last_arrival, last_duration, age)
        self._has_step = True
        self._steps.append(step)
        if abs(step.stamp - step.duration) <= AGREEMENT_S:
            self._agreeing += step.duration
            if self._agreeing >= TRUSTED_S:
                self._trusted_step = step.stamp
        else:
            self._agreeing = 0.0
        if self.fault is None:
            return
        self._packets_since_fault += 1
        self._seconds_since_fault += step.duration
        if self._agreeing >= self._trust_after:
            self.fault = self._named = None
            self.is_regained = True
        elif self._packets_since_fault >= NAMING_PACKETS or (
            self._packets_since_fault >= _MIN_NAMING_PACKETS and self._seconds_since_fault >= _MIN_NAMING_S
        ):
            self.name_fault()

    def distrust(self, error: float, jumps: bool = False) -> None:
        """Use the stamps no more, until they agree with the samples for a while.

        Args:
            error: s, from the count of samples to the stamp.
            jumps: Whether a stamp jumped and the next ones returned.
        """
        self._largest_error = max(self._largest_error, abs(error))
        if self.fault is None:
            self._packets_since_fault, self._seconds_since_fault = 0, 0.0
            self.fault = StampFault.JUMP if jumps else StampFault.JITTER
        elif jumps:
            self.fault = StampFault.JUMP
        self._agreeing = 0.0
        self._trusted_step = None

    def forgive_less(self) -> None:
        """Require more agreement before the stamps are used again."""
        self._trust_after = min(2 * self._trust_after, MAX_TRUST_S)

    def name_fault(self) -> None:
        """Report the fault: its kind is known, or the audio has ended."""
        if self.fault is None or not self._steps:
            return
        if self._named is None:
            if self._was_set_once():
                return
            kind = self._classify()
            if kind is None:
                return
            self.fault = self._named = kind
            self.forgive_less()
        detail = ""
        if self._named in (StampFault.JITTER, StampFault.JUMP):
            detail = f" by {1000 * self._largest_error:.0f} ms"
        self._report(f"stamps {self._named.name}", f"{self._named.value}{detail}: {_REMEDY}")

    def report_missing(self) -> None:
        """Report a packet without a stamp, among packets with one."""
        self._report(f"stamps {StampFault.MISSING.name}", f"{StampFault.MISSING.value}: {_REMEDY}")

    def byte_rate_ratio(self, min_seconds: float = MIN_RATE_S) -> tuple[float, bool] | None:
        """Return how many bytes per second the sender sends, as a multiple of what its format says.

        Args:
            min_seconds: s of stamps that show a multiple near 1.

        Returns:
            The multiple, and whether the sender's stamps show it rather than the times of arrival; None if it
            is 1, or not known.
        """
        if self._has_step:
            ratio = self._stamp_ratio(min_seconds)
            return None if ratio is None else (1.0 / ratio, True)
        arrivals = list(self._arrivals)
        total = sum(step.arrival for step in arrivals)
        if len(arrivals) >= _MIN_RATE_PACKETS and total >= _MIN_ARRIVAL_S:
            durations = sum(step.duration for step in arrivals)
            longest = max(step.arrival for step in arrivals)
            # faster than real time is no fault, and a pause is none
            if total > _MIN_ARRIVAL_RATIO * durations and longest < 3 * total / len(arrivals):
                return durations / total, False
        return None

    def forget_rate(self) -> None:
        """Forget the packets that show the rate."""
        self._steps.clear()
        self._arrivals.clear()

    @property
    def stamps_precede_arrival(self) -> bool:
        """Whether stamps are times of first samples: each is older at its arrival than its audio is long."""
        ages = [step.age / step.stamp for step in self._steps if step.age is not None and step.stamp > 0]
        return bool(ages) and _MIN_AGE <= float(np.median(ages)) <= _MAX_AGE

    def _was_set_once(self) -> bool:
        """Return whether all stamps since the fault agree with the samples: the sender's clock was corrected.

        That is no mistake of the sender; its stamps are used again after `MIN_TRUST_S`.
        """
        return (
            self.fault is StampFault.JITTER
            and self._packets_since_fault >= _MIN_NAMING_PACKETS
            and self._agreeing >= self._seconds_since_fault - AGREEMENT_S
        )

    def _stamp_ratio(self, min_seconds: float) -> float | None:
        """Return the steps of the stamps as a multiple of the durations, if all steps are alike."""
        if len(self._steps) < _MIN_RATE_PACKETS:
            return None
        last = self._steps[-1]
        if abs(last.stamp - last.duration) <= _MIN_RATE_ERROR * last.duration:
            return None
        steps = list(self._steps)
        latest = self._regular_ratio(steps[-_MIN_RATE_PACKETS:])
        if latest is None or min_seconds <= 0 or latest >= _CLEAR_RATIO or latest <= 1 / _CLEAR_RATIO:
            return latest
        total, count = 0.0, 0
        while total < min_seconds and count < len(steps):
            count += 1
            total += steps[-count].stamp
        return self._regular_ratio(steps[-count:]) if total >= min_seconds else None

    @staticmethod
    def _regular_ratio(steps: Sequence[_Step]) -> float | None:
        ratios = np.array([step.stamp / max(step.duration, 1e-9) for step in steps])
        mean = float(ratios.mean())
        if mean <= 0:
            return None
        is_regular = float(np.abs(ratios - mean).max()) <= _RATE_REGULARITY * mean
        return mean if is_regular and abs(mean - 1) > _MIN_RATE_ERROR else None

    def _classify(self) -> StampFault | None:
        """Return the kind of the fault; None if the sender's format is wrong rather than its stamps."""
        steps = list(self._steps)[-min(_WINDOW, self._packets_since_fault + 1) :]
        stamp, arrival, duration = (
            np.array([getattr(step, name) for step in steps]) for name in ("stamp", "arrival", "duration")
        )
        if float((np.abs(stamp) < 1e-9).mean()) >= 0.5:
            return StampFault.SHARED
        wrong = np.abs(stamp - duration) > AGREEMENT_S
        if not wrong.any():  # small errors that add up: a rate that is nearly right
            return self.fault if self.fault is StampFault.JUMP else None
        from_arrival = float(np.median(np.abs(stamp - arrival)[wrong]))
        from_duration = float(np.median(np.abs(stamp - duration)[wrong]))
        if from_arrival < _SENDING_RATIO * from_duration and self.fault is not StampFault.JUMP:
            is_wrong_format = self.stamps_precede_arrival and self._regular_ratio(steps) is not None
            return None if is_wrong_format else StampFault.SENDING
        is_rare = self._largest_error >= _MIN_JUMP_S and float(wrong.mean()) < 0.5
        is_jump = self.fault is StampFault.JUMP or is_rare
        return StampFault.JUMP if is_jump else StampFault.JITTER
