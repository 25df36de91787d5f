# SPDX-License-Identifier: Apache-2.0
"""Gaze, emotion and gestures over the WebSocket."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.conversation.commands import GESTURE_NAMES
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import protocol
from support.scheduler_harness import small_talker
from support.tiny_vertex_talker import tiny_vertex_talker
from support.web_client import WebClient, running_server

LEFT = [1.0, 1.0, 0.0]  # 45 degrees to the left of the face
COMMANDS: tuple[dict[str, Any], ...] = (
    {"type": "look_at", "point": LEFT},
    {"type": "express", "name": "happy"},
    {"type": "gesture", "name": "nod"},
)


def weight(frame: dict[str, Any], name: str) -> float:
    """Weight of a shape in a frame that a client received."""
    return float(frame["weights"][INDEX[name]])


def test_the_gaze_follows_its_target_over_timelines_until_it_is_released() -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        client.send(type="look_at", point=LEFT)
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: client.frames and weight(client.frames[-1], "eyeLookOutLeft") > 0.2)
        assert weight(client.frames[-1], "eyeLookInRight") > 0.2
        client.send(type="rest", epoch=2)
        assert client.wait_until(lambda: sum(frame["epoch"] == 2 for frame in client.frames) > 10)
        assert weight(client.frames[-1], "eyeLookOutLeft") > 0.2
        client.send(type="look_at", point=None)
        assert client.wait_until(lambda: weight(client.frames[-1], "eyeLookOutLeft") < 0.1)


def test_an_emotion_fades_and_a_gesture_turns_the_head(talker: Talker) -> None:
    with running_server(talker) as server, WebClient(server) as client:
        client.send(type="express", name="surprised", strength=1, decay=1.0)
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: client.frames and weight(client.frames[-1], "browInnerUp") > 0.4)
        assert client.wait_until(lambda: weight(client.frames[-1], "browInnerUp") < 0.2)
        before = len(client.frames)
        client.send(type="gesture", name="nod", amplitude=20, count=1)
        assert client.wait_until(lambda: len(client.frames) > before + 50)
        pitch = np.array([2 * np.degrees(frame["head"][1]) for frame in client.frames[before:]])
        assert np.ptp(pitch) == pytest.approx(20, abs=6)


def test_a_session_that_watches_goes_on_watching_when_it_gets_a_command() -> None:
    with running_server(small_talker()) as server, WebClient(server) as speaker, WebClient(server) as client:
        speaker.send(type="share", session="stage")
        speaker.send(type="rest", epoch=1)
        client.send(type="watch", epoch=1, session="stage")
        for command in (*COMMANDS, {"type": "set", "liveliness": 0.5}):
            client.send(**command)
        count = len(client.frames)
        assert client.wait_until(lambda: len(client.frames) > count + 25)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ({"type": "look_at", "point": [0, 0, 0]}, "direction"),
        ({"type": "look_at", "point": [-1, 0, 0]}, "behind"),
        ({"type": "express", "name": "hapy"}, "happy"),
        ({"type": "gesture", "name": "bow"}, "nod"),
    ],
)
def test_a_command_that_cannot_be_carried_out_is_answered_by_one_sentence(
    message: dict[str, Any], word: str
) -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        client.send(type="rest", epoch=1)
        client.send(**message)
        assert word in client.wait_for_text("error")["text"]
        count = len(client.frames)
        assert client.wait_until(lambda: len(client.frames) > count + 5)
        assert sum(text["type"] == "error" for text in client.texts) == 1


def test_a_vertex_model_offers_no_conversation_and_says_so() -> None:
    with running_server(tiny_vertex_talker(1)) as server, WebClient(server) as client:
        assert client.wait_for_text("hello")["gestures"] == []
        client.send(type="rest", epoch=1)
        for number, command in enumerate(COMMANDS):
            client.send(**command)
            assert client.wait_until(
                lambda count=number: sum(text["type"] == "error" for text in client.texts) > count
            )
        assert all("vertex model" in text["text"] for text in client.texts if text["type"] == "error")


def test_hello_names_the_gestures_that_are_accepted() -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        names = client.wait_for_text("hello")["gestures"]
    assert tuple(names) == GESTURE_NAMES
    for name in names:
        protocol.parse_command("gesture", {"name": name})
