# SPDX-License-Identifier: Apache-2.0
"""Gaze, emotion, gestures, the partner's audio and texts to say, over the WebSocket."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.conversation.commands import GESTURE_NAMES
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.server import Server
from support.scheduler_harness import floats, offline, small_talker
from support.tiny_vertex_talker import tiny_vertex_talker
from support.tts_command import command
from support.two_party import read_voice, with_pauses
from support.waiting import wait_for
from support.web_client import WebClient, running_server

LEFT = [1.0, 1.0, 0.0]  # 45 degrees to the left of the face
LISTENING_S = 14.0
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
        for message in (*COMMANDS, {"type": "set", "liveliness": 0.5}):
            client.send(**message)
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
        for number, message in enumerate(COMMANDS):
            client.send(**message)
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


def test_the_face_attends_to_its_partner_without_moving_its_lips(talker: Talker, voice_path: Path) -> None:
    samples = to_int16(with_pauses(read_voice(voice_path), LISTENING_S))
    with running_server(talker) as server, WebClient(server) as client:
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: client.frames)
        start, size = time.monotonic(), 320
        for first in range(0, len(samples), size):
            client.send_samples(0, samples[first : first + size], protocol.PARTNER)
            time.sleep(max(0.0, start + (first + size) / 16_000 - time.monotonic()))
        assert client.wait_until(lambda: dialogue_states(client)[-1:] == ["idle"])
        assert dialogue_states(client)[:2] == ["listening", "idle"]
        pitch = np.degrees([2 * frame["head"][1] for frame in client.frames])
        assert np.ptp(pitch) > 4.0  # a nod has at least as much
        assert max(weight(frame, "jawOpen") for frame in client.frames) == 0.0
        assert not any(frame["speaking"] for frame in client.frames)


def test_who_speaks_is_told_while_both_do(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    with running_server(talker, backlog_seconds=60.0) as server, WebClient(server) as client:
        client.send(type="start", epoch=1, rate=16_000)
        samples = to_int16(speech[:48_000])
        start = time.monotonic()
        for first in range(0, len(samples), 320):
            client.send_samples(1, samples[first : first + 320])
            client.send_samples(0, samples[::-1][first : first + 320], protocol.PARTNER)
            time.sleep(max(0.0, start + (first + 320) / 16_000 - time.monotonic()))
        assert client.wait_until(lambda: "overlap" in dialogue_states(client))
        client.send(type="rest", epoch=2)
        assert client.wait_until(lambda: dialogue_states(client)[-1] == "idle")


def dialogue_states(client: WebClient) -> list[str]:
    """The states of the dialogue that a client was told."""
    return [text["state"] for text in client.texts if text["type"] == "dialogue_state"]


def speech_states(client: WebClient, epoch: int) -> list[str]:
    """The states of a text that a client was told."""
    return [text["state"] for text in client.texts if text["type"] == "speech" and text["epoch"] == epoch]


@pytest.fixture
def pcm_file(tmp_path: Path, speech: npt.NDArray[np.float32]) -> Path:
    path = tmp_path / "speech.pcm"
    path.write_bytes(to_int16(speech[:32_000]).tobytes())
    return path


def test_a_text_is_said_with_the_frames_of_its_sound_from_its_own_zero_on(
    talker: Talker, pcm_file: Path
) -> None:
    pcm = np.frombuffer(pcm_file.read_bytes(), np.int16)
    expected = [frame.weights for frame in offline(talker, floats(pcm))]
    tts = TtsCommand.parse(command("odd", pcm_file), 16_000)
    with running_server(talker, tts=tts, backlog_seconds=60.0) as server, WebClient(server) as client:
        assert client.wait_for_text("hello")["say"] is True
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: len(client.frames) > 5)
        client.send(type="say", epoch=2, text="hello")
        assert client.wait_until(lambda: speech_states(client, 2) == ["speaking", "complete"])
        assert client.wait_until(lambda: sum(frame["epoch"] == 2 for frame in client.frames) > len(expected))
        said = [frame for frame in client.frames if frame["epoch"] == 2]
        assert [round(25 * frame["time"]) for frame in said] == list(range(len(said)))
        assert said[-1]["idle"]
        np.testing.assert_array_equal(np.concatenate([audio["samples"] for audio in client.audio]), pcm)
        assert [audio["epoch"] for audio in client.audio] == [2] * len(client.audio)
        times = np.cumsum([0, *(len(audio["samples"]) for audio in client.audio[:-1])]) / 16_000
        np.testing.assert_allclose([audio["time"] for audio in client.audio], times)
        settled = slice(10, len(expected) - 5)  # behind the cross-fade, and before the mouth closes
        shown = np.array([frame["weights"] for frame in said])
        np.testing.assert_allclose(shown[settled], np.array(expected)[settled], atol=1e-4)


@pytest.mark.parametrize("kind", ["say", "rest", "start", "interrupt", "pause", "watch"])
def test_a_text_is_dropped_by_the_next_one_and_by_what_begins_or_ends_a_timeline(
    kind: str, pcm_file: Path
) -> None:
    tts = TtsCommand.parse(command("endless", pcm_file), 16_000)
    with running_server(small_talker(), tts=tts) as server, WebClient(server) as client:
        client.send(type="say", epoch=1, text="hello")
        assert client.wait_until(lambda: len(client.audio) > 3)
        client.send(type=kind, epoch=2, text="again", rate=16_000, session="stage")
        for count in (1, 2):  # the answer to the first may overtake audio that had been sent before
            client.send(type="nothing")
            assert client.wait_until(lambda n=count: len(errors(client)) == n)
        sent = len(client.audio)
        if kind == "say":
            assert client.wait_until(lambda: len(client.audio) > sent + 3)
        else:
            time.sleep(0.5)
        assert all(audio["epoch"] == 2 for audio in client.audio[sent:])
        assert speech_states(client, 1) == ["speaking"]


def errors(client: WebClient) -> list[str]:
    """Texts of the errors that a client was told."""
    return [text["text"] for text in client.texts if text["type"] == "error"]


def test_a_command_that_fails_says_so_to_the_visitor_and_why_to_the_operator_once(pcm_file: Path) -> None:
    warnings: list[str] = []
    tts = TtsCommand.parse(command("late-crash", pcm_file), 16_000)
    context = WebContext(small_talker(), warn=warnings.append, tts=tts)
    with Server(context).background() as server, WebClient(server) as client:
        for epoch in (1, 2):
            client.send(type="say", epoch=epoch, text="hello")
            assert client.wait_until(lambda e=epoch: speech_states(client, e) == ["speaking", "failed"])
            assert client.wait_until(lambda e=epoch: client.frames and client.frames[-1]["epoch"] == e)
        assert all("log" in text and "memory" not in text for text in errors(client))
    assert len(warnings) == 1 and "out of memory" in warnings[0]


def test_a_server_without_a_command_and_one_that_is_asked_too_often_refuse_a_text(pcm_file: Path) -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        assert client.wait_for_text("hello")["say"] is False
        client.send(type="say", epoch=1, text="hello")
        assert "--tts" in client.wait_for_text("error")["text"]
    tts = TtsCommand.parse(command("pcm", pcm_file), 16_000)
    with running_server(small_talker(), tts=tts) as server, WebClient(server) as client:
        client.send(type="say", epoch=1, text=" \n")
        assert "nothing to say" in client.wait_for_text("error")["text"]
        for epoch in range(10):
            client.send(type="say", epoch=epoch, text="hello")
        assert client.wait_until(lambda: any("too many texts" in text for text in errors(client)))
        assert not client.is_closed


def test_the_command_of_a_visitor_who_leaves_ends(tmp_path: Path) -> None:
    tts = TtsCommand.parse(command("hang", tmp_path / "pids"), 16_000)
    with running_server(small_talker(), tts=tts) as server:
        with WebClient(server) as client:
            client.send(type="say", epoch=1, text="hello")
            assert wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert len(pids) == 2 and wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
