# SPDX-License-Identifier: Apache-2.0
"""Resource limits of the web server, and the token bucket that enforces rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MIN_SHARED_SESSIONS: Final = 4  # of a server that keeps sessions for other addresses
_RESERVED_FRACTION: Final = 8  # of the sessions: one in so many


@dataclass(frozen=True)
class Limits:
    """Limits per server and per session. docs/web.md documents the defaults.

    Attributes:
        max_sessions: concurrent sessions, watching ones included; further ones are rejected.
        session_seconds: duration after which a session is closed and the page has to reconnect.
        max_message_bytes: size of one WebSocket message: 170 ms of audio at 192 kHz; the page sends 20 ms.
        burst_seconds: audio that may arrive faster than real time, for example after a network stall.
        max_messages_per_second: messages of any kind, on average over `burst_seconds`; the page sends 100.
        max_texts_per_second: JSON messages, such as the changes while a slider is dragged.
        max_says_per_second: texts that one session lets the text-to-speech command say.
        backlog_seconds: audio that waits longer for the model is skipped, and its frame numbers with it.
        unacknowledged_seconds: frames in flight to one browser; further ones are dropped.
        slow_client_timeout_seconds: a browser that drops frames for this long is disconnected.
        idle_timeout_seconds: a session without any message for this long is closed; the page sends one per
            second.
        handshake_timeout_seconds: the same for the first message.
        max_text_bytes: size of one JSON message; the page's longest, an expression of all shapes, has 2 KB.
        max_control_frames_per_second: WebSocket pings, and pieces of messages that were cut; on average over
            `burst_seconds`. Browsers send none.
        max_extra_connections: connections besides those of the sessions, for the page's files.
        max_connections_per_address: connections of one address without a session, handshakes included.
        max_connects_per_second: new connections of one address; `max_connects_at_once` is the burst.
        max_requests_per_second: HTTP requests of one address; further ones wait. `max_requests_at_once` is
            the burst: a page has 10 files.
        max_sessions_per_address: concurrent sessions of one address; None for all but an eighth of
            `max_sessions`, at least one, where that is four or more.
        max_sessions_per_second: new sessions of one address; `max_sessions_at_once` is the burst.
        event_loop_share: share of the event loop's time for all input of one address; what exceeds it waits.
            `event_loop_burst_seconds` may be used at once.
    """

    max_sessions: int = 24
    session_seconds: float = 3600.0
    max_message_bytes: int = 65536
    burst_seconds: float = 10.0
    max_messages_per_second: float = 250.0
    max_texts_per_second: float = 20.0
    max_says_per_second: float = 1.0
    backlog_seconds: float = 0.5
    unacknowledged_seconds: float = 3.0
    slow_client_timeout_seconds: float = 12.0
    idle_timeout_seconds: float = 30.0
    handshake_timeout_seconds: float = 10.0
    max_text_bytes: int = 8192
    max_control_frames_per_second: float = 20.0
    max_extra_connections: int = 100
    max_connections_per_address: int = 64
    max_connects_per_second: float = 50.0
    max_connects_at_once: float = 200.0
    max_requests_per_second: float = 100.0
    max_requests_at_once: float = 400.0
    max_sessions_per_address: int | None = None
    max_sessions_per_second: float = 2.0
    event_loop_share: float = 0.3
    event_loop_burst_seconds: float = 0.3

    @property
    def session_share(self) -> int:
        """Concurrent sessions that one address may have, so that it does not keep all others out."""
        if self.max_sessions_per_address is not None:
            return self.max_sessions_per_address
        if self.max_sessions < _MIN_SHARED_SESSIONS:
            return self.max_sessions
        return self.max_sessions - max(1, self.max_sessions // _RESERVED_FRACTION)

    @property
    def max_sessions_at_once(self) -> int:
        """New sessions of one address at once: all visitors behind a proxy connect again after a restart."""
        return 2 * self.max_sessions + 12

    @property
    def max_connections(self) -> int:
        """Connections of all addresses, sessions and handshakes included."""
        return self.max_sessions + self.max_extra_connections


class TokenBucket:
    """Token-bucket rate limiter.

    Args:
        rate: tokens added per second.
        burst: capacity of the bucket, in tokens; it starts full.
        clock: monotonic time in seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._tokens = burst
        self._updated = clock()

    def take(self, amount: float = 1.0) -> bool:
        """Remove `amount` tokens.

        Returns:
            False, and nothing is removed, if the bucket holds fewer tokens.
        """
        now = self._clock()
        self._tokens = min(self.burst, self._tokens + (now - self._updated) * self.rate)
        self._updated = now
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True
