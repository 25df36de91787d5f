# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 protocol that aborts idle or slow clients (slow-loris protection), and lets hasty ones wait.

uvicorn alone waits for a first request without limit, and serves requests as fast as one client sends them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import h11
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.web.connection_guard import ConnectionGuard, GuardedConnection

REQUEST_TIMEOUT_S = 10.0  # until a complete request has arrived
RESPONSE_TIMEOUT_S = 60.0  # until the client has read the response
CHECK_INTERVAL_S = 2.5
_TOO_MANY_REQUESTS = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
_DRAINING = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
_RETRY_AFTER_S = 5
_MIN_WAIT_S = 0.05  # of input that exceeds its address's share


class IdleTimeoutProtocol(H11Protocol):
    """One connection, until it ends or is upgraded to a WebSocket, which has timeouts of its own.

    A connection of a trusted proxy has requests of many visitors, which cannot wait for each other: a request
    of a visitor who has used up the share of an address is answered with 429.

    Args:
        guard: counts the connection and its use of the event loop.
        on_refusal: called with the reason of each refused request, as `metrics.REFUSAL_REASONS` names it.
        faults: log of internal errors.
        options: of uvicorn's protocol.
    """

    _timer: asyncio.TimerHandle | None = None
    _last_cycle: RequestResponseCycle | None = None
    _last_cycle_time: float

    def __init__(
        self,
        *,
        guard: ConnectionGuard,
        faults: FaultLog,
        on_refusal: Callable[[str], None] = lambda reason: None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._guard = guard
        self._on_refusal = on_refusal
        self._faults = faults
        self._connection: GuardedConnection = guard.connection(None)
        self._turn: asyncio.TimerHandle | None = None  # in which input that had to wait is handled

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the timer.

        Args:
            transport: Transport of the new connection.
        """
        super().connection_made(transport)
        self._connection = self._guard.connection(transport.get_extra_info("peername"))
        self._connection.transport = transport
        if self._connection.is_proxy:
            self.app = self._serve_visitor
        self._last_cycle_time = self.loop.time()
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers.

        Args:
            exc: Error that ended the connection; None if it was closed or aborted without one.
        """
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close, and abort if the peer does not let that end; uvicorn would cancel what serves it."""
        super().shutdown()
        self.loop.call_later(self._guard.shutdown_grace, self.transport.abort)

    def handle_events(self) -> None:
        """Handle what has arrived, at most one request; it waits if its address has used up its share."""
        if self._turn is not None or self.transport.is_closing():
            return
        use, is_proxy = self._connection.use, self._connection.is_proxy
        delay = 0.0 if is_proxy else use.budget.wait_seconds
        if not delay and not is_proxy and self.conn.their_state is h11.IDLE and not use.requests.take():
            delay = _MIN_WAIT_S
        if delay:
            self.flow.pause_reading()
            self._turn = self.loop.call_later(max(delay, _MIN_WAIT_S), self._handle_late)
            return
        begin = time.perf_counter()
        try:
            super().handle_events()
        except Exception as fault:  # in the parser, by what the client sent
            self._faults.log("a client's HTTP request could not be handled", fault)
            self.transport.abort()
        if is_proxy:
            use = self._guard.visitor_use(self._connection, self.headers or ())
        use.budget.charge(time.perf_counter() - begin)
        self._note_request()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Upgrade the connection, unless its address opens WebSockets too fast, or the server is draining.

        503 before the handshake lets a load balancer try another server.

        Args:
            event: The request.
        """
        self._guard.assign_visitor(self._connection, self.headers)
        if self._guard.is_draining:
            reason, response = "draining", _DRAINING
        elif not self._connection.use.sessions.take():
            reason, response = "session_rate", _TOO_MANY_REQUESTS
        else:
            super().handle_websocket_upgrade(event)
            return
        self._on_refusal(reason)
        self.transport.write(response)
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Reject what is not HTTP; a response that is under way cannot be continued.

        Args:
            msg: For the client.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # so that what serves the request sends nothing more
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    async def _serve_visitor(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that a trusted proxy sends for a visitor."""
        use = self._guard.visitor_use(self._connection, scope["headers"])
        if use.requests.take() and not use.budget.wait_seconds:
            app: ASGIApp = self.config.loaded_app  # pyright: ignore[reportAssignmentType], uvicorn's own types
            await app(scope, receive, send)
            return
        self._on_refusal("request_rate")
        response = PlainTextResponse(
            "Too many requests from this address.\n", 429, {"retry-after": f"{_RETRY_AFTER_S}"}
        )
        await response(scope, receive, send)

    def _note_request(self) -> None:
        if self.cycle is not self._last_cycle:
            self._last_cycle = self.cycle
            self._last_cycle_time = self._connection.last_active = self.loop.time()
            self._connection.is_busy = True

    def _handle_late(self) -> None:
        self._turn = None
        self.flow.resume_reading()
        self.handle_events()

    def _check(self) -> None:
        transport: Any = self.transport
        if transport.get_protocol() is not self:
            return
        self._timer = self.loop.call_later(CHECK_INTERVAL_S, self._check)
        self._note_request()
        responding = self.cycle is not None and not self.cycle.response_complete
        waiting_for_client = responding or transport.get_write_buffer_size() > 0
        self._connection.is_busy = waiting_for_client
        timeout = RESPONSE_TIMEOUT_S if waiting_for_client else REQUEST_TIMEOUT_S
        if self.loop.time() - self._last_cycle_time > timeout:
            transport.abort()
