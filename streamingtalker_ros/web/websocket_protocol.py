# SPDX-License-Identifier: Apache-2.0
"""WebSocket protocol that bounds what a client can make the event loop do, and aborts one that does not read.

uvicorn parses all that has arrived at once, answers any number of pings, joins any number of empty fragments,
and waits without limit for a peer that does not read its last bytes.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode

from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.web.connection_guard import ConnectionGuard, GuardedConnection
from streamingtalker_ros.web.limits import Limits, TokenBucket

SLICE_BYTES: Final = 2048  # parsed before others have their turn: at most 340 frames
CHECK_INTERVAL_S = 2.5
CLOSE_TIMEOUT_S = 5.0  # until a connection that is being closed has sent its last bytes
WRITE_TIMEOUT_S = 30.0  # until a client has read any of what it was sent
POLICY_VIOLATION: Final = 1008  # close codes of RFC 6455
INVALID_DATA: Final = 1007
_BAD_REQUEST: Final = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """One WebSocket connection.

    Args:
        guard: counts the connection and its use of the event loop.
        limits: of the server.
        faults: log of internal errors.
        options: of uvicorn's protocol.
    """

    def __init__(self, *, guard: ConnectionGuard, limits: Limits, faults: FaultLog, **options: Any) -> None:
        super().__init__(**options)
        self.close_timeout = CLOSE_TIMEOUT_S  # of the base class: until the peer answers a close
        self._guard = guard
        self._faults = faults
        self._connection: GuardedConnection = guard.connection(None)
        self._received = bytearray()  # not parsed yet
        self._turn: asyncio.Handle | None = None  # in which more of it is parsed
        self._control_bucket = TokenBucket(
            limits.max_control_frames_per_second, limits.burst_seconds * limits.max_control_frames_per_second
        )
        self._check_timer: asyncio.TimerHandle | None = None
        self._closing_since: float | None = None
        self._stuck_since: float | None = None
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the timer.

        Args:
            transport: Transport of the connection, which was upgraded.
        """
        super().connection_made(transport)
        self._connection = self._guard.connection(transport.get_extra_info("peername"))
        self._check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers.

        Args:
            exc: Error that ended the connection; None if it was closed or aborted without one.
        """
        for handle in (self._check_timer, self._turn):
            if handle is not None:
                handle.cancel()
        self._received.clear()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close, and abort if the peer does not let that end; uvicorn would cancel what serves it."""
        super().shutdown()
        self.loop.call_later(self._guard.shutdown_grace, self.transport.abort)

    # ------------------------------------------------------------------------------------------------- input

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, as far as the client's share of the event loop allows.

        Args:
            data: Bytes of the connection.
        """
        self._received += data
        if self._turn is not None or self.read_paused:
            self.transport.pause_reading()
        else:
            self._parse_slice()

    def _parse_slice(self) -> None:
        self._turn = None
        budget = self._connection.use.budget
        delay = budget.wait_seconds
        if not delay:
            data = bytes(self._received[:SLICE_BYTES])
            del self._received[:SLICE_BYTES]
            begin = time.perf_counter()
            try:
                super().data_received(data)
            except Exception as fault:  # in the parser, by what the client sent
                self._faults.log("a client's WebSocket frame could not be handled", fault)
                self.transport.abort()
                return
            budget.charge(time.perf_counter() - begin)
            if not self._received and not self.handshake_initiated:
                self._reject_handshake()
                return
        self._continue(delay)

    def _continue(self, delay: float = 0.0) -> None:
        """Parse the rest in a later turn, and read no more before."""
        if self.transport.is_closing():
            self._received.clear()
        elif self._received:
            self.transport.pause_reading()
            if self._turn is None and not self.read_paused:
                self._turn = self.loop.call_later(delay, self._parse_slice)
        elif not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        """The next event of the application; once all are taken, more is parsed."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self.read_paused = False
            self._continue()
        return message

    async def send(self, message: Any) -> None:
        """Send an event of the application.

        Args:
            message: Of ASGI.
        """
        if self.close_sent:  # by `_fail`, or by the peer; the base class raises RuntimeError
            raise ClientDisconnected
        await super().send(message)
        if message["type"] == "websocket.close":
            self._continue()

    def handle_events(self) -> None:
        """Count the frames that are not messages, then handle the events of the parser."""
        count = sum(1 for event in self.conn.events if isinstance(event, Frame) and _is_control(event))
        if count and not self._control_bucket.take(count):
            self._fail(POLICY_VIOLATION, "too many pings or fragments")
            return
        super().handle_events()

    def send_receive_event_to_app(self) -> None:
        """Queue a complete message for the application, and parse no more until it is taken.

        The base class pauses the transport for every message, which costs as much as the message itself.
        """
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            try:
                text = data.decode()
            except UnicodeDecodeError:
                self._fail(INVALID_DATA, "a text is not UTF-8")
                return
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
        else:
            self.queue.put_nowait({"type": "websocket.receive", "bytes": data})
        self.read_paused = True

    def _reject_handshake(self) -> None:
        """Answer an upgrade request that the parser has rejected without an event: uvicorn would never."""
        self.handshake_complete = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
        self.transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """Close the connection at once, as RFC 6455 has it for a peer that breaks the protocol."""
        if self.close_sent or not self.handshake_complete:
            self.transport.abort()
            return
        self.conn.fail(code, reason)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._received.clear()
        self.transport.close()

    # ------------------------------------------------------------------------------------------------- timer

    def _check(self) -> None:
        """Abort a connection that cannot be closed, or whose peer does not read."""
        self._check_timer = self.loop.call_later(CHECK_INTERVAL_S, self._check)
        now = self.loop.time()
        if self.transport.is_closing():
            self._closing_since = self._closing_since or now
            if now - self._closing_since > CLOSE_TIMEOUT_S:
                self.transport.abort()
        unsent = self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent_bytes:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > WRITE_TIMEOUT_S:
            self.transport.abort()
        self._unsent_bytes = unsent


def _is_control(frame: Frame) -> bool:
    """Whether a frame is a ping, a pong, a close, or a piece of a message that was cut."""
    return frame.opcode not in (Opcode.TEXT, Opcode.BINARY) or not frame.fin
