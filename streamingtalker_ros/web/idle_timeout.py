# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 protocol that aborts idle or slow clients (slow-loris protection).

uvicorn alone waits for a first request without limit.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

REQUEST_TIMEOUT_S = 10.0  # until a complete request has arrived
RESPONSE_TIMEOUT_S = 60.0  # until the client has read the response
CHECK_INTERVAL_S = 2.5


class IdleTimeoutProtocol(H11Protocol):
    """One connection, until it ends or is upgraded to a WebSocket, which has timeouts of its own."""

    _timer: asyncio.TimerHandle | None = None
    _last_cycle: RequestResponseCycle | None = None
    _last_cycle_time: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the timer.

        Args:
            transport: Transport of the new connection.
        """
        super().connection_made(transport)
        self._last_cycle_time = self.loop.time()
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer.

        Args:
            exc: Error that ended the connection; None if it was closed or aborted without one.
        """
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _check(self) -> None:
        transport: Any = self.transport
        if transport.get_protocol() is not self:
            return
        self._timer = self.loop.call_later(CHECK_INTERVAL_S, self._check)
        now = self.loop.time()
        if self.cycle is not self._last_cycle:
            self._last_cycle = self.cycle
            self._last_cycle_time = now
        responding = self.cycle is not None and not self.cycle.response_complete
        waiting_for_client = responding or transport.get_write_buffer_size() > 0
        timeout = RESPONSE_TIMEOUT_S if waiting_for_client else REQUEST_TIMEOUT_S
        if now - self._last_cycle_time > timeout:
            transport.abort()
