# SPDX-License-Identifier: Apache-2.0
"""A recorded bag gives the same frames in `streamingtalker replay` and through replay.launch.py."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Point, PointStamped

from streamingtalker_ros import ARKIT_NAMES, cli
from streamingtalker_ros.messaging.header import set_header
from streamingtalker_ros.msg import Expression, Gesture
from streamingtalker_ros.ros.clock import SimClock
from support.ros_graph import VARIANT, Graph, own_domain, voice, wait_for

DOMAIN = own_domain()
SECONDS = 2.4
SMILE = ARKIT_NAMES.index("mouthSmileLeft")


def commands(start: int) -> list[Any]:
    """A smile, a nod and a point to look at, stamped within the audio that begins at `start` ns."""
    messages = Expression(name="happy"), Gesture(name="nod"), PointStamped(point=Point(x=1.0, y=0.4))
    for n, message in enumerate(messages):
        set_header(message.header, start + 300_000_000 * (n + 1), "head")
    return [*messages]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bag of SECONDS of the voice, with a smile, a point to look at and a nod, recorded live."""
    pytest.importorskip(
        "rosbags", reason="rosbags, which reads bags without ROS, is not installed in ROS's Python"
    )
    if subprocess.run(["ros2", "bag", "--help"], capture_output=True).returncode:
        pytest.skip("rosbag2 is not installed in this ROS 2")
    path = tmp_path_factory.mktemp("bags") / "voice"
    recorder = subprocess.Popen(
        [
            "ros2",
            "bag",
            "record",
            "--storage",
            "mcap",
            "--output",
            str(path),
            "--topics",
            "/audio",
            "/audio_info",
            "/expression",
            "/gaze_target",
            "/gesture",
        ],
        stderr=subprocess.DEVNULL,
    )
    graph = Graph(DOMAIN)
    try:
        kinds = (("expression", Expression), ("gesture", Gesture), ("gaze_target", PointStamped))
        publishers = [graph.node.create_publisher(kind, topic, 10) for topic, kind in kinds]
        assert wait_for(lambda: all(each.get_subscription_count() for each in publishers))
        start = time.time_ns()
        for publisher, message in zip(publishers, commands(start), strict=True):
            publisher.publish(message)
        graph.publish_audio(voice(SECONDS), start)
        time.sleep(0.5)
    finally:
        graph.close()
        recorder.send_signal(signal.SIGINT)
        recorder.wait(60)
    return path


@pytest.fixture(scope="module", autouse=True)
def domain() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
        yield


def motion_of(path: Path) -> Any:
    """{stamp in ns: weights (52,)} of a bag's face_motion, and its frame numbers in their order."""
    from streamingtalker_ros.bag.rosbag_io import BagInput, decode
    from streamingtalker_ros.messaging.header import stamp_to_ns

    with BagInput(path) as opened:
        assert set(opened.topics()) >= {"/audio", "/face_motion", "/face_model"}
        messages = [decode(raw) for raw in opened.messages("/face_motion")]
    return (
        {stamp_to_ns(message.header.stamp): np.asarray(message.weights) for message in messages},
        [message.frame for message in messages],
    )


def test_a_recorded_bag_gives_the_same_frames_both_ways(bag: Path, tmp_path: Path) -> None:
    assert cli.main(["replay", str(bag), "--out", str(tmp_path / "free"), "--device", "cpu"]) == 0
    parameters = tmp_path / "parameters.yaml"  # a loaded machine must not skip frames
    parameters.write_text("/**: {ros__parameters: {overload_after: 10.0, device: cpu}}\n")
    launched = subprocess.run(
        [
            "ros2",
            "launch",
            "streamingtalker_ros",
            "replay.launch.py",
            f"bag:={bag}",
            f"out:={tmp_path / 'ros'}",
            f"params_file:={parameters}",
        ],
        capture_output=True,
        text=True,
        timeout=150,
    )
    (free, _), (ros, numbers) = motion_of(tmp_path / "free"), motion_of(tmp_path / "ros")
    assert numbers == list(range(len(numbers))), launched.stdout + launched.stderr
    audio_stamps = sorted(free)[: round(SECONDS * 25)]
    missing = [index for index, stamp in enumerate(audio_stamps) if stamp not in ros]
    assert not missing, f"frames {missing} of {len(audio_stamps)}: {launched.stdout}{launched.stderr}"
    difference = max(np.abs(free[stamp] - ros[stamp]).max() for stamp in audio_stamps)
    assert difference <= 1e-5 and free[audio_stamps[-1]][SMILE] > 0.3
    assert ros[max(ros)][17:].max() == 0 or len(ros) > len(audio_stamps), (
        "the mouth closes when the bag has ended"
    )


@pytest.mark.parametrize("fault", ["model", "out"])
def test_an_impossible_replay_reports_the_reason_and_ends(bag: Path, tmp_path: Path, fault: str) -> None:
    parameters, out = tmp_path / "parameters.yaml", tmp_path / "out"
    parameters.write_text(
        f"/**: {{ros__parameters: {{model: {tmp_path / 'nowhere'}}}}}\n"
        if fault == "model"
        else "/**: {ros__parameters: {device: cpu}}\n"
    )
    if fault == "out":
        out.mkdir()
    launched = subprocess.run(
        [
            "ros2",
            "launch",
            "streamingtalker_ros",
            "replay.launch.py",
            f"bag:={bag}",
            f"out:={out}",
            f"params_file:={parameters}",
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    expected = {"model": "the talker cannot be configured", "out": "is the folder `out` there already?"}[
        fault
    ]
    assert expected in launched.stdout + launched.stderr, launched.stdout + launched.stderr


def test_the_simulated_clock_pauses_and_never_goes_back() -> None:
    now = SimpleNamespace(nanoseconds=5_000_000_000)
    node = SimpleNamespace(get_clock=lambda: SimpleNamespace(now=lambda: now))
    clock = SimClock(node)
    start = clock()
    assert clock() == start, "a simulation that is paused"
    now.nanoseconds += 250_000_000
    assert clock() - start == pytest.approx(0.25)
    now.nanoseconds = 1_000_000_000  # a bag restarts
    assert clock() - start == pytest.approx(0.25)
    now.nanoseconds += 40_000_000
    assert clock() - start == pytest.approx(0.29)
    clock.use_wall_time(True)
    assert wait_for(lambda: clock() - start > 0.3, 5), "real time counts where the simulation has ended"
    clock.use_wall_time(False)
    paused_time = clock()
    time.sleep(0.02)
    assert clock() == paused_time
    assert VARIANT in ("ros-drivers", "mgonzs13")
