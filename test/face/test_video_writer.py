# SPDX-License-Identifier: Apache-2.0
"""The MP4 writer keeps images and audio in sync."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rendering.video import write_video


def test_images_and_audio_are_in_sync(tmp_path: Path) -> None:
    """White images from frame 30 on and a click at the same time come back within a frame."""
    images = (np.full((64, 96, 3), 255 if n >= 30 else 0, np.uint8) for n in range(50))
    pcm = np.zeros(32000, np.float32)
    pcm[19200:19600] = 0.9  # from 30 / 25 s on
    write_video(tmp_path / "a.mp4", images, 25.0, pcm, 16000)
    with av.open(str(tmp_path / "a.mp4")) as container:
        video = container.streams.video[0].codec_context
        assert (video.name, video.pix_fmt) == ("h264", "yuv420p")
        assert container.streams.audio[0].codec_context.name == "aac"
        frames = [
            (float(frame.time or 0.0), frame.to_ndarray(format="gray").mean())
            for frame in container.decode(video=0)
        ]
    assert len(frames) == 50
    np.testing.assert_allclose([time for time, _ in frames], np.arange(50) / 25, atol=1e-3)
    first_white = next(time for time, level in frames if level > 128)
    times, levels = [], []
    with av.open(str(tmp_path / "a.mp4")) as container:
        for frame in container.decode(audio=0):
            level = np.abs(frame.to_ndarray()).max(axis=0)
            times.append(float(frame.time or 0.0) + np.arange(len(level)) / frame.sample_rate)
            levels.append(level)
    click = np.concatenate(times)[np.concatenate(levels) > 0.3][0]
    assert first_white == pytest.approx(1.2, abs=1e-3)
    assert abs(click - 1.2) < 0.02


def test_a_video_without_images_or_of_odd_size_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(TalkerError, match="at least one"):
        write_video(tmp_path / "a.mp4", [], 25.0)
    with pytest.raises(TalkerError, match="even"):
        write_video(tmp_path / "a.mp4", [np.zeros((63, 96, 3), np.uint8)], 25.0)
