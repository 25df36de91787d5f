# SPDX-License-Identifier: Apache-2.0
"""WAV files are read the same whole, in pieces of any size, joined, and with chunks around their samples."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.pcm_decoder import bytes_to_float32
from streamingtalker_ros.audio.wav_stream import WavStream
from streamingtalker_ros.errors import TalkerError

PCM = (np.sin(np.arange(3001) * 0.1) * 12000).astype("<i2").tobytes()
LIST = b"LIST" + struct.pack("<I", 9) + b"INFOISFT\x01\0"
BEXT = b"bext" + struct.pack("<I", 602) + bytes(range(256)) * 2 + bytes(90)


def header(data_size: int, before: bytes = b"", rate: int = 16000, bits: int = 16, block: int = 2) -> bytes:
    """Return a WAV header of one channel."""
    fmt = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * block, block, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 0xFFFFFFFF)
        + b"WAVEfmt "
        + fmt
        + before
        + b"data"
        + struct.pack("<I", data_size)
    )


def read(data: bytes, size: int | None = None, is_file: bool = False) -> bytes:
    """Read bytes in pieces of a size and return the samples."""
    stream, size = WavStream(is_file), size or len(data)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(segment.pcm for piece in pieces for segment in stream.accept(piece))


FILES = {
    "plain": (header(len(PCM)) + PCM, PCM),
    "size 0": (header(0) + PCM, PCM),
    "size unknown": (header(0xFFFFFFFF) + PCM, PCM),
    "size too large": (header(1_900_000_000) + PCM, PCM),
    "chunks around": (header(len(PCM), LIST + BEXT) + PCM + LIST + b"id3 \4\0\0\0abcd", PCM),
    "odd samples": (header(999, bits=8, block=1) + PCM[:999] + b"\0" + LIST, PCM[:999]),
    "two files": (header(len(PCM)) + PCM + LIST + header(len(PCM)) + PCM, PCM + PCM),
    "two streams": ((header(0) + PCM) * 2, PCM + PCM),
    "samples behind the stated size": (header(1000) + PCM, PCM),
    "ID3v1": (header(len(PCM)) + PCM + b"TAG" + b"title".ljust(125), PCM),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [1, 3, 11, 1000, None])
def test_the_samples_are_those_of_the_file_at_any_cut(name: str, size: int | None) -> None:
    data, expected = FILES[name]
    assert read(data, size) == expected


def test_a_file_ends_with_its_stated_size() -> None:
    assert read(header(1000) + PCM[:1000] + b"garbage behind the file", is_file=True) == PCM[:1000]


@pytest.mark.parametrize(
    "container, subtype, endian",
    [
        ("WAV", "PCM_U8", "FILE"),
        ("WAV", "PCM_24", "FILE"),
        ("WAV", "PCM_32", "FILE"),
        ("WAV", "FLOAT", "FILE"),
        ("WAV", "DOUBLE", "FILE"),
        ("WAV", "ULAW", "FILE"),
        ("WAV", "ALAW", "FILE"),
        ("WAV", "PCM_16", "BIG"),
        ("WAV", "PCM_24", "BIG"),
        ("WAV", "FLOAT", "BIG"),
        ("WAVEX", "PCM_24", "FILE"),
        ("RF64", "PCM_16", "FILE"),
    ],
)
def test_each_encoding_reads_as_libsndfile_reads_it(container: str, subtype: str, endian: str) -> None:
    signal = np.random.default_rng(1).uniform(-0.9, 0.9, (2000, 2))
    file = io.BytesIO()
    soundfile.write(file, signal, 22050, format=container, subtype=subtype, endian=endian)
    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32", always_2d=True)
    for size in (7, 100_000):
        stream, pcm = WavStream(), b""
        for start in range(0, len(file.getvalue()), size):
            pcm += b"".join(segment.pcm for segment in stream.accept(file.getvalue()[start : start + size]))
        assert stream.format is not None and stream.format.sample_rate == 22050
        samples = bytes_to_float32(pcm, stream.format.encoding).reshape(-1, 2)
        np.testing.assert_allclose(samples, expected, atol=1e-7)


@pytest.mark.parametrize("shift, mask", [(0, 0xFFFFFF), (0, 0xFFFFFFFF), (8, 0xFFFFFFFF)])
def test_24_bits_in_four_bytes_are_read_wherever_the_padding_is(shift: int, mask: int) -> None:
    integers = np.round(np.sin(np.arange(500) * 0.1) * 8_000_000).astype(np.int64)
    data = ((integers << shift) & mask).astype("<u4").tobytes()
    samples = bytes_to_float32(read(header(len(data), bits=24, block=4) + data, 13), "s32")
    np.testing.assert_allclose(samples, integers / 2**23, atol=1e-6)


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF\0\0\0\0WAVE" + bytes(1000),
        b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd",
        header(4, rate=1),
        header(4, bits=12, block=40),
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 100_000,
        b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 2**31) + bytes(5000),
        b"RIFF\0\0\0\0FAKE",
    ],
)
def test_a_damaged_header_is_rejected(data: bytes) -> None:
    with pytest.raises(TalkerError):
        read(data)
