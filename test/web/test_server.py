# SPDX-License-Identifier: Apache-2.0
"""The web server without a browser: what comes back is the talker's own motion, for one and for twenty at once; who
speaks nonsense, too fast or too slowly disturbs nobody."""

import gc
import json
import os
import threading
import time

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")

from streamingtalker_ros.audio.resample import Resampler, to_16k
from streamingtalker_ros.web import protocol
from support.scheduler_harness import offline, small_talker
from support.web_client import Client, serving


@pytest.fixture(scope="module")
def small():
    return small_talker()


@pytest.fixture(scope="module")
def server(small):
    with serving(small, max_sessions=30, backlog_seconds=60.0, burst_seconds=30.0) as server:
        yield server


def weights(frames):
    return np.stack([frame["weights"] for frame in frames])


def expected(talker, pcm, seed=0):
    return np.stack([frame.weights for frame in offline(talker, pcm, seed)])


def test_a_voice_comes_back_as_the_talker_moves_it(talker, speech) -> None:
    """The shipped model, at the browser's usual rate: the frames of `streamingtalker animate`."""
    heard = Resampler(16000, 48000)
    at_48k = np.concatenate([heard.accept(speech[:40000]), heard.finish()])
    with serving(talker, backlog_seconds=60.0) as server, Client(server) as client:
        hello = client.text("hello")
        assert hello["frame_rate"] == 25 and hello["lookahead"] == 0.08 and len(hello["names"]) == 52
        sent = client.speak(at_48k, 48000)
        count = 40000 // 640 - 4
        assert client.wait(lambda: len(client.faces) >= count)
        reference = expected(talker, to_16k(sent, 48000))
        np.testing.assert_allclose(weights(client.faces[:count]), reference[:count], atol=1e-3)
        assert [frame["time"] for frame in client.faces[:3]] == [0.0, 0.04, 0.08]
        assert any(frame["speaking"] for frame in client.faces)


