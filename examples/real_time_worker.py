# SPDX-License-Identifier: Apache-2.0
"""Drive the real-time session without ROS or DDS: packets in, frames out in time with the audio.

python examples/real_time_worker.py voice.wav
"""

from __future__ import annotations

import sys
import time

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.sources import load_pcm16, paced_packets
from streamingtalker_ros.runtime.frames import PublishedFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import TalkerWorker, load_talker


def show(frame: PublishedFrame) -> None:
    """Receive one frame, in the worker's thread."""
    print(f"frame {frame.index} stamped {frame.stamp} ns {'idle' if frame.idle else ''}")


def main(path: str) -> None:
    """Play a file into the worker in real time, close the mouth, print the statistics."""
    parameters = TalkerParameters(device="cpu")
    worker = TalkerWorker(load_talker(parameters), parameters, publish=show)
    worker.start()
    samples, rate = load_pcm16(path)
    for stamp, samples_of_packet in paced_packets(samples, rate, 0.02):
        payload = samples_of_packet.tobytes()
        worker.push(AudioPacket(payload, AudioFormat(rate, 1, "s16"), stamp, time.monotonic()))
    worker.drain(timeout=2.0)
    worker.stop()
    print(worker.summary())


if __name__ == "__main__":
    main(sys.argv[1])
