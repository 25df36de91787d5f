# SPDX-License-Identifier: Apache-2.0
"""ROS and the ROS-free node in one domain: each receives the other's audio and frames."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from action_msgs.msg import GoalStatus
from ament_index_python.packages import get_package_prefix

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.action import Say
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from support.processes import ProcessGroup
from support.ros_action import Client
from support.ros_graph import VARIANT, Graph, own_domain, voice, wait_for
from support.tts_command import command

DOMAIN = own_domain()
FREE = [sys.executable, "-m", "streamingtalker_ros"]
TALKER = str(Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros" / "talker")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """start(*command): a process in the test's domain that is ended after the test."""
    for module in ("cyclonedds", "rosbags"):
        pytest.importorskip(module, reason=f"{module} of the ROS-free node is not installed in ROS's Python")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    with ProcessGroup() as processes:
        yield processes.start


@pytest.fixture
def wav(tmp_path: Path) -> Any:
    soundfile.write(tmp_path / "voice.wav", voice(1.2), 16000)
    return str(tmp_path / "voice.wav")


def test_ros_reads_the_frames_of_the_ros_free_node(start: Callable[..., Any], wav: str) -> None:
    start(*FREE, "talk")
    echo = start(
        "ros2",
        "topic",
        "echo",
        "--no-daemon",
        "--once",
        "/face_motion",
        "streamingtalker_ros/msg/FaceMotion",
        stdout=subprocess.PIPE,
        text=True,
    )
    graph = Graph(DOMAIN)
    try:
        time.sleep(1.0)  # until echo has subscribed
        start(*FREE, "play", wav, "--lineage", VARIANT, "--wait", "60")
        assert wait_for(lambda: len(graph.frames) >= 30, 60)
        assert [frame.frame for frame in graph.frames[:30]] == list(range(30))
        printed = echo.communicate(timeout=20)[0]
        assert "eyeBlinkLeft" in printed and "weights:" in printed and "frame_id: head" in printed
    finally:
        graph.close()


def test_ros_calls_the_action_of_the_ros_free_node(
    start: Callable[..., Any], wav: str, tmp_path: Path
) -> None:
    pcm = tmp_path / "voice.pcm"
    pcm.write_bytes(voice(1.2).tobytes())
    start(*FREE, "talk", "--tts", command("pcm", pcm), "--param", "tts_rate=16000")
    graph = Graph(DOMAIN)
    try:
        goal = ("send_goal", "--feedback", "/say", "streamingtalker_ros/action/Say", "{text: Hello}")
        printed = start("ros2", "action", *goal, stdout=subprocess.PIPE, text=True).communicate(timeout=60)[0]
        assert "state: speaking" in printed and "outcome: finished" in printed
        assert "finished with status: SUCCEEDED" in printed

        client = Client(graph, Say, "say")
        first, second = client.send(text="one"), client.send(audio=list(Path(wav).read_bytes()))
        assert first.accepted and wait_for(lambda: any(each.time > 0.3 for each in client.feedback))
        client.cancel(first)
        assert client.result(first).status == GoalStatus.STATUS_CANCELED
        done = client.result(second)
        assert done.status == GoalStatus.STATUS_SUCCEEDED and done.result.duration == pytest.approx(1.2)
    finally:
        graph.close()


def test_the_ros_free_recorder_reads_the_frames_of_the_rclpy_node(
    start: Callable[..., Any], wav: str
) -> None:
    """rclpy's talker receives the ROS-free source's audio, and the recorder receives its frames."""
    with FaceMotionRecorder() as recorder:
        start(TALKER)
        assert recorder.wait_for_publisher(60)
        start(*FREE, "play", wav, "--lineage", VARIANT, "--wait", "60")
        assert recorder.wait(30, 60)
        assert [frame.frame for frame in recorder.frames[:30]] == list(range(30))
        assert recorder.frames[0].names == tuple(ARKIT_NAMES)
        stamps = [frame.stamp for frame in recorder.frames[:30]]
        assert np.abs(np.diff(stamps) - 40_000_000).max() <= 1000


@pytest.mark.skipif(
    "cyclonedds" not in os.environ.get("RMW_IMPLEMENTATION", ""), reason="a matter of rmw_cyclonedds_cpp"
)
def test_the_rclpy_node_requests_lost_fragments_within_5_ms(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    log = tmp_path / "trace.log"
    tracing = f"<Tracing><Verbosity>config</Verbosity><OutputFile>{log}</OutputFile></Tracing>"
    start(
        TALKER, env={**os.environ, "CYCLONEDDS_URI": f"<CycloneDDS><Domain>{tracing}</Domain></CycloneDDS>"}
    )
    assert wait_for(lambda: log.exists() and "Internal/NackDelay/#text: 5 ms " in log.read_text())
