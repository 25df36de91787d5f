# SPDX-License-Identifier: Apache-2.0
"""A node that loses any of its threads ends visibly, with joints at rest; a message costs at most itself."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ament_index_python.packages import get_package_prefix
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64MultiArray

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.msg import FaceMotion
from streamingtalker_ros.ros import message_types, qos
from streamingtalker_ros.supervision import EXIT_THREAD_FAILED, SHUTDOWN_TIMEOUT_S
from support.processes import ProcessGroup
from support.ros_graph import SECOND, VARIANT, Graph, own_domain, voice, wait_for
from support.thread_killer import KillableProcess

EXECUTABLES = Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros"
MAIN = "MainThread"


def motion(jaw: float) -> Any:
    """A FaceMotion of now with an open jaw."""
    message = FaceMotion(names=list(ARKIT_NAMES), weights=[0.0] * 52)
    message.weights[ARKIT_NAMES.index("jawOpen")] = jaw
    message.head.w = 1.0
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.time_ns(), SECOND)
    return message


class Jaw:
    """Publishes face motion, and receives the commands of the jaw's servo."""

    def __init__(self, graph: Graph) -> None:
        self.publisher = graph.node.create_publisher(FaceMotion, "face_motion", 10)
        self.commands = graph.subscribe(
            Float64MultiArray, "/jaw_controller/commands", qos=qos.MOTION_SUBSCRIPTION
        )

    def opens(self) -> bool:
        """Send an open jaw; return whether it is open."""
        self.publisher.publish(motion(1.0))
        time.sleep(0.02)
        return bool(self.commands) and self.commands[-1].data[0] > 0.2

    def is_closed(self) -> bool:
        return abs(self.commands[-1].data[0]) < 1e-6


@contextlib.contextmanager
def running_head(graph: Graph, folder: Path, start: Callable[..., Any]) -> Iterator[Any]:
    jaw = Jaw(graph)
    with start("head_driver") as process:
        assert wait_for(jaw.opens)
        yield process, lambda: wait_for(jaw.is_closed, 2.0)


@contextlib.contextmanager
def running_markers(graph: Graph, folder: Path, start: Callable[..., Any]) -> Iterator[Any]:
    with start("face_markers") as process:
        assert wait_for(lambda: graph.node.get_publishers_info_by_topic("/face_markers"))
        yield process, lambda: True


@contextlib.contextmanager
def running_talker(graph: Graph, folder: Path, start: Callable[..., Any]) -> Iterator[Any]:
    with start("talker", "--ros-args", "-p", "device:=cpu") as process:
        graph.reset_talker()
        graph.publish_audio(voice(0.4), time.time_ns())
        assert wait_for(lambda: graph.frames)
        yield process, lambda: True


@contextlib.contextmanager
def running_player(graph: Graph, folder: Path, start: Callable[..., Any]) -> Iterator[Any]:
    soundfile.write(folder / "voice.wav", np.zeros(60 * 16000, np.int16), 16000)
    received = graph.subscribe(message_types.message_class(audio_common.PUBLISHED_TYPES[VARIANT]), "audio")
    with start("play", folder / "voice.wav") as process:
        assert wait_for(lambda: received)
        yield process, lambda: True


SCENES = {
    "head_driver": running_head,
    "face_markers": running_markers,
    "talker": running_talker,
    "play": running_player,
}


@pytest.mark.parametrize("executable", SCENES)
def test_a_node_that_loses_any_thread_ends_with_an_error_and_joints_at_rest(
    executable: str, tmp_path: Path
) -> None:
    killed: set[str] = set()
    while True:
        domain = own_domain()
        graph = Graph(domain)

        def start(*arguments: object, domain: int = domain) -> KillableProcess:
            return KillableProcess(*arguments, ros=True, environment={"ROS_DOMAIN_ID": str(domain)})

        try:
            with SCENES[executable](graph, tmp_path, start) as (process, law):
                threads = process.threads()
                assert "unknown to threading" not in threads.values()
                ident, name = next((pair for pair in threads.items() if pair[1] not in killed), (0, ""))
                if not name:
                    break
                killed.add(name)
                process.kill_thread(ident)
                code, output, seconds = process.end(SHUTDOWN_TIMEOUT_S + 5)
                assert seconds < SHUTDOWN_TIMEOUT_S, f"{name}: it ended by itself, not by the limit"
                assert output.count("ThreadKilledError") == 1 and output.count("Traceback") == 1, output
                assert code == (1 if name == MAIN else EXIT_THREAD_FAILED), output
                assert name == MAIN or f"the thread '{name}' ended by an exception" in output
                assert law(), name
                print(f"{executable}, {name}: code {code} after {seconds:.2f} s")
        finally:
            graph.close()
    assert MAIN in killed


FAILING = """
import sys
from streamingtalker_ros.robot_head import HeadController
from streamingtalker_ros.ros.entry_points import run_entry_point
steps = 0
step = HeadController.step
def failing(self, now):
    global steps
    steps += 1
    if steps == 100:
        raise ZeroDivisionError
    return step(self, now)
HeadController.step = failing
sys.exit(run_entry_point("head_driver", ["head_driver"]))
"""


