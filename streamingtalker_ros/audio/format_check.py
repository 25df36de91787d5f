# SPDX-License-Identifier: Apache-2.0
"""Finds the format that PCM has if it is not the one that its sender describes.

A sender that announces a wrong rate, encoding or number of channels sends another number of bytes per second
than it says. Its stamps give the true number, and the samples tell floats from integers and interleaved
channels from one channel.
"""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import bytes_to_float32

STANDARD_RATES: Final = (
    8_000,
    11_025,
    12_000,
    16_000,
    22_050,
    24_000,
    32_000,
    44_100,
    48_000,
    88_200,
    96_000,
)
"""Hz."""
_RATE_TOLERANCE: Final = 0.04  # of a standard rate, by which a measured one may differ
_MIN_SAMPLES: Final = 64
_MAX_SAMPLES: Final = 4096  # that are looked at
_MIN_EXPONENT: Final = 127 - 40  # biased, of a float32: 2^-40
_MAX_EXPONENT: Final = 127 + 4
_MIN_EXPONENTS: Final = 3  # that floats of audio have
_MIN_FLOAT_FRACTION: Final = 0.98  # of words with such an exponent, in floats
_MAX_OTHER_FRACTION: Final = 0.5  # the same in integers
_MIN_HUGE_FRACTION: Final = 0.1  # of words beyond _MAX_EXPONENT, in integers: their negative numbers
_MIN_SIGN_FRACTION: Final = 0.05  # of words of either sign, in floats of audio
_MAX_LEVEL: Final = 0.4  # mean magnitude of audio; that of random bytes is 0.5
_INTERLEAVED_RATIO: Final = 0.6  # of the change over two samples to that over one, in interleaved channels


def find_format(stated: AudioFormat, byte_rate_ratio: float, payload: bytes) -> AudioFormat | None:
    """Return the format that fits the measured rate of bytes.

    Args:
        stated: the format that the sender describes.
        byte_rate_ratio: measured bytes per second, as a multiple of those of `stated`.
        payload: bytes of a packet.

    Returns:
        The format; None if none fits.
    """
    encoding = find_encoding(stated, payload)
    if encoding is not None and _matches(encoding.frame_bytes / stated.frame_bytes, byte_rate_ratio):
        return encoding
    mono = dataclasses.replace(stated, channels=1)
    if stated.channels == 1 and _matches(2.0, byte_rate_ratio) and _is_interleaved(payload, mono):
        return dataclasses.replace(stated, channels=2)
    if stated.channels == 2 and _matches(0.5, byte_rate_ratio) and not _is_interleaved(payload, mono):
        return mono
    measured = stated.sample_rate * byte_rate_ratio
    rate = min(STANDARD_RATES, key=lambda standard: abs(standard - measured))
    if rate != stated.sample_rate and abs(rate - measured) <= _RATE_TOLERANCE * rate:
        return dataclasses.replace(stated, sample_rate=rate)
    return None


def find_encoding(stated: AudioFormat, payload: bytes) -> AudioFormat | None:
    """Return the format with the encoding that the samples have.

    Args:
        stated: the format that the sender describes.
        payload: bytes of a packet.

    Returns:
        None if the samples may have the stated encoding, floats that are cut at any byte included.
    """
    if stated.encoding != "f32":
        words = _float_words(payload)
        if words is None or words.plausible < _MIN_FLOAT_FRACTION:
            return None
        if not _MIN_SIGN_FRACTION <= words.negative <= 1 - _MIN_SIGN_FRACTION:
            return None  # integers around a constant
        return dataclasses.replace(stated, encoding="f32")
    if _float_words(payload) is None:
        return None
    lower, upper = _levels(payload)
    for offset in range(4):
        words = _float_words(payload[offset:])
        if words is None or words.plausible > _MAX_OTHER_FRACTION:
            return None
        if words.huge < _MIN_HUGE_FRACTION and lower > 0:  # as of floats below _MIN_EXPONENT
            return None
    # the lower half of a sample of s32 is random, or 0 if it was made from fewer bits
    encoding = "s32" if lower > _MAX_LEVEL or lower == 0 else "s16"
    return dataclasses.replace(stated, encoding=encoding) if upper < _MAX_LEVEL else None


def describe_difference(stated: AudioFormat, actual: AudioFormat) -> tuple[str, str]:
    """Return the first property in which two formats differ, as (stated, actual), for a log message."""
    if actual.encoding != stated.encoding:
        return stated.encoding, actual.encoding
    if actual.channels != stated.channels:
        return _channels(stated.channels), _channels(actual.channels)
    return f"{stated.sample_rate} Hz", f"{actual.sample_rate} Hz"


def _channels(count: int) -> str:
    return "1 channel" if count == 1 else f"{count} channels"


def _matches(expected: float, measured: float) -> bool:
    return abs(measured - expected) <= 2 * _RATE_TOLERANCE * expected


class _FloatWords(NamedTuple):
    """Fractions of the nonzero words of a payload, read as float32."""

    plausible: float
    """Of the magnitude of audio samples."""
    huge: float
    """Too large for audio, or not finite."""
    negative: float


def _float_words(payload: bytes) -> _FloatWords | None:
    """Read a payload as float32; None if there are too few words, or too few magnitudes to judge."""
    count = min(len(payload) // 4, _MAX_SAMPLES)
    words = np.frombuffer(payload, "<u4", count)
    words = words[(words & 0x7FFFFFFF) != 0]
    if len(words) < _MIN_SAMPLES // 2:
        return None
    exponents = (words & 0x7FFFFFFF) >> 23
    huge = exponents > _MAX_EXPONENT
    plausible = (exponents >= _MIN_EXPONENT) & ~huge
    if len(np.unique(exponents)) < _MIN_EXPONENTS and plausible.any():
        return None  # one level, as of a square wave
    return _FloatWords(float(plausible.mean()), float(huge.mean()), float((words >> 31).mean()))


def _samples(payload: bytes, audio_format: AudioFormat) -> npt.NDArray[np.float32]:
    """Return the first samples of all channels, (n,) float32, interleaved."""
    size = audio_format.bytes_per_sample
    count = min(len(payload) // size, _MAX_SAMPLES)
    return bytes_to_float32(payload[: count * size], audio_format.encoding)


def _levels(payload: bytes) -> tuple[float, float]:
    """Return the mean magnitudes of the first and second halves of words of four bytes, read as s16."""
    halves = np.abs(bytes_to_float32(payload[: min(len(payload) // 4, _MAX_SAMPLES) * 4], "s16"))
    return float(halves[::2].mean()), float(halves[1::2].mean())


def _is_interleaved(payload: bytes, mono: AudioFormat) -> bool:
    """Return whether samples that are read as one channel are those of two: every second one resembles."""
    samples = _samples(payload, mono)
    if len(samples) < _MIN_SAMPLES or not np.isfinite(samples).all():
        return False
    samples = samples[: len(samples) & ~1]
    within = float(np.abs(samples[1::2] - samples[::2]).mean())
    between = float(np.abs(samples[2::2] - samples[1:-1:2]).mean())
    double = float(np.abs(samples[2:] - samples[:-2]).mean())
    # equal channels, or two that differ
    return within < 0.1 * between or double < _INTERLEAVED_RATIO * (within + between) / 2
