# SPDX-License-Identifier: Apache-2.0
"""A live output over a real socket: all frames arrive, and no receiver costs the talker anything."""

from __future__ import annotations

import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.face.interpolation import resample_motion
from streamingtalker_ros.outputs import LiveOutput, OutputGroup, open_output
from streamingtalker_ros.outputs.live_output import ENCODERS
from streamingtalker_ros.outputs.livelink import LiveLinkEncoder
from streamingtalker_ros.outputs.timeline import Pose
from support.udp_receiver import PERIOD_NS, UdpReceiver, random_motion, to_frame, unused_port
from support.waiting import wait_for


def play(output: LiveOutput | OutputGroup, count: int, speed: float = 1.0) -> tuple[Any, Any, float]:
    """Send random frames, at a speed of 1 in real time; return them and the longest time that `send` took."""
    weights, head = random_motion(count)
    start, longest, stamp = time.monotonic(), 0.0, time.time_ns()
    for n in range(count):
        time.sleep(max(0.0, start + n / FRAME_RATE / speed - time.monotonic()))
        before = time.thread_time()
        output.send(to_frame(n, stamp + n * PERIOD_NS, weights[n], head[n]))
        longest = max(longest, time.thread_time() - before)
    return weights, head, longest


def parse_livelink(datagram: bytes) -> tuple[int, int, np.ndarray]:
    """Frame number, rate and the 61 values of a datagram, from its end."""
    head = np.frombuffer(datagram[-261:-245], ">i4")
    return int(head[0]), int(head[2]), np.frombuffer(datagram[-244:], ">f4").astype(np.float64)


@pytest.mark.parametrize("rate", [25, 60])
def test_all_frames_of_a_clip_arrive_resampled_in_order_and_the_face_ends_at_rest(rate: int) -> None:
    with UdpReceiver() as receiver:
        output = open_output(f"livelink://127.0.0.1:{receiver.port}?rate={rate}")
        weights, head, _ = play(output, 50, 100.0)  # ahead of time, so that a busy machine delays none
        assert output.drain(30.0)
        output.close()
        assert wait_for(lambda: len(receiver.datagrams) >= output.statistics()["sent"])
    poses = [parse_livelink(datagram) for datagram in receiver.datagrams]
    assert {pose[1] for pose in poses} == {rate}
    assert np.array_equal(np.diff([pose[0] for pose in poses]), np.ones(len(poses) - 1))
    expected, _, _ = resample_motion(weights, head, np.arange(50) / FRAME_RATE, rate)
    np.testing.assert_allclose([pose[2][:52] for pose in poses[: len(expected)]], expected, atol=1e-6)
    assert not poses[-1][2].any()
    assert output.statistics()["dropped"] == output.statistics()["dropped_frames"] == 0


def test_frames_sent_at_once_are_played_in_real_time_and_all_arrive() -> None:
    weights, head = random_motion(20)
    with UdpReceiver() as receiver, np.errstate(all="raise"):
        output = open_output(f"livelink://127.0.0.1:{receiver.port}?rate=25")
        for n in range(20):  # as the library's frames, whose times begin at 0
            output.send(SimpleNamespace(time=n / FRAME_RATE, weights=weights[n], head=head[n]))
        assert output.drain(30.0)
        output.close()
        assert wait_for(lambda: len(receiver.datagrams) >= output.statistics()["sent"])
    sent = [parse_livelink(datagram)[2][:52] for datagram in receiver.datagrams]
    np.testing.assert_allclose(sent[:20], weights, atol=1e-6)
    assert receiver.times[19] - receiver.times[0] > 0.5


def test_the_number_of_a_pose_is_the_local_time_of_day() -> None:
    with UdpReceiver() as receiver:
        output = open_output(f"livelink://127.0.0.1:{receiver.port}")
        now = time.localtime()
        seconds = now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec
        play(output, 3)
        assert wait_for(lambda: len(receiver.datagrams) > 2)
        output.close()
    difference = (parse_livelink(receiver.datagrams[0])[0] / 60 - seconds) % 86_400
    assert difference < 20.0


def test_several_outputs_get_the_same_frames() -> None:
    with UdpReceiver() as first, UdpReceiver() as second:
        group = OutputGroup([f"livelink://127.0.0.1:{first.port}", f"osc://127.0.0.1:{second.port}?rate=30"])
        group.open()
        play(group, 15)
        group.close()
        assert [statistics["frames"] for statistics in group.statistics()] == [15, 15]
        assert wait_for(lambda: len(first.datagrams) > 40 and len(second.datagrams) > 20)
        assert all(datagram.startswith(b"#bundle\0") for datagram in second.datagrams)


def test_an_absent_receiver_is_reported_once_and_counted_and_never_blocks() -> None:
    warnings: list[str] = []
    output = open_output(f"livelink://127.0.0.1:{unused_port()}", warn=warnings.append)
    _, _, longest = play(output, 25)
    output.close()
    assert len(warnings) == 1 and "nothing receives at livelink://127.0.0.1" in warnings[0]
    statistics = output.statistics()
    assert statistics["frames"] == 25 and statistics["dropped"] > 10
    assert longest < 0.05  # CPU time of a call


