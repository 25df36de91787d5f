# SPDX-License-Identifier: Apache-2.0
"""Access control: Host names of a loopback address, tokens, origins, and the files within reach."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import assets
from streamingtalker_ros.web.access_control import check_origin
from streamingtalker_ros.web.server import Server, advertised_host, bind_socket, is_loopback
from support.scheduler_harness import small_talker
from support.waiting import wait_for
from support.web_client import WebClient, running_server


@pytest.fixture(scope="module")
def tiny_talker() -> Talker:
    return small_talker()


@pytest.fixture(scope="module")
def server(tiny_talker: Talker) -> Iterator[Server]:
    with running_server(tiny_talker) as server:
        yield server


def get(server: Server, path: str = "/", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a GET request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("GET", path, skip_host="host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    result = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return result


def is_rejected(server: Server, origin: str | None, cookie: str = "") -> bool:
    """Whether the WebSocket handshake is rejected."""
    try:
        WebClient(server, origin=origin, headers={"Cookie": cookie} if cookie else None).disconnect()
    except InvalidStatus as error:
        return error.response.status_code in (401, 403)
    return False


def test_foreign_host_names_are_rejected_on_loopback(server: Server) -> None:
    assert get(server)[0] == 200
    for name in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example:80", "[::2]:80", ""):
        status, _, body = get(server, host=name)
        assert status == 403 and b"not under this name" in body
    for name in (f"localhost:{server.port}", f"127.0.0.1:{server.port}", f"[::1]:{server.port}", "localhost"):
        assert get(server, host=name)[0] == 200


def test_websockets_of_foreign_origins_are_rejected(server: Server) -> None:
    WebClient(server).disconnect()
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{server.port + 1}",
        f"http://127.0.0.1.evil:{server.port}",
        f"http://127.0.0.1:{server.port}@evil.example",
        f"http://127.0.0.1:{server.port}/",
        f"javascript://127.0.0.1:{server.port}",
    ):
        assert is_rejected(server, origin)
    assert is_rejected(server, origin=None)


def test_pages_of_an_allowed_origin_read_the_files_and_others_do_not(tiny_talker: Talker) -> None:
    allowed = "http://www.example:3000"
    with running_server(tiny_talker, origins=["HTTP://www.example:3000/"]) as server:
        for path in ("/face.glb", "/", "/no-such-page"):
            for origin in (allowed, "http://evil.example", "null"):
                _, headers, _ = get(server, path, origin=origin)
                may_read = origin == allowed
                assert headers.get("access-control-allow-origin") == (origin if may_read else None)
                policy = "cross-origin" if may_read else "same-origin"
                assert headers["cross-origin-resource-policy"] == policy
                assert "origin" in headers["vary"]
        assert not is_rejected(server, allowed) and is_rejected(server, "http://evil.example")


def test_a_page_is_told_why_its_websocket_is_rejected(tiny_talker: Talker) -> None:
    allowed = "http://www.example:3000"
    with running_server(tiny_talker, origins=[allowed]) as server:
        for origin, expected, words in (
            (allowed, 426, b"may open it"),
            ("http://evil.example", 403, b"--allow-origin http://evil.example`"),
        ):
            status, headers, body = get(server, "/socket", origin=origin)
            assert status == expected and words in body and body.count(b"\n") == 1
            assert headers["access-control-allow-origin"] == "*"
    with running_server(tiny_talker, host="0.0.0.0", origins=[allowed]) as server:
        status, headers, body = get(server, "/socket", origin=allowed)
        assert status == 401 and b"token" in body and headers["access-control-allow-origin"] == "*"
        # pages of other origins have no cookie: they give the token each time
        assert get(server, f"/socket?token={server.token}", origin=allowed)[0] == 426
        status, _, body = get(server, f"/face.glb?token={server.token}", origin=allowed)
        assert status == 200 and body[:4] == b"glTF"


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://www.example", "https://www.example"),
        ("HTTPS://WWW.example/", "https://www.example"),
        ("https://www.example:443", "https://www.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_an_origin_is_compared_as_browsers_write_it(text: str, origin: str) -> None:
    assert check_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "www.example", "ftp://a", "http://", "http://a/b", "http://a?b", "http://u@a"),
        *("http://a:99999999", "http://a b", "http://[::1", "http://a\x00b"),
    ],
)
def test_what_is_no_origin_is_rejected_in_one_sentence(text: str) -> None:
    with pytest.raises(TalkerError, match="give scheme, host and port"):
        check_origin(text)


def test_no_request_path_reaches_the_file_system(server: Server) -> None:
    for path in (
        "/../limits.py",
        "/%2e%2e/limits.py",
        "//etc/passwd",
        "/..%2f..%2fsetup.py",
        "/static/index.html",
        "/%00",
        "/index.html/../../limits.py",
        "/" + 3000 * "a",
        "/..\\limits.py",
    ):
        status, _, body = get(server, path)
        assert status in (400, 404) and b"Limits" not in body and b"root:" not in body


def test_idle_and_slow_connections_are_aborted(tiny_talker: Talker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request, none at all, a second one that never ends, an unread response: all are aborted."""
    monkeypatch.setattr("streamingtalker_ros.web.idle_timeout.CHECK_INTERVAL_S", 0.1)
    with running_server(tiny_talker, max_sessions=1) as server, WebClient(server) as client:
        client.send(type="rest", epoch=1)
        request = b"GET /face.glb HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        payloads = (
            b"",
            request[:20],
            b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + request[:20],
            20 * request,
        )
        sockets: list[socket.socket] = []
        for k in range(110):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(payloads[k % 4])
            sockets.append(connection)
        assert get(server)[0] == 200  # the oldest idle connection made room
        assert server.connection_count <= server.context.limits.max_connections_per_address + 1
        monkeypatch.setattr("streamingtalker_ros.web.idle_timeout.REQUEST_TIMEOUT_S", 1.0)
        monkeypatch.setattr("streamingtalker_ros.web.idle_timeout.RESPONSE_TIMEOUT_S", 2.0)
        assert wait_for(lambda: get(server)[0] == 200, 20)
        assert wait_for(lambda: server.connection_count <= 2, 20)
        count = len(client.frames)
        assert not client.is_closed and client.wait_until(lambda: len(client.frames) > count)
        for connection in sockets:
            connection.close()


