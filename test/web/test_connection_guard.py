# SPDX-License-Identifier: Apache-2.0
"""What one address may take of the server, whatever it sends, and however it leaves."""

from __future__ import annotations

import base64
import contextlib
import http.client
import logging
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import connection_guard
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.connection_guard import ConnectionGuard, TimeBudget, network_of
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.server import Server
from streamingtalker_ros.web.server_log import ThrottledHandler
from support.certificate import write_certificate
from support.fuzz_web import recorded_logs
from support.scheduler_harness import small_talker
from support.waiting import wait_for
from support.web_client import WebClient, running_server

POLICY_VIOLATION = 1008  # close code of RFC 6455
PING, TEXT, CONTINUATION = 9, 1, 0  # opcodes


@pytest.fixture(scope="module")
def tiny_talker() -> Talker:
    return small_talker()


@pytest.fixture(scope="module")
def server(tiny_talker: Talker) -> Iterator[Server]:
    with running_server(tiny_talker) as server:
        yield server


def open_connection(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A TCP connection from an address of this machine."""
    return socket.create_connection(("127.0.0.1", port), 10, (source, 0))


def status_of(server: Server, path: str = "/", source: str = "127.0.0.1", cookie: str = "") -> int:
    """Status of a GET request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, 10, (source, 0))
    try:
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        return connection.getresponse().status
    finally:
        connection.close()


def upgrade_request(port: int, method: str = "GET") -> bytes:
    """The request that opens a WebSocket."""
    key = base64.b64encode(bytes(16)).decode()
    return (
        f"{method} /socket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def receive_to_end(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


# ----------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"])
def test_idle_connections_of_one_address_keep_nobody_out(tiny_talker: Talker, source: str) -> None:
    with running_server(tiny_talker) as server, WebClient(server) as client:
        client.send(type="rest", epoch=1)
        limits = server.context.limits
        idle = [open_connection(server.port, source) for _ in range(limits.max_connections_per_address + 80)]
        assert status_of(server) == 200 and status_of(server, source=source) == 200
        assert server.connection_count <= limits.max_connections_per_address + 2
        with WebClient(server) as other:
            other.send(type="rest", epoch=1)
            assert other.wait_until(lambda: other.frame_count > 2)
        assert not client.is_closed
        for connection in idle:
            connection.close()


def test_sessions_are_never_closed_for_idle_connections(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, max_sessions=3, max_extra_connections=5) as server:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(WebClient(server)) for _ in range(3)]
            for client in clients:
                client.wait_for_text("hello")
            idle = [open_connection(server.port, f"127.0.1.{k + 1}") for k in range(30)]
            assert status_of(server) == 200
            assert server.connection_count <= server.context.limits.max_connections
            for client in clients:
                client.send(type="rest", epoch=1)
                assert client.wait_until(lambda c=client: c.frames) and not client.is_closed
            for connection in idle:
                connection.close()
        assert wait_for(lambda: not server.connection_count)


def test_an_address_that_connects_too_fast_is_refused_and_no_other(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, max_connects_per_second=1.0, max_connects_at_once=10.0) as server:
        refused = 0
        for _ in range(40):
            with open_connection(server.port, "127.0.0.9") as connection:
                with contextlib.suppress(OSError):
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                refused += not receive_to_end(connection)
        assert refused >= 20 and status_of(server) == 200


