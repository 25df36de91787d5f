# SPDX-License-Identifier: Apache-2.0
"""What a visitor may ask of the server, in one place; and `Bucket`, which holds a stream of things to a rate."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and counts; the defaults are those of docs/web.md."""

    visitors: int = 24  # voices in the batch, watchers included: the next one is refused politely
    session_seconds: float = 3600.0  # then a visitor is asked to reconnect
    message_bytes: int = 65536  # of one WebSocket message: 170 ms of 192 kHz; the page sends 20 ms
    ahead_seconds: float = (
        10.0  # audio that may come faster than it can have been spoken: what a network held back
    )
    messages_per_second: float = 250.0  # of any kind, on average over `ahead_seconds`; the page sends 100
    texts_per_second: float = 20.0  # JSON messages: controls being dragged
    backlog_seconds: float = 0.5  # audio older than its turn by this is skipped, frame numbers with it
    unseen_seconds: float = 3.0  # frames on their way to a browser; beyond, frames are left out
    slow_seconds: float = 12.0  # without a sign that frames arrive, the browser is given up
    quiet_seconds: float = 30.0  # without any message, likewise: the page speaks once a second
    hello_seconds: float = 10.0  # within which a visitor must say what it wants


class Bucket:
    """A token bucket: `take(amount)` is true while the sum stays under `burst` + rate · time.

    rate: per second; clock: seconds, monotonic.
    """

    def __init__(self, rate, burst, clock=time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._level, self._then = burst, clock()

    def take(self, amount=1.0) -> bool:
        now = self._clock()
        self._level = min(self.burst, self._level + (now - self._then) * self.rate)
        self._then = now
        if amount > self._level:
            return False
        self._level -= amount
        return True
