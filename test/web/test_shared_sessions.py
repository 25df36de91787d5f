# SPDX-License-Identifier: Apache-2.0
"""Listening clients: shared sessions, frames in JSON, and the version of the protocol."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.shared_sessions import CLOSING_FRAMES, SharedSessions
from support.scheduler_harness import floats, offline, small_talker, voice
from support.waiting import wait_for
from support.web_client import WebClient, running_server

SECONDS = 1.6


def test_frames_in_json_are_those_of_the_binary_format() -> None:
    samples = floats(voice(SECONDS))
    talker = small_talker()
    with running_server(talker) as server:
        received = []
        for query in ("", "version=1", "version=1&frames=json"):
            with WebClient(server, query=query) as client:
                pcm = client.send_audio(samples, seed=3)
                client.send(type="rest", epoch=2)
                assert client.wait_until(lambda client=client: [f for f in client.frames if f["epoch"] == 2])
                received.append([frame for frame in client.frames if frame["epoch"] == 1])
    frames = offline(talker, pcm, seed=3)[:30]
    for messages in received:
        assert [message["index"] for message in messages[:30]] == list(range(30))
        for message, frame in zip(messages, frames, strict=False):
            np.testing.assert_allclose(message["weights"], frame.weights, atol=1e-4)
            np.testing.assert_allclose(message["head"], frame.head, atol=1e-4)
            assert message["time"] == pytest.approx(frame.time) and message["speaking"] in (True, False)


@pytest.mark.parametrize("query", ["version=2", "version=1.0", "version=", "frames=xml", "version=1&frames="])
def test_what_the_server_does_not_speak_is_refused_in_a_sentence(query: str) -> None:
    with running_server(small_talker()) as server, WebClient(server, query=query) as client:
        text = client.wait_for_text("refused")["text"]
        assert ("version" in text or "frames" in text) and ": " in text
        assert client.wait_until_closed() and client.close_code == 1002
        assert server.context.session_count == 0


def test_those_who_watch_a_shared_session_get_its_frames_and_its_audio_on_one_timeline() -> None:
    samples = floats(voice(SECONDS, 48000))
    with (
        running_server(small_talker()) as server,
        WebClient(server) as early,
        WebClient(server) as speaker,
        WebClient(server, query="frames=json") as late,
    ):
        early.send(type="watch", epoch=7, session="stage")  # before it is shared
        assert early.wait_for_text("watching")["session"] == "stage"
        speaker.send(type="share", session="stage")
        late.send(type="watch", epoch=200, session="stage")
        assert late.wait_for_text("watching")["topic"] is None
        for epoch in (1, 2):
            speaker.send_audio(samples, rate=48000, epoch=epoch)
            assert speaker.wait_until(
                lambda epoch=epoch: sum(f["epoch"] == epoch for f in speaker.frames) >= 36
            )
        speaker.send(type="rest", epoch=3)
        count = speaker.frame_count + 5
        assert speaker.wait_until(lambda: speaker.frame_count >= count)
        spoken = list(speaker.frames)
        for client, epoch in ((early, 7), (late, 200)):
            assert client.wait_until(lambda client=client: client.frame_count >= len(spoken))
            frames = client.frames[: len(spoken)]
            assert {frame["epoch"] for frame in frames} == {epoch}
            times = [frame["time"] for frame in frames]
            assert np.all(np.diff(times) > 0)
            for own, frame in zip(spoken, frames, strict=True):
                np.testing.assert_allclose(frame["weights"], own["weights"], atol=1e-6)
                assert frame["speaking"] == own["speaking"] and frame["idle"] == own["idle"]
            # the first stream's audio lies where its frames do: time 0 of both
            audio = np.concatenate([message["samples"] for message in client.audio])
            assert len(audio) >= 1.9 * SECONDS * SAMPLE_RATE
            assert client.audio[0]["time"] == pytest.approx(times[0], abs=1e-6)
            second = next(n for n, own in enumerate(spoken) if own["epoch"] == 2)
            starts = [message["time"] for message in client.audio]
            assert min(abs(time - times[second]) for time in starts) < 0.05


def test_a_name_belongs_to_one_session_and_is_free_after_it() -> None:
    with running_server(small_talker()) as server:
        sessions = server.context.shared_sessions
        with WebClient(server) as other:
            with WebClient(server) as speaker, WebClient(server) as listener:
                speaker.send(type="share", session="stage")
                listener.send(type="watch", epoch=1, session="stage")
                speaker.send(type="rest", epoch=1)
                assert listener.wait_until(lambda: listener.frame_count >= 3)
                other.send(type="share", session="stage")
                assert "another name" in other.wait_for_text("error")["text"]
                speaker.disconnect()
                # the face goes to rest, and the name is free while it is still watched
                assert listener.wait_until(lambda: not listener.frames[-1]["weights"].any())
                other.texts.clear()
                other.send(type="share", session="stage")
                other.send(type="rest", epoch=1)
                count = listener.frame_count
                assert listener.wait_until(lambda: listener.frame_count > count + 3)
                assert np.all(np.diff([frame["time"] for frame in listener.frames]) > 0)
            other.send(type="share")
            assert wait_for(lambda: sessions.count == 0)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", 7, ["a"], "a/b"])
@pytest.mark.parametrize("kind", ["share", "watch"])
def test_what_is_no_name_is_answered_by_an_error(kind: str, name: object) -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        client.send(type=kind, epoch=1, session=name)
        assert "letters, digits" in client.wait_for_text("error")["text"]
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: client.frames)


def test_a_session_cannot_watch_itself() -> None:
    with running_server(small_talker()) as server, WebClient(server) as client:
        client.send(type="share", session="me")
        client.send(type="watch", epoch=1, session="me")
        assert "itself" in client.wait_for_text("error")["text"]


def test_the_face_of_a_session_that_ends_goes_to_rest_in_order() -> None:
    now = [0.0]
    sessions = SharedSessions(25.0, lambda: now[0])
    received: list[bytes] = []
    sessions.watch("a", received.extend, lambda **fields: None, 9)
    channel = sessions.share("a")
    weights = np.ones(52, np.float32)
    for _ in range(2):  # the same epoch and times again, as a client that reconnects sends them
        for index in range(3):
            frame = protocol.encode_blendshapes(1, index, index / 25, weights, [0, 0, 0, 1], True)
            channel.push_frames([frame])
        now[0] += 1.0
    channel.close()
    epochs, times = zip(*map(protocol.message_time, received), strict=True)
    assert set(epochs) == {9} and np.all(np.diff(times) > 0)
    assert times[3] == pytest.approx(1.0)  # a pause stays as long as it was
    jaw = [np.frombuffer(message, "<f4", 1, 32)[0] for message in received]
    assert np.all(np.diff(jaw[5:]) < 0) and jaw[-1] == 0 and len(received) == 6 + CLOSING_FRAMES
    assert sessions.count == 1  # still watched