def test_responses_carry_the_security_headers(server: Server) -> None:
    for path in ("/", "/no-such-page"):
        _, headers, _ = get(server, path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_scripts_of_decoders_alone_may_compile_web_assembly(server: Server) -> None:
    for path in ("/meshopt-worker.js", "/draco-worker.js", "/basis-worker.js"):
        policy = get(server, path)[1]["content-security-policy"]
        assert "'wasm-unsafe-eval'" in policy and "default-src 'none'" in policy
    for path in ("/", "/app.js"):
        assert "wasm" not in get(server, path)[1]["content-security-policy"]


def test_assets_are_compressed_and_revalidated(server: Server) -> None:
    status, headers, body = get(server, "/face.glb")
    assert status == 200 and headers["content-type"] == "model/gltf-binary" and body[:4] == b"glTF"
    _, compressed_headers, compressed = get(server, "/face.glb", accept_encoding="gzip")
    assert compressed_headers["content-encoding"] == "gzip" and len(compressed) < 0.5 * len(body)
    assert get(server, "/face.glb", if_none_match=headers["etag"])[0] == 304


def test_other_addresses_require_the_token(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, host="0.0.0.0") as server:  # reached through the loopback here
        token = server.token or ""
        assert len(token) >= 20 and token in server.address
        assert "//0.0.0.0" not in server.address  # which no browser elsewhere can open
        assert server.loopback_url == f"http://127.0.0.1:{server.port}/?token={token}"
        assert get(server)[0] == 401 and get(server, "/app.js")[0] == 401
        assert get(server, f"/?token={token[:-1]}")[0] == 401
        assert get(server, cookie='talker_1="; junk=\x01')[0] == 401
        status, headers, _ = get(server, f"/?token={token}")
        assert status == 303 and headers["location"] == "/"
        attributes = headers["set-cookie"].lower()
        assert "httponly" in attributes and "samesite=strict" in attributes
        cookie = headers["set-cookie"].partition(";")[0]
        assert get(server, cookie=cookie)[0] == 200
        server.origin = f"http://127.0.0.1:{server.port}"
        assert is_rejected(server, server.origin)
        assert not is_rejected(server, server.origin, cookie)
        assert is_rejected(server, "http://evil.example", cookie)


def test_loopback_addresses_are_recognised() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "robot", "192.168.1.5"))


def test_the_advertised_host_can_be_opened_by_other_machines() -> None:
    for host in ("robot", "192.168.1.5", "::1"):
        assert advertised_host(host) == host
    assert advertised_host("0.0.0.0").count(".") == 3 and advertised_host("0.0.0.0") != "0.0.0.0"
    assert advertised_host("::") != "::"


@pytest.mark.parametrize(
    "arguments",
    [["--port", "70000"], ["--visitors", "0"], ["--certificate", "a.pem"], ["--session-minutes", "0"]],
)
def test_invalid_options_are_reported_in_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "Traceback" not in message


def test_a_port_in_use_is_reported(server: Server) -> None:
    with pytest.raises(TalkerError, match="--port"):
        bind_socket("127.0.0.1", server.port)


def test_the_default_address_is_bound_on_loopback_only() -> None:
    bound = bind_socket("127.0.0.1", 0)
    assert bound.getsockname()[0] == "127.0.0.1" and bound.family == socket.AF_INET
    bound.close()


def test_without_a_bundle_the_page_explains_how_to_build_it(tmp_path: Path) -> None:
    files = assets.load_page(tmp_path)
    assert list(files) == ["/"]
    body = files["/"].body.decode()
    assert "npm ci" in body and "make web" in body and not assets.is_built(tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "secret.py").write_text("x = 1")
    assert set(assets.load_page(tmp_path)) == {"/", "/index.html"}
