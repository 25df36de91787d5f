# SPDX-License-Identifier: Apache-2.0
"""Reads audio messages from CDR without creating a Python number for every sample.

The generic reader of the DDS binding takes 0.2 s for a packet of 10 MB and blocks the node's thread
meanwhile. This reader supports the few audio types, reads their arrays in one piece, and leaves
everything else to the generic one.
"""

from __future__ import annotations

import array
import struct
from typing import Any, Final

_TYPES: Final = (
    "audio_common_msgs/msg/AudioData",
    "audio_common_msgs/msg/AudioDataStamped",
    "audio_common_msgs/msg/AudioStamped",
)
# the arrays of mgonzs13's AudioData, in their order: field, type code
_ARRAYS: Final = (
    ("float32_data", "f"),
    ("int32_data", "i"),
    ("int16_data", "h"),
    ("int8_data", "b"),
    ("uint8_data", "B"),
)
_HEADER_BYTES: Final = 4
_LITTLE_ENDIAN_CDR: Final = b"\x00\x01"


class CdrReader:
    """Reads a plain little-endian CDR stream.

    Args:
        data: The stream with its encapsulation header.
    """

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)[_HEADER_BYTES:]
        self.position = 0
        """Bytes read so far, not counting the encapsulation header."""

    def read(self, type_code: str) -> Any:
        """Read one number; `type_code` is a single letter of the struct module."""
        size = struct.calcsize(type_code)
        self.position += -self.position % size
        (value,) = struct.unpack_from("<" + type_code, self._data, self.position)
        self.position += size
        return value

    def read_string(self) -> str:
        """Read a string."""
        value = bytes(self._read_bytes(self.read("I")))
        return value[:-1].decode("utf-8", "replace")

    def read_sequence(self, type_code: str) -> array.array[Any]:
        """Read a sequence of numbers as an array.array, the type that rclpy uses.

        Args:
            type_code: Type of the elements, a single letter that the modules struct and array share, such as
                "B" for uint8, "h" for int16 or "f" for float32.

        Returns:
            The elements; empty if the sequence has none.
        """
        count = self.read("I")
        values: array.array[Any] = array.array(type_code)
        if count:
            self.position += -self.position % values.itemsize
            values.frombytes(self._read_bytes(count * values.itemsize))
        return values

    def _read_bytes(self, length: int) -> memoryview:
        if self.position + length > len(self._data):
            raise struct.error("the message ends before its data")
        data = self._data[self.position : self.position + length]
        self.position += length
        return data


def install_fast_reader(type_name: str, message_class: Any) -> None:
    """Replace `deserialize` of a message class if it is an audio type.

    Args:
        type_name: "package/msg/Name".
        message_class: A class of `message_types`.
    """
    if type_name not in _TYPES:
        return
    generic = message_class.deserialize
    fields = dict(message_class.__annotations__)

    def deserialize(cls: Any, data: bytes, has_header: bool = True, use_version_2: bool | None = None) -> Any:
        if not has_header or bytes(data[:2]) != _LITTLE_ENDIAN_CDR:
            return generic(data, has_header=has_header, use_version_2=use_version_2)
        reader, message = CdrReader(data), cls()
        if "header" in fields:
            message.header.stamp.sec = reader.read("i")
            message.header.stamp.nanosec = reader.read("I")
            message.header.frame_id = reader.read_string()
        if type_name.endswith("AudioStamped"):
            for field, code in _ARRAYS:
                setattr(message.audio.audio_data, field, reader.read_sequence(code))
            info = message.audio.info
            info.format, info.channels, info.rate, info.chunk = (reader.read("i") for _ in range(4))
        elif "audio" in fields:
            message.audio.data = reader.read_sequence("B")
        elif "data" in fields:
            message.data = reader.read_sequence("B")
        else:  # mgonzs13's AudioData without a stamp, which no topic carries
            return generic(data, has_header=has_header, use_version_2=use_version_2)
        return message

    message_class.deserialize = classmethod(deserialize)
