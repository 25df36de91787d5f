# SPDX-License-Identifier: Apache-2.0
"""Faults of messages, logs and motion: the DDS thread continues, and the joints of a head come to rest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest

from streamingtalker_ros.dds.head_node import HeadNode
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.robot_head import HeadController, load_head
from streamingtalker_ros.robot_head.joint_limits import JointLimiter
from streamingtalker_ros.robot_head.playout_buffer import PlayoutBuffer
from support.dds_domain import own_domain
from support.dds_peer import HeadPeer
from support.face_motion import face_motion, shape_weights
from support.waiting import wait_for

ARRAY = "std_msgs/msg/Float64MultiArray"
COMMANDS = "jaw_controller/commands"


def broken_log(message: str) -> NoReturn:
    raise BrokenPipeError("the pipe has no reader")


def test_a_callback_that_raises_warns_once_and_later_messages_arrive() -> None:
    domain, warnings, received = own_domain(), [], []
    subscriber, peer = (
        DdsNode("subscriber", "", domain, lambda text: (warnings.append(text), broken_log(text))),
        HeadPeer(domain),
    )

    def failing_callback(message: Any) -> NoReturn:
        received.append(message)
        raise OSError("a bug, or a full log")

    ticks = []
    try:
        subscriber.create_subscription("face_motion", face_messages.MOTION_TYPE, failing_callback)
        subscriber.create_timer(0.01, lambda: ticks.append(1 / 0))
        subscriber.start()
        assert wait_for(lambda: matched_readers(peer.writer))
        peer.publish_jaw(0.5, 0.4)
        assert wait_for(lambda: len(received) >= 5)
        assert (
            sum("OSError" in text for text in warnings) == 1
            and sum("ZeroDivision" in text for text in warnings) == 1
        )
    finally:
        subscriber.close()
        peer.close()


@pytest.mark.parametrize("owner, method", [(PlayoutBuffer, "is_stale"), (JointLimiter, "step_toward")])
def test_a_failing_motion_brings_the_joints_to_rest(
    owner: type[PlayoutBuffer | JointLimiter], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = HeadController(load_head("jaw"), broken_log)
    now, tick = 10**18, 20_000_000
    for _ in range(50):
        now += tick
        controller.update(face_motion(shape_weights(jawOpen=1.0), now), now)
        controller.step(now)
    assert not controller.at_rest
    original, calls = getattr(owner, method), []

    def fails(*values: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OverflowError("a bug")
        return original(*values)

    monkeypatch.setattr(owner, method, fails)
    for _ in range(200):
        now += tick
        controller.step(now)
    assert controller.at_rest and controller.rejected == 1


def test_the_head_comes_to_rest_while_the_dds_thread_is_blocked() -> None:
    domain = own_domain()
    node, peer = (
        HeadNode(load_head("jaw"), domain=domain, warn=broken_log),
        HeadPeer(domain, **{COMMANDS: ARRAY}),
    )
    released = threading.Event()
    try:
        commands = peer.received[COMMANDS]
        assert wait_for(lambda: commands and matched_readers(peer.writer))
        assert peer.open_jaw(COMMANDS)
        blocked = threading.Event()
        node.dds_node.create_timer(0.01, lambda: (blocked.set(), released.wait(60)))
        assert blocked.wait(10)
        assert node.rest() and wait_for(lambda: abs(commands[-1].data[0]) < 1e-6, 5.0)
    finally:
        released.set()
        node.close()
        peer.close()


def test_the_time_out_closes_the_jaw_while_the_dds_thread_is_blocked() -> None:
    domain = own_domain()
    node, peer = HeadNode(load_head("jaw"), domain=domain), HeadPeer(domain, **{COMMANDS: ARRAY})
    released = threading.Event()
    try:
        commands = peer.received[COMMANDS]
        assert wait_for(lambda: commands and matched_readers(peer.writer))
        assert peer.open_jaw(COMMANDS)
        node.dds_node.create_timer(0.01, lambda: released.wait(60))  # a message that is never done with
        assert wait_for(lambda: abs(commands[-1].data[0]) < 1e-6)
        count = len(commands)
        assert wait_for(lambda: len(commands) > count + 50), "commands go on at rest"
    finally:
        released.set()
        node.close()
        peer.close()


SUSPENDED_READER = """
import sys, time
from streamingtalker_ros.dds.node import DdsNode
node = DdsNode("suspended", "", int(sys.argv[1]))
heard = lambda message: print("heard", flush=True)
node.create_subscription(sys.argv[2], "std_msgs/msg/Float64MultiArray", heard)
node.start()
time.sleep(600)
"""


def test_a_reliable_subscriber_that_is_suspended_stops_no_commands() -> None:
    domain = own_domain()
    node, peer = HeadNode(load_head("jaw"), domain=domain), HeadPeer(domain, **{COMMANDS: ARRAY})
    command = [sys.executable, "-c", SUSPENDED_READER, str(domain), COMMANDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        try:
            assert reader.stdout is not None and reader.stdout.readline()
            reader.send_signal(signal.SIGSTOP)
            commands = peer.received[COMMANDS]
            count, start = len(commands), time.monotonic()
            assert wait_for(lambda: len(commands) > count + 250, 60)
            assert time.monotonic() - start < 20, "5 s of commands"
        finally:
            reader.kill()
            node.close()
            peer.close()


def full_pipe() -> Any:
    """Return the write end of a full pipe that is never read, and its read end."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)
    return write, read


