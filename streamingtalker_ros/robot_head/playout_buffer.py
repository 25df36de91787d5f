# SPDX-License-Identifier: Apache-2.0
"""Which motion is due when: frames stamped with the time of their audio, played when that audio is heard.

A frame stamped t is due at t + delay. Without a given delay it is the smallest that frames arrive with, plus
one frame, so that there is always a next frame to move towards. An actuator that answers late is asked for
the motion of `lead` seconds later, as far as it is known. Between frames the motion is a straight line.
"""

import bisect
from collections import deque

from streamingtalker_ros.audio.constants import NS_PER_S

_LONGEST = 250_000_000  # ns; frames further apart are not joined by a line
_AHEAD = 60 * NS_PER_S  # ns; frames for a later time are left out
_KEPT = 2048  # frames, of 25 a second over a minute
_NEW = NS_PER_S  # ns; a jump of the stamps by more begins anew, as does any step back


class Playout:
    """delay: s, or None to find it. Times are ns of one clock, the stamps'."""

    def __init__(self, delay=None) -> None:
        self._given = None if delay is None else round(delay * NS_PER_S)
        self.clear()

    def clear(self) -> None:
        """Forget all frames."""
        self._stamps, self._frames = [], []
        self._late = deque(maxlen=50)  # ns, arrival minus stamp
        self._heard = None

    @property
    def delay(self):
        """ns from a stamp to its time; 0 before any frame."""
        if self._given is not None:
            return self._given
        period = min((b - a for a, b in zip(self._stamps[-5:], self._stamps[-4:])), default=0)
        return max(0, min(self._late, default=0) + min(period, _LONGEST))

    def add(self, stamp, values, now) -> bool:
        """values (S,), heard at `now`. Returns whether it was taken: not when it is due in over a minute."""
        if self._heard is not None and now < self._heard - NS_PER_S:
            self.clear()  # the clock was set back
        if self._stamps and not 0 < stamp - self._stamps[-1] < _NEW:
            self.clear()  # a new stream, or one that was interrupted
        if stamp + self.delay - now > _AHEAD:
            return False
        self._late.append(now - stamp)
        self._stamps.append(stamp)
        self._frames.append(values)
        self._heard = now
        if len(self._stamps) > _KEPT:
            del self._stamps[0], self._frames[0]
        return True

    def lost(self, now, timeout):
        """Whether nothing was heard for `timeout` ns and all that was heard has been played."""
        return (
            self._heard is None
            or now - max(self._heard, self._stamps[-1] + self.delay) > timeout
            or now < self._heard - NS_PER_S
        )

    def at(self, now, lead=0):
        """The motion due at `now` + lead, (S,); None before the first frame is due."""
        time = now - self.delay + lead
        after = bisect.bisect_right(self._stamps, time)
        if not after:
            return None
        if after == len(self._stamps):
            return self._frames[-1]
        first, second = self._stamps[after - 1], self._stamps[after]
        if second - first > _LONGEST:
            return self._frames[after - 1]
        share = (time - first) / (second - first)
        return (1 - share) * self._frames[after - 1] + share * self._frames[after]

    def drop(self, now, lead) -> None:
        """Forget the frames that no time from `now` on asks for; lead: ns, the least that is asked for."""
        passed = bisect.bisect_right(self._stamps, now - self.delay + lead) - 1
        if passed > 8:  # a few are kept to know the period
            del self._stamps[: passed - 8], self._frames[: passed - 8]