def test_a_control_loop_that_fails_ends_the_process_with_the_joints_at_rest() -> None:
    domain = own_domain()
    graph = Graph(domain)
    try:
        jaw = Jaw(graph)
        with ProcessGroup() as processes:
            process = processes.start(
                *(sys.executable, "-c", FAILING),
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
                stderr=subprocess.PIPE,
                text=True,
            )
            assert wait_for(jaw.opens)
            assert wait_for(lambda: not jaw.opens() or process.poll() is not None)
            assert process.stderr is not None
            errors = process.stderr.read()
            assert process.wait(20) == EXIT_THREAD_FAILED
        assert errors.count("ZeroDivisionError") == 1, errors
        assert wait_for(jaw.is_closed, 5)
    finally:
        graph.close()


UNREADABLE = """
import sys
from rclpy.node import Node
from std_msgs.msg import UInt32
from streamingtalker_ros.ros.spin import spin_node

class Broken:  # no message can be converted to it
    pass

def create():
    node = Node("reader")
    received = []
    def on_message(message):
        print("received", message.data, flush=True)
    subscription = node.create_subscription(UInt32, "numbers", on_message, 10)
    subscription.msg_type = Broken
    def repair():
        subscription.msg_type = UInt32
        print("repaired", flush=True)
    node.create_timer(3.0, repair)
    return node

sys.exit(spin_node("reader", create, ["reader"]))
"""


def test_a_message_that_cannot_be_taken_costs_itself_alone() -> None:
    """rclpy would keep the subscription, and with it all other callbacks of the node, reserved for ever."""
    from std_msgs.msg import UInt32

    domain = own_domain()
    graph = Graph(domain)
    try:
        with ProcessGroup() as processes:
            process = processes.start(
                *(sys.executable, "-c", UNREADABLE),
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            publisher = graph.node.create_publisher(UInt32, "numbers", 10)
            assert wait_for(publisher.get_subscription_count)
            publisher.publish(UInt32(data=1))
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == "repaired\n", "the timer runs"
            publisher.publish(UInt32(data=2))
            for line in process.stdout:
                if line == "received 2\n":
                    break
            process.terminate()
            errors = process.stderr.read()
            assert process.wait(20) == 0 and errors.count("a callback failed") == 1, errors
    finally:
        graph.close()


def damaged(message: bytes, source: random.Random) -> bytes:
    """A serialized message that is cut, changed, or claims sizes that it does not have."""
    data = bytearray(message)
    kind = source.randrange(4)
    if kind == 0:
        return bytes(data[: source.randrange(4, len(data))])
    if kind == 1:
        for _ in range(source.randrange(1, 10)):
            data[source.randrange(4, len(data))] = source.randrange(256)
    elif kind == 2:
        return bytes(data[:4]) + source.randbytes(source.randrange(200))
    else:
        for _ in range(3):
            place = source.randrange(4, len(data) - 4)
            data[place : place + 4] = b"\xff" * 4
    return bytes(data)


def test_damaged_messages_stop_neither_the_talker_nor_the_head() -> None:
    domain, source = own_domain(), random.Random(7)
    graph = Graph(domain)
    environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
    types = {"audio": audio_common.PUBLISHED_TYPES[VARIANT]}
    if VARIANT == "ros-drivers":
        types["audio_info"] = audio_common.INFO_TYPE
    try:
        jaw = Jaw(graph)
        with ProcessGroup() as processes:
            head = processes.start(str(EXECUTABLES / "head_driver"), env=environment)
            talker = processes.start(
                str(EXECUTABLES / "talker"),
                *("--ros-args", "-p", "device:=cpu", "-p", "overload_after:=10.0"),
                *("-r", "face_motion:=talker_motion"),
                env=environment,
            )
            frames = graph.subscribe(FaceMotion, "talker_motion")
            assert wait_for(jaw.opens) and wait_for(lambda: graph.state() == "active")
            targets = [(jaw.publisher, serialize_message(motion(0.5)))]
            for topic, name in types.items():
                message_class = message_types.message_class(name)
                publisher = graph.node.create_publisher(message_class, topic, 100)
                assert wait_for(publisher.get_subscription_count)
                targets.append((publisher, serialize_message(message_class())))
            for _ in range(200):
                for publisher, message in targets:
                    publisher.publish(damaged(message, source))
                time.sleep(0.002)
            for publisher, _ in targets[1:]:
                graph.node.destroy_publisher(publisher)
            assert wait_for(jaw.is_closed, 20) and wait_for(jaw.opens, 20), "the head follows again"
            graph.reset_talker()
            frames.clear()
            graph.publish_audio(voice(1.0), time.time_ns())
            assert wait_for(lambda: sum(frame.speaking for frame in frames) > 10)
            for process in (head, talker):
                process.terminate()
                assert process.wait(30) == 0
    finally:
        graph.close()
