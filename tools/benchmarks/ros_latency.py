# SPDX-License-Identifier: Apache-2.0
# rclpy and its messages come with a ROS installation
# pyright: reportMissingImports=false
"""How long a frame takes, from the arrival of the last sample that it needs to its publication, over the graph.

    python3 tools/benchmarks/ros_latency.py [--seconds 60]                  the rclpy node; ROS 2 and the package are sourced
    python3 tools/benchmarks/ros_latency.py --free [--seconds 60]           the node without ROS, from the source tree

Starts a talker of its own, speaks to it in 20-ms packets in real time, and checks every frame that comes back: its
number, its stamp to the nanosecond's rounding, and when it left. The talker's own percentiles are those of
docs/node.md. `heard` is what a subscriber sees: from the moment at which the packet with the last needed sample was
sent until the frame was received, with the middleware both ways. Exits with 1 when a frame is missing or wrong.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.audio.sources import paced_packets

FRAME, SECOND = 40_000_000, 1_000_000_000
HOP, LOOKAHEAD = 640, 1280  # samples at 16 kHz of the default checkpoint
PACKET = 0.02  # s
RATE = 16000


class RosGraph:
    """rclpy's side: publishes packets, collects (arrival, frame, stamp) and diagnostics."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        from streamingtalker_ros.msg import FaceMotion
        from streamingtalker_ros.ros.audio_player import AudioPlayer

        rclpy.init()
        self.frames, self.health = [], {}
        self.player = AudioPlayer(RATE)
        self.player.create_subscription(FaceMotion, "face_motion", self._motion, QoSProfile(depth=1000))
        self.player.create_subscription(DiagnosticArray, "/diagnostics", self._told, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.player)
        threading.Thread(target=self._executor.spin, daemon=True).start()

    def _motion(self, message) -> None:
        stamp = message.header.stamp
        self.frames.append((time.monotonic(), message.frame, stamp.sec * SECOND + stamp.nanosec))

    def _told(self, message) -> None:
        self.health = {item.key: item.value for item in message.status[0].values}

    def wait(self):
        return self.player.wait_for_subscriber(60)

    def publish(self, block, stamp) -> None:
        self.player.publish(block, stamp)


class FreeGraph:
    """The same without ROS."""

    def __init__(self) -> None:
        from streamingtalker_ros.dds.audio_player import AudioSource
        from streamingtalker_ros.dds.node import Wire

        self.frames, self.health = [], {}
        self.source = AudioSource(RATE)
        self._wire = Wire("latency", "", None)
        self._wire.subscribe(
            "face_motion", "streamingtalker_ros/msg/FaceMotion", self._motion, self._wire.qos(depth=1000)
        )
        self._wire.subscribe("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self._told)
        self._wire.start()

    _motion, _told = RosGraph._motion, RosGraph._told

    def wait(self):
        return self.source.wait_for_subscriber(60)

    def publish(self, block, stamp) -> None:
        self.source.publish(block, stamp)


def talker(free, arguments):
    if free:
        command = [sys.executable, "-m", "streamingtalker_ros", "talk", *arguments]
    else:
        from ament_index_python.packages import get_package_prefix

        command = [
            str(Path(get_package_prefix("streamingtalker_ros")) / "lib/streamingtalker_ros/talker"),
            *arguments,
        ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def speech(seconds):
    """The demo's voice, again and again: (n,) int16 at 16 kHz."""
    from streamingtalker_ros.cli.demo import VOICE

    once = np.round(to_16k(*read_audio(VOICE)) * 32767).astype(np.int16)
    return np.resize(once, round(seconds * RATE))


def run(graph, seconds):
    """Returns ({frame: (arrival, stamp)}, {frame: when the packet with its last needed sample was sent}, start)."""
    samples, sent, start = speech(seconds), [], None
    for stamp, block in paced_packets(samples, RATE, PACKET):
        start = stamp if start is None else start
        graph.publish(block, stamp)
        sent.append(time.monotonic())
    time.sleep(1.0)
    needed = {
        index: -(-((index + 1) * HOP + LOOKAHEAD) // round(PACKET * RATE)) - 1
        for index in range(len(samples) // HOP)
    }
    return (
        {frame: (arrival, stamp) for arrival, frame, stamp in graph.frames},
        {index: sent[packet] for index, packet in needed.items() if packet < len(sent)},
        start,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--free", action="store_true", help="the node without ROS")
    parser.add_argument("arguments", nargs="*", help="of the talker, such as --ros-args -p device:=cpu")
    args = parser.parse_args()
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    process = talker(args.free, args.arguments)
    try:
        graph = FreeGraph() if args.free else RosGraph()
        if not graph.wait():
            print("the talker did not come up")
            return 1
        time.sleep(1.0)
        frames, sent, start = run(graph, args.seconds)
        time.sleep(1.5)  # the diagnostics after the last frame
        health = dict(graph.health)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
    count = round(args.seconds * RATE) // HOP
    missing = [index for index in range(count) if index not in frames]
    wrong = [
        index
        for index in range(count)
        if index in frames and abs(frames[index][1] - start - index * FRAME) > 1
    ]
    heard = np.array([1000 * (frames[index][0] - sent[index]) for index in sorted(sent) if index in frames])
    print(
        f"{'without ROS' if args.free else 'rclpy'}: {args.seconds:g} s in {1000 * PACKET:g}-ms packets, {count} frames, "
        f"{len(missing)} missing, {len(wrong)} wrongly stamped"
    )
    print(
        f"from arrival to publication, by the talker: p50 {health.get('latency_p50_ms')} ms, p99 "
        f"{health.get('latency_p99_ms')} ms; dropped {health.get('dropped')}"
    )
    if len(heard):
        print(
            f"heard: from sending to receiving, p50 {np.percentile(heard, 50):.1f} ms, p99 "
            f"{np.percentile(heard, 99):.1f} ms, longest {heard.max():.1f} ms"
        )
    print(
        "load average "
        + " ".join(f"{value:.2f}" for value in os.getloadavg())
        + f" on {os.cpu_count()} cores"
    )
    return 1 if missing or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
