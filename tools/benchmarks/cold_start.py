# SPDX-License-Identifier: Apache-2.0
"""Cold start of the node without ROS: seconds from the start of its process to its first frame, and memory.

    python tools/benchmarks/cold_start.py [--runs 5] [--param precision=int8]

A voice is being published while `streamingtalker talk` starts, in 20-ms packets; a subscriber notes the
arrival of the first FaceMotion. A frame needs 120 ms of audio, and both ends have to discover each other:
both are included.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_RATE = 16_000
PACKET_S = 0.02
MAX_START_S = 120.0


def resident_megabytes(process: int) -> float:
    """Return the largest resident memory of a process so far; NaN where /proc is missing."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        found = None
    return float("nan") if found is None else int(found[1]) / 1e3


def run(domain: int, arguments: list[str], received: list[float]) -> tuple[float, float, float]:
    """Start a talker and wait for its first frame.

    Args:
        domain: ROS domain.
        arguments: of `streamingtalker talk`.
        received: times of arrival of frames, which another thread extends.

    Returns:
        Seconds to the line that says it is ready, seconds to the first frame, resident megabytes.
    """
    received.clear()
    command = [sys.executable, "-m", "streamingtalker_ros", "talk", "--domain", str(domain), *arguments]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as talk:
        assert talk.stdout is not None
        line = talk.stdout.readline()
        ready = time.monotonic() - start
        while line and not received and time.monotonic() - start < MAX_START_S:
            time.sleep(0.001)
        memory = resident_megabytes(talk.pid)
        talk.send_signal(signal.SIGINT)
    if not received:
        raise SystemExit("the talker did not start")
    return ready, received[0] - start, memory


def main() -> int:
    """Measure and print.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--param", action="append", default=[], help="parameter of the talker, NAME=VALUE")
    args = parser.parse_args()
    os.environ.update({"ROS_LOCALHOST_ONLY": "1", "OMP_NUM_THREADS": "1"})
    from streamingtalker_ros.audio.files import read_audio
    from streamingtalker_ros.audio.resample import to_16k
    from streamingtalker_ros.audio.sources import paced_packets
    from streamingtalker_ros.dds.audio_player import AudioPublisher
    from streamingtalker_ros.dds.node import DdsNode
    from streamingtalker_ros.resources import DEMO_AUDIO

    domain = random.SystemRandom().randint(101, 200)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    voice = np.round(to_16k(*read_audio(DEMO_AUDIO)) * 32767).astype(np.int16)
    source, received = AudioPublisher(SAMPLE_RATE), list[float]()
    node = DdsNode("cold_start", "", domain)

    def on_motion(message: Any) -> None:
        received.append(time.monotonic())

    node.create_subscription("face_motion", "streamingtalker_ros/msg/FaceMotion", on_motion)
    node.start()

    def publish() -> None:
        while True:
            for stamp, block in paced_packets(voice, SAMPLE_RATE, PACKET_S):
                source.publish(block, stamp)

    threading.Thread(target=publish, daemon=True).start()
    arguments = [word for value in args.param for word in ("--param", value)]
    rows = np.array([run(domain, arguments, received) for _ in range(args.runs)])
    ready, first, memory = np.median(rows, axis=0)
    print(
        f"median of {args.runs}: ready after {ready:.2f} s, first frame after {first:.2f} s, "
        f"{memory:.0f} MB resident at most; load average {os.getloadavg()[0]:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
