# SPDX-License-Identifier: Apache-2.0
"""Cost of each part of the conversation layer, in processor time of one thread and of one frame.

    python tools/benchmarks/conversation_cost.py [--seconds 120] [--precision float32]

All cases take turns, a frame each, as frames of live streams find cold caches; the cost of a part is the
median of the differences from the same frames without conversation, of two frames at a time, since the
partner's audio is analysed every other frame.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from typing import cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from streamingtalker_ros import Stream, Talker
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.resources import DEMO_AUDIO

CASES = {
    "none": set[str](),
    "none, the face silent": {"silent"},
    "emotion": {"emotion"},
    "liveliness": {"liveliness"},
    "gestures": {"gesture"},
    "gaze": {"gaze"},
    "listening, the face silent": {"partner", "silent"},
    "listening, both speak": {"partner"},
    "all, both speak": {"emotion", "liveliness", "gesture", "gaze", "partner"},
}


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--precision", default="float32", choices=("float32", "int8"))
    args = parser.parse_args()

    talker = cast(Talker, Talker.load(backend="onnx", precision=args.precision))
    voice = np.asarray(to_16k(*read_audio(DEMO_AUDIO)), np.float32)
    hops = voice[: len(voice) // talker.hop * talker.hop].reshape(-1, talker.hop)
    silence = np.zeros_like(hops[0])
    streams = {name: open_stream(talker, inputs) for name, inputs in CASES.items()}
    times: dict[str, list[int]] = {name: [] for name in CASES}
    for n in range(2 * round(args.seconds * talker.frame_rate / 2)):
        own, partner = hops[n % len(hops)], hops[(n + 50) % len(hops)]
        for name, inputs in CASES.items():
            start = time.process_time_ns()
            step(streams[name], silence if "silent" in inputs else own, partner, inputs, n)
            times[name].append(time.process_time_ns() - start)
    pairs = {name: np.array(cost).reshape(-1, 2).mean(axis=1) / 1e6 for name, cost in times.items()}
    print(f"{'':>28} {'ms':>8} {'added':>8}")
    for name, inputs in CASES.items():
        plain = pairs["none, the face silent" if "silent" in inputs else "none"]
        added = np.median(pairs[name] - plain) / np.median(plain)
        print(f"{name:>28} {np.median(pairs[name]):8.3f} {added:8.1%}")


def open_stream(talker: Talker, inputs: set[str]) -> Stream:
    """Open the stream of a case."""
    emotion, liveliness = "happy" if "emotion" in inputs else "", float("liveliness" in inputs)
    return talker.open_stream(emotion=emotion, liveliness=liveliness)


def step(stream: Stream, own: np.ndarray, partner: np.ndarray, inputs: set[str], n: int) -> None:
    """Let a stream take one hop, as a live one does."""
    if "gesture" in inputs and n % 25 == 0:
        stream.gesture(("nod", "shake", "tilt", "lean")[n // 25 % 4])
    if "gaze" in inputs:
        stream.look_at((1.5, math.sin(0.02 * n), 0.1), aversion=True)
    if "partner" in inputs:
        stream.hear_partner(partner)
    stream.accept(own)


if __name__ == "__main__":
    main()
