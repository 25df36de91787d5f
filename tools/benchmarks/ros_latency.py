# SPDX-License-Identifier: Apache-2.0
# rclpy and its messages come with a ROS installation
# pyright: reportMissingImports=false
"""Latency of a frame over the ROS graph, from arrival of its last needed sample to publication.

    python3 tools/benchmarks/ros_latency.py [--seconds 60]           # the rclpy node; ROS 2 is sourced
    python3 tools/benchmarks/ros_latency.py --free [--seconds 60]    # the node without ROS

It starts a talker, sends speech in 20-ms packets in real time, and checks each received frame: its number,
its stamp to 1 ns, and its time. The talker's own percentiles are those of docs/node.md. "Received" is what a
subscriber observes: from sending the packet with the last needed sample to receiving the frame, with the
middleware both ways. The exit code is 1 when a frame is missing or wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import HOP_LENGTH, NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.audio.sources import paced_packets

FRAME_NS = NS_PER_S * HOP_LENGTH // SAMPLE_RATE
LOOKAHEAD_SAMPLES = 1280  # of the default checkpoint
PACKET_S = 0.02


class RosGraph:
    """Publishes packets and collects (arrival, frame, stamp) and diagnostics, through rclpy."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        from streamingtalker_ros.msg import FaceMotion
        from streamingtalker_ros.ros.audio_player import AudioPlayer

        rclpy.init()
        self.frames: list[tuple[float, int, int]] = []
        self.diagnostics: dict[str, str] = {}
        self.player = AudioPlayer(SAMPLE_RATE)
        self.player.create_subscription(FaceMotion, "face_motion", self._on_motion, QoSProfile(depth=1000))
        self.player.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.player)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def _on_motion(self, message: Any) -> None:
        stamp = message.header.stamp
        self.frames.append((time.monotonic(), message.frame, stamp.sec * NS_PER_S + stamp.nanosec))

    def _on_diagnostics(self, message: Any) -> None:
        self.diagnostics = {item.key: item.value for item in message.status[0].values}

    def wait_for_subscriber(self) -> bool:
        """Wait up to 60 s for the talker's subscription."""
        return self.player.wait_for_subscriber(60)

    def publish(self, block: npt.NDArray[np.int16], stamp: int) -> None:
        """Publish one packet, stamped in ns."""
        self.player.publish(block, stamp)


class DdsGraph:
    """The same over Cyclone DDS, without ROS."""

    def __init__(self) -> None:
        from streamingtalker_ros.dds.audio_player import AudioPublisher
        from streamingtalker_ros.dds.node import DdsNode

        self.frames: list[tuple[float, int, int]] = []
        self.diagnostics: dict[str, str] = {}
        self.source = AudioPublisher(SAMPLE_RATE)
        self._wire = DdsNode("latency", "", None)
        self._wire.create_subscription(
            "face_motion", "streamingtalker_ros/msg/FaceMotion", self._on_motion, self._wire.qos(depth=1000)
        )
        self._wire.create_subscription(
            "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self._on_diagnostics
        )
        self._wire.start()

    _on_motion, _on_diagnostics = RosGraph._on_motion, RosGraph._on_diagnostics

    def wait_for_subscriber(self) -> bool:
        """Wait up to 60 s for the talker's subscription."""
        return self.source.wait_for_subscriber(60)

    def publish(self, block: npt.NDArray[np.int16], stamp: int) -> None:
        """Publish one packet, stamped in ns."""
        self.source.publish(block, stamp)


def start_talker(without_ros: bool, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start the talker in its own process."""
    if without_ros:
        command = [sys.executable, "-m", "streamingtalker_ros", "talk", *arguments]
    else:
        from ament_index_python.packages import get_package_prefix

        command = [
            str(Path(get_package_prefix("streamingtalker_ros")) / "lib/streamingtalker_ros/talker"),
            *arguments,
        ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def repeat_speech(seconds: float) -> npt.NDArray[np.int16]:
    """Return the demo's voice, repeated: (n,) int16 at 16 kHz."""
    from streamingtalker_ros.resources import DEMO_AUDIO

    once = np.round(to_16k(*read_audio(DEMO_AUDIO)) * 32767).astype(np.int16)
    return np.resize(once, round(seconds * SAMPLE_RATE))


def run(
    graph: RosGraph | DdsGraph, seconds: float
) -> tuple[dict[int, tuple[float, int]], dict[int, float], int]:
    """Send the speech.

    Returns:
        {frame: (arrival, stamp)}, {frame: when the packet with its last needed sample was sent}, stamp of
        sample 0.
    """
    samples, sent, start = repeat_speech(seconds), [], 0
    for stamp, block in paced_packets(samples, SAMPLE_RATE, PACKET_S):
        start = start or stamp
        graph.publish(block, stamp)
        sent.append(time.monotonic())
    time.sleep(1.0)
    needed = {
        index: -(-((index + 1) * HOP_LENGTH + LOOKAHEAD_SAMPLES) // round(PACKET_S * SAMPLE_RATE)) - 1
        for index in range(len(samples) // HOP_LENGTH)
    }
    return (
        {frame: (arrival, stamp) for arrival, frame, stamp in graph.frames},
        {index: sent[packet] for index, packet in needed.items() if packet < len(sent)},
        start,
    )


def main() -> int:
    """Measure and print.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--free", action="store_true", help="the node without ROS")
    parser.add_argument("arguments", nargs="*", help="of the talker, such as --ros-args -p device:=cpu")
    args = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    process = start_talker(args.free, args.arguments)
    try:
        graph = DdsGraph() if args.free else RosGraph()
        if not graph.wait_for_subscriber():
            print("the talker did not start")
            return 1
        time.sleep(1.0)
        frames, sent, start = run(graph, args.seconds)
        time.sleep(1.5)  # the diagnostics after the last frame
        diagnostics = dict(graph.diagnostics)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    count = round(args.seconds * SAMPLE_RATE) // HOP_LENGTH
    missing = [index for index in range(count) if index not in frames]
    wrong = [
        index
        for index in range(count)
        if index in frames and abs(frames[index][1] - start - index * FRAME_NS) > 1
    ]
    delays = np.array([1000 * (frames[index][0] - sent[index]) for index in sorted(sent) if index in frames])
    print(
        f"{'without ROS' if args.free else 'rclpy'}: {args.seconds:g} s in {1000 * PACKET_S:g}-ms packets, "
        f"{count} frames, {len(missing)} missing, {len(wrong)} wrongly stamped"
    )
    print(
        f"from arrival to publication, by the talker: p50 {diagnostics.get('latency_p50_ms')} ms, p99 "
        f"{diagnostics.get('latency_p99_ms')} ms; dropped {diagnostics.get('dropped')}"
    )
    if len(delays):
        print(
            f"received: from sending to receiving, p50 {np.percentile(delays, 50):.1f} ms, p99 "
            f"{np.percentile(delays, 99):.1f} ms, longest {delays.max():.1f} ms"
        )
    print(
        "load average "
        + " ".join(f"{value:.2f}" for value in os.getloadavg())
        + f" on {os.cpu_count()} cores"
    )
    return 1 if missing or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