def test_twenty_voices_at_once_are_each_their_own(small, server) -> None:
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(16000 + 640 * k)).astype(np.float32) for k in range(20)]
    clients = [Client(server) for _ in clips]
    try:
        threads = [
            threading.Thread(target=client.speak, args=(clip,), kwargs={"seed": k})
            for k, (client, clip) in enumerate(zip(clients, clips))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for k, (client, clip) in enumerate(zip(clients, clips)):
            count = len(clip) // 640 - 2
            assert client.wait(lambda: len(client.faces) >= count), f"client {k} got {len(client.faces)}"
            quantized = np.round(clip * 32767).astype(np.float32) / 32768
            np.testing.assert_allclose(
                weights(client.faces[:count]), expected(small, quantized, k)[:count], atol=2e-3
            )
    finally:
        for client in clients:
            client.close()


def test_without_a_voice_the_face_lives_on_in_real_time(server) -> None:
    with Client(server) as client:
        client.say(type="rest", epoch=7)
        assert client.wait(lambda: len(client.faces) >= 26)
        frames = client.faces[1:26]
        assert all(frame["idle"] and frame["epoch"] == 7 and not frame["speaking"] for frame in frames)
        assert 0.8 < frames[-1]["came"] - frames[0]["came"] < 10.0
        client.say(type="pause")
        time.sleep(0.3)
        count = len(client.faces)
        time.sleep(0.3)
        assert len(client.faces) <= count + 1


def test_an_interruption_closes_the_mouth(talker, speech) -> None:
    with serving(talker) as server, Client(server) as client:
        client.speak(speech[:16000], pace=1.0)
        assert client.wait(lambda: len(client.faces) >= 20)
        client.say(type="interrupt", epoch=2)
        assert client.wait(lambda: sum(frame["epoch"] == 2 for frame in client.faces) >= 6)
        jaw = [frame["weights"][17] for frame in client.faces if frame["epoch"] == 2]
        assert max(jaw[3:]) == 0.0
        assert max(frame["weights"][17] for frame in client.faces if frame["epoch"] == 1) > 0.05


def test_controls_change_the_voice_and_bad_ones_are_told(talker, speech) -> None:
    with serving(talker, backlog_seconds=60.0) as server, Client(server) as client:
        panel = client.text("hello")["controls"]
        assert {"style", "seed", "steps", "mouth_expressiveness", "expression"} <= set(panel)
        client.say(type="set", mouth_expressiveness=0.0, expression={"browInnerUp": 0.8}, steps=2)
        client.speak(speech[:24000])
        assert client.wait(lambda: len(client.faces) >= 30)
        assert weights(client.faces[12:30])[:, 17].max() == 0.0  # jawOpen
        assert weights(client.faces[12:30])[:, 43].min() > 0.7  # browInnerUp
        for bad in (
            {"steps": 400},
            {"style": "shouting"},
            {"loudness": 2},
            {"expression": {"noseOpen": 1}},
            {"guidance": float("nan")},
            {"seed": -1},
            {"expression": [1, 2]},
        ):
            before = len(client.texts)
            client.say(type="set", **bad)
            assert client.wait(lambda: any(text["type"] == "error" for text in client.texts[before:])), bad
        count = len(client.faces)
        client.speak(speech[:16000], epoch=3)
        assert client.wait(lambda: len(client.faces) >= count + 15)


def test_garbage_is_told_and_survived(server) -> None:
    rng = np.random.default_rng(1)
    with Client(server) as client:
        client.text("hello")
        nonsense = [
            "",
            "{",
            "[]",
            "null",
            '{"type": 7}',
            '{"type": "start"}',
            '{"type": "start", "epoch": 1, "rate": 1e9}',
            '{"type": "start", "epoch": "x", "rate": 16000}',
            "[" * 5000,
            '{"type": "seen", "count": NaN}',
            b"",
            b"\x00",
            b"\x01\x01\x00\x00\x00",
            bytes(rng.integers(0, 256, 999, dtype=np.uint8)),
        ]
        for k, message in enumerate(nonsense):
            client.socket.send(message)
            time.sleep(0.03)
        assert client.wait(lambda: sum(text["type"] == "error" for text in client.texts) >= len(nonsense) - 3)
        client.say(type="rest", epoch=1)
        assert client.wait(lambda: len(client.faces) >= 3)


@pytest.mark.parametrize("bad, code", [("flood", 1008), ("texts", 1008), ("large", 1009)])
def test_who_sends_too_much_is_sent_away_with_a_reason(server, bad, code) -> None:
    with Client(server) as client:
        client.text("hello")
        try:
            if bad == "flood":
                client.say(type="start", epoch=1, rate=16000)
                for _ in range(200):
                    client.socket.send(bytes([1, 1, 0, 0]) + bytes(32000))
            elif bad == "texts":
                for _ in range(500):
                    client.say(type="seen", count=0)
            else:
                client.socket.send(bytes([1, 1, 0, 0]) + bytes(200_000))
        except Exception:
            pass  # it may be sent away while it sends
        assert client.wait(lambda: client.closed is not None)
        assert client.closed[0] == code
        if code == 1008:
            assert client.text("bye")["text"]
    with Client(server) as other:
        other.text("hello")


@pytest.mark.parametrize("way", ["starts", "empty"])
def test_no_way_around_the_bounds(small, way) -> None:
    """A new start allows no more audio at once, and packets without a sample are messages all the same."""
    with serving(small) as server, Client(server) as client:
        try:
            for epoch in range(40 if way == "starts" else 1):
                client.say(type="start", epoch=epoch, rate=16000)
                for _ in range(2 if way == "starts" else 5000):
                    client.socket.send(bytes([1, epoch, 0, 0]) + bytes(16000 if way == "starts" else 0))
        except Exception:
            pass  # it may be sent away while it sends
        assert client.wait(lambda: client.closed is not None) and client.closed[0] == 1008
        assert ("faster" if way == "starts" else "too many") in client.text("bye")["text"]


def test_the_house_is_full_and_then_it_is_not(small) -> None:
    with serving(small, max_sessions=2) as server:
        with Client(server) as first, Client(server) as second:
            first.text("hello"), second.text("hello")
            with Client(server) as third:
                assert "2 visitors" in third.text("refused")["text"]
                assert third.wait(lambda: third.closed is not None) and third.closed[0] == 1013
        deadline = time.monotonic() + 5
        while server.context.session_count and time.monotonic() < deadline:
            time.sleep(0.02)
        with Client(server) as fourth:
            fourth.text("hello")


def test_sessions_end_and_the_silent_are_let_go(small) -> None:
    with serving(small, session_seconds=1.5, handshake_timeout_seconds=1.0) as server:
        with Client(server) as silent, Client(server) as alive:
            alive.say(type="rest", epoch=1)
            assert silent.wait(lambda: silent.closed is not None, 9)
            assert "nothing came" in silent.text("bye")["text"] and silent.closed[0] == 1008
            assert alive.wait(lambda: alive.closed is not None, 9)
            assert "a session lasts" in alive.text("bye")["text"] and alive.closed[0] == 1013


def test_a_slow_browser_is_sent_away_and_slows_nobody(small) -> None:
    with serving(small, unacknowledged_seconds=0.4, slow_client_timeout_seconds=1.0) as server:
        with Client(server, acknowledges=False) as slow, Client(server) as quick:
            for client in (slow, quick):
                client.say(type="rest", epoch=1)
            assert slow.wait(lambda: slow.closed is not None, 10)
            assert len(slow.faces) <= 11 and "slowly" in slow.text("bye")["text"]
            gaps = np.diff([frame["came"] for frame in quick.faces[5:]])
            assert len(quick.faces) > 20 and np.median(gaps) < 0.08
            assert quick.closed is None


def test_one_who_never_reads_is_let_go(small) -> None:
    """The last sentence cannot be delivered; the visitor's place is free all the same."""
    with serving(small, unacknowledged_seconds=0.4, slow_client_timeout_seconds=1.0) as server:
        stuck = Client(server, reads=False)
        stuck.say(type="rest", epoch=1)
        deadline = time.monotonic() + 10
        while not server.context.session_count and time.monotonic() < deadline:
            time.sleep(0.02)
        while server.context.session_count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.context.session_count == 0 and server.context.worker.stream_count == 0


def test_visitors_who_vanish_leave_nothing_behind(small, server) -> None:
    def once():
        client = Client(server)
        client.say(type="start", epoch=1, rate=48000)
        client.socket.send(bytes([1, 1, 0, 0]) + bytes(30000))
        client.wait(lambda: client.faces, 3)
        client.socket.socket.shutdown(2)  # a browser whose machine has gone
        return client

    for _ in range(3):
        once()
    size = small._pool._size
    clients = [once() for _ in range(25)]
    deadline = time.monotonic() + 10
    del clients
    while (server.context.session_count or len(small._pool._free) < size) and time.monotonic() < deadline:
        time.sleep(0.02)  # the stepper may hold a voice until its next batch
        gc.collect()
    assert server.context.session_count == 0 and server.context.worker.stream_count == 0
    assert small._pool._size == size <= 32 and len(small._pool._free) == size


def test_late_audio_is_skipped_and_times_stay_true(small) -> None:
    """A voice whose audio waits too long jumps to what is due now; its frames keep their place in time."""
    from streamingtalker_ros.runtime.session import run_batch
    from streamingtalker_ros.web.limits import Limits
    from streamingtalker_ros.web.voice_stream import VoiceStream

    now, times = [100.0], []
    voice = VoiceStream(small, pytest.fail, pytest.fail, lambda: None, Limits(), clock=lambda: now[0])
    pcm = (0.1 * np.random.default_rng(2).standard_normal(16000) * 32767).astype(np.int16)

    def run() -> None:
        while run_batch(small, [voice.session], lambda: now[0]).hops:
            times.extend(unpack_time(data) for data in voice.encode_frames())

    voice.start(1, 16000, 0)
    voice.push_audio(1, pcm)
    now[0] += 0.81
    run()
    assert voice.session.statistics.dropped == 20  # all frames that should have been heard by now
    voice.push_audio(1, pcm[:2560])
    run()
    np.testing.assert_allclose(times, [0.8, 0.84, 0.88, 0.92, 0.96, 1.0, 1.04])


def unpack_time(data):
    return protocol.HEADER.unpack_from(data)[4]


def test_memory_is_flat_over_many_frames(server) -> None:
    """Twenty seconds' worth of audio as fast as allowed: nothing grows."""

    def rss():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc on this system")
    with Client(server) as client:
        clip = (0.1 * np.random.default_rng(3).standard_normal(32000)).astype(np.float32)
        before = None
        for epoch in range(1, 11):
            client.faces.clear()
            client.speak(clip, epoch=epoch, packet=0.1)
            assert client.wait(lambda: len(client.faces) >= 40)
            if epoch == 3:
                before = rss()
        assert rss() - before < 20e6
    assert json.loads(json.dumps(server.context.server_info()))
