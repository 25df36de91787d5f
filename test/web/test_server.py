# SPDX-License-Identifier: Apache-2.0
"""Web server without a browser: frames equal the talker's own, and limits hold."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import threading
import time
import urllib.request
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from websockets.exceptions import ConnectionClosed

from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE
from streamingtalker_ros.audio.resample import Resampler, to_16k
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.formats.gltf_writer import write_glb
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web.app import WebContext
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.server import Server
from streamingtalker_ros.web.styles import distinct_styles
from streamingtalker_ros.web.voice_stream import VoiceStream
from support.scheduler_harness import offline, small_talker
from support.waiting import wait_for
from support.web_client import WebClient, decode_message, running_server

JAW_OPEN = INDEX["jawOpen"]
POLICY_VIOLATION, MESSAGE_TOO_BIG, TRY_AGAIN_LATER = 1008, 1009, 1013  # close codes of RFC 6455


@pytest.fixture(scope="module")
def tiny_talker() -> Talker:
    return small_talker()


@pytest.fixture(scope="module")
def server(tiny_talker: Talker) -> Iterator[Server]:
    with running_server(tiny_talker, max_sessions=30, backlog_seconds=60.0, burst_seconds=30.0) as server:
        yield server


def stack_weights(frames: Sequence[dict[str, Any]]) -> npt.NDArray[np.float32]:
    """(T, 52) weights of received frames."""
    return np.stack([frame["weights"] for frame in frames])


def offline_weights(talker: Talker, pcm: npt.NDArray[np.float32], seed: int = 0) -> npt.NDArray[np.float32]:
    """(T, 52) weights of the complete clip in one call, the reference."""
    return np.stack([frame.weights for frame in offline(talker, pcm, seed)])


def test_frames_of_a_session_equal_the_offline_pass(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    resampler = Resampler(SAMPLE_RATE, 48000)
    pcm = np.concatenate([resampler.accept(speech[:40000]), resampler.finish()])
    with running_server(talker, backlog_seconds=60.0) as server, WebClient(server) as client:
        info = client.wait_for_text("hello")
        assert info["frame_rate"] == 25 and info["lookahead"] == 0.08 and len(info["names"]) == 52
        sent = client.send_audio(pcm, 48000)
        count = 40000 // HOP_LENGTH - 4
        assert client.wait_until(lambda: len(client.frames) >= count)
        reference = offline_weights(talker, to_16k(sent, 48000))
        # a queued voice may part the lips up to its first hop, which the look-ahead of two frames shows
        spoken = [k for k in range(count) if client.frames[k]["speaking"]][3:]
        np.testing.assert_allclose(stack_weights(client.frames)[spoken], reference[spoken], atol=1e-3)
        assert len(spoken) > 30
        assert [frame["time"] for frame in client.frames[:3]] == [0.0, 0.04, 0.08]
        assert any(frame["speaking"] for frame in client.frames)


def test_twenty_sessions_each_get_their_own_frames(tiny_talker: Talker, server: Server) -> None:
    rng = np.random.default_rng(0)
    clips = [(0.1 * rng.standard_normal(SAMPLE_RATE + 640 * k)).astype(np.float32) for k in range(20)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(WebClient(server)) for _ in clips]
        threads = [
            threading.Thread(target=client.send_audio, args=(clip,), kwargs={"seed": k})
            for k, (client, clip) in enumerate(zip(clients, clips, strict=True))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for k, (client, clip) in enumerate(zip(clients, clips, strict=True)):
            count = len(clip) // HOP_LENGTH - 2
            assert client.wait_until(lambda c=client, n=count: len(c.frames) >= n), f"client {k}"
            quantised = (np.round(clip * 32767) / 32768).astype(np.float32)
            reference = offline_weights(tiny_talker, quantised, k)[:count]
            np.testing.assert_allclose(stack_weights(client.frames[:count]), reference, atol=2e-3)


def test_without_audio_idle_frames_arrive_in_real_time_until_a_pause(server: Server) -> None:
    with WebClient(server) as client:
        client.send(type="rest", epoch=7)
        assert client.wait_until(lambda: len(client.frames) >= 26)
        frames = client.frames[1:26]
        assert all(frame["idle"] and frame["epoch"] == 7 and not frame["speaking"] for frame in frames)
        assert 0.8 < frames[-1]["arrival"] - frames[0]["arrival"] < 10.0
        client.send(type="pause")
        time.sleep(0.3)
        count = len(client.frames)
        time.sleep(0.3)
        assert len(client.frames) <= count + 1


def test_an_interruption_closes_the_mouth(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    with running_server(talker) as server, WebClient(server) as client:
        client.send_audio(speech[:16000], speed=1.0)
        assert client.wait_until(lambda: len(client.frames) >= 20)
        client.send(type="interrupt", epoch=2)
        assert client.wait_until(lambda: sum(frame["epoch"] == 2 for frame in client.frames) >= 6)
        jaw = [frame["weights"][JAW_OPEN] for frame in client.frames if frame["epoch"] == 2]
        assert max(jaw[3:]) == 0.0
        assert max(frame["weights"][JAW_OPEN] for frame in client.frames if frame["epoch"] == 1) > 0.05


def test_the_styles_that_are_offered_can_be_told_apart(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    rig, motions = default_rig(), {}
    for style in talker.styles:
        frames = talker.open_stream(style=style).accept(speech[:32000])
        motions[style] = np.stack([rig.pose(frame.weights, frame.head) for frame in frames])

    def difference(style: str, other: str) -> float:
        return float(np.linalg.norm(motions[style] - motions[other], axis=2).max(axis=1).mean())

    offered = distinct_styles(talker)
    assert offered[0] == talker.styles[0]
    differences = [difference(a, b) for a, b in itertools.combinations(offered, 2)]
    assert min(differences, default=1.0) > 0.0015
    for style in set(talker.styles) - set(offered):
        assert min(difference(style, other) for other in offered) < 0.0025


def test_controls_change_the_frames_and_invalid_ones_are_reported(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    with running_server(talker, backlog_seconds=60.0) as server, WebClient(server) as client:
        controls = client.wait_for_text("hello")["controls"]
        assert {"style", "seed", "steps", "mouth_expressiveness", "expression"} <= set(controls)
        client.send(type="set", mouth_expressiveness=0.0, expression={"browInnerUp": 0.8}, steps=2)
        client.send_audio(speech[:24000])
        assert client.wait_until(lambda: len(client.frames) >= 30)
        weights = stack_weights(client.frames[12:30])
        assert weights[:, JAW_OPEN].max() == 0.0
        assert weights[:, INDEX["browInnerUp"]].min() > 0.7
        for changes in (
            {"steps": 400},
            {"style": "shouting"},
            {"loudness": 2},
            {"expression": {"noseOpen": 1}},
            {"guidance": float("nan")},
            {"seed": -1},
            {"expression": [1, 2]},
        ):
            count = len(client.texts)
            client.send(type="set", **changes)
            assert client.wait_until(
                lambda first=count: any(text["type"] == "error" for text in client.texts[first:])
            ), changes
        count = len(client.frames)
        client.send_audio(speech[:16000], epoch=3)
        assert client.wait_until(lambda: len(client.frames) >= count + 15)


def test_malformed_messages_are_reported_and_the_session_goes_on(server: Server) -> None:
    rng = np.random.default_rng(1)
    messages: list[str | bytes] = [
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
    with WebClient(server) as client:
        client.wait_for_text("hello")
        for message in messages:
            client.socket.send(message)
            time.sleep(0.03)
        assert client.wait_until(
            lambda: sum(text["type"] == "error" for text in client.texts) >= len(messages) - 3
        )
        client.send(type="rest", epoch=1)
        assert client.wait_until(lambda: len(client.frames) >= 3)


def send_too_much_audio(client: WebClient) -> None:
    client.send(type="start", epoch=1, rate=SAMPLE_RATE)
    for _ in range(200):
        client.send_samples(1, np.zeros(16000, np.int16))


def send_too_many_texts(client: WebClient) -> None:
    for _ in range(500):
        client.send(type="seen", count=0)


def send_a_large_message(client: WebClient) -> None:
    client.send_samples(1, np.zeros(100_000, np.int16))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        (send_too_much_audio, POLICY_VIOLATION),
        (send_too_many_texts, POLICY_VIOLATION),
        (send_a_large_message, MESSAGE_TOO_BIG),
    ],
)
def test_a_session_above_the_limits_is_closed_with_a_reason(server: Server, attack: Any, code: int) -> None:
    with WebClient(server) as client:
        client.wait_for_text("hello")
        with contextlib.suppress(ConnectionClosed):
            attack(client)
        assert client.wait_until_closed() and client.close_code == code
        if code == POLICY_VIOLATION:
            assert client.wait_for_text("bye")["text"]
    with WebClient(server) as other:
        other.wait_for_text("hello")


def test_a_new_start_does_not_refill_the_audio_allowance(tiny_talker: Talker) -> None:
    with running_server(tiny_talker) as server, WebClient(server) as client:
        with contextlib.suppress(ConnectionClosed):
            for epoch in range(40):
                client.send(type="start", epoch=epoch, rate=SAMPLE_RATE)
                for _ in range(2):
                    client.send_samples(epoch, np.zeros(8000, np.int16))
        assert client.wait_until_closed() and client.close_code == POLICY_VIOLATION
        assert "faster" in client.wait_for_text("bye")["text"]


def test_empty_audio_messages_count_as_messages(tiny_talker: Talker) -> None:
    with running_server(tiny_talker) as server, WebClient(server) as client:
        with contextlib.suppress(ConnectionClosed):
            client.send(type="start", epoch=0, rate=SAMPLE_RATE)
            for _ in range(5000):
                client.send_samples(0, np.zeros(0, np.int16))
        assert client.wait_until_closed() and client.close_code == POLICY_VIOLATION
        assert "too many" in client.wait_for_text("bye")["text"]


def test_sessions_above_the_maximum_are_rejected_until_one_ends(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, max_sessions=2) as server:
        with WebClient(server) as first, WebClient(server) as second:
            first.wait_for_text("hello")
            second.wait_for_text("hello")
            with WebClient(server) as third:
                assert "all 2 sessions" in third.wait_for_text("refused")["text"]
                assert third.wait_until_closed() and third.close_code == TRY_AGAIN_LATER
        wait_for(lambda: not server.context.session_count, 5)
        with WebClient(server) as fourth:
            fourth.wait_for_text("hello")


def test_one_address_leaves_sessions_for_others(tiny_talker: Talker) -> None:
    with running_server(tiny_talker, max_sessions=4) as server, contextlib.ExitStack() as stack:
        own = [stack.enter_context(WebClient(server)) for _ in range(3)]
        for client in own:
            client.wait_for_text("hello")
        with WebClient(server) as fourth:
            assert "this network address has 3 of the server's 4" in fourth.wait_for_text("refused")["text"]
            assert fourth.wait_until_closed() and fourth.close_code == TRY_AGAIN_LATER
        stack.enter_context(WebClient(server, source="127.0.0.9")).wait_for_text("hello")
        own[0].socket.close()
        assert wait_for(lambda: server.context.session_count == 3, 5)
        stack.enter_context(WebClient(server)).wait_for_text("hello")


@pytest.mark.parametrize("sessions, share", [(1, 1), (3, 3), (4, 3), (8, 7), (24, 21), (1000, 875)])
def test_all_but_an_eighth_of_the_sessions_may_be_of_one_address(sessions: int, share: int) -> None:
    assert Limits(max_sessions=sessions).session_share == share
    assert Limits(max_sessions=sessions, max_sessions_per_address=1).session_share == 1


def test_sessions_end_after_their_duration_and_silent_ones_after_the_handshake_timeout(
    tiny_talker: Talker,
) -> None:
    with (
        running_server(tiny_talker, session_seconds=0.8, handshake_timeout_seconds=0.5) as server,
        WebClient(server) as silent,
        WebClient(server) as active,
    ):
        active.send(type="rest", epoch=1)
        assert silent.wait_until_closed(9) and silent.close_code == POLICY_VIOLATION
        assert "no message arrived" in silent.wait_for_text("bye")["text"]
        assert active.wait_until_closed(9) and active.close_code == TRY_AGAIN_LATER
        assert "a session lasts" in active.wait_for_text("bye")["text"]


def running_slow_client_server(talker: Talker) -> contextlib.AbstractContextManager[Server]:
    """A server that disconnects slow clients after 0.6 s."""
    return running_server(talker, unacknowledged_seconds=0.4, slow_client_timeout_seconds=0.6)


def test_a_slow_client_is_disconnected_and_delays_no_other(tiny_talker: Talker) -> None:
    with (
        running_slow_client_server(tiny_talker) as server,
        WebClient(server, acknowledges=False) as slow,
        WebClient(server) as quick,
    ):
        for client in (slow, quick):
            client.send(type="rest", epoch=1)
        assert slow.wait_until_closed(10)
        assert len(slow.frames) <= 11 and "slowly" in slow.wait_for_text("bye")["text"]
        gaps = np.diff([frame["arrival"] for frame in quick.frames[5:]])
        assert len(quick.frames) > 12 and np.median(gaps) < 0.08
        assert not quick.is_closed


def test_a_client_that_never_reads_is_released(tiny_talker: Talker) -> None:
    with running_slow_client_server(tiny_talker) as server:
        client = WebClient(server, reads=False)
        client.send(type="rest", epoch=1)
        assert wait_for(lambda: server.context.session_count, 10)
        assert wait_for(lambda: not server.context.session_count, 10)
        assert server.context.worker.stream_count == 0


def test_clients_that_vanish_leave_no_stream_behind(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = server.context.worker
    open_stream = worker.open
    streams: list[weakref.ref[Any]] = []

    def open_and_record(*callbacks: Any) -> VoiceStream:
        stream = open_stream(*callbacks)
        streams.append(weakref.ref(stream.session.stream))
        return stream

    monkeypatch.setattr(worker, "open", open_and_record)
    clients: list[WebClient] = []
    for _ in range(25):
        client = WebClient(server)
        client.send(type="start", epoch=1, rate=48000)
        client.send_samples(1, np.zeros(15000, np.int16))
        client.wait_until(lambda c=client: c.frames, 3)
        client.socket.socket.shutdown(2)  # a browser that vanished without closing the connection
        clients.append(client)

    def are_freed() -> bool:
        gc.collect()
        return not server.context.session_count and all(stream() is None for stream in streams)

    assert wait_for(are_freed, 10) and len(streams) == 25  # the worker may hold a stream until its next batch
    assert worker.stream_count == 0


def test_old_audio_is_skipped_and_times_stay_exact(tiny_talker: Talker) -> None:
    now = [100.0]
    stream = VoiceStream(
        tiny_talker, lambda messages: None, pytest.fail, lambda: None, Limits(), clock=lambda: now[0]
    )
    pcm = (0.1 * np.random.default_rng(2).standard_normal(SAMPLE_RATE) * 32767).astype(np.int16)
    times: list[float] = []

    def run_queued_hops() -> None:
        stream.take_audio()
        while run_batch(tiny_talker, [stream.session], lambda: now[0]).hops:
            times.extend(decode_message(data)["time"] for data in stream.encode_frames())

    stream.start(1, SAMPLE_RATE, 0)
    stream.push_audio(1, pcm)
    now[0] += 0.81
    run_queued_hops()
    assert stream.session.statistics.dropped == 20  # all frames whose audio is due by now
    stream.push_audio(1, pcm[: 4 * HOP_LENGTH])
    run_queued_hops()
    np.testing.assert_allclose(times, [0.8, 0.84, 0.88, 0.92, 0.96, 1.0, 1.04])


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc on this system")
def test_memory_is_flat_over_many_frames(server: Server) -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with WebClient(server) as client:
        clip = (0.1 * np.random.default_rng(3).standard_normal(2 * SAMPLE_RATE)).astype(np.float32)
        baseline = 0
        for epoch in range(1, 11):
            client.frames.clear()
            client.send_audio(clip, epoch=epoch, packet=0.1)
            assert client.wait_until(lambda: len(client.frames) >= 40)
            if epoch == 3:
                baseline = resident_bytes()
        assert resident_bytes() - baseline < 20e6


def test_server_info_is_json(server: Server) -> None:
    assert json.loads(json.dumps(server.context.server_info()))["controls"]


def test_the_cost_of_audio_does_not_depend_on_how_small_its_messages_are(tiny_talker: Talker) -> None:
    wakes: list[None] = []
    stream = VoiceStream(
        tiny_talker, lambda messages: None, pytest.fail, lambda: wakes.append(None), Limits()
    )
    pcm = (0.1 * np.random.default_rng(4).standard_normal(10 * HOP_LENGTH) * 32767).astype(np.int16)
    weights: list[npt.NDArray[np.float32]] = []
    stream.start(1, SAMPLE_RATE, 0)
    for k in range(0, len(pcm), 2):
        count = len(wakes)
        stream.push_audio(1, pcm[k : k + 2])
        if len(wakes) == count:
            continue
        has_work = True
        while has_work:
            stream.take_audio()
            hops = run_batch(tiny_talker, [stream.session]).hops
            weights += [decode_message(data)["weights"] for data in stream.encode_frames()]
            has_work = stream.has_work(hops > 0)
    assert len(wakes) <= 15 and stream.session.statistics.packets <= 15
    reference = offline_weights(tiny_talker, (pcm / 32768).astype(np.float32))
    assert len(weights) == 8
    np.testing.assert_allclose(np.stack(weights), reference[:8], atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_the_worker_is_woken_by_the_message_that_completes_a_hop(tiny_talker: Talker, rate: int) -> None:
    wakes: list[None] = []
    streams = [
        VoiceStream(tiny_talker, lambda messages: None, pytest.fail, lambda: wakes.append(None), Limits())
        for _ in range(2)
    ]
    pcm = (0.1 * np.random.default_rng(5).standard_normal(rate) * 32767).astype(np.int16)
    for stream in streams:
        stream.start(1, rate, 0)

    def frames_of(stream: VoiceStream) -> int:
        count = 0
        has_work = True
        while has_work:
            stream.take_audio()
            hops = run_batch(tiny_talker, [stream.session]).hops
            count += len(stream.encode_frames())
            has_work = stream.has_work(hops > 0)
        return count

    size = rate // 100
    for k in range(0, len(pcm), size):
        wakes.clear()
        streams[0].push_audio(1, pcm[k : k + size])
        is_woken = bool(wakes)
        streams[1].push_audio(1, pcm[k : k + size])
        count = frames_of(streams[0]) if is_woken else 0
        assert count == frames_of(streams[1])  # which is stepped after every message


def test_steps_of_one_session_are_those_of_the_model_while_several_leave_it_no_time(
    tiny_talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamingtalker_ros.web.batch_worker.MAX_MODEL_LOAD", 0.0)
    with running_server(tiny_talker) as server, WebClient(server) as greedy:
        greedy.send(type="set", steps=16)
        greedy.send(type="rest", epoch=1)
        assert greedy.wait_until(lambda: greedy.frame_count > 35)  # more than a second
        (stream,) = server.context.worker.streams
        assert stream.session.stream.steps == 16  # alone it takes the time from nobody
        with WebClient(server) as other:
            other.send(type="rest", epoch=1)
            assert wait_for(lambda: stream.session.stream.steps == tiny_talker.steps, 20)
            greedy.send(type="set", steps=12)
            count = greedy.frame_count
            assert greedy.wait_until(lambda: greedy.frame_count > count + 10)
            assert stream.session.stream.steps == tiny_talker.steps


def test_a_damaged_head_of_the_cache_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = write_glb(default_rig())
    paths = {name: tmp_path / f"{name}.glb" for name in ("maya", "lin", "kofi", "sam")}
    for name, content in {"maya": whole, "lin": whole[:-100], "kofi": b""}.items():
        paths[name].write_bytes(content)
    monkeypatch.setattr("streamingtalker_ros.web.app.prepared_faces", lambda: paths)
    warnings: list[str] = []
    with Server(WebContext(small_talker(), warn=warnings.append)).background() as server:
        with urllib.request.urlopen(server.address + "faces.json") as reply:
            assert json.load(reply) == ["maya"]
        with urllib.request.urlopen(server.address + "faces/maya.glb") as reply:
            assert reply.read() == whole
    assert [text.split()[0] for text in warnings] == ["lin", "kofi", "sam"]
