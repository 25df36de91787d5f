# SPDX-License-Identifier: Apache-2.0
"""Audio files are read as the mean of their channels; other files are rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.errors import TalkerError

SIGNAL = np.sin(np.arange(997) * 0.07) * np.linspace(0, 0.99, 997)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_file_is_read_as_the_mean_of_its_channels(name: str, tmp_path: Path) -> None:
    stereo = np.stack([SIGNAL * 0.5, SIGNAL * 0.25], axis=1)
    soundfile.write(tmp_path / name, stereo, 22050, subtype="PCM_24")
    pcm, rate = read_audio(tmp_path / name)
    assert rate == 22050 and pcm.dtype == np.float32
    np.testing.assert_allclose(pcm, SIGNAL * 0.375, atol=1e-6)


def test_a_file_without_audio_is_rejected_with_a_solution(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    for name, message in (("text.wav", "convert it"), ("empty.wav", "no audio"), ("absent.wav", "no file")):
        with pytest.raises(TalkerError, match=message):
            read_audio(tmp_path / name)