def closed_pipe() -> Any:
    read, write = os.pipe()
    os.close(read)
    return write, None


def full_device() -> Any:
    return os.open("/dev/full", os.O_WRONLY), None


STREAMS = {
    "full stdout": ("stdout", full_device),
    "closed stderr": ("stderr", closed_pipe),
    "closed both": ("both", closed_pipe),
    "full both": ("both", full_device),
    "blocked stdout": ("stdout", full_pipe),
}


@contextlib.contextmanager
def running_head(case: str) -> Iterator[tuple[subprocess.Popen[Any], HeadPeer]]:
    """Start the head driver with a broken output stream; yield it and its peer."""
    which, factory = STREAMS[case]
    write, read = factory()
    streams: dict[str, Any] = {
        name: write if which in (name, "both") else subprocess.DEVNULL for name in ("stdout", "stderr")
    }
    domain = own_domain()
    peer = HeadPeer(domain, **{COMMANDS: ARRAY})
    node = subprocess.Popen(
        [sys.executable, "-m", "streamingtalker_ros", "head", "--config", "jaw", "--domain", str(domain)],
        **streams,
    )
    os.close(write)
    try:
        yield node, peer
    finally:
        node.kill()
        node.wait()
        peer.close()
        if read is not None:
            os.close(read)


def drive_and_end(node: subprocess.Popen[Any], peer: HeadPeer, number: int) -> None:
    """Open the jaw twice: after the first time motion stops, after the second the driver gets a signal."""
    commands = peer.received[COMMANDS]
    for bad in (
        face_motion(shape_weights(jawOpen=np.nan), time.time_ns()),
        face_motion(shape_weights(jawOpen=1.0)[:3], time.time_ns()),
    ):
        peer.writer.write(bad)
    assert peer.open_jaw(COMMANDS)
    assert wait_for(lambda: abs(commands[-1].data[0]) < 1e-6), "after the time-out"
    assert peer.open_jaw(COMMANDS)
    node.send_signal(number)
    assert node.wait(30) == 0 and wait_for(lambda: abs(commands[-1].data[0]) < 1e-6, 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_command_rests_the_head_with_any_broken_output_stream(number: int) -> None:
    """A driver for each stream, all at once: they mostly wait."""
    with contextlib.ExitStack() as stack:
        handler = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, as a child then would
        heads = {case: stack.enter_context(running_head(case)) for case in STREAMS}
        signal.signal(signal.SIGHUP, handler)
        for _, peer in heads.values():
            assert wait_for(lambda peer=peer: peer.received[COMMANDS] and matched_readers(peer.writer))
        with ThreadPoolExecutor(len(heads)) as pool:
            ends = {case: pool.submit(drive_and_end, *head, number) for case, head in heads.items()}
        for case, end in ends.items():
            assert end.exception() is None, case


def test_the_talkers_worker_continues_after_an_exception() -> None:
    from streamingtalker_ros.audio.packet import AudioFormat
    from streamingtalker_ros.runtime.parameters import TalkerParameters
    from streamingtalker_ros.runtime.worker import AudioPacket, TalkerWorker
    from support.scheduler_harness import small_talker, voice

    frames, faults = [], [OSError("the network is down")] * 2

    def publish(frame: Any) -> None:
        if faults and frames:
            raise faults.pop()
        frames.append(frame)

    worker = TalkerWorker(small_talker(), TalkerParameters(), publish, warn=broken_log)
    worker.start()
    try:
        begin = time.time_ns()
        for k in range(50):
            pcm = voice(0.02, 16000)
            worker.push(
                AudioPacket(
                    pcm.tobytes(), AudioFormat(16000, 1, "s16"), begin + k * 20_000_000, time.monotonic()
                )
            )
            time.sleep(0.02)
        assert not faults
        count = len(frames)
        assert wait_for(lambda: len(frames) > count + 3), SimpleNamespace(state=worker.state, frames=count)
    finally:
        worker.stop()
