# SPDX-License-Identifier: Apache-2.0
"""uvicorn's server with a SIGTERM that drains: no further sessions, and time for those that are open."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

import uvicorn


class DrainingServer(uvicorn.Server):
    """Ends after SIGTERM once all sessions have ended, or after a time.

    SIGINT, or a second SIGTERM, ends it at once.

    Args:
        config: of uvicorn.
        seconds: time that open sessions have; 0: none.
        begin: called without arguments in the main thread when draining begins; must not block.
        session_count: returns the number of open sessions.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        seconds: float,
        begin: Callable[[], None],
        session_count: Callable[[], int],
    ) -> None:
        super().__init__(config)
        self._seconds = seconds
        self._begin = begin
        self._session_count = session_count
        self._deadline: float | None = None

    def drain(self) -> None:
        """Accept no further sessions, and end soon. May be called from any thread; the second call ends."""
        if self._deadline is not None:
            self.should_exit = True
            return
        self._deadline = time.monotonic() + self._seconds
        self._begin()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Args:
            sig: its number.
            frame: that it interrupted.
        """
        if sig == signal.SIGTERM and self.started and not self.should_exit and self._deadline is None:
            self._captured_signals.append(sig)  # raised again at the end, as uvicorn does
            self.drain()
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; uvicorn calls this ten times in a second.

        Args:
            counter: of the calls.
        """
        if self._deadline is not None and (not self._session_count() or time.monotonic() >= self._deadline):
            self.should_exit = True
        return await super().on_tick(counter)
