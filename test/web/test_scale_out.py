# SPDX-License-Identifier: Apache-2.0
"""Several web servers behind a load balancer: health, metrics, draining, and addresses behind proxies."""

from __future__ import annotations

import contextlib
import http.client
import signal
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import numpy.typing as npt
import pytest
from websockets.exceptions import InvalidStatus

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.metrics import LATE_FRAME_S
from streamingtalker_ros.web.server import Server
from streamingtalker_ros.web.trusted_proxies import TrustedProxies
from support.load_balancer import LoadBalancer
from support.processes import ProcessGroup
from support.scheduler_harness import small_talker
from support.waiting import wait_for
from support.web_client import WebClient, running_server
from support.web_metrics import get, scrape, start_web

TRY_AGAIN_LATER = 1013  # close code of RFC 6455
VISITORS = 8
CLIP_S = 1.0


@pytest.fixture(scope="module")
def tiny_talker() -> Talker:
    return small_talker()


@contextlib.contextmanager
def server_behind(talker: Talker, proxy: str, **limits: Any) -> Iterator[Server]:
    """A server that trusts a proxy."""
    context = WebContext(talker, Limits(**limits), warn=lambda message: None, trusted_proxies=[proxy])
    with Server(context, "127.0.0.1", 0).background() as server:
        yield server


def noise(seconds: float) -> npt.NDArray[np.float32]:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def address(origin: str) -> Any:
    """What a `WebClient` needs of a server."""
    return SimpleNamespace(origin=origin)


def received_frames(clients: list[WebClient]) -> Counter[str]:
    """Frames that visitors have received, under the names of the metrics."""
    counts: Counter[str] = Counter()
    for client in clients:
        for frame in client.frames:
            counts["frames_sent_total{idle}" if frame["idle"] else "frames_sent_total{speech}"] += 1
            late = frame["model_ms"] + frame["wait_ms"] > 1000 * LATE_FRAME_S
            counts["frames_late_total"] += late and not frame["idle"]
    return counts


# ------------------------------------------------------------------------------------------------- readiness


def test_a_server_is_ready_while_it_has_room_and_alive_in_any_case(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, max_sessions=1) as server:
        assert get(server.origin, "/healthz") == (200, "ok\n")
        assert get(server.origin, "/readyz") == (200, "ready\n")
        with WebClient(server) as client:
            client.wait_for_text("hello")
            assert get(server.origin, "/readyz") == (503, "full\n")
            assert get(server.origin, "/healthz") == (200, "ok\n")
        assert wait_for(lambda: get(server.origin, "/readyz")[0] == 200)


def test_a_server_whose_model_never_returns_is_neither_alive_nor_ready(
    tiny_talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tiny_talker) as server:
        monkeypatch.setattr(server.context.worker, "busy_since", 0.0)
        assert get(server.origin, "/healthz") == (503, "failed\n")
        assert get(server.origin, "/readyz") == (503, "failed\n")


def test_a_draining_server_lets_its_sessions_end_and_accepts_no_other(tiny_talker: Talker) -> None:
    context = WebContext(tiny_talker, Limits(), warn=lambda message: None)
    with Server(context, "127.0.0.1", 0, drain_seconds=3600.0).background() as server:
        with WebClient(server) as client:
            client.send(type="rest", epoch=1)
            assert client.wait_until(lambda: client.frames)
            server.drain()
            assert get(server.origin, "/readyz") == (503, "draining\n")
            assert get(server.origin, "/healthz") == (200, "ok\n")
            with pytest.raises(InvalidStatus) as refusal:
                WebClient(server)
            assert refusal.value.response.status_code == 503
            assert scrape(server.origin)["refused_total{draining}"] == 1
            count = client.frame_count
            assert client.wait_until(lambda: client.frame_count > count + 5) and not client.is_closed
        assert wait_for(lambda: not is_listening(server))


def is_listening(server: Server) -> bool:
    try:
        get(server.origin, "/healthz")
    except OSError:
        return False
    return True


