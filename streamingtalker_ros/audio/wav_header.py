# SPDX-License-Identifier: Apache-2.0
"""The fmt chunk of a WAV file, and the conversion of its samples to PCM of `AudioFormat`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError

# format tags of a WAVE file (mmreg.h)
_PCM: Final = 1
_IEEE_FLOAT: Final = 3
_A_LAW: Final = 6
_MU_LAW: Final = 7
_EXTENSIBLE: Final = 0xFFFE
_PCM_ENCODINGS: Final = {1: "u8", 2: "s16", 3: "s24", 4: "s32"}  # by bytes per sample

Convert = Callable[[bytes], bytes]


@dataclass(frozen=True)
class WavFormat:
    """Samples of a WAV file.

    Attributes:
        output: layout of the converted samples.
        source_bytes: bytes of one sample of one channel in the file.
        convert: converts bytes of whole samples; None if they need no conversion.
    """

    output: AudioFormat
    source_bytes: int
    convert: Convert | None


def parse_format(chunk: bytes, big_endian: bool = False) -> WavFormat:
    """Read the body of a fmt chunk.

    Args:
        chunk: the body, 16 bytes or more.
        big_endian: whether the file is RIFX.

    Raises:
        TalkerError: if the samples are not PCM, floats, A-law or µ-law, or a number is out of range.
    """
    order = ">" if big_endian else "<"
    tag, channels, rate, _, block, bits = struct.unpack_from(order + "HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from(order + "H", chunk, 24)  # the first field of the sub-format's GUID
    stated = -(-bits // 8)
    width = (
        block // channels if channels and block % channels == 0 and block // channels >= stated else stated
    )
    encoding, convert = _find_conversion(tag, bits, width, big_endian)
    return WavFormat(AudioFormat(rate, channels, encoding), width, convert)


def _find_conversion(tag: int, bits: int, width: int, big_endian: bool) -> tuple[str, Convert | None]:
    """Return the encoding of the output and the conversion to it."""
    if tag == _PCM and bits > 0 and width in _PCM_ENCODINGS:
        if width == 4 and bits <= 24:
            return "s32", _PaddedConverter(big_endian)
        return _PCM_ENCODINGS[width], _swapper(width) if big_endian and width > 1 else None
    if tag == _IEEE_FLOAT and (bits, width) == (32, 4):
        return "f32", _swapper(4) if big_endian else None
    if tag == _IEEE_FLOAT and (bits, width) == (64, 8):
        return "f32", _double_converter(">f8" if big_endian else "<f8")
    if tag in (_A_LAW, _MU_LAW) and (bits, width) == (8, 1):
        return "s16", _table_converter(_A_LAW_TABLE if tag == _A_LAW else _MU_LAW_TABLE)
    raise TalkerError(
        f"a WAV file of format tag {tag} with {bits} bits was sent as audio: send 8, 16, 24 "
        "or 32 bit PCM, or 32 bit floats"
    )


def _swapper(width: int) -> Convert:
    def swap(data: bytes) -> bytes:
        return np.frombuffer(data, np.uint8).reshape(-1, width)[:, ::-1].tobytes()

    return swap


def _double_converter(dtype: str) -> Convert:
    def convert(data: bytes) -> bytes:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(data, dtype).astype("<f4").tobytes()

    return convert


def _table_converter(table: npt.NDArray[np.int16]) -> Convert:
    def convert(data: bytes) -> bytes:
        return table[np.frombuffer(data, np.uint8)].astype("<i2").tobytes()

    return convert


class _PaddedConverter:
    """Converts 24-bit integers in four bytes to s32, with the padding in the low or in the high byte.

    ALSA writes the padding into the high byte (S24_LE), WASAPI into the low one. The low byte of all samples
    is 0 only if it is the padding; the first samples that are not 0 decide.
    """

    def __init__(self, big_endian: bool) -> None:
        self._big_endian = big_endian
        self._is_high_padded: bool | None = None

    def __call__(self, data: bytes) -> bytes:
        rows = np.frombuffer(data, np.uint8).reshape(-1, 4)
        rows = rows[:, ::-1] if self._big_endian else rows
        if self._is_high_padded is None and rows.any():
            self._is_high_padded = bool(rows[:, 0].any())
        if not self._is_high_padded:
            return rows.tobytes()
        shifted = np.zeros_like(rows)
        shifted[:, 1:] = rows[:, :3]
        return shifted.tobytes()


def _expand_mu_law() -> npt.NDArray[np.int16]:
    """Return the 256 values of µ-law, ITU-T G.711."""
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << (code >> 4 & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _expand_a_law() -> npt.NDArray[np.int16]:
    """Return the 256 values of A-law, ITU-T G.711."""
    code = np.arange(256) ^ 0x55
    exponent, mantissa = code >> 4 & 7, code & 0x0F
    magnitude = np.where(
        exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 0x108) << np.maximum(exponent - 1, 0)
    )
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_MU_LAW_TABLE: Final = _expand_mu_law()
_A_LAW_TABLE: Final = _expand_a_law()
