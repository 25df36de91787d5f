# SPDX-License-Identifier: Apache-2.0
"""Bounds what one network address can take of the server: connections, handshakes and time of the event loop.

`ConnectionGuard.listen` wraps the listening socket, so that a connection counts from the moment when it is
accepted: a TLS handshake that never ends counts, too. Where an address, or the server, has too many
connections, the one that has been idle for longest makes room for the new one; sessions are never closed for
that. All input of an address is charged for the time that it takes, and what exceeds its share waits, so that
an address that floods the server delays nobody but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamingtalker_ros.web.limits import Limits, TokenBucket
from streamingtalker_ros.web.trusted_proxies import Headers, TrustedProxies

MAX_ADDRESSES = 4096  # whose use is remembered, without an open connection
TLS_HANDSHAKE_TIMEOUT_S = 10.0
SHUTDOWN_GRACE_S = 1.0
_IPV6_PREFIX_LENGTH = 64  # bits; a single machine can use all addresses of such a network


def network_of(host: str) -> str:
    """The network that counts as one address.

    Args:
        host: IPv4 or IPv6 address of a client.

    Returns:
        An IPv4 address itself, also if it is mapped into IPv6; the /64 network of an IPv6 address.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        if not address.is_loopback:
            return str(ipaddress.ip_network((address, _IPV6_PREFIX_LENGTH), strict=False))
    return str(address)


class TimeBudget:
    """Share of a thread's time: what was used beyond it has to be waited for.

    Args:
        share: seconds per second.
        burst: seconds that may be used at once.
        clock: monotonic time in seconds.
    """

    def __init__(self, share: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._updated = clock()

    def _update(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._updated) * self._share)
        self._updated = now

    def charge(self, seconds: float) -> None:
        """Count time that was used; the budget may become negative.

        Args:
            seconds: Its duration.
        """
        self._update()
        self._left -= seconds

    @property
    def wait_seconds(self) -> float:
        """Seconds until the budget is not negative, 0 if it is not."""
        self._update()
        return max(0.0, -self._left / self._share)


@dataclass
class AddressUse:
    """What one address uses.

    Attributes:
        connects: rate of its new connections.
        requests: rate of its HTTP requests.
        sessions: rate of its new WebSockets.
        budget: its share of the event loop.
        open_count: number of its open connections.
        session_count: number of its open sessions.
    """

    connects: TokenBucket
    requests: TokenBucket
    sessions: TokenBucket
    budget: TimeBudget
    open_count: int = 0
    session_count: int = 0

    @property
    def is_in_use(self) -> bool:
        """Whether a connection or a session of it is open."""
        return bool(self.open_count or self.session_count)


@dataclass(eq=False)
class GuardedConnection:
    """An accepted TCP connection.

    Attributes:
        peer: host and port of the peer.
        use: of the peer's network.
        socket: the connection.
        transport: of asyncio, once its TLS handshake is complete.
        is_busy: whether a response is being sent to it.
        is_session: whether it is a WebSocket that has a session.
        is_proxy: whether the peer is a trusted proxy, which sends the requests of many visitors.
        last_active: monotonic time of its acceptance, or of its last complete request.
    """

    peer: Hashable
    use: AddressUse
    socket: socket.socket | None
    transport: asyncio.Transport | None = None
    is_busy: bool = False
    is_session: bool = False
    is_proxy: bool = False
    last_active: float = field(default_factory=time.monotonic)

    def abort(self) -> None:
        """End the connection without waiting for the peer."""
        if self.transport is not None:
            self.transport.abort()
        elif self.socket is not None:
            with contextlib.suppress(OSError):  # asyncio sees the end of the stream, and closes the socket
                self.socket.shutdown(socket.SHUT_RDWR)

    def expire_handshake(self) -> None:
        """End the connection if its TLS handshake is not complete."""
        if self.transport is None:
            self.abort()


