# SPDX-License-Identifier: Apache-2.0
"""The MP4 writer: both tracks there, each picture and each sound at its time."""

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rendering.video import write_mp4

av = pytest.importorskip("av", reason="PyAV is not installed")


def test_pictures_and_sound_are_in_step(tmp_path) -> None:
    """A white picture from frame 30 on, and a click at the same moment: both come back within a frame."""
    images = (np.full((64, 96, 3), 255 if n >= 30 else 0, np.uint8) for n in range(50))
    pcm = np.zeros(32000, np.float32)
    pcm[19200:19600] = 0.9  # 30 / 25 s at 16 kHz
    write_mp4(tmp_path / "a.mp4", images, 25.0, pcm, 16000)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.audio[0].codec_context.name == "aac"
        frames = [
            (float(frame.time), frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)
        ]
    assert len(frames) == 50
    np.testing.assert_allclose([time for time, _ in frames], np.arange(50) / 25, atol=1e-3)
    first_white = next(time for time, level in frames if level > 128)
    with av.open(str(tmp_path / "a.mp4")) as container:
        times, loud = [], []
        for frame in container.decode(audio=0):
            level = np.abs(frame.to_ndarray()).max(axis=0)
            times.append(float(frame.time) + np.arange(len(level)) / frame.sample_rate)
            loud.append(level)
    click = np.concatenate(times)[np.concatenate(loud) > 0.3][0]
    assert first_white == pytest.approx(1.2, abs=1e-3)
    assert abs(click - 1.2) < 0.02


def test_a_video_of_nothing_or_odd_size_is_refused(tmp_path) -> None:
    with pytest.raises(TalkerError, match="at least one"):
        write_mp4(tmp_path / "a.mp4", [], 25.0)
    with pytest.raises(TalkerError, match="even"):
        write_mp4(tmp_path / "a.mp4", [np.zeros((63, 96, 3), np.uint8)], 25.0)
