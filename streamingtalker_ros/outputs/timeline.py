# SPDX-License-Identifier: Apache-2.0
"""When which pose of the face is sent: frames of a talker in, poses at the receiver's rate out.

The poses are numbered as the frames of a timecode are: pose k belongs to the time k / rate after midnight,
and each number is sent once, in order, for as long as the output is open. A frame is placed on that time line
by its stamp; a pose is the linear interpolation of the frames around it. A pose is sent one frame after the
frame before it could be published, because the frame behind it arrives then, and later if that frame is late:
what is sent does not depend on when frames arrive.

    ──F0────────F1────────F2────────F3──    frames by their stamps, 25 a second
       P0  P1  P2  P3  P4  P5  P6  P7       poses, 60 a second

Where the stamps pause or jump, the last pose is held and the new frames follow.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.interpolation import interpolate_pose

DAY_S: Final = 86_400
MAX_PENDING_FRAMES: Final = 4096  # generated ahead of their time; as many seconds as the talker's queue holds
CLOSING_FRAMES: Final = 4  # from the last pose to the rest pose
_PATIENCE_S: Final = 0.25  # a late frame is waited for; then the last pose is held
_MAX_SHIFT_S: Final = 0.25  # by which the schedule adapts to frames that arrive earlier than the first did
_MAX_LAG_S: Final = 1.0  # of a process that was suspended: the schedule begins anew
_EARLY_ARRIVALS: Final = 12  # frames in sequence that arrive early before the schedule is moved forward
_LATE_ARRIVALS: Final = 5  # frames in sequence that arrive late before the schedule is moved back
_MAX_TAIL_S: Final = 0.5  # of frames that are pending when the output is closed
_GAP_FRAMES: Final = 1.5  # between two stamps in sequence, at most


@dataclass(frozen=True)
class Pose:
    """A pose of the face at a time of the receiver.

    Attributes:
        number: Poses since midnight: the time of day times the rate.
        weights: (52,) in the order of `ARKIT_NAMES`.
        head: (4,) unit quaternion xyzw.
    """

    number: int
    weights: npt.NDArray[np.float64]
    head: npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Knot:
    time: float
    weights: npt.NDArray[np.float64]
    head: npt.NDArray[np.float64]


class OutputTimeline:
    """Resamples frames to the rate of a receiver, in real time.

    All times are those of one monotonic clock, which the caller reads.

    Args:
        rate: Poses per second.
        frame_rate: Frames per second of the talker.
        time_of_day: Seconds since midnight at `now`.
        now: Reading of the clock, s.
    """

    def __init__(self, rate: int, frame_rate: float, time_of_day: float, now: float) -> None:
        self._rate = rate
        self._period = 1.0 / frame_rate
        self._midnight = now - time_of_day  # on the clock
        self._knots: deque[_Knot] = deque()
        self._next: int | None = None  # number of the next pose; None before the first frame
        self._delay = 0.0  # clock when a pose is sent, minus its time
        self._earliest = 0.0  # delay to which frames in real time may bring it back
        self._base_ns = 0  # stamp of the first frame of a stream
        self._offset = 0.0  # time of a frame, minus its stamp after the base
        self._last_stamp = 0.0
        self._arrivals: deque[float] = deque(maxlen=_EARLY_ARRIVALS)  # clock minus time, frames in sequence
        self._is_holding = False
        self.is_closed = False
        """Whether `close` was called."""

    def add(
        self,
        stamp_ns: int,
        arrival: float,
        weights: npt.NDArray[np.floating],
        head: npt.NDArray[np.floating],
    ) -> bool:
        """Add a frame.

        Args:
            stamp_ns: Its stamp in ns.
            arrival: When it arrived, s on the clock.
            weights: (52,).
            head: (4,) quaternion xyzw, not zero.

        Returns:
            False if it is dropped because too many frames are pending.
        """
        if len(self._knots) >= MAX_PENDING_FRAMES:
            return False
        stamp = (stamp_ns - self._base_ns) / NS_PER_S
        if self._next is None:
            self._base_ns, stamp = stamp_ns, 0.0
            self._next = math.ceil((arrival - self._midnight) * self._rate)
            self._offset = self._next / self._rate
            self._delay = arrival + self._period - self._offset
            self._earliest = self._delay - _MAX_SHIFT_S
            self._append(self._offset, weights, head)
        elif 0.0 < stamp - self._last_stamp <= _GAP_FRAMES * self._period:
            self._append(stamp + self._offset, weights, head)
        else:
            stamp = self._add_after_gap(stamp_ns, arrival, weights, head)
        self._last_stamp = stamp
        self._adapt(arrival - (stamp + self._offset))
        return True

    def _append(self, time: float, weights: npt.NDArray[np.floating], head: npt.NDArray[np.floating]) -> None:
        rotation = np.array(head, np.float64)
        rotation /= np.linalg.norm(rotation)
        self._knots.append(_Knot(time, np.array(weights, np.float64), rotation))

    def _add_after_gap(
        self,
        stamp_ns: int,
        arrival: float,
        weights: npt.NDArray[np.floating],
        head: npt.NDArray[np.floating],
    ) -> float:
        """Add a frame whose stamp does not follow the last one's, behind the last pose, which is held.

        Returns:
            The stamp after the base, which is the frame's own where the stamps do not fit the clock.
        """
        stamp = (stamp_ns - self._base_ns) / NS_PER_S
        last = self._knots[-1]
        time = stamp + self._offset
        due = arrival - self._delay + self._period
        if stamp <= self._last_stamp or abs(time - due) > 0.5 * self._period:
            time = max(due, last.time + self._period)
            self._base_ns, self._offset, stamp = stamp_ns, time, 0.0
            self._earliest = self._delay - _MAX_SHIFT_S
        if time - last.time > _GAP_FRAMES * self._period:
            self._knots.append(_Knot(time - self._period, last.weights, last.head))
        self._arrivals.clear()
        self._append(time, weights, head)
        return stamp

    def _adapt(self, arrival_delay: float) -> None:
        """Follow the delay of frames that arrive in real time; not that of frames generated ahead."""
        self._arrivals.append(arrival_delay)
        recent = list(self._arrivals)[-_LATE_ARRIVALS:]
        if len(recent) == _LATE_ARRIVALS and max(recent) - min(recent) <= self._period:
            self._delay = max(self._delay, min(recent) + self._period)
        if (
            len(self._arrivals) < _EARLY_ARRIVALS
            or abs(self._arrivals[-1] - self._arrivals[0]) > self._period
        ):
            return
        delay = min(self._arrivals) + self._period
        if min(self._earliest, self._delay - _MAX_SHIFT_S) <= delay < self._delay:
            self._delay = max(delay, self._delay - _MAX_SHIFT_S)  # in steps, after a stall of any length

    def next_due(self) -> float | None:
        """Return when `take` has a pose to send, s on the clock; None if no frame has been added."""
        if self._next is None:
            return None
        time = self._next / self._rate
        is_known = time <= self._knots[-1].time
        return time + self._delay + (0.0 if is_known or self._is_holding or self.is_closed else _PATIENCE_S)

    def take(self, now: float) -> list[Pose]:
        """Return the poses to send.

        Args:
            now: Reading of the clock, s.
        """
        poses: list[Pose] = []
        due = self.next_due()
        while due is not None and due <= now:
            assert self._next is not None
            if now - due > _MAX_LAG_S:
                self._delay += now - due
            self._is_holding = self._next / self._rate > self._knots[-1].time
            poses.append(self._pose(self._next))
            self._next += 1
            due = self.next_due()
        return poses

    def close(self) -> None:
        """Let the face go to rest, after the frames of the next half second; no frame is added then."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._next is None:
            return
        present = (self._next - 1) / self._rate
        while len(self._knots) > 1 and self._knots[-1].time > present + _MAX_TAIL_S:
            self._knots.pop()
        last = self._knots[-1]
        start = max(last.time, present)
        if start > last.time:
            self._knots.append(_Knot(start, last.weights, last.head))
        end = start + CLOSING_FRAMES * self._period
        self._knots.append(_Knot(end, np.zeros(len(ARKIT_NAMES)), np.array([0.0, 0.0, 0.0, 1.0])))

    @property
    def is_drained(self) -> bool:
        """Whether every pose up to the last frame has been taken."""
        return self._next is None or self._next / self._rate > self._knots[-1].time

    @property
    def is_finished(self) -> bool:
        """Whether the face is at rest after `close`."""
        return self._next is None or (
            self.is_closed and (self._next - 1) / self._rate >= self._knots[-1].time
        )

    def _pose(self, number: int) -> Pose:
        time = number / self._rate
        knots = self._knots
        while len(knots) > 1 and knots[1].time <= time:
            knots.popleft()
        first = knots[0]
        if len(knots) == 1 or time <= first.time:
            weights, head = first.weights, first.head
        else:
            second = knots[1]
            fraction = (time - first.time) / (second.time - first.time)
            weights, head = interpolate_pose(first.weights, second.weights, first.head, second.head, fraction)
        return Pose(number % (DAY_S * self._rate), weights, head)