class ConnectionGuard:
    """Counts the open connections of a server by address.

    All methods are for the thread of the event loop.

    Args:
        limits: of the server.
        proxies: reverse proxies, whose connections count for the visitors behind them.

    Attributes:
        proxies: the same.
        rejected_count: connections that were closed at once.
        evicted_count: idle connections that were closed to make room for others.
        shutdown_grace: s for connections to end, when the server does.
        is_draining: whether the server accepts no further WebSockets, because it is about to end.
    """

    def __init__(self, limits: Limits, proxies: TrustedProxies | None = None) -> None:
        self.proxies = proxies or TrustedProxies()
        self.rejected_count = 0
        self.evicted_count = 0
        self.shutdown_grace = SHUTDOWN_GRACE_S
        self.is_draining = False
        self._limits = limits
        self._connections: dict[Hashable, GuardedConnection] = {}  # by peer
        self._uses: OrderedDict[str, AddressUse] = OrderedDict()

    @property
    def connection_count(self) -> int:
        """Number of open connections, handshakes included."""
        return len(self._connections)

    def listen(self, listener: socket.socket) -> socket.socket:
        """Wrap a bound socket: connections that it accepts are counted and bounded.

        Args:
            listener: socket; the returned one replaces it.
        """
        return _GuardedListener(self, listener)

    def connection(self, peer: object) -> GuardedConnection:
        """The connection of a peer.

        Args:
            peer: "peername" of the transport, or `client` of an ASGI scope.

        Returns:
            The connection; for a peer that the guard did not accept, one that is not counted.
        """
        key = _peer_key(peer)
        return self._connections.get(key) or GuardedConnection(key, self._use(_peer_network(key)), None)

    def admit(self, peer: object, accepted: socket.socket) -> GuardedConnection | None:
        """Count a new connection.

        Args:
            peer: address of the peer, as `socket.accept` returns it.
            accepted: the connection.

        Returns:
            Its record; None if it has to be closed, because the address opens connections too fast, or
            because all connections belong to sessions.
        """
        key = _peer_key(peer)
        use = self._use(_peer_network(key))
        is_proxy = _peer_network(key) in self.proxies
        if not is_proxy and not use.connects.take():
            self.rejected_count += 1
            return None
        others = [connection for connection in self._connections.values() if not connection.is_session]
        own = [connection for connection in others if connection.use is use]
        if not is_proxy and len(own) >= self._limits.max_connections_per_address:
            self._evict(own)
        elif len(self._connections) >= self._limits.max_connections:
            if not others:
                self.rejected_count += 1
                return None
            most = max(connection.use.open_count for connection in others)
            self._evict([connection for connection in others if connection.use.open_count == most])
        connection = GuardedConnection(key, use, accepted, is_proxy=is_proxy)
        self._connections[key] = connection
        use.open_count += 1
        return connection

    def release(self, connection: GuardedConnection) -> None:
        """Count a connection no more; one that is not counted is ignored.

        Args:
            connection: as `admit` returned it.
        """
        if self._connections.get(connection.peer) is connection:
            del self._connections[connection.peer]
            connection.use.open_count -= 1

    def visitor_use(self, connection: GuardedConnection, headers: Headers) -> AddressUse:
        """Return what the visitor uses who has sent a request.

        Args:
            connection: on which the request arrived.
            headers: of the request.

        Returns:
            That of the address in the header X-Forwarded-For if a trusted proxy sends it; else that of the
            peer.
        """
        visitor = self.proxies.visitor(headers) if connection.is_proxy else None
        return connection.use if visitor is None else self._use(network_of(visitor))

    def assign_visitor(self, connection: GuardedConnection, headers: Headers) -> None:
        """Count a connection for the visitor behind a trusted proxy, who has it alone from now on.

        Args:
            connection: that becomes a WebSocket.
            headers: of its request.
        """
        use = self.visitor_use(connection, headers)
        if self._connections.get(connection.peer) is connection:
            connection.use.open_count -= 1
            use.open_count += 1
        connection.use = use

    def _evict(self, candidates: Sequence[GuardedConnection]) -> None:
        """Close the one that has been idle for longest; one that receives a response only if all do."""
        oldest = min(candidates, key=lambda connection: (connection.is_busy, connection.last_active))
        self.evicted_count += 1
        self.release(oldest)  # at once: asyncio closes its socket in a later turn
        oldest.abort()

    def _use(self, network: str) -> AddressUse:
        use = self._uses.get(network)
        if use is None:
            limits = self._limits
            if len(self._uses) >= MAX_ADDRESSES:
                unused = next((name for name, use in self._uses.items() if not use.is_in_use), None)
                if unused is not None:
                    del self._uses[unused]
            use = self._uses[network] = AddressUse(
                TokenBucket(limits.max_connects_per_second, limits.max_connects_at_once),
                TokenBucket(limits.max_requests_per_second, limits.max_requests_at_once),
                TokenBucket(limits.max_sessions_per_second, limits.max_sessions_at_once),
                TimeBudget(limits.event_loop_share, limits.event_loop_burst_seconds),
            )
        self._uses.move_to_end(network)
        return use


class _GuardedListener(socket.socket):
    def __init__(self, guard: ConnectionGuard, listener: socket.socket) -> None:
        super().__init__(listener.family, listener.type, listener.proto, fileno=listener.detach())
        self._guard = guard

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; raises BlockingIOError if there is none, or if it was rejected.

        asyncio accepts further ones in the next turn of its loop, after the work of others.
        """
        plain, peer = super().accept()
        accepted = _GuardedSocket(plain.family, plain.type, plain.proto, fileno=plain.detach())
        connection = self._guard.admit(peer, accepted)
        if connection is None:
            accepted.close()
            raise BlockingIOError(errno.EAGAIN, "the connection was rejected")
        accepted.on_close = functools.partial(self._guard.release, connection)
        asyncio.get_running_loop().call_later(TLS_HANDSHAKE_TIMEOUT_S, connection.expire_handshake)
        return accepted, peer


class _GuardedSocket(socket.socket):
    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """Close, and count the connection no more."""
        super().close()
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()


def _peer_key(peer: Any) -> Hashable:
    """Host and port of a peer: the first two items of its address."""
    return tuple(peer[:2]) if isinstance(peer, (tuple, list)) else None


def _peer_network(key: Any) -> str:
    return network_of(str(key[0])) if key else ""
