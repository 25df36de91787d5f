# SPDX-License-Identifier: Apache-2.0
"""Who gets in: the loopback's names, tokens, origins; and that no path of a request leads out of the page's files."""

import http.client
import socket
import time

import pytest

pytest.importorskip("torch", reason="torch is not installed")

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import assets
from streamingtalker_ros.web.server import advertised_host, bind_socket, is_loopback
from support.scheduler_harness import small_talker
from support.web_client import Client, serving


@pytest.fixture(scope="module")
def small():
    return small_talker()


@pytest.fixture(scope="module")
def server(small):
    with serving(small) as server:
        yield server


def get(server, path="/", **headers):
    """-> (status, headers as dict, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.putrequest("GET", path, skip_host="host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    out = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return out


def refused(server, **headers):
    """Whether the WebSocket does not open with these headers."""
    from websockets.exceptions import InvalidStatus

    try:
        Client(server, **headers).close()
    except InvalidStatus as error:
        return error.response.status_code in (401, 403)
    return False


def test_the_page_is_served_to_this_machine_alone(server) -> None:
    assert get(server)[0] == 200
    for name in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example:80", "[::2]:80", ""):
        status, _, body = get(server, host=name)
        assert status == 403 and b"not under this name" in body
    for name in (f"localhost:{server.port}", f"127.0.0.1:{server.port}", f"[::1]:{server.port}", "localhost"):
        assert get(server, host=name)[0] == 200


def test_only_pages_of_this_server_open_the_socket(server) -> None:
    Client(server).close()
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{server.port + 1}",
        f"http://127.0.0.1.evil:{server.port}",
        f"http://127.0.0.1:{server.port}@evil.example",
        f"http://127.0.0.1:{server.port}/",
        f"javascript://127.0.0.1:{server.port}",
    ):
        assert refused(server, origin=origin)
    assert refused(server, origin=None)


def test_no_path_leads_out(server) -> None:
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


def test_who_asks_for_nothing_or_takes_nothing_holds_no_place(small, monkeypatch) -> None:
    """Half a request, none at all, a second one that never ends, an answer that nobody reads: all are let go, and a
    visitor is served."""
    monkeypatch.setattr("streamingtalker_ros.web.idle_timeout.CHECK_INTERVAL_S", 0.1)
    with serving(small, max_sessions=1) as server, Client(server) as visitor:
        visitor.say(type="rest", epoch=1)
        whole = b"GET /face.glb HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        held = []
        for k in range(110):
            small_window = socket.socket()
            small_window.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small_window.connect(("127.0.0.1", server.port))
            small_window.sendall(
                (b"", whole[:20], b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" + whole[:20], 20 * whole)[
                    k % 4
                ]
            )
            held.append(small_window)
        assert get(server)[0] == 503  # all places are taken,
        monkeypatch.setattr("streamingtalker_ros.web.idle_timeout.REQUEST_TIMEOUT_S", 1.0)
        monkeypatch.setattr("streamingtalker_ros.web.idle_timeout.RESPONSE_TIMEOUT_S", 2.0)
        deadline = time.monotonic() + 20
        while get(server)[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert get(server)[0] == 200  # not for long
        while server.connection_count > 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.connection_count <= 2
        count = len(visitor.faces)
        assert visitor.closed is None and visitor.wait(lambda: len(visitor.faces) > count)
        for each in held:
            each.close()


def test_pages_forbid_what_is_not_theirs(server) -> None:
    _, headers, _ = get(server)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_files_are_squeezed_and_cached(server) -> None:
    status, headers, whole = get(server, "/face.glb")
    assert status == 200 and len(whole) > 400_000
    _, squeezed, body = get(server, "/face.glb", **{"accept-encoding": "gzip"})
    assert squeezed["content-encoding"] == "gzip" and len(body) < len(whole)
    assert get(server, "/face.glb", **{"if-none-match": headers["etag"]})[0] == 304


def test_another_address_asks_for_a_token(small) -> None:
    with serving(small, host="0.0.0.0") as server:  # reached here through the loopback all the same
        assert len(server.token) >= 20 and server.token in server.address
        assert "//0.0.0.0" not in server.address  # which no browser elsewhere can open
        assert server.loopback_url == f"http://127.0.0.1:{server.port}/?token={server.token}"
        assert get(server)[0] == 401 and get(server, "/app.js")[0] == 401
        assert get(server, f"/?token={server.token[:-1]}")[0] == 401
        assert get(server, cookie='talker_1="; junk=\x01')[0] == 401
        status, headers, _ = get(server, f"/?token={server.token}")
        assert status == 303 and headers["location"] == "/"  # out of the address bar
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        assert get(server, cookie=cookie.partition(";")[0])[0] == 200
        origin = f"http://127.0.0.1:{server.port}"
        server.origin = origin
        assert refused(server)
        Client(server, additional_headers={"Cookie": cookie.partition(";")[0]}).close()
        assert refused(
            server, origin="http://evil.example", additional_headers={"Cookie": cookie.partition(";")[0]}
        )


def test_what_is_loopback() -> None:
    assert (
        is_loopback("127.0.0.1")
        and is_loopback("::1")
        and is_loopback("localhost")
        and is_loopback("127.3.2.1")
    )
    assert (
        not is_loopback("0.0.0.0")
        and not is_loopback("::")
        and not is_loopback("robot")
        and not is_loopback("192.168.1.5")
    )


def test_a_name_for_all_addresses_becomes_one_that_can_be_opened() -> None:
    assert (
        advertised_host("robot") == "robot"
        and advertised_host("192.168.1.5") == "192.168.1.5"
        and advertised_host("::1") == "::1"
    )
    assert (
        advertised_host("0.0.0.0").count(".") == 3
        and advertised_host("0.0.0.0") != "0.0.0.0"
        and advertised_host("::") != "::"
    )


def test_a_taken_port_and_bad_arguments_are_one_sentence(server, capsys) -> None:
    with pytest.raises(TalkerError, match="--port"):
        bind_socket("127.0.0.1", server.port)
    for arguments in (
        ["--port", "70000"],
        ["--visitors", "0"],
        ["--certificate", "a.pem"],
        ["--session-minutes", "0"],
    ):
        assert main(["web", *arguments]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "Traceback" not in said


def test_without_the_built_page_one_sentence_says_how_to_build_it(tmp_path) -> None:
    files = assets.load_page(tmp_path)
    assert list(files) == ["/"]
    body = files["/"].body.decode()
    assert "npm ci" in body and "make web" in body and not assets.is_built(tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "secret.py").write_text("x = 1")
    assert set(assets.load_page(tmp_path)) == {"/", "/index.html"}


def test_a_free_port_is_bound_on_the_loopback_alone() -> None:
    bound = bind_socket("127.0.0.1", 0)
    assert bound.getsockname()[0] == "127.0.0.1" and bound.family == socket.AF_INET
    bound.close()
