# SPDX-License-Identifier: Apache-2.0
"""One packet of PCM audio (`AudioPacket`) and the layout of its bytes (`AudioFormat`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError

MIN_SAMPLE_RATE: Final = 8_000  # Hz
MAX_SAMPLE_RATE: Final = 192_000  # Hz
MAX_CHANNELS: Final = 64

_BYTES_PER_SAMPLE: Final = {"u8": 1, "s8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4}
# the names that audio_info messages use
_WIRE_NAMES: Final = {"u8": "u8", "s8": "s8", "s16le": "s16", "s24le": "s24", "s32le": "s32", "f32le": "f32"}


@dataclass(frozen=True)
class AudioFormat:
    """Layout of a payload of interleaved little-endian PCM.

    Args:
        sample_rate: Hz, 8,000 to 192,000.
        channels: interleaved channels, 1 to 64.
        encoding: "u8" (unsigned, centred on 128), "s8", "s16", "s24" (three bytes), "s32" or "f32". The names
            of audio_info messages ("S16LE", …) are accepted and normalized.

    Raises:
        TalkerError: if the encoding is unknown or a number is out of range.
    """

    sample_rate: int = SAMPLE_RATE
    channels: int = 1
    encoding: str = "s16"

    def __post_init__(self) -> None:
        encoding = str(self.encoding).lower()
        encoding = _WIRE_NAMES.get(encoding, encoding)
        if encoding not in _BYTES_PER_SAMPLE:
            raise TalkerError(
                f"audio encoding {describe(self.encoding)} is not known: send little-endian PCM: "
                + ", ".join(_BYTES_PER_SAMPLE)
            )
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise TalkerError(
                f"a sample rate of {self.sample_rate} Hz is out of range: send audio of "
                f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
            )
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise TalkerError(f"audio of {self.channels} channels is not valid: send 1 to {MAX_CHANNELS}")
        object.__setattr__(self, "encoding", encoding)
        object.__setattr__(self, "sample_rate", int(self.sample_rate))
        object.__setattr__(self, "channels", int(self.channels))

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of one sample of one channel."""
        return _BYTES_PER_SAMPLE[self.encoding]

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return self.bytes_per_sample * self.channels


@dataclass(frozen=True)
class AudioPacket:
    """One audio message, independent of its transport.

    Attributes:
        payload: interleaved little-endian PCM.
        format: layout of the payload, or None if the message does not describe it.
        stamp: ns, the time of the first sample, or None if the message has no stamp. Without one the aligner
            derives the time from `received`.
        arrival: s on the clock of `time.monotonic()`, when the message was received.
        received: ns on the clock of the stamps, when the message was received; needed if `stamp` is None.
        publisher: identifies the sender; audio of another one begins a new stream.
        is_repeated: whether the message held audio that was received before; it is counted and dropped.
    """

    payload: bytes
    format: AudioFormat | None
    stamp: int | None
    arrival: float
    received: int = 0
    publisher: str = ""
    is_repeated: bool = False
