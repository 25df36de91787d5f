# SPDX-License-Identifier: Apache-2.0
"""PCM payloads of any width, channels and cut decode to mono float32."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.errors import TalkerError

SIGNAL = np.sin(np.arange(997) * 0.07) * np.linspace(0, 0.99, 997)


def encode(signal: npt.NDArray[np.float64], encoding: str) -> bytes:
    """Encode samples in -1..1, independently of the decoder's code."""
    if encoding == "f32":
        return signal.astype("<f4").tobytes()
    bits = int(encoding[1:])
    full_scale = 2 ** (bits - 1)
    integers = np.round(signal * full_scale).clip(-full_scale, full_scale - 1).astype(np.int64)
    if encoding == "u8":
        return (integers + 128).astype(np.uint8).tobytes()
    return b"".join(int(value).to_bytes(bits // 8, "little", signed=True) for value in integers.ravel())


@pytest.mark.parametrize(
    "encoding, bits", [("u8", 8), ("s8", 8), ("s16", 16), ("s24", 24), ("s32", 24), ("f32", 24)]
)
def test_each_encoding_decodes_to_the_signal(encoding: str, bits: int) -> None:
    pcm = PcmDecoder(AudioFormat(16000, 1, encoding)).decode(encode(SIGNAL, encoding))
    assert pcm.dtype == np.float32 and pcm.shape == SIGNAL.shape
    assert np.abs(pcm - SIGNAL).max() <= 2.0 ** (1 - bits)


@pytest.mark.parametrize(
    "encoding, data, expected",
    [
        ("u8", [0, 128, 192], [-1, 0, 0.5]),
        ("s16", [0, 128, 0, 0, 0, 64], [-1, 0, 0.5]),
        ("s24", [0, 0, 128, 255, 255, 255], [-1, -(2.0**-23)]),
        ("s32", [0, 0, 0, 128], [-1]),
    ],
)
def test_full_scale_and_zero_are_exact(encoding: str, data: list[int], expected: list[float]) -> None:
    assert PcmDecoder(AudioFormat(encoding=encoding)).decode(bytes(data)).tolist() == expected


def test_channels_are_averaged() -> None:
    left, right = SIGNAL * 0.5, SIGNAL * -0.25
    data = encode(np.stack([left, right], axis=1), "s16")
    pcm = PcmDecoder(AudioFormat(48000, 2, "s16")).decode(data)
    np.testing.assert_allclose(pcm, (left + right) / 2, atol=2**-15)


@pytest.mark.parametrize("encoding, channels", [("s16", 1), ("s24", 1), ("s24", 3), ("f32", 2), ("s32", 5)])
def test_any_cut_of_the_bytes_gives_the_same_samples(encoding: str, channels: int) -> None:
    gains = np.linspace(-0.9, 0.9, channels)
    data = encode(np.stack([SIGNAL * gain for gain in gains], axis=1), encoding)
    uncut = PcmDecoder(AudioFormat(16000, channels, encoding)).decode(data)
    cuts = [0, *np.sort(np.random.default_rng(1).integers(0, len(data), 300)).tolist(), len(data)]
    decoder, chunks = PcmDecoder(AudioFormat(16000, channels, encoding)), []
    for start, end in pairwise(cuts):
        expected = decoder.sample_count(data[start:end])
        chunks.append(decoder.decode(data[start:end]))
        assert len(chunks[-1]) == expected
    np.testing.assert_array_equal(np.concatenate(chunks), uncut)


@pytest.mark.parametrize("encoding, channels", [("s16", 1), ("s24", 2), ("f32", 1)])
def test_a_truncated_packet_among_packets_of_one_length_spoils_no_other(encoding: str, channels: int) -> None:
    audio_format, truncated = AudioFormat(16000, channels, encoding), 15
    packets = [encode(np.tile(SIGNAL[i : i + 20, None], channels), encoding) for i in range(0, 900, 20)]
    uncut = PcmDecoder(audio_format).decode(b"".join(packets)).reshape(-1, 20)
    packets[truncated] = packets[truncated][:-1]
    decoder, decoded = PcmDecoder(audio_format), []
    for packet in packets:
        expected = decoder.sample_count(packet)
        decoded.append(decoder.decode(packet))
        assert len(decoded[-1]) == expected
    assert len(decoded.pop(truncated)) == 19
    np.testing.assert_array_equal(np.concatenate(decoded), np.delete(uncut, truncated, axis=0).ravel())


def test_reset_discards_the_incomplete_sample() -> None:
    decoder = PcmDecoder(AudioFormat(encoding="s16"))
    assert decoder.decode(b"\x00\x40\x7f").tolist() == [0.5]
    decoder.reset()
    assert decoder.decode(b"\x00\x40").tolist() == [0.5]


def test_floats_are_clipped_and_nonfinite_ones_become_silence_and_are_counted() -> None:
    decoder = PcmDecoder(AudioFormat(encoding="f32"))
    data = np.array([0.25, np.nan, np.inf, -np.inf, 1.5, -7.0, 0.5], "<f4").tobytes()
    assert decoder.decode(data).tolist() == [0.25, 0, 0, 0, 1, -1, 0.5]
    assert decoder.nonfinite == 3
    decoder.decode(data)
    assert decoder.nonfinite == 6


def test_encodings_accept_the_names_of_audio_info() -> None:
    assert AudioFormat(16000, 1, "S16LE").encoding == "s16"
    assert AudioFormat(16000, 1, "F32LE").encoding == "f32"


@pytest.mark.parametrize(
    "rate, channels, encoding",
    [(16000, 1, "S16BE"), (16000, 1, "mp3"), (7999, 1, "s16"), (192001, 1, "s16"), (16000, 0, "s16")],
)
def test_an_invalid_format_is_rejected_with_a_solution(rate: int, channels: int, encoding: str) -> None:
    with pytest.raises(TalkerError, match="send"):
        AudioFormat(rate, channels, encoding)


def voiced(count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return smooth audio whose level changes, with noise below it."""
    time = np.arange(count) / 16000
    level = 0.3 * np.clip(np.sin(2 * np.pi * 1.5 * time), 0.02, None)
    return level * np.sin(2 * np.pi * 180 * time) + rng.normal(0, 0.001, count)


@pytest.mark.parametrize("encoding, channels", [("s16", 1), ("s16", 2), ("s24", 1), ("s32", 1), ("f32", 1)])
@pytest.mark.parametrize(
    "chunk, read", [(8193, 1024), (4801, 480), (8192 + 1023, 1024), (641, 641), (6001, 6000)]
)
def test_regular_pieces_that_end_within_samples_lose_none(
    encoding: str, channels: int, chunk: int, read: int
) -> None:
    signal = voiced(16000, np.random.default_rng(3))
    data = encode(np.stack([signal * gain for gain in (1.0, 0.4)[:channels]], axis=1), encoding)
    whole = PcmDecoder(AudioFormat(16000, channels, encoding)).decode(data)
    decoder = PcmDecoder(AudioFormat(16000, channels, encoding))
    parts = [data[start : start + chunk] for start in range(0, len(data), chunk)]
    pieces = [part[start : start + read] for part in parts for start in range(0, len(part), read)]
    np.testing.assert_array_equal(np.concatenate([decoder.decode(piece) for piece in pieces]), whole)


@pytest.mark.parametrize("encoding", ["s16", "s24", "s32", "f32"])
@pytest.mark.parametrize("every", [7, 50])
def test_truncated_packets_do_not_shift_the_others(encoding: str, every: int) -> None:
    signal = voiced(32000, np.random.default_rng(4))
    packets = [encode(signal[start : start + 320], encoding) for start in range(0, len(signal), 320)]
    whole = PcmDecoder(AudioFormat(encoding=encoding)).decode(b"".join(packets)).reshape(-1, 320)
    decoder = PcmDecoder(AudioFormat(encoding=encoding))
    for index, packet in enumerate(packets):
        is_truncated = index % every == every - 1
        decoded = decoder.decode(packet[:-1] if is_truncated else packet)
        np.testing.assert_array_equal(decoded, whole[index, : 319 if is_truncated else 320])


def test_a_packet_truncated_in_silence_is_noticed_when_the_voice_returns() -> None:
    signal = voiced(16000, np.random.default_rng(5))
    signal[3200:8000] = 0
    packets = [encode(signal[start : start + 320], "s16") for start in range(0, len(signal), 320)]
    whole = PcmDecoder(AudioFormat()).decode(b"".join(packets)).reshape(-1, 320)
    packets[15] = packets[15][:-1]
    decoder = PcmDecoder(AudioFormat())
    decoded = [decoder.decode(packet) for packet in packets]
    np.testing.assert_array_equal(np.stack(decoded[25:]), whole[25:])
