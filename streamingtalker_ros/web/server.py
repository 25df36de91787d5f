# SPDX-License-Identifier: Apache-2.0
"""HTTP server: binds a socket and runs uvicorn on it, with access control in front of the application.

`Server(context)` binds at once and knows its `address`; `run()` serves until a signal; `background()` is a
context manager that serves in a thread, for tests and benchmarks.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.web.access_control import AccessControlMiddleware, check_origin, check_token
from streamingtalker_ros.web.app import WebContext, create_app

SHUTDOWN_TIMEOUT_S = 2  # for open connections to end
START_TIMEOUT_S = 60.0
BACKLOG = 128  # connections that are accepted in one turn of the event loop at most
TOKEN_BYTES = 18
DRAIN_S = 5.0  # that open sessions have after SIGTERM; container engines kill after 10


class Server:
    """One server.

    Args:
        context: state of the application.
        host: address to bind.
        port: to bind; 0: any free one.
        token: access token; None: generated unless the address is a loopback address.
        certificate: PEM file, for https.
        key: PEM file of the certificate's private key.
        origins: further origins that may open a WebSocket.
        drain_seconds: time that open sessions have after SIGTERM.

    Attributes:
        port: that is bound.
        origin: scheme, host and port of the page.

    Raises:
        TalkerError: if the token or an origin cannot be used, the address cannot be bound, or the certificate
            cannot be read.
    """

    def __init__(
        self,
        context: WebContext,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
        origins: Iterable[str] = (),
        drain_seconds: float = DRAIN_S,
    ) -> None:
        uvicorn: Any = require("uvicorn", "the web server")
        require("websockets", "the web server")
        from streamingtalker_ros.web.draining import DrainingServer
        from streamingtalker_ros.web.idle_timeout import IdleTimeoutProtocol
        from streamingtalker_ros.web.websocket_protocol import BoundedWebSocketProtocol

        self.context = context
        self.token = check_token(token) if token else None
        origins = [check_origin(origin) for origin in origins]
        if self.token is None and not is_loopback(host):
            self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self._socket = context.guard.listen(bind_socket(host, port))
        self.port: int = self._socket.getsockname()[1]
        self._host = host
        self._scheme = "https" if certificate else "http"
        self.origin = self._origin(advertised_host(host))
        limits, guard, faults = context.limits, context.guard, context.faults
        config = uvicorn.Config(
            AccessControlMiddleware(
                create_app(context), self.token, self.port, origins, context.count_refusal
            ),
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            loop="asyncio",  # it accepts connections by the guard's `accept`
            http=functools.partial(
                IdleTimeoutProtocol, guard=guard, faults=faults, on_refusal=context.count_refusal
            ),
            ws=functools.partial(BoundedWebSocketProtocol, guard=guard, limits=limits, faults=faults),
            ws_max_size=limits.max_message_bytes,
            ws_max_queue=32,
            ws_ping_interval=10.0,
            ws_ping_timeout=20.0,
            ws_per_message_deflate=False,
            timeout_keep_alive=10,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=16384,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except OSError as error:
            self._socket.close()
            raise TalkerError(
                f"the certificate or its key cannot be read ({error}): give two PEM files"
            ) from None
        self._uvicorn = DrainingServer(config, drain_seconds, context.drain, lambda: context.session_count)
        context.worker.on_failure = self.abort

    def _origin(self, host: str) -> str:
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def address(self) -> str:
        """URL to open in a browser."""
        return f"{self.origin}/?token={quote(self.token, safe='')}" if self.token else f"{self.origin}/"

    @property
    def loopback_url(self) -> str | None:
        """URL for a browser on this machine, where a page may use the microphone; None: `address`."""
        if advertised_host(self._host) == self._host:
            return None
        return self.address.replace(self.origin, self._origin("::1" if ":" in self._host else "127.0.0.1"))

    @property
    def connection_count(self) -> int:
        """Number of open TCP connections, those in their TLS handshake included."""
        return self.context.guard.connection_count

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM, which drains first, or `stop`.

        Raises:
            TalkerError: if the application did not start, or its worker thread ended by an exception.
        """
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self.context.stop()
        if not self._uvicorn.started:
            raise TalkerError("the web server did not start: see the log for the reason")
        if self.context.worker.failed:
            raise TalkerError(
                "the thread that steps all streams ended by an exception, which the log shows: start the "
                "server again"
            )

    def stop(self, *_: object) -> None:
        """Make `run` return soon. May be called from any thread, or as a signal handler."""
        self._uvicorn.should_exit = True

    def drain(self) -> None:
        """Accept no further sessions, and make `run` return when those that are open have ended.

        They have `drain_seconds` at most. May be called from any thread.
        """
        self._uvicorn.drain()

    def abort(self) -> None:
        """Make `run` return without waiting for connections to end. May be called from any thread."""
        self.context.guard.shutdown_grace = 0.0
        self.stop()

    @contextlib.contextmanager
    def background(self) -> Iterator[Server]:
        """Serve in a thread while the block runs."""
        thread = threading.Thread(target=self.run, name="web", daemon=True)
        thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._uvicorn.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise TalkerError("the web server did not start")
            time.sleep(0.01)
        try:
            yield self
        finally:
            self.stop()
            thread.join(timeout=15)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only.

    Args:
        host: IPv4 or IPv6 address, or a host name; of names only localhost counts as loopback.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def advertised_host(host: str) -> str:
    """The name under which other machines reach a bound address.

    Args:
        host: address that is bound.

    Returns:
        `host`; for the unspecified address (0.0.0.0 or ::) this machine's own address on the default route.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    # documentation addresses (RFC 3849, RFC 5737): connecting a UDP socket selects the route and sends
    # nothing
    fallback, target = ("::1", "2001:db8::1") if address.version == 6 else ("127.0.0.1", "192.0.2.1")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
            return probe.getsockname()[0]
        except OSError:
            return fallback


def bind_socket(host: str, port: int) -> socket.socket:
    """Bind a TCP socket.

    Args:
        host: name or address to bind.
        port: to bind; 0: any free one.

    Raises:
        TalkerError: if the address cannot be bound.
    """
    bound = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)  # clients that come while the model is loaded wait, and are not refused
        return bound
    except (OSError, OverflowError) as error:
        if bound is not None:
            bound.close()
        reason = getattr(error, "strerror", None) or error
        raise TalkerError(
            f"{host}, port {port}, cannot be bound ({reason}): choose others with --host and --port"
        ) from None
