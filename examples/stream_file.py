# SPDX-License-Identifier: Apache-2.0
"""Stream a sound file through the talker in 20-ms chunks and print the jaw, as a live voice would arrive.

python examples/stream_file.py voice.wav
"""

from __future__ import annotations

import sys

from streamingtalker_ros import ARKIT_NAMES, Talker
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k

CHUNK_SAMPLES = SAMPLE_RATE // 50


def main(path: str) -> None:
    """Print one line per frame: time in seconds, weight of jawOpen, whether somebody speaks."""
    jaw = ARKIT_NAMES.index("jawOpen")
    pcm = to_16k(*read_audio(path))  # (n,) float32
    stream = Talker.load(device="cpu").open_stream(seed=0)
    chunks = (pcm[start : start + CHUNK_SAMPLES] for start in range(0, len(pcm), CHUNK_SAMPLES))
    frames = [frame for chunk in chunks for frame in stream.accept(chunk)] + stream.finish()
    for frame in frames:
        print(f"{frame.time:6.2f}  {frame.weights[jaw]:.2f}  {'speaking' if frame.speaking else ''}")


if __name__ == "__main__":
    main(sys.argv[1])
