# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker demo`: two processes over DDS, a video placed by the stamps, a line that sums up."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from streamingtalker_ros.audio.constants import FRAME_RATE, NS_PER_S
from streamingtalker_ros.cli import animate, demo
from streamingtalker_ros.cli.demo import frames_to_clip
from streamingtalker_ros.dds.recorder import RecordedFrame
from streamingtalker_ros.resources import DEMO_AUDIO
from support.command_line import run_command

IDENTITY = np.array([0, 0, 0, 1], np.float32)


def recorded(frame: int, stamp: int, weight: float) -> RecordedFrame:
    return RecordedFrame(
        0.0, stamp, frame, "head", ("jawOpen",), np.array([weight], np.float32), IDENTITY, True
    )


def test_frames_are_placed_by_their_stamps_and_a_missing_one_repeats_the_last() -> None:
    start, step = 1_700_000_000_000_000_000, round(NS_PER_S / FRAME_RATE)
    previous = [recorded(n, start - 10 * NS_PER_S + n * step, 0.9) for n in range(2)]
    frames = [recorded(n, start + n * step, n / 10) for n in (0, 1, 3)]
    clip = frames_to_clip(previous + frames, FRAME_RATE)  # the newest stream counts
    np.testing.assert_allclose(clip.weights[:, 0], [0, 0.1, 0.1, 0.3], atol=1e-6)
    np.testing.assert_allclose(clip.times, [0, 0.04, 0.08, 0.12])


def test_every_published_frame_is_recorded_and_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ROS_LOCALHOST_ONLY", "ROS_DOMAIN_ID"):
        monkeypatch.setenv(name, "1")  # so that what the command sets is gone afterwards
    monkeypatch.setattr(demo, "IDLE_S", 0.4)
    monkeypatch.setattr(demo, "render", functools.partial(animate.render, shot=animate.Shot(96, 128)))
    seconds = 1.2
    pcm, rate = soundfile.read(DEMO_AUDIO, dtype="float32")
    soundfile.write(tmp_path / "voice.wav", pcm[: int(seconds * rate)], rate)
    assert run_command("demo", "--wav", tmp_path / "voice.wav", "--out-dir", tmp_path) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    numbers = re.match(
        r"(\d+) frames of audio published .* (\d+) idle frames, dropped (\d+), "
        r"(\d+) received; p50 [\d.]+ ms, p99 [\d.]+ ms",
        last,
    )
    assert numbers, last
    frames, idle, dropped, received = map(int, numbers.groups())
    assert abs(frames - FRAME_RATE * seconds) <= 1 and dropped == 0 and received == frames + idle
    with av.open(str(tmp_path / "demo.mp4")) as container:
        assert {stream.type for stream in container.streams} == {"video", "audio"}
        assert sum(1 for _ in container.decode(video=0)) == received
    with Image.open(tmp_path / "demo.png") as sheet:
        assert sheet.size[0] > 1000


def test_a_missing_audio_file_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command("demo", "--wav", tmp_path / "no.wav") == 2
    error = capsys.readouterr().err
    assert "no file" in error and error.count("\n") == 1
