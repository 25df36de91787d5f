# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with one visitor of the web server costs that visitor at most his session."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from typing import NoReturn

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.server import Server
from support.scheduler_harness import small_talker
from support.web_client import Client, serving

HUGE = "1" + "0" * 400
DEEP = "[" * 900 + "]" * 900
TEXTS = {
    "huge gain": '{"type": "set", "face_expressiveness": %s}' % HUGE,
    "huge negative guidance": '{"type": "set", "guidance": -%s}' % HUGE,
    "huge steps": '{"type": "set", "steps": %s}' % HUGE,
    "huge seed of a control": '{"type": "set", "seed": %s}' % HUGE,
    "huge style": '{"type": "set", "style": %s}' % HUGE,
    "huge weight": '{"type": "set", "expression": {"jawOpen": %s}}' % HUGE,
    "more digits than Python reads": '{"type": "set", "guidance": 1%s}' % ("0" * 5000),
    "overflowing float": '{"type": "set", "guidance": 1e999}',
    "NaN": '{"type": "set", "guidance": NaN}',
    "infinity": '{"type": "set", "guidance": -Infinity}',
    "list for a number": '{"type": "set", "guidance": [1.0]}',
    "list for a style": '{"type": "set", "style": ["neutral"]}',
    "list for an expression": '{"type": "set", "expression": [1]}',
    "text for a weight": '{"type": "set", "expression": {"jawOpen": "1"}}',
    "deep list for a number": '{"type": "set", "guidance": %s}' % DEEP,
    "deep list for a style": '{"type": "set", "style": %s}' % DEEP,
    "deep list for an epoch": '{"type": "rest", "epoch": %s}' % DEEP,
    "very deep list": "[" * 10000,
    "huge seed of a start": '{"type": "start", "epoch": 1, "rate": 16000, "seed": %s}' % HUGE,
    "huge rate": '{"type": "start", "epoch": 1, "rate": %s}' % HUGE,
    "huge count": '{"type": "seen", "count": %s}' % HUGE,
    "half a surrogate": '{"type": "set", "style": "\\ud800"}',
    "a name of half a surrogate": '{"type": "set", "\\udfff": 1}',
}


@pytest.fixture(scope="module")
def small():
    return small_talker()


@pytest.fixture(scope="module")
def server(small):
    with serving(small, max_sessions=30) as server:
        yield server


def goes_on(client: Client, frames: int = 5) -> bool:
    before = len(client.faces)
    return client.wait(lambda: len(client.faces) >= before + frames, 10)


def test_every_value_that_cannot_be_is_told_and_no_session_ends(server) -> None:
    with Client(server) as other, Client(server) as sender:
        other.say(type="rest", epoch=1)
        sender.say(type="rest", epoch=1)
        assert goes_on(other) and goes_on(sender)
        for name, text in TEXTS.items():
            before = len(sender.texts)
            sender.socket.send(text)
            assert sender.wait(lambda: any(said["type"] == "error" for said in sender.texts[before:]), 10), (
                name
            )
            said = next(said["text"] for said in sender.texts[before:] if said["type"] == "error")
            assert len(said) < 300 and "\n" not in said, name
            assert goes_on(sender, 2), name
        assert goes_on(other), "the other visitor"
        assert server.context.worker.failed is False


@pytest.mark.parametrize("part", ["session.next_hop", "session.deliver", "encode_frames", "deliver"])
def test_a_fault_of_ours_ends_one_voice_and_is_logged_once(part, small, monkeypatch, caplog) -> None:
    with serving(small) as server, Client(server) as other, Client(server) as sender:
        open_stream, streams = server.context.worker.open, []
        monkeypatch.setattr(
            server.context.worker,
            "open",
            lambda *callbacks: streams.append(open_stream(*callbacks)) or streams[-1],
        )
        sender.say(type="rest", epoch=1)
        assert goes_on(sender)
        voice = streams[-1]

        def fails(*_) -> NoReturn:
            raise RuntimeError(f"a bug in {part}")

        other.say(type="rest", epoch=1)
        assert goes_on(other)
        owner = voice.session if part.startswith("session.") else voice
        setattr(owner, part.removeprefix("session."), fails)
        assert "ended" in sender.text("error")["text"]
        assert goes_on(other)
        assert caplog.text.count(f"RuntimeError: a bug in {part}") == 1 and "Traceback" in caplog.text
        with Client(server) as new:
            new.say(type="rest", epoch=1)
            assert goes_on(new)


def test_a_message_that_our_code_fails_on_sends_its_sender_away_alone(server, monkeypatch, caplog) -> None:
    read = protocol.parse_text

    def fails(text):
        if json.loads(text).get("type") == "pause":
            raise RuntimeError("a bug in reading")
        return read(text)

    monkeypatch.setattr(protocol, "parse_text", fails)
    with Client(server) as other, Client(server) as sender:
        other.say(type="rest", epoch=1)
        assert goes_on(other)
        sender.say(type="pause")
        assert sender.text("bye") and sender.wait(lambda: sender.closed is not None)
        assert sender.closed[0] == 1011 and goes_on(other)
    assert "a bug in reading" in caplog.text


def test_a_warning_that_cannot_be_written_stops_nobody(small) -> None:
    def warn(sentence) -> NoReturn:
        raise BrokenPipeError("nobody reads")

    with Server(WebContext(small, Limits(), warn=warn)).background() as server, Client(server) as client:
        accept, failed = small.accept, threading.Event()

        def fails(streams, hops):
            if not failed.is_set():
                failed.set()
                raise RuntimeError("the device has gone")
            return accept(streams, hops)

        small.accept = fails
        try:
            client.say(type="rest", epoch=1)
            assert client.text("error")
            client.say(type="rest", epoch=2)
            assert goes_on(client)
        finally:
            del small.accept


def test_the_server_ends_with_an_error_where_its_stepping_thread_ends(small, monkeypatch) -> None:
    server, ended = Server(WebContext(small, Limits(), warn=lambda sentence: None)), []

    def serve() -> None:
        try:
            server.run()
        except TalkerError as error:
            ended.append(str(error))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", server.port), 1).close()
            break
        time.sleep(0.05)
    with Client(server) as client:
        client.say(type="rest", epoch=1)
        assert goes_on(client)

        def fails(voices) -> NoReturn:
            raise SystemError("a bug in the thread itself")

        monkeypatch.setattr(server.context.worker, "_step", fails)
        thread.join(20)
    assert not thread.is_alive() and ended and "start the server again" in ended[0]


@pytest.mark.parametrize("value", [10**400, -(10**400), float("nan"), float("inf"), True, None, "1", [1], {}])
def test_a_number_is_finite_and_in_its_range(value) -> None:
    with pytest.raises(TalkerError):
        protocol.check_float({"x": value}, "x", 0.0, 2.0)
    with pytest.raises(TalkerError):
        protocol.check_int({"x": value}, "x", 0, 2)
    assert protocol.check_float({"x": 2}, "x", 0.0, 2.0) == 2.0 and np.isfinite(
        protocol.check_int({"x": 2}, "x", 0, 2)
    )
