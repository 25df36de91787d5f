# SPDX-License-Identifier: Apache-2.0
"""Audio files are read as the mean of their channels; other files are rejected."""

from __future__ import annotations

import io
import os
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
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


def encode(samples: npt.NDArray[np.float64], container: str, subtype: str | None = None) -> bytes:
    """Return a sound file at 16 kHz."""
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=container, subtype=subtype)
    return file.getvalue()


VOICE = np.sin(np.arange(16000) * 0.1) * np.linspace(0, 0.5, 16000)


@pytest.mark.parametrize(
    "container, subtype",
    [
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("FLAC", None),
        ("AIFF", None),
        ("AU", None),
        ("CAF", None),
        ("WAV", None),
    ],
)
def test_joined_files_are_read_to_their_end(container: str, subtype: str | None, tmp_path: Path) -> None:
    one = encode(VOICE, container, subtype)
    for count in (1, 2, 3):
        (tmp_path / "joined").write_bytes(one * count)
        assert len(read_audio(tmp_path / "joined")[0]) == 16000 * count


def test_a_joined_mp3_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "joined.mp3").write_bytes(encode(VOICE, "MP3") * 2)
    assert len(read_audio(tmp_path / "joined.mp3")[0]) >= 32000


def test_a_flac_file_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    data = bytearray(encode(VOICE, "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac")[0], VOICE, atol=1e-4)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_the_size_that_a_stream_states_is_ignored(size: int, tmp_path: Path) -> None:
    data = bytearray(encode(VOICE, "WAV"))
    data[40:44] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")[0]) == 16000


@pytest.mark.parametrize(
    "container, codec", [("ipod", "aac"), ("adts", "aac"), ("webm", "libopus"), ("flv", "aac")]
)
def test_what_libsndfile_does_not_know_is_read_by_ffmpeg(container: str, codec: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a"), "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=48000, layout="mono")
        resampler = av.AudioResampler(
            "fltp" if codec == "aac" else "flt", "mono", 48000, stream.codec_context.frame_size or 960
        )
        frame = av.AudioFrame.from_ndarray(np.repeat(VOICE, 3).astype(np.float32)[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    pcm, rate = read_audio(tmp_path / "a")
    assert rate == 48000 and abs(len(pcm) - 48000) < 3000 and 0.4 < np.abs(pcm).max() < 0.6


@pytest.mark.parametrize(
    "data, word",
    [
        (b'{"detail": "quota exceeded", "status": 429}', "JSON"),
        (b"<!DOCTYPE html><html><body>404 not found</body></html>", "HTML"),
        (b"%PDF-1.7 \xe2\xe3\xcf\xd3" + bytes(100), "PDF"),
        (VOICE.astype("<f4").tobytes(), "bare PCM"),
        (b"", "empty"),
        (encode(VOICE, "WAV")[:24] + (1).to_bytes(4, "little") + encode(VOICE, "WAV")[28:], "1 Hz"),
        (
            encode(VOICE, "WAV")[:24] + (2**31).to_bytes(4, "little") + encode(VOICE, "WAV")[28:],
            "2147483648 Hz",
        ),
    ],
)
def test_what_is_not_audio_is_named_in_one_sentence(data: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(data)
    with pytest.raises(TalkerError, match=word) as error:
        read_audio(tmp_path / "a.raw")
    assert "\n" not in str(error.value)


def test_a_pipe_is_read_and_a_folder_or_device_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    data = encode(VOICE, "WAV")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert len(read_audio(tmp_path / "pipe")[0]) == 16000
    writer.join()
    for path, word in ((tmp_path, "folder"), (Path("/dev/zero"), "device")):
        with pytest.raises(TalkerError, match=word):
            read_audio(path)


def test_absurd_samples_of_a_file_become_silence(tmp_path: Path) -> None:
    samples = VOICE.copy()
    samples[100:104] = 1e20, -3e38, np.nan, np.inf
    (tmp_path / "a.wav").write_bytes(encode(samples, "WAV", "FLOAT"))
    pcm, _ = read_audio(tmp_path / "a.wav")
    assert not pcm[100:104].any() and np.abs(pcm).max() < 1


def test_opposite_channels_of_a_file_do_not_cancel(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encode(np.stack([VOICE, -VOICE], axis=1), "WAV"))
    assert np.abs(read_audio(tmp_path / "a.wav")[0]).max() > 0.4


def test_a_damaged_mp3_writes_nothing_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = encode(VOICE, "MP3", "MPEG_LAYER_III")
    middle = len(data) // 2
    for damaged in (data[:middle] + bytes(900) + data[middle:], data + bytes(500), data[: middle + 7]):
        (tmp_path / "a.mp3").write_bytes(damaged)
        assert len(read_audio(tmp_path / "a.mp3")[0])
    assert capfd.readouterr().err == ""