def test_a_receiver_that_starts_later_gets_the_poses_from_then_on() -> None:
    port = unused_port()
    output = open_output(f"osc://127.0.0.1:{port}", warn=lambda text: None)
    play(output, 10)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
        late.bind(("127.0.0.1", port))
        late.settimeout(10.0)
        play(output, 10)
        assert late.recv(65536).startswith(b"#bundle\0")
    output.close()


def test_a_host_without_an_address_is_reported_once_and_costs_no_frame() -> None:
    warnings: list[str] = []
    output = open_output("vmc://no-such-host.invalid", warn=warnings.append)
    play(output, 10)
    output.close()
    assert len(warnings) == 1 and "no-such-host.invalid" in warnings[0] and "tried again" in warnings[0]
    assert output.statistics()["frames"] == 10 and output.statistics()["sent"] == 0


def test_a_frame_that_cannot_be_sent_is_dropped_counted_and_reported_once() -> None:
    warnings: list[str] = []
    good, head = np.zeros(52, np.float32), np.array([0, 0, 0, 1], np.float32)
    with UdpReceiver() as receiver:
        output = open_output(f"livelink://127.0.0.1:{receiver.port}", warn=warnings.append)
        bad: list[Any] = [
            None,
            SimpleNamespace(stamp=1, vertices=np.zeros((5, 3))),
            SimpleNamespace(stamp=1, weights=good[:51], head=head),
            SimpleNamespace(stamp=1, weights=good * np.nan, head=head),
            SimpleNamespace(stamp=1, weights=good, head=head * 0),
            SimpleNamespace(stamp="now", weights=good, head=head),
            SimpleNamespace(time=float("nan"), weights=good, head=head),
            SimpleNamespace(stamp=10**400, weights=good, head=head),
            SimpleNamespace(stamp=1, weights="jawOpen", head=head),
        ]
        for frame in bad:
            output.send(frame)
        output.send(SimpleNamespace(stamp=1, weights=good, head=head))
        assert wait_for(lambda: len(receiver.datagrams) > 0)
        output.close()
    assert output.statistics()["frames"] == 1
    assert len(warnings) == 1 and "frames of a blendshape talker" in warnings[0] and "\n" not in warnings[0]
    assert output.statistics()["dropped_frames"] == len(bad)


def test_a_fault_of_an_encoder_costs_its_pose_is_logged_once_and_the_output_lives_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(LiveLinkEncoder):
        count = 0

        def encode(self, pose: Pose) -> bytes:
            self.count += 1
            if self.count <= 10:
                raise ZeroDivisionError("of the test")
            return super().encode(pose)

    monkeypatch.setitem(ENCODERS, "livelink", Faulty)
    with UdpReceiver() as receiver:
        output = open_output(f"livelink://127.0.0.1:{receiver.port}")
        play(output, 15)
        output.close()
        assert wait_for(lambda: len(receiver.datagrams) >= output.statistics()["sent"] > 20)
    assert output.statistics()["dropped"] == 10
    assert [record.getMessage().count("Traceback") for record in caplog.records] == [1]


def test_stamps_of_any_size_are_sent() -> None:
    good, head = np.zeros(52, np.float32), np.array([0, 0, 0, 1], np.float32)
    with UdpReceiver() as receiver:
        output = open_output(f"livelink://127.0.0.1:{receiver.port}")
        for stamp in (0, -(2**63), 2**63 - 1, -(2**63), 2**63, time.time_ns()):
            output.send(SimpleNamespace(stamp=stamp, weights=good, head=head))
        assert output.drain(30.0)
        output.close()
        numbers = [parse_livelink(datagram)[0] for datagram in receiver.datagrams]
    assert np.array_equal(np.diff(numbers), np.ones(len(numbers) - 1))


def test_closing_twice_and_sending_afterwards_do_nothing() -> None:
    before = threading.active_count()
    with UdpReceiver() as receiver:
        output = open_output(f"livelink://127.0.0.1:{receiver.port}")
        play(output, 3)
        output.close()
        output.close()
        count = output.statistics()["sent"]
        play(output, 3)
        assert output.statistics()["sent"] == count
    never_opened = OutputGroup(["osc://127.0.0.1"])
    never_opened.close()
    assert threading.active_count() == before


def test_a_name_of_both_families_is_reached_over_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def ipv6_first(host: str, port: int, **options: Any) -> list[Any]:
        assert host == "robot"
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", port, 0, 0)),
            *resolve("127.0.0.1", port, **options),
        ]

    with UdpReceiver() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", ipv6_first)
        output = open_output(f"livelink://robot:{receiver.port}")
        play(output, 10)
        output.close()
        assert len(receiver.datagrams) > 10


def test_closing_waits_neither_for_a_name_server_nor_for_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: released.wait(60) and [])
    output = open_output("livelink://slow", warn=lambda message: None)
    play(output, 3)
    start = time.monotonic()
    output.close()
    assert time.monotonic() - start < 20
    released.set()
