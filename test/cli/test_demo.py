# SPDX-License-Identifier: Apache-2.0
"""The demo, run as its user runs it: two processes over DDS, a video in step, one line that sums up."""

import re
import subprocess
import sys

import numpy as np
import pytest

from streamingtalker_ros.cli.demo import VOICE, frames_to_clip
from streamingtalker_ros.dds.recorder import RecordedFrame


def recorded(frame, stamp, value):
    return RecordedFrame(
        0.0, stamp, frame, "head", ("jawOpen",), np.float32([value]), np.float32([0, 0, 0, 1]), 1
    )


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "streamingtalker_ros", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_messages_stand_where_their_stamps_say() -> None:
    """Frame 2 never came: the one before stays. A new stream begins the motion again."""
    start, step = 1_700_000_000_000_000_000, 40_000_000
    old = [recorded(0, start - 10**10, 0.9), recorded(1, start - 10**10 + step, 0.9)]
    new = [recorded(n, start + n * step, n / 10) for n in (0, 1, 3)]
    motion = frames_to_clip(old + new, 25.0)
    np.testing.assert_allclose(motion.weights[:, 0], [0, 0.1, 0.1, 0.3], atol=1e-6)
    np.testing.assert_allclose(motion.times, [0, 0.04, 0.08, 0.12])


def test_the_demo_speaks_records_and_renders(tmp_path) -> None:
    for module in ("vtk", "av", "PIL", "torch", "cyclonedds"):
        pytest.importorskip(module, reason=f"{module} is not installed")
    import av
    import soundfile
    from PIL import Image

    pcm, rate = soundfile.read(VOICE, dtype="float32")
    seconds = 2.3
    soundfile.write(tmp_path / "voice.wav", pcm[: int(seconds * rate)], rate)
    done = demo("--wav", tmp_path / "voice.wav", "--out-dir", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    line = done.stdout.strip().splitlines()[-1]
    numbers = re.match(
        r"(\d+) frames of audio published .* (\d+) idle frames, dropped (\d+), "
        r"(\d+) received; p50 [\d.]+ ms, p99 [\d.]+ ms",
        line,
    )
    assert numbers, line
    frames, idle, dropped, received = map(int, numbers.groups())
    assert abs(frames - 25 * seconds) <= 1 and dropped == 0 and received == frames + idle
    with av.open(str(tmp_path / "demo.mp4")) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
        assert sum(1 for _ in container.decode(video=0)) == received
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.size[0] > 1000


def test_a_voice_that_is_not_there_is_one_sentence(tmp_path) -> None:
    for module in ("torch", "vtk", "av"):
        pytest.importorskip(module)
    done = demo("--wav", tmp_path / "no.wav")
    assert done.returncode == 2 and "no file" in done.stderr and "Traceback" not in done.stderr
