# SPDX-License-Identifier: Apache-2.0
"""A long sound file is read in blocks, in bounded memory, into exactly the samples of the whole."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from streamingtalker_ros.audio import files
from streamingtalker_ros.audio.files import open_audio, read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.resources import DEMO_AUDIO

SECONDS = 24
FORMATS = {
    "16.wav": ("PCM_16", 16000),
    "24.wav": ("PCM_24", 44100),
    "float.wav": ("FLOAT", 22050),
    "voice.flac": ("PCM_16", 48000),
    "voice.ogg": ("VORBIS", 16000),
    "voice.mp3": ("MPEG_LAYER_III", 16000),
    "voice.aiff": ("PCM_16", 16000),
    "voice.au": ("PCM_16", 16000),
    "voice.caf": ("PCM_16", 16000),
}


@pytest.fixture(scope="module")
def stereo() -> npt.NDArray[np.float32]:
    """Two voices, of which the second cancels the first for a while."""
    pcm = np.asarray(soundfile.read(DEMO_AUDIO, dtype="float32")[0], np.float32)
    left = np.resize(pcm, SECONDS * 16000)
    right = 0.5 * np.roll(left, 4000)
    right[100_000:200_000] = -left[100_000:200_000]
    return np.stack([left, right], axis=1)


def write(path: Path, samples: npt.NDArray[np.float32], subtype: str, rate: int) -> None:
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], subtype) as file:
        for start in range(0, len(samples), 4096):  # the Vorbis encoder crashes on long blocks
            file.write(samples[start : start + 4096])


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_are_the_samples_of_the_whole_file(
    name: str, stereo: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / name, stereo, *FORMATS[name])
    pcm, rate = read_audio(tmp_path / name)
    monkeypatch.setattr(files, "MAX_IN_MEMORY_S", 1.0)
    audio = open_audio(tmp_path / name)
    tolerance = 1e-6 if name.endswith(".mp3") else 0.0  # libmpg123 rounds differently at blocks
    assert audio.rate == rate and audio.seconds == pytest.approx(len(pcm) / rate, abs=0.2)
    for _ in range(2):  # it may be read more than once
        blocks = list(audio.blocks())
        assert len(blocks) > 1
        np.testing.assert_allclose(np.concatenate(blocks), pcm, rtol=0, atol=tolerance)
    resampled = np.concatenate(list(audio.blocks_16k()))
    np.testing.assert_allclose(resampled, to_16k(pcm, rate), rtol=0, atol=tolerance)


def test_joined_files_are_read_to_their_end(
    stereo: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("16.wav", "voice.flac", "voice.ogg"):
        write(tmp_path / name, stereo, *FORMATS[name])
        (tmp_path / name).write_bytes(2 * (tmp_path / name).read_bytes())
        pcm, _ = read_audio(tmp_path / name)
        with monkeypatch.context() as patch:
            patch.setattr(files, "MAX_IN_MEMORY_S", 1.0)
            np.testing.assert_array_equal(np.concatenate(list(open_audio(tmp_path / name).blocks())), pcm)
        assert len(pcm) >= 2 * len(stereo)


def test_a_short_file_is_one_block(tmp_path: Path) -> None:
    pcm, rate = read_audio(DEMO_AUDIO)
    audio = open_audio(DEMO_AUDIO)
    (block,) = audio.blocks()
    np.testing.assert_array_equal(block, pcm)
    assert audio.seconds == len(pcm) / rate


@pytest.mark.parametrize(
    "content", [b"", b"no audio at all" * 100, b"RIFF\0\0\0\0WAVE", b"%PDF-1.7 " + bytes(999)]
)
def test_what_is_no_audio_is_rejected_as_by_read_audio(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    for read in (read_audio, open_audio):
        with pytest.raises(TalkerError):
            read(tmp_path / "a.wav")


def test_a_later_file_of_another_rate_is_rejected_when_it_is_reached(
    stereo: npt.NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.wav", stereo, "PCM_16", 16000)
    write(tmp_path / "b.wav", stereo, "PCM_16", 22050)
    joined = tmp_path / "joined.wav"
    joined.write_bytes((tmp_path / "a.wav").read_bytes() + (tmp_path / "b.wav").read_bytes())
    monkeypatch.setattr(files, "MAX_IN_MEMORY_S", 1.0)
    with pytest.raises(TalkerError, match="different sample rates"):
        list(open_audio(joined).blocks())


def test_memory_does_not_grow_with_the_length_of_the_file(tmp_path: Path) -> None:
    block = np.zeros((16000 * 60, 2), np.int16)
    with soundfile.SoundFile(tmp_path / "hours.wav", "w", 16000, 2, "PCM_16") as file:
        for _ in range(20):
            file.write(block)
    tracemalloc.start()
    try:
        audio = open_audio(tmp_path / "hours.wav")
        assert audio.seconds == 1200.0
        assert sum(map(len, audio.blocks())) == 1200 * 16000
        assert tracemalloc.get_traced_memory()[1] < 60_000_000  # the file decodes to 154 MB
    finally:
        tracemalloc.stop()
