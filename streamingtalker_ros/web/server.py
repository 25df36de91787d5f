# SPDX-License-Identifier: Apache-2.0
"""Runs the server: a socket of its own, uvicorn on it, the door in front.

`Server(house)` binds at once and knows its `address`; `run()` serves until a signal, `background()` is a context
manager that serves in a thread, for tests and benchmarks.
"""

import contextlib
import ipaddress
import secrets
import socket
import threading
import time

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.web.access_control import Door

_GRACE = 2  # s that open connections may take to end


class Server:
    """host: address to bind; port: 0 for any free one; token: None lets one be made where the address is not the
    loopback; certificate, key: PEM files, for https.

    Raises TalkerError where the address cannot be had.
    """

    def __init__(
        self, house, host="127.0.0.1", port=0, token=None, certificate=None, key=None, origins=()
    ) -> None:
        uvicorn = require("uvicorn", "the web server")
        require("websockets", "the web server")
        from streamingtalker_ros.web.idle_timeout import Patience

        self.house = house
        self.token = token or (None if loopback(host) else secrets.token_urlsafe(18))
        self._socket = _bind(host, port)
        self.port = self._socket.getsockname()[1]
        self._host, self._scheme = host, "https" if certificate else "http"
        self.origin = self._origin(outward(host))
        door = Door(house.app(), self.token, self.port, origins)
        limits = house.limits
        config = uvicorn.Config(
            door,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            http=Patience,
            ws="websockets-sansio",
            ws_max_size=limits.message_bytes,
            ws_max_queue=32,
            ws_ping_interval=10.0,
            ws_ping_timeout=20.0,
            ws_per_message_deflate=False,
            timeout_keep_alive=10,
            limit_concurrency=limits.visitors + 100,
            h11_max_incomplete_event_size=16384,
            timeout_graceful_shutdown=_GRACE,
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
        self._uvicorn = uvicorn.Server(config)
        house.stepper.on_failure = self.stop

    def _origin(self, name) -> str:
        return f"{self._scheme}://{f'[{name}]' if ':' in name else name}:{self.port}"

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"{self.origin}/?token={self.token}" if self.token else f"{self.origin}/"

    @property
    def near(self):
        """The same for a browser on this machine, where it is another one and gives the page the microphone; None."""
        if outward(self._host) == self._host:
            return None
        return self.address.replace(self.origin, self._origin("::1" if ":" in self._host else "127.0.0.1"))

    def run(self) -> None:
        """Serve until SIGINT, SIGTERM or `stop`. Raises TalkerError where the thread that steps the voices has ended."""
        self.house.start()
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self.house.stop()
            self._socket.close()
        if self.house.stepper.failed:
            raise TalkerError(
                "the thread that steps the voices ended by an exception, which the log shows: start the "
                "server again"
            )

    def stop(self, *_) -> None:
        """Let `run` return soon; from any thread, or as the handler of a signal."""
        self._uvicorn.should_exit = True

    @contextlib.contextmanager
    def background(self):
        """Serve in a thread as long as the block lasts."""
        thread = threading.Thread(target=self.run, name="web", daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not self._uvicorn.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise TalkerError("the web server did not start")
            time.sleep(0.01)
        try:
            yield self
        finally:
            self._uvicorn.should_exit = True
            thread.join(timeout=15)


def loopback(host):
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def outward(host):
    """What other machines may call `host`: itself, but where it stands for all addresses, this machine's own one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    probe, far = ("::1", "2001:db8::1") if address.version == 6 else ("127.0.0.1", "192.0.2.1")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:  # connecting it finds the way and sends nothing
        try:
            asked.connect((far, 9))
            return asked.getsockname()[0]
        except OSError:
            return probe


def _bind(host, port):
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
        return bound
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TalkerError(
            f"{host}, port {port}, cannot be bound ({reason}): choose others with --host and --port"
        ) from None