def test_sessions_of_a_draining_server_are_closed_when_their_time_is_over(tiny_talker: Talker) -> None:
    context = WebContext(tiny_talker, Limits(), warn=lambda message: None)
    with (
        Server(context, "127.0.0.1", 0, drain_seconds=0.0).background() as server,
        WebClient(server) as client,
    ):
        client.wait_for_text("hello")
        server.drain()
        assert client.wait_until_closed()
        assert client.close_code == 1012  # service restart: the page connects again


# --------------------------------------------------------------------------------------------------- metrics


def test_metrics_equal_what_the_visitors_saw(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, max_sessions=4, max_sessions_per_address=4) as server:
        clients: list[WebClient] = []
        with contextlib.ExitStack() as stack:
            for k in range(4):
                clients.append(stack.enter_context(WebClient(server)))
                clients[-1].send_audio(noise(CLIP_S), seed=k)
                clients[-1].send(type="rest", epoch=2)
            with WebClient(server) as refused:
                assert refused.wait_until_closed() and refused.close_code == TRY_AGAIN_LATER
            for client in clients:
                assert client.wait_until(lambda client=client: any(frame["idle"] for frame in client.frames))
            values = scrape(server.origin)
            assert values["visitors"] == values["visitors_limit"] == 4
            assert values["sessions_opened_total"] == 4 and values["ready"] == 0
            assert values["refused_total{full}"] == 1
            assert sum(values[f"sessions{{{state}}}"] for state in ("idle", "closing")) == 4
            assert values["audio_received_seconds_total"] == pytest.approx(4 * CLIP_S)
            for client in clients:
                client.send(type="pause")
            assert wait_for(lambda: scrape(server.origin)["sessions{waiting}"] == 4)
            assert wait_for(lambda: is_equal(scrape(server.origin), received_frames(clients)))
            values = scrape(server.origin)
            speech = values["frames_sent_total{speech}"]
            assert speech >= 4 * 25 * CLIP_S
            assert values["frame_latency_seconds_count"] == speech
            assert values[f"frame_latency_seconds_bucket{{{LATE_FRAME_S:g}}}"] == (
                speech - values["frames_late_total"]
            )
            assert values["batch_steps_total"] > 0 and values["model_seconds_total"] > 0
            assert values["process_cpu_seconds_total"] > 0 and values["uptime_seconds"] > 0
        assert wait_for(lambda: scrape(server.origin)["visitors"] == 0)
        assert scrape(server.origin)["sessions_opened_total"] == 4
        assert is_equal(scrape(server.origin), received_frames(clients))


def is_equal(values: Counter[str], received: Counter[str]) -> bool:
    return all(values[name] == count for name, count in received.items())


def test_frames_that_a_visitor_does_not_take_count_as_dropped(tiny_talker: Talker) -> None:
    limits: dict[str, Any] = {"unacknowledged_seconds": 0.2, "slow_client_timeout_seconds": 0.5}
    with running_server(tiny_talker, **limits) as server:
        with WebClient(server, acknowledges=False) as client:
            client.send(type="rest", epoch=1)
            assert wait_for(lambda: scrape(server.origin)["frames_dropped_total{slow_client}"] > 0)
            assert client.wait_until_closed()
            received = client.frame_count
        values = scrape(server.origin)
        assert values["frames_dropped_total{slow_client}"] > 0  # kept after the session
        assert values["frames_sent_total{idle}"] == received


def test_metrics_are_open_to_this_machine_or_with_the_token_only(tiny_talker: Talker) -> None:
    with running_server(tiny_talker) as server:
        assert get(server.origin, "/metrics")[0] == 200
        assert get(server.origin, "/metrics", Host="evil.example")[0] == 403
        for header in ("X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"):
            assert get(server.origin, "/metrics", **{header: "192.0.2.1"})[0] == 403
    with running_server(tiny_talker, "0.0.0.0") as server:
        origin, token = f"http://127.0.0.1:{server.port}", server.token
        assert get(origin, "/metrics")[0] == 401
        bearer = f"Bearer {token}"
        assert get(origin, "/metrics", Authorization=bearer)[0] == 200
        assert get(origin, "/metrics", Authorization=bearer, X_Forwarded_For="192.0.2.1")[0] == 200
        for path, text in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
            assert get(origin, path) == (200, text)  # load balancers have no token
        values = scrape(origin, Authorization=bearer)
        assert values["refused_total{token}"] == 1
        with pytest.raises(InvalidStatus):
            WebClient(address(origin), origin="http://evil.example", headers={"Authorization": bearer})
        assert scrape(origin, Authorization=bearer)["refused_total{origin}"] == 1


