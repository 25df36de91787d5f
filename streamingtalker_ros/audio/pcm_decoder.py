# SPDX-License-Identifier: Apache-2.0
"""Decodes payloads of interleaved little-endian PCM to mono float32 at the payload's own rate."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import AudioFormat

_LENGTH_HISTORY: Final = 8  # packets whose lengths distinguish a truncated packet from audio cut at any byte


class PcmDecoder:
    """Decodes the consecutive packets of one audio stream.

    A packet may end within a sample, or within the samples of several channels. The incomplete rest is
    carried over to the next packet. The exception: if all packets have one length and a single packet is
    shorter, that packet was truncated, and its rest is discarded; carrying it over would shift all later
    samples by a byte.

    Args:
        audio_format: layout of the payloads.

    Attributes:
        format: layout of the payloads.
        nonfinite: NaN and infinite samples that were replaced by silence so far.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format
        self.nonfinite = 0
        self._rest = b""
        self._lengths: deque[int] = deque(maxlen=_LENGTH_HISTORY)  # bytes of the latest packets

    def reset(self) -> None:
        """Discard the rest of the last packet: after a loss it does not continue in the next one."""
        self._rest = b""

    def sample_count(self, payload: bytes) -> int:
        """Return the number of samples that `decode(payload)` would return now."""
        return (len(self._carry(payload)) + len(payload)) // self.format.frame_bytes

    def decode(self, payload: bytes) -> npt.NDArray[np.float32]:
        """Decode one packet.

        Integers are divided by 2**(bits - 1), so that -1 ≤ x < 1. Floats beyond ±1 are clipped; NaN and
        infinities become silence and are counted.

        Args:
            payload: the packet's bytes, any number of them.

        Returns:
            (n,) float32, the mean of the channels.
        """
        data = self._carry(payload) + bytes(payload)
        self._lengths.append(len(payload))
        complete = len(data) - len(data) % self.format.frame_bytes
        self._rest = data[complete:]
        samples = self._to_float(data[:complete]).reshape(-1, self.format.channels)
        if self.format.channels == 1:
            return samples[:, 0]
        return samples.mean(axis=1, dtype=np.float64).astype(np.float32)

    def _carry(self, payload: bytes) -> bytes:
        """Return the bytes of the last packet that belong before `payload`."""
        length = len(payload)
        was_truncated = (
            length % self.format.frame_bytes == 0
            and list(self._lengths)[:-1] == [length] * (_LENGTH_HISTORY - 1)
            and self._lengths[-1] < length
        )
        return b"" if was_truncated else self._rest

    def _to_float(self, data: bytes) -> npt.NDArray[np.float32]:
        """Convert bytes of whole samples to (n,) float32 in -1..1."""
        encoding = self.format.encoding
        if encoding == "u8":
            return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) * _full_scale(8)
        if encoding == "s8":
            return np.frombuffer(data, np.int8).astype(np.float32) * _full_scale(8)
        if encoding == "s16":
            return np.frombuffer(data, "<i2").astype(np.float32) * _full_scale(16)
        if encoding == "s24":  # into the upper three bytes of a 32-bit integer, which extends the sign
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return padded.view("<i4")[:, 0].astype(np.float32) * _full_scale(32)
        if encoding == "s32":
            return np.frombuffer(data, "<i4").astype(np.float32) * _full_scale(32)
        samples = np.frombuffer(data, "<f4").astype(np.float32)
        nonfinite = ~np.isfinite(samples)
        if nonfinite.any():
            self.nonfinite += int(nonfinite.sum())
            samples[nonfinite] = 0
        return np.clip(samples, -1, 1)


def _full_scale(bits: int) -> np.float32:
    return np.float32(2.0 ** (1 - bits))  # typed: numpy 1 would widen the array for a large Python integer
