# SPDX-License-Identifier: Apache-2.0
"""A format that is described rightly is never doubted, whatever it holds; a wrong one is found in speech."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.format_check import find_encoding, find_format
from streamingtalker_ros.audio.packet import AudioFormat

SAMPLES = 4096
ENCODINGS: tuple[str, ...] = ("f32", "s16", "s24", "s32", "u8", "s8")
_RNG = np.random.default_rng(0)
_NOISE = _RNG.normal(size=SAMPLES)
_TIME = np.arange(SAMPLES) / 16_000
SIGNALS: dict[str, npt.NDArray[np.float64]] = {
    "noise": 0.1 * _NOISE,
    "clipped noise": np.clip(2 * _NOISE, -1, 1),
    "quiet noise": 1e-4 * _NOISE,
    "dither": 2e-5 * _NOISE,
    "sine": 0.9 * np.sin(2 * np.pi * 440 * _TIME),
    "square wave": 0.4 * np.sign(np.sin(2 * np.pi * 440 * _TIME)),
    "constant and noise": 0.4 + 0.03 * _NOISE,
    "negative constant and noise": -0.5 + 0.05 * _NOISE,
    "slow around a constant": 0.43 + 0.07 * np.sin(2 * np.pi * 3 * _TIME),
    "clicks": np.where(_RNG.random(SAMPLES) < 0.05, 0.3, 0.0),
    "decay to nothing": 1e-3 * np.sin(2 * np.pi * 300 * _TIME) * np.exp(-400 * _TIME),
    **{
        f"silence, then 1e-{power}": np.where(np.arange(SAMPLES) < 700 * zeros, 0, 10.0**-power * _NOISE)
        for power, zeros in itertools.product((9, 13, 20, 30, 38), (0, 1, 2))
    },
}


def _encode(signal: npt.NDArray[np.floating], encoding: str) -> bytes:
    if encoding == "f32":
        return signal.astype("<f4").tobytes()
    if encoding == "u8":
        return np.round(np.clip(signal, -1, 1) * 127 + 128).astype("u1").tobytes()
    bits = int(encoding[1:])
    integers = np.round(np.clip(signal, -1, 1) * (2 ** (bits - 1) - 1)).astype("<i8")
    return integers.view("u1").reshape(-1, 8)[:, : bits // 8].tobytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", SIGNALS)
def test_an_encoding_that_is_described_rightly_is_kept(name: str, encoding: str) -> None:
    for channels, size, cut in itertools.product((1, 2), (640, 1280, 8192), (0, 1)):
        payload = _encode(np.repeat(SIGNALS[name], channels), encoding)[cut : cut + size]
        assert find_encoding(AudioFormat(16_000, channels, encoding), payload) is None, (channels, size, cut)


@pytest.mark.parametrize(
    ("stated", "actual"), [("s16", "f32"), ("f32", "s16"), ("s32", "f32"), ("u8", "f32"), ("f32", "s32")]
)
def test_speech_of_another_encoding_is_recognized(
    stated: str, actual: str, speech: npt.NDArray[np.float32]
) -> None:
    blocks = [block for block in speech.reshape(-1, 640) if np.abs(block).max() > 0.02]
    found = [find_encoding(AudioFormat(16_000, 1, stated), _encode(block, actual)) for block in blocks]
    assert all(each is None or each.encoding == actual for each in found)
    assert sum(each is not None for each in found) > 0.8 * len(blocks) > 20


def test_floats_that_are_not_normalized_stay_floats(speech: npt.NDArray[np.float32]) -> None:
    payload = (speech * 32768).astype("<f4").tobytes()
    for first in range(0, len(payload) - 1280, 1280):
        assert find_encoding(AudioFormat(16_000, 1, "f32"), payload[first : first + 1280]) is None


@pytest.mark.parametrize(
    ("stated", "actual"), [(48000, 16000), (16000, 48000), (44100, 48000), (16000, 24000)]
)
def test_the_rate_that_fits_the_bytes_per_second_is_found(
    stated: int, actual: int, speech: npt.NDArray[np.float32]
) -> None:
    found = find_format(AudioFormat(stated, 1, "s16"), actual / stated, _encode(speech[:4000], "s16"))
    assert found == AudioFormat(actual, 1, "s16")


def test_interleaved_channels_are_told_from_a_higher_rate(speech: npt.NDArray[np.float32]) -> None:
    mono, left, right = AudioFormat(16_000, 1, "s16"), speech[16000:20000], speech[24000:28000]
    for pair in (np.stack([left, left]), np.stack([left, right])):
        found = find_format(mono, 2.0, _encode(pair.T.ravel(), "s16"))
        assert found == AudioFormat(16_000, 2, "s16")
    fine = np.interp(np.arange(0, 4000, 0.5), np.arange(4000), left)
    assert find_format(mono, 2.0, _encode(fine, "s16")) == AudioFormat(32_000, 1, "s16")


@pytest.mark.parametrize("encoding", ["u8", "s16", "s32", "f32"])
def test_a_packet_of_a_few_bytes_decides_nothing(encoding: str) -> None:
    stated = AudioFormat(16000, 1, encoding)
    for size in range(64):
        assert find_encoding(stated, bytes(range(size))) is None
