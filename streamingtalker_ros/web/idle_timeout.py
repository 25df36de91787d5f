# SPDX-License-Identifier: Apache-2.0
"""uvicorn's HTTP connection with an end to its patience: who connects and asks for nothing, or does not take the answer,
holds a place for a bounded time. uvicorn itself waits for a first request for ever."""

from uvicorn.protocols.http.h11_impl import H11Protocol

ASKED, TAKEN = 10.0, 60.0  # s until a whole request has come; until its answer has been taken
_LOOK = 2.5  # s between two looks


class Patience(H11Protocol):
    """A connection until it ends or becomes a WebSocket."""

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._known, self._since = None, self.loop.time()  # the newest request, and when it was seen first
        self._look()

    def connection_lost(self, exc) -> None:
        self._next.cancel()
        super().connection_lost(exc)

    def _look(self):
        self._next = self.loop.call_later(_LOOK, self._look)
        if self.transport.get_protocol() is not self:  # a WebSocket's by now, which has bounds of its own
            return self._next.cancel()
        now = self.loop.time()
        if self.cycle is not self._known:
            self._known, self._since = self.cycle, now
        answering = self.cycle is not None and not self.cycle.response_complete
        if now - self._since > (TAKEN if answering or self.transport.get_write_buffer_size() else ASKED):
            self.transport.abort()
