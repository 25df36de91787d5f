# SPDX-License-Identifier: Apache-2.0
"""Reads audio messages off the wire without making a Python number of every sample.

The generic reader takes 0.2 s for a packet of 10 MB and holds up the thread that listens; this one knows the few
audio types by heart, takes their arrays in one piece, and leaves everything else to the generic one.
`speed_up(name, made)` is called for each class that `messages` makes.
"""

import array
import struct

_TYPES = (
    "audio_common_msgs/msg/AudioData",
    "audio_common_msgs/msg/AudioDataStamped",
    "audio_common_msgs/msg/AudioStamped",
)
# the arrays of mgonzs13's AudioData, in their order: field, type code
_ARRAYS = (
    ("float32_data", "f"),
    ("int32_data", "i"),
    ("int16_data", "h"),
    ("int8_data", "b"),
    ("uint8_data", "B"),
)


class Cdr:
    """A plain little-endian CDR stream; `at` counts from behind the encapsulation header."""

    def __init__(self, data) -> None:
        self._data, self.at = memoryview(data)[4:], 0

    def take(self, form):
        """One value of a struct format of one letter."""
        size = struct.calcsize(form)
        self.at += -self.at % size
        (value,) = struct.unpack_from("<" + form, self._data, self.at)
        self.at += size
        return value

    def text(self):
        length = self.take("I")
        value = bytes(self._piece(length))
        return value[:-1].decode("utf-8", "replace")

    def values(self, code):
        """A sequence as array.array, as rclpy gives it."""
        count = self.take("I")
        out = array.array(code)
        if count:
            self.at += -self.at % out.itemsize
            out.frombytes(self._piece(count * out.itemsize))
        return out

    def _piece(self, length):
        if self.at + length > len(self._data):
            raise struct.error("the message ends before its data")
        piece = self._data[self.at : self.at + length]
        self.at += length
        return piece


def speed_up(name, made) -> None:
    """Give a message class its own `deserialize` if it is one of audio."""
    if name not in _TYPES:
        return
    slow = made.deserialize
    types = {field: desc for field, desc in made.__annotations__.items()}

    def deserialize(cls, data, has_header=True, use_version_2=None):
        if not has_header or bytes(data[:2]) != b"\x00\x01":
            return slow(data, has_header=has_header, use_version_2=use_version_2)
        cdr, message = Cdr(data), cls()
        if "header" in types:
            message.header.stamp.sec, message.header.stamp.nanosec = cdr.take("i"), cdr.take("I")
            message.header.frame_id = cdr.text()
        if name.endswith("AudioStamped"):
            for field, code in _ARRAYS:
                setattr(message.audio.audio_data, field, cdr.values(code))
            info = message.audio.info
            info.format, info.channels, info.rate, info.chunk = (cdr.take("i") for _ in range(4))
        elif "audio" in types:
            message.audio.data = cdr.values("B")
        elif "data" in types:
            message.data = cdr.values("B")
        else:  # mgonzs13's bare AudioData, which no topic carries
            return slow(data, has_header=has_header, use_version_2=use_version_2)
        return message

    made.deserialize = classmethod(deserialize)
