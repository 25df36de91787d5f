# SPDX-License-Identifier: Apache-2.0
"""Measures a live output: what a receiver gets from the shipped model, how evenly, and how late.

    python tools/benchmarks/live_output.py [--seconds 60] [--rate 60]

The demo voice, repeated, goes packet by packet in real time through a worker, as a node drives it, and the
frames to `livelink://127.0.0.1`. A receiver in a process of its own notes the arrival of each datagram and
decodes it with pylivelinkface. Reported are the greatest difference of the weights to the frames,
interpolated at the timecodes; and, while the voice lasts, the deviation of the intervals between datagrams
from 1 / rate; the time from the publication of a frame to the datagram that shows it; and the CPU time of
`send`. The last line says whether the limits hold: weights within 1e-6, 99 % of the intervals within 8 ms and
99 % of the frames shown one frame after their publication, 2 ms of transmission included; the exit code is 1
if not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import sys
import time
from multiprocessing.connection import Connection

import numpy as np
import soundfile

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.interpolation import resample_motion
from streamingtalker_ros.outputs import open_output
from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.runtime.frames import FaceFrame, PublishedFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import TalkerWorker, load_talker

PACKET_S = 0.02
TAIL_S = 2.0  # of the receiver, without datagrams
MAX_WEIGHT_ERROR = 1e-6
MAX_JITTER_MS = 8.0  # of 99 % of the intervals
MAX_LATENCY_MS = 1000 / FRAME_RATE + 2.0  # of 99 % of the poses: one frame, and the transmission


def receive(pipe: Connection) -> None:
    """Receive datagrams until none arrives for `TAIL_S` any more; send the port first, then all of them.

    Args:
        pipe: Other end of the parent's pipe.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        pipe.send(receiver.getsockname()[1])
        receiver.settimeout(60.0)
        received: list[tuple[float, bytes]] = []
        try:
            while True:
                data = receiver.recv(65536)
                received.append((time.monotonic(), data))
                receiver.settimeout(TAIL_S)
        except TimeoutError:
            pipe.send(received)


def main() -> int:
    """Run the measurement and print it; return 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the voice")
    parser.add_argument("--rate", type=int, default=60, help="poses per second")
    arguments = parser.parse_args()
    import pylivelinkface

    pcm, rate = soundfile.read(DEMO_AUDIO, dtype="int16")
    assert rate == SAMPLE_RATE
    pcm = np.resize(pcm, round(arguments.seconds * rate))
    parent, child = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receive, args=(child,))
    process.start()
    output = open_output(f"livelink://127.0.0.1:{parent.recv()}?rate={arguments.rate}")
    frames: list[FaceFrame] = []
    published: list[float] = []
    costs: list[float] = []

    def publish(frame: PublishedFrame) -> None:
        assert isinstance(frame, FaceFrame)
        before = time.thread_time()
        output.send(frame)
        costs.append(time.thread_time() - before)
        published.append(time.monotonic())
        frames.append(frame)

    parameters = TalkerParameters()
    worker = TalkerWorker(load_talker(parameters), parameters, publish)
    worker.start()
    start, stamp, step = time.monotonic(), time.time_ns(), round(PACKET_S * rate)
    for number, first in enumerate(range(0, len(pcm), step)):
        time.sleep(max(0.0, start + (number + 1) * PACKET_S - time.monotonic()))
        payload = pcm[first : first + step].tobytes()
        at = stamp + round(first / rate * 1e9)
        worker.push(AudioPacket(payload, AudioFormat(rate, 1, "s16"), at, time.monotonic()))
    time.sleep(1.0)
    worker.stop()
    output.close()
    received: list[tuple[float, bytes]] = parent.recv()
    process.join()

    faces = [pylivelinkface.PyLiveLinkFace.decode(data)[1] for _, data in received]
    shapes = [pylivelinkface.FaceBlendShape[name[0].upper() + name[1:]] for name in ARKIT_NAMES]
    values = np.array([[face.get_blendshape(shape) for shape in shapes] for face in faces])
    numbers = np.array([face._frames for face in faces])
    arrivals = np.array([arrival for arrival, _ in received])
    stamps = np.array([frame.stamp - frames[0].stamp for frame in frames]) / 1e9
    weights, _, times = resample_motion(
        np.stack([frame.weights for frame in frames]),
        np.stack([frame.head for frame in frames]),
        stamps,
        arguments.rate,
    )
    error = np.abs(values[: len(weights)] - weights).max()
    spoken = times < stamps[[not frame.idle for frame in frames]].max()  # then silence delays the frames
    jitter = 1000 * np.abs(np.diff(arrivals[: len(weights)][spoken]) - 1 / arguments.rate)
    shown = np.interp(stamps, times, arrivals[: len(times)])
    delay = 1000 * (shown - np.array(published))[[not frame.idle for frame in frames]]
    gaps = int((np.diff(numbers) != 1).sum())
    print(
        f"{len(received)} datagrams of {len(frames)} frames, {gaps} gaps of the timecode, {output.summary()}"
    )
    print(f"greatest difference of a weight {error:.1e}")
    print("interval - 1 / rate, ms: p50 {:.2f}, p99 {:.2f}, max {:.2f}".format(*_percentiles(jitter)))
    print("publication to datagram, ms: p50 {:.2f}, p99 {:.2f}, max {:.2f}".format(*_percentiles(delay)))
    print(f"one frame is {1000 / FRAME_RATE:.0f} ms; CPU of send: {1e6 * np.mean(costs):.0f} µs a frame")
    limits = {
        "weights": (float(error), MAX_WEIGHT_ERROR),
        "p99 of the intervals": (_percentiles(jitter)[1], MAX_JITTER_MS),
        "p99 of the latency": (_percentiles(delay)[1], MAX_LATENCY_MS),
        "gaps": (float(gaps), 0.0),
    }
    broken = [f"{name} {value:.3g} > {limit:g}" for name, (value, limit) in limits.items() if value > limit]
    print("within all limits" if not broken else f"BROKEN: {', '.join(broken)}")
    return 1 if broken else 0


def _percentiles(values: np.ndarray) -> tuple[float, float, float]:
    return float(np.percentile(values, 50)), float(np.percentile(values, 99)), float(values.max())


if __name__ == "__main__":
    sys.exit(main())