def test_requests_of_one_address_wait_for_each_other(tiny_talker: Talker) -> None:
    with (
        running_server(tiny_talker, max_requests_per_second=20.0, max_requests_at_once=5.0) as server,
        open_connection(server.port, "127.0.0.9") as connection,
    ):
        connection.sendall(500 * b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert status_of(server) == 200
        assert connection.recv(100).startswith(b"HTTP/1.1 404")


def test_networks_count_as_one_address() -> None:
    assert network_of("192.0.2.7") == network_of("::ffff:192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2%eth1")
    assert network_of("::1") == "::1" and network_of("no address") == "no address"


def test_addresses_that_are_gone_are_forgotten() -> None:
    guard = ConnectionGuard(Limits())
    for k in range(3 * connection_guard.MAX_ADDRESSES):
        with socket.socket() as unused:
            connection = guard.admit((f"10.{k >> 16}.{k >> 8 & 255}.{k & 255}", 1), unused)
            assert connection is not None
            guard.release(connection)
            guard.release(connection)
    assert guard.connection_count == 0


def test_time_beyond_the_budget_has_to_be_waited_for() -> None:
    now = [0.0]
    budget = TimeBudget(0.5, 1.0, lambda: now[0])
    budget.charge(1.0)
    assert budget.wait_seconds == 0.0
    budget.charge(1.0)
    assert budget.wait_seconds == pytest.approx(2.0)
    now[0] = 1.5
    assert budget.wait_seconds == pytest.approx(0.5)
    now[0] = 100.0
    budget.charge(1.0)
    assert budget.wait_seconds == 0.0  # idle time is not saved up beyond the burst
    budget.charge(0.1)
    assert budget.wait_seconds > 0.0


# ------------------------------------------------------------------------------------------------- handshakes


def test_a_tls_handshake_that_never_ends_is_ended(
    tiny_talker: Talker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_guard, "TLS_HANDSHAKE_TIMEOUT_S", 1.0)
    certificate, key = write_certificate(tmp_path)
    context = WebContext(tiny_talker, Limits(), warn=lambda message: None)
    client_context = ssl.create_default_context()
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    with (
        Server(context, certificate=certificate, key=key).background() as server,
        recorded_logs() as errors,
    ):
        silent = open_connection(server.port)
        partial = open_connection(server.port)
        partial.sendall(b"\x16\x03\x01\x02\x00\x01")
        malformed = open_connection(server.port)
        malformed.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert wait_for(lambda: server.connection_count >= 2)
        assert receive_to_end(silent) == b"" and receive_to_end(partial) == b""
        receive_to_end(malformed)
        assert wait_for(lambda: not server.connection_count)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=client_context)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        assert not errors
        for each in (silent, partial, malformed):
            each.close()


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upgrade_that_no_parser_accepts_is_answered(server: Server, method: str) -> None:
    with open_connection(server.port) as connection:
        connection.sendall(upgrade_request(server.port, method))
        assert receive_to_end(connection).startswith(b"HTTP/1.1 4")


def test_clients_may_come_before_the_model_is_loaded(tiny_talker: Talker) -> None:
    server = Server(WebContext(tiny_talker, Limits(), warn=lambda message: None))
    with open_connection(server.port) as early:
        early.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        with server.background():
            assert receive_to_end(early).startswith(b"HTTP/1.1 200")


# ----------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    "token",
    ["a+b&c#d%e", "two words", "100%25", "?x=1&token=2", "grün/✓", "\"quoted\" 'it'", "a;b,c=d", "%00", "😀"],
)
def test_the_printed_address_works_whatever_the_token_holds(tiny_talker: Talker, token: str) -> None:
    context = WebContext(tiny_talker, Limits(), warn=lambda message: None)
    with Server(context, token=token).background() as server:
        url = urlsplit(server.address)
        assert url.path == "/" and not url.fragment
        assert status_of(server) == 401 and status_of(server, "/?token=wrong") == 401
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", f"{url.path}?{url.query}")
        response = connection.getresponse()
        assert response.status == 303
        cookie = response.headers["set-cookie"].partition(";")[0]
        connection.close()
        assert status_of(server, "/", cookie=cookie) == 200
        with WebClient(server, headers={"Cookie": cookie}) as client:
            client.wait_for_text("hello")
        socket_url = server.address.replace("http", "ws").replace("/?", "/socket?")
        with connect(socket_url, origin=server.origin) as direct:  # pyright: ignore[reportArgumentType], a NewType
            assert "hello" in str(direct.recv(10))


@pytest.mark.parametrize("token", ["\udcff", "a\nb", "\x00", "tab\t"])
def test_a_token_that_no_address_can_hold_is_rejected(tiny_talker: Talker, token: str) -> None:
    with pytest.raises(TalkerError, match="token"):
        Server(WebContext(tiny_talker, Limits()), token=token)


