# SPDX-License-Identifier: Apache-2.0
"""A fault in one session ends at most that session."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import message_fields, protocol
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.server import Server
from streamingtalker_ros.web.voice_stream import VoiceStream
from support.scheduler_harness import small_talker
from support.web_client import WebClient, running_server

INTERNAL_ERROR = 1011  # close code of RFC 6455
HUGE = "1" + "0" * 400
DEEP = "[" * 900 + "]" * 900
LONG = "0" * 5000
INVALID_TEXTS = {
    "huge gain": f'{{"type": "set", "face_expressiveness": {HUGE}}}',
    "huge negative guidance": f'{{"type": "set", "guidance": -{HUGE}}}',
    "huge steps": f'{{"type": "set", "steps": {HUGE}}}',
    "huge seed of a control": f'{{"type": "set", "seed": {HUGE}}}',
    "huge style": f'{{"type": "set", "style": {HUGE}}}',
    "huge weight": f'{{"type": "set", "expression": {{"jawOpen": {HUGE}}}}}',
    "more digits than Python reads": f'{{"type": "set", "guidance": 1{LONG}}}',
    "overflowing float": '{"type": "set", "guidance": 1e999}',
    "NaN": '{"type": "set", "guidance": NaN}',
    "infinity": '{"type": "set", "guidance": -Infinity}',
    "list for a number": '{"type": "set", "guidance": [1.0]}',
    "list for a style": '{"type": "set", "style": ["neutral"]}',
    "list for an expression": '{"type": "set", "expression": [1]}',
    "text for a weight": '{"type": "set", "expression": {"jawOpen": "1"}}',
    "deep list for a number": f'{{"type": "set", "guidance": {DEEP}}}',
    "deep list for a style": f'{{"type": "set", "style": {DEEP}}}',
    "deep list for an epoch": f'{{"type": "rest", "epoch": {DEEP}}}',
    "very deep list": "[" * 10000,
    "huge seed of a start": f'{{"type": "start", "epoch": 1, "rate": 16000, "seed": {HUGE}}}',
    "huge rate": f'{{"type": "start", "epoch": 1, "rate": {HUGE}}}',
    "huge count": f'{{"type": "seen", "count": {HUGE}}}',
    "half a surrogate": '{"type": "set", "style": "\\ud800"}',
    "a name of half a surrogate": '{"type": "set", "\\udfff": 1}',
}


@pytest.fixture(scope="module")
def tiny_talker() -> Talker:
    return small_talker()


@pytest.fixture(scope="module")
def server(tiny_talker: Talker) -> Iterator[Server]:
    with running_server(tiny_talker, max_sessions=30) as server:
        yield server


def receives_frames(client: WebClient, count: int = 3) -> bool:
    """Whether further frames arrive."""
    first = len(client.frames)
    return client.wait_until(lambda: len(client.frames) >= first + count, 10)


def test_every_invalid_value_is_reported_and_ends_no_session(server: Server) -> None:
    with WebClient(server) as other, WebClient(server) as sender:
        other.send(type="rest", epoch=1)
        sender.send(type="rest", epoch=1)
        assert receives_frames(other) and receives_frames(sender)
        for name, text in INVALID_TEXTS.items():
            first = len(sender.texts)

            def errors(first: int = first) -> list[str]:
                return [reply["text"] for reply in sender.texts[first:] if reply["type"] == "error"]

            sender.socket.send(text)
            assert sender.wait_until(errors, 10), name
            assert len(errors()[0]) < 300 and "\n" not in errors()[0], name
            assert receives_frames(sender, 2), name
        assert receives_frames(other)
        assert not server.context.worker.failed


@pytest.mark.parametrize("method", ["session.next_hop", "session.deliver", "encode_frames", "deliver"])
def test_an_internal_error_ends_one_stream_and_is_logged_once(
    method: str,
    tiny_talker: Talker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running_server(tiny_talker) as server, WebClient(server) as other, WebClient(server) as sender:
        worker = server.context.worker
        open_stream = worker.open
        streams: list[VoiceStream] = []

        def open_and_record(*callbacks: Any) -> VoiceStream:
            streams.append(open_stream(*callbacks))
            return streams[-1]

        def fail(*_: object) -> NoReturn:
            raise RuntimeError(f"a bug in {method}")

        monkeypatch.setattr(worker, "open", open_and_record)
        sender.send(type="rest", epoch=1)
        assert receives_frames(sender)
        other.send(type="rest", epoch=1)
        assert receives_frames(other)
        owner = streams[0].session if method.startswith("session.") else streams[0]
        setattr(owner, method.removeprefix("session."), fail)
        assert "ended" in sender.wait_for_text("error")["text"]
        assert receives_frames(other)
        assert caplog.text.count(f"RuntimeError: a bug in {method}") == 1 and "Traceback" in caplog.text
        with WebClient(server) as new:
            new.send(type="rest", epoch=1)
            assert receives_frames(new)


def test_an_internal_error_in_a_message_closes_its_session_only(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parse_text = protocol.parse_text

    def fail_on_pause(text: str) -> dict[str, Any]:
        if json.loads(text).get("type") == "pause":
            raise RuntimeError("a bug in reading")
        return parse_text(text)

    monkeypatch.setattr(protocol, "parse_text", fail_on_pause)
    with WebClient(server) as other, WebClient(server) as sender:
        other.send(type="rest", epoch=1)
        assert receives_frames(other)
        sender.send(type="pause")
        assert sender.wait_for_text("bye") and sender.wait_until_closed()
        assert sender.close_code == INTERNAL_ERROR and receives_frames(other)
    assert "a bug in reading" in caplog.text


def test_a_model_error_resets_the_streams_even_if_it_cannot_be_logged(tiny_talker: Talker) -> None:
    def warn(message: str) -> NoReturn:
        raise BrokenPipeError("stdout is closed")

    context = WebContext(tiny_talker, Limits(), warn=warn)
    with Server(context).background() as server, WebClient(server) as client:
        accept = tiny_talker.accept
        failed = threading.Event()

        def fail_once(streams: Sequence[Any], chunks: Sequence[Any]) -> Any:
            if not failed.is_set():
                failed.set()
                raise RuntimeError("the device has gone")
            return accept(streams, chunks)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tiny_talker, "accept", fail_once)
            client.send(type="rest", epoch=1)
            assert client.wait_for_text("error")
            client.send(type="rest", epoch=2)
            assert receives_frames(client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_server_ends_with_an_error_if_its_worker_thread_ends(
    tiny_talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(WebContext(tiny_talker, Limits(), warn=lambda message: None))
    errors: list[str] = []

    def serve() -> None:
        try:
            server.run()
        except TalkerError as error:
            errors.append(str(error))

    def fail(*_: object) -> NoReturn:
        raise SystemExit("which no handler of exceptions catches")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", server.port), 1).close()
            break
        time.sleep(0.05)
    with WebClient(server) as client:
        client.send(type="rest", epoch=1)
        assert receives_frames(client)
        monkeypatch.setattr(tiny_talker, "accept", fail)
        thread.join(20)
    assert not thread.is_alive() and errors and "start the server again" in errors[0]


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), True, None, "1", [1], {}])
def test_a_number_is_finite_and_within_its_range(value: object) -> None:
    for kind in (int, float):
        with pytest.raises(TalkerError):
            message_fields.check_number({"x": value}, "x", 0, 2, kind)
        assert message_fields.check_number({"x": 2}, "x", 0, 2, kind) == 2
