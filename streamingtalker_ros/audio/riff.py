# SPDX-License-Identifier: Apache-2.0
"""The head of a WAV file that some senders put before their first samples: `split(payload)` takes it off."""

import struct

from streamingtalker_ros.audio.payload import AudioFormat
from streamingtalker_ros.errors import TalkerError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_ENCODINGS = {(_PCM, 8): "u8", (_PCM, 16): "s16", (_PCM, 24): "s24", (_PCM, 32): "s32", (_FLOAT, 32): "f32"}


def is_riff(payload):
    """Whether a payload begins as a WAV file does."""
    return payload[:4] == b"RIFF" and payload[8:12] == b"WAVE"


def split(payload):
    """bytes of the beginning of a WAV file -> (AudioFormat, bytes of its samples that are here).

    The sizes of the file and of its data are not believed, since a sender that streams writes 0 or the largest
    number there; chunks before the data are passed over by theirs. Raises TalkerError for a coding that is not
    PCM or floats, and for a head that the payload does not hold whole.
    """
    at, format = 12, None
    while at + 8 <= len(payload):
        kind, size = payload[at : at + 4], int.from_bytes(payload[at + 4 : at + 8], "little")
        body = payload[at + 8 :]
        if kind == b"fmt " and len(body) >= 16:
            code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
            if code == _EXTENSIBLE and size >= 26 and len(body) >= 26:
                code = int.from_bytes(body[24:26], "little")  # the first field of its GUID
            if (code, bits) not in _ENCODINGS:
                raise TalkerError(
                    f"a WAV file of code {code} with {bits} bits was sent as audio: send 8, 16, 24 "
                    "or 32 bit PCM, or 32 bit floats"
                )
            format = AudioFormat(rate, channels, _ENCODINGS[code, bits])
        if kind == b"data" and format is not None:
            return format, body[:size] if 0 < size < len(body) else body
        at += 8 + size + size % 2
    raise TalkerError(
        "a packet begins as a WAV file does and ends before its samples: send its head in one piece"
    )