# ----------------------------------------------------------------------------------------- floods and leaving


def send_pings(client: WebClient) -> None:
    for _ in range(5000):
        client.socket.ping(os.urandom(4))


def send_empty_fragments(client: WebClient) -> None:
    frame = struct.pack("!BB", CONTINUATION, 0x80) + bytes(4)
    client.socket.socket.sendall(struct.pack("!BB", TEXT, 0x80) + bytes(4) + 5000 * frame)


@pytest.mark.parametrize("flood", [send_pings, send_empty_fragments])
def test_a_flood_of_frames_that_are_no_messages_ends_its_session_only(server: Server, flood: object) -> None:
    with WebClient(server) as victim, WebClient(server) as sender:
        victim.send(type="rest", epoch=1)
        assert victim.wait_until(lambda: victim.frame_count > 5)
        with contextlib.suppress(ConnectionClosed, OSError):
            flood(sender)  # pyright: ignore[reportCallIssue]
        assert sender.wait_until_closed() and sender.close_code in (POLICY_VIOLATION, 1006)
        count = victim.frame_count
        assert victim.wait_until(lambda: victim.frame_count > count + 5) and not victim.is_closed


def test_a_text_beyond_the_limit_is_reported(server: Server) -> None:
    with WebClient(server) as client:
        client.send(type="set", style="x" * 20_000)
        assert "at most" in client.wait_for_text("error")["text"]
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: client.frames)


def test_visitors_who_leave_a_full_server_in_any_state_leave_no_traceback(tiny_talker: Talker) -> None:
    with (
        running_server(tiny_talker, max_sessions=1) as server,
        WebClient(server) as only,
        recorded_logs() as errors,
    ):
        only.wait_for_text("hello")
        request = upgrade_request(server.port)
        for k in range(60):
            connection = open_connection(server.port, f"127.0.2.{k + 1}")
            connection.sendall(request[: len(request) - k % 3])
            if k % 2:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if k % 15 == 0:
                assert connection.recv(10)
            connection.close()
        assert wait_for(lambda: server.connection_count == 1)
        assert not errors, errors[0]
        only.send(type="rest", epoch=1)
        assert only.wait_until(lambda: only.frames)


def test_the_end_of_the_server_leaves_no_traceback_of_clients_who_do_not_read(tiny_talker: Talker) -> None:
    with recorded_logs() as errors:
        with running_server(tiny_talker) as server, WebClient(server, reads=False) as client:
            client.send(type="rest", epoch=1)
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(20 * b"GET /face.glb HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert wait_for(lambda: server.context.session_count)
            assert connection.recv(10)
        connection.close()
        tracebacks = [text for text in errors if "Traceback" in text]
        assert not tracebacks, tracebacks[0]


# -------------------------------------------------------------------------------------------------------- log


def test_messages_of_libraries_are_printed_once_a_minute() -> None:
    printed: list[str] = []
    now = [0.0]
    handler = ThrottledHandler(FaultLog(), printed.append, lambda: now[0])

    def log(text: str, *values: object) -> None:
        handler.emit(logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, text, values, None))

    for k in range(1000):
        log("Invalid HTTP request %d", k)
    log("another")
    assert len(printed) == 2 and "Invalid HTTP request 0" in printed[0]
    now[0] = 61.0
    log("Invalid HTTP request %d", 1)
    assert "999 more" in printed[2]
    for k in range(5000):
        log(f"kind {k}")
    assert len(printed) < 300


def test_a_reader_of_the_log_who_does_not_read_stops_nothing() -> None:
    """Libraries' messages beyond a pipe's capacity neither block nor raise."""
    program = (
        "import logging\n"
        "from streamingtalker_ros.process import FaultLog, log_to_stderr\n"
        "from streamingtalker_ros.web.server_log import throttle_library_logs\n"
        "log_to_stderr()\n"
        "throttle_library_logs(FaultLog())\n"
        "for k in range(400):\n"
        "    logging.getLogger('uvicorn.error').warning(f'{k} ' + 2000 * 'x')\n"
        "print('done', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    process.communicate(timeout=60)
    assert process.returncode == 0
