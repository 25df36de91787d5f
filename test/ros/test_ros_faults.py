# SPDX-License-Identifier: Apache-2.0
"""Faults of an audio source on rclpy: the node survives, its memory does not grow, and its frames recover.

Each fault once, half a minute; SOAK_SECONDS=600 in the environment makes it ten minutes.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import numpy.typing as npt
import pytest
from launch.actions import SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node

from streamingtalker_ros import Talker
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.transition import CROSSFADE_FRAMES
from support.ros_graph import SECOND, Graph, own_domain, wait_for
from support.ros_microphone import FAULTS, Microphone

DOMAIN, FRAME = own_domain(), 40_000_000
LIMIT = float(os.environ.get("SOAK_SECONDS", 20))
LONG = LIMIT > 60
TALKER = Node(
    package="streamingtalker_ros",
    executable="talker",
    name="talker",
    output="screen",
    # in the short form a busy machine may be late, and skips no frames
    parameters=[] if LONG else [{"overload_after": 10.0}],
)
CLEAN = 0.6  # s of a clean voice after each fault


@launch_pytest.fixture(scope="module")
def talker_launch() -> Any:
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            TALKER,
            launch_pytest.actions.ReadyToTest(),
        ]
    )


def resident() -> Any:
    """Resident memory of the talker in bytes."""
    pages = Path(f"/proc/{TALKER.process_details['pid']}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def recovery(graph: Graph, previous_count: Any, first: int, send_time: Any) -> Any:
    """Measure the time from `send_time` until the first frame of the clean voice, which starts at `first`.

    Returns:
        Seconds, infinite if none arrives; and whether these frames follow each other, 40 ms apart.
    """

    def clean() -> Any:
        return [
            (stamp_to_ns(frame.header.stamp), frame.frame, when)
            for frame, when in zip(graph.frames[previous_count:], graph.times[previous_count:], strict=False)
            if first <= stamp_to_ns(frame.header.stamp) < first + CLEAN * SECOND
        ]

    if not wait_for(clean, 10 if LONG else 60):
        return float("inf"), False
    stamps, numbers, times = zip(*clean(), strict=True)
    return times[0] - send_time, set(np.diff(numbers)) <= {1} and np.abs(np.diff(stamps) - FRAME).max(
        initial=0
    ) <= 1_000_000


def weight_errors(talker: Any, frames: Any, first: int, samples: npt.NDArray[np.int16]) -> Any:
    """Return the errors of the weights against the offline frames of the clean voice.

    One number for each frame of a stream that began with that voice, after the cross-fade.
    """
    received = [
        frame for frame in frames if first <= stamp_to_ns(frame.header.stamp) < first + CLEAN * SECOND
    ]
    start = stamp_to_ns(received[0].header.stamp) - received[0].frame * FRAME if received else 0
    if not first - 1000 <= start < first + CLEAN * SECOND:
        return []  # the stream began before, or no frame arrived
    skipped = round((start - first) * 16000 / SECOND)
    expected = talker.open_stream().accept(samples[skipped:].astype(np.float32) / 32768)
    return [
        np.abs(np.asarray(frame.weights) - expected[frame.frame].weights).max()
        for number, frame in enumerate(received, received[0].frame)
        if frame.frame == number < len(expected) and number > received[0].frame + CROSSFADE_FRAMES
    ]


@pytest.mark.launch(fixture=talker_launch)
def test_frames_are_on_time_and_correct_after_each_fault(talker_launch: Any) -> None:
    graph = Graph(DOMAIN)
    recovery_times, unbroken_runs, memory, voices, names = {name: [] for name in FAULTS}, [], [], [], []
    try:
        graph.reset_talker()
        microphone, random, start = Microphone(graph), np.random.default_rng(5), time.monotonic()
        while time.monotonic() - start < LIMIT or not all(recovery_times.values()):
            names = names or list(random.permutation(FAULTS))
            name = names.pop()
            getattr(microphone, name)()
            previous_count = len(graph.frames)
            first, send_time, samples = microphone.publish_clean(CLEAN, paced=LONG)
            seconds, unbroken = recovery(graph, previous_count, first, send_time)
            if not LONG:  # the frames are published at their time, after the audio
                end = first + CLEAN * SECOND
                wait_for(lambda end=end: stamp_to_ns(graph.frames[-1].header.stamp) >= end, 60)
            recovery_times[name].append(seconds)
            unbroken_runs.append(unbroken)
            memory.append(resident())
            voices.append((graph.frames[previous_count:], first, samples))
        counts, state = graph.counts(), graph.state()
    finally:
        graph.close()
    all_recovery_times, growth = (
        np.concatenate(list(recovery_times.values())),
        memory[-1] - memory[len(memory) // 4],
    )
    if LONG:
        for name, times in recovery_times.items():
            print(f"{name}: back after " + ", ".join(f"{1000 * value:.0f}" for value in times) + " ms")
        print(
            f"{len(all_recovery_times)} faults; recovered after "
            f"{1000 * np.median(all_recovery_times):.0f} ms (median), "
            f"{1000 * np.percentile(all_recovery_times, 95):.0f} ms (p95), "
            f"{1000 * all_recovery_times.max():.0f} ms (longest); "
            f"{unbroken_runs.count(False)} clean voices with a hole; memory {memory[-1] / 1e6:.0f} MB, "
            f"{growth / 1e6:+.1f} MB after the first quarter; {counts}",
            flush=True,
        )
    assert int(counts["errors"]) == 0 and state == "active"
    for frame in graph.frames:
        weights = np.asarray(frame.weights)
        assert np.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1
    talker, cases = Talker.load(), voices[:: max(1, len(voices) // 100)]
    errors = [error for case in cases for error in weight_errors(talker, *case)]
    if LONG:
        print(
            f"{np.mean(np.array(errors) < 1e-4):.1%} of {len(errors)} frames are those of the model offline"
        )
        assert growth < 20e6 and all(unbroken_runs)
        assert np.percentile(errors, 95) < 1e-4, errors
        assert np.percentile(all_recovery_times, 95) < 0.2, recovery_times
    else:
        assert np.isfinite(all_recovery_times).all(), recovery_times
        assert errors and max(errors) < 1e-4, errors
