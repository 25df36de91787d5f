# SPDX-License-Identifier: Apache-2.0
"""WAV headers, which some senders put before their first samples: `split_header` splits them off."""

from __future__ import annotations

import struct
from typing import Final

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.errors import TalkerError

# format tags of a WAVE file (mmreg.h)
_PCM: Final = 1
_IEEE_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE
_ENCODINGS: Final = {
    (_PCM, 8): "u8",
    (_PCM, 16): "s16",
    (_PCM, 24): "s24",
    (_PCM, 32): "s32",
    (_IEEE_FLOAT, 32): "f32",
}


def is_wav(payload: bytes) -> bool:
    """Return whether a payload begins with a RIFF/WAVE header."""
    return payload[:4] == b"RIFF" and payload[8:12] == b"WAVE"


def split_header(payload: bytes) -> tuple[AudioFormat, bytes]:
    """Split the beginning of a WAV file into its format and its samples.

    The sizes of the file and of its data chunk are ignored, because a streaming sender writes 0 or the
    largest number there. Chunks before the data chunk are skipped by their size.

    Args:
        payload: the beginning of a WAV file, its header complete.

    Returns:
        The format, and the bytes of the samples that the payload holds.

    Raises:
        TalkerError: if the samples are neither PCM nor 32-bit floats, or the header is incomplete.
    """
    offset = 12
    audio_format: AudioFormat | None = None
    while offset + 8 <= len(payload):
        chunk_id = payload[offset : offset + 4]
        size = int.from_bytes(payload[offset + 4 : offset + 8], "little")
        body = payload[offset + 8 :]
        if chunk_id == b"fmt " and len(body) >= 16:
            tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if tag == _EXTENSIBLE and size >= 26 and len(body) >= 26:
                tag = int.from_bytes(body[24:26], "little")  # the first field of the sub-format's GUID
            if (tag, bits) not in _ENCODINGS:
                raise TalkerError(
                    f"a WAV file of format tag {tag} with {bits} bits was sent as audio: send 8, 16, 24 "
                    "or 32 bit PCM, or 32 bit floats"
                )
            audio_format = AudioFormat(rate, channels, _ENCODINGS[tag, bits])
        if chunk_id == b"data" and audio_format is not None:
            return audio_format, body[:size] if 0 < size < len(body) else body
        offset += 8 + size + size % 2
    raise TalkerError(
        "a packet begins with a WAV header and ends before its samples: send the header in one packet"
    )