# --------------------------------------------------------------------------------------------------- proxies


@pytest.mark.parametrize(
    ("header", "visitor"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7, 10.1.2.3", "198.51.100.7"),  # two proxies
        ("203.0.113.9, 198.51.100.7", "198.51.100.7"),  # the first is the visitor's invention
        ("203.0.113.9, unknown, 10.1.2.3", "10.1.2.3"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ('"[2001:db8::7]"', "2001:db8::7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("10.1.2.3, 10.4.5.6", "10.1.2.3"),
        ("", None),
        ("unknown", None),
        ("203.0.113.9,", None),
        ("<script>", None),
    ],
)
def test_the_visitor_is_the_last_address_that_is_no_proxy(header: str, visitor: str | None) -> None:
    proxies = TrustedProxies(["127.0.0.1", "10.0.0.0/8"])
    assert proxies.visitor([(b"x-forwarded-for", header.encode())]) == visitor
    lines = [(b"x-forwarded-for", part.encode()) for part in header.split(",")]
    assert proxies.visitor(lines) == visitor


def test_no_header_and_foreign_addresses_name_no_visitor() -> None:
    proxies = TrustedProxies(["10.0.0.0/8", "2001:db8::/32"])
    assert proxies.visitor([(b"x-real-ip", b"198.51.100.7")]) is None
    assert "10.255.0.1" in proxies and "::ffff:10.0.0.1" in proxies and "2001:db8::5" in proxies
    assert "127.0.0.1" not in proxies and "unix" not in proxies and "" not in proxies
    assert "127.0.0.1" not in TrustedProxies()


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.0/33", "", "300.1.1.1"])
def test_a_proxy_that_is_no_address_is_refused_in_one_sentence(
    text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", "--port", "0", "--device", "cpu", "--trusted-proxy", text]) != 0
    error = capfd.readouterr().err.strip()
    assert "is no address of a proxy" in error and "\n" not in error


def test_visitors_behind_a_trusted_proxy_have_limits_of_their_own(tiny_talker: Talker) -> None:
    """One address may have one session; the proxy carries more."""
    with server_behind(tiny_talker, "127.0.0.1", max_sessions_per_address=1) as server:
        with contextlib.ExitStack() as stack:
            for k in range(3):
                headers = {"X-Forwarded-For": f"203.0.113.1, 198.51.100.{k}"}
                stack.enter_context(WebClient(server, headers=headers)).wait_for_text("hello")
            with WebClient(server, headers={"X-Forwarded-For": "203.0.113.99, 198.51.100.0"}) as second:
                assert second.wait_until_closed() and second.close_code == TRY_AGAIN_LATER
        assert wait_for(lambda: not server.context.session_count)
        with WebClient(server, headers={"X-Forwarded-For": "198.51.100.0"}) as again:
            again.wait_for_text("hello")


def test_the_header_of_an_address_that_is_not_trusted_changes_nothing(tiny_talker: Talker) -> None:
    first, second = ({"X-Forwarded-For": f"198.51.100.{k}"} for k in (1, 2))
    with (
        server_behind(tiny_talker, "127.0.0.2", max_sessions_per_address=1) as server,
        WebClient(server, headers=first) as client,
    ):
        client.wait_for_text("hello")
        with WebClient(server, headers=second) as other:
            assert other.wait_until_closed() and other.close_code == TRY_AGAIN_LATER
        with WebClient(server, headers=first, source="127.0.0.2") as forwarded:
            forwarded.wait_for_text("hello")


def test_a_visitor_who_asks_too_much_behind_a_proxy_delays_no_other(tiny_talker: Talker) -> None:
    limits = {"max_requests_per_second": 0.01, "max_requests_at_once": 5, "max_connects_at_once": 4}
    with server_behind(tiny_talker, "127.0.0.1", **limits) as server:
        hasty = [get(server.origin, "/healthz", X_Forwarded_For="198.51.100.1")[0] for _ in range(20)]
        assert hasty == 5 * [200] + 15 * [429]
        assert get(server.origin, "/healthz", X_Forwarded_For="198.51.100.2")[0] == 200
        assert server.context.metrics.refused["request_rate"] == 15


# -------------------------------------------------------------------------------------------- several servers


@pytest.mark.timeout(300)
def test_two_servers_behind_a_load_balancer_serve_all_and_the_death_of_one_costs_only_its_own() -> None:
    with ProcessGroup() as processes:
        servers = [
            start_web(processes, "--token", "one token", "--trusted-proxy", "127.0.0.1", "--visitors", "100")
            for _ in range(2)
        ]
        ports = [int(origin.rpartition(":")[2]) for _, origin in servers]
        bearer = {"Authorization": "Bearer one token"}
        with LoadBalancer(ports) as balancer, contextlib.ExitStack() as stack:
            assert wait_for(lambda: len(balancer.ready) == 2)
            clients: list[WebClient] = []
            for k in range(VISITORS):
                client = WebClient(address(balancer.origin), headers=bearer, source=f"127.0.2.{k + 1}")
                clients.append(stack.enter_context(client))
                client.wait_for_text("hello")
                client.send_audio(noise(CLIP_S), seed=k)
            frames = round(25 * CLIP_S) - 2  # without the look-ahead
            for client in clients:
                assert client.wait_until(lambda client=client: client.frame_count >= frames)
            assert {count >= VISITORS // 2 for count in balancer.open_counts.values()} == {True}

            def total() -> Counter[str]:
                values = [scrape(origin, **bearer) for _, origin in servers]
                return values[0] + values[1]

            for client in clients:
                client.send(type="pause")
            assert wait_for(lambda: total()["sessions{waiting}"] == VISITORS)
            assert wait_for(lambda: is_equal(total(), received_frames(clients)))
            assert total()["visitors"] == VISITORS

            # a page that was opened on one server goes on on the other: the cookie is good on both
            cookie = cookie_of(servers[0][1], "one token")
            for _, origin in servers:
                assert get(origin, "/", Cookie=cookie)[0] == 200

            doomed, survivor = servers[0][0], servers[1][1]
            doomed.kill()
            assert wait_for(lambda: sum(client.is_closed for client in clients) >= VISITORS // 2)
            left = [client for client in clients if not client.is_closed]
            assert len(left) == scrape(survivor, **bearer)["visitors"] == VISITORS // 2
            for client in left:
                count = client.frame_count
                client.send(type="rest", epoch=3)
                assert client.wait_until(lambda client=client, count=count: client.frame_count > count + 5)
            again = stack.enter_context(WebClient(address(balancer.origin), headers=bearer))
            again.wait_for_text("hello")  # whoever comes back is served by the other


def cookie_of(origin: str, token: str) -> str:
    """The cookie that the page of a server gets for its token."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(origin).port, 20)
    with contextlib.closing(connection):
        connection.request("GET", f"/?token={quote(token)}")
        return (connection.getresponse().getheader("set-cookie") or "").partition(";")[0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_drains_a_server_and_sigint_ends_it_at_once(number: signal.Signals) -> None:
    with ProcessGroup() as processes:
        process, origin = start_web(processes, "--drain-seconds", "3600")
        with WebClient(address(origin)) as client:
            client.send(type="rest", epoch=1)
            assert client.wait_until(lambda: client.frames)
            process.send_signal(number)
            if number == signal.SIGTERM:
                assert wait_for(lambda: get(origin, "/readyz") == (503, "draining\n"))
                count = client.frame_count
                assert client.wait_until(lambda: client.frame_count > count + 10)
                assert process.poll() is None and not client.is_closed
            else:
                assert client.wait_until_closed()
        assert process.wait(30) == 0
