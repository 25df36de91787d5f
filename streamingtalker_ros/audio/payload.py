# SPDX-License-Identifier: Apache-2.0
"""Payload bytes of audio messages to mono float32.

Takes the bytes of one packet after another (interleaved PCM, little-endian, of one `AudioFormat`) and gives
(n,) float32 mono at the payload's own rate. What a packet leaves over, an odd byte or part of a multi-channel
sample, is kept and put in front of the next packet; except that among packets of one whole length a single
shorter one was cut short, and its odd bytes would turn all that follows into noise.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.errors import TalkerError

LOWEST_RATE, HIGHEST_RATE = 8000, 192000

_RECENT = 8  # packets looked back on to tell a packet that was cut short from audio that is cut anywhere

_BYTES = {"u8": 1, "s8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4}
_WIRE_NAMES = {"u8": "u8", "s8": "s8", "s16le": "s16", "s24le": "s24", "s32le": "s32", "f32le": "f32"}


@dataclass(frozen=True)
class AudioFormat:
    """How a payload is written.

    sample_rate: Hz, 8,000 to 192,000; channels: interleaved, 1 or more; encoding: "u8" (unsigned, centred on
    128), "s8", "s16", "s24" (three bytes), "s32" or "f32", little-endian. The names of `audio_info` messages
    ("S16LE", …) are taken too. Raises TalkerError for anything else.
    """

    sample_rate: int = 16000
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self):
        encoding = str(self.encoding).lower()
        encoding = _WIRE_NAMES.get(encoding, encoding)
        if encoding not in _BYTES:
            raise TalkerError(
                f"audio encoding {self.encoding!r} is not known: send little-endian PCM: " + ", ".join(_BYTES)
            )
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise TalkerError(
                f"a sample rate of {self.sample_rate} Hz is out of range: send audio of "
                f"{LOWEST_RATE} to {HIGHEST_RATE} Hz"
            )
        if self.channels < 1:
            raise TalkerError(f"{self.channels} channels cannot be: send 1 or more")
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "sample_rate", int(self.sample_rate))
        object.__setattr__(self, "channels", int(self.channels))

    @property
    def frame_bytes(self):
        """Bytes of one sample of every channel."""
        return _BYTES[self.encoding] * self.channels


def _scale(bits):
    return np.float32(2.0 ** (1 - bits))  # typed: numpy 1 would widen the array for a large Python integer


class PayloadDecoder:
    """Decodes the packets of one voice, one after another.

    format: AudioFormat. `nonfinite` counts the NaN and infinite samples that were made silence, ever.
    """

    def __init__(self, format) -> None:
        self.format = format
        self.nonfinite = 0
        self._tail = b""
        self._lengths = deque(maxlen=_RECENT)  # of the last packets, in bytes

    def reset(self) -> None:
        """Forget the bytes kept from the last packet: after a loss they are half of some other sample."""
        self._tail = b""

    def count(self, data):
        """Samples that `decode(data)` would give now."""
        return (len(self._head(data)) + len(data)) // self.format.frame_bytes

    def _head(self, data):
        """What was left over, if it belongs in front of `data`."""
        usual = len(data)
        cut_short = (
            usual % self.format.frame_bytes == 0
            and list(self._lengths)[:-1] == [usual] * (_RECENT - 1)
            and self._lengths[-1] < usual
        )
        return b"" if cut_short else self._tail

    def decode(self, data):
        """data: bytes-like, any length -> (n,) float32 mono, the mean of the channels.

        Integers are divided by 2**(bits - 1), so that full scale is -1 ≤ x < 1. Floats beyond ±1 are clipped,
        as a converter would; NaN and infinities become silence and are counted.
        """
        length = len(data)
        data = self._head(data) + bytes(data)
        self._lengths.append(length)
        whole = len(data) - len(data) % self.format.frame_bytes
        self._tail = data[whole:]
        samples = self._samples(data[:whole]).reshape(-1, self.format.channels)
        if self.format.channels == 1:
            return samples[:, 0]
        return samples.mean(axis=1, dtype=np.float64).astype(np.float32)

    def _samples(self, data):
        encoding = self.format.encoding
        if encoding == "u8":
            return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) * _scale(8)
        if encoding == "s8":
            return np.frombuffer(data, np.int8).astype(np.float32) * _scale(8)
        if encoding == "s16":
            return np.frombuffer(data, "<i2").astype(np.float32) * _scale(16)
        if encoding == "s24":  # into the upper three bytes of a 32-bit integer, which brings the sign along
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view("<i4")[:, 0].astype(np.float32) * _scale(32)
        if encoding == "s32":
            return np.frombuffer(data, "<i4").astype(np.float32) * _scale(32)
        samples = np.frombuffer(data, "<f4").astype(np.float32)
        broken = ~np.isfinite(samples)
        if broken.any():
            self.nonfinite += int(broken.sum())
            samples[broken] = 0
        return np.clip(samples, -1, 1)
