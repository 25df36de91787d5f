# SPDX-License-Identifier: Apache-2.0
"""Writes FaceMotion as CDR without a call of the generic writer for each name and number.

A talker publishes 25 messages a second whose 52 names never change; the generic writer of the DDS binding
spends most of its time on those. Messages of another form are left to it.
"""

from __future__ import annotations

import array
import functools
import struct
import sys
from typing import Any, Final

from streamingtalker_ros.messaging.face_messages import MOTION_TYPE, SHAPE_NAMES

_LITTLE_ENDIAN_CDR: Final = b"\x00\x01\x00\x00"
_MAX_ALIGNMENT: Final = 8  # of uint64 and float64, counted from behind the encapsulation header
_STAMP: Final = struct.Struct("<iI")
_FRAME: Final = struct.Struct("<Q")
_HEAD_AND_SPEAKING: Final = struct.Struct("<4d?")


def _padding(length: int, alignment: int) -> bytes:
    return bytes(-length % alignment)


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<I", len(data)) + data


@functools.lru_cache(maxsize=16)
def _frame_id(text: str) -> bytes:
    """Return header.frame_id and the padding up to the frame's number."""
    data = _string(text)
    return data + _padding(_STAMP.size + len(data), _MAX_ALIGNMENT)


@functools.lru_cache(maxsize=1)
def _names() -> bytes:
    """Return the names of the shapes and the number of weights; they begin at a multiple of 8 bytes."""
    data = struct.pack("<I", len(SHAPE_NAMES))
    for name in SHAPE_NAMES:
        data += _padding(len(data), 4) + _string(name)
    return data + _padding(len(data), 4) + struct.pack("<I", len(SHAPE_NAMES))


def install_fast_writer(type_name: str, message_class: Any) -> None:
    """Replace `serialize` of the class of FaceMotion messages.

    Args:
        type_name: "package/msg/Name"; other types are left as they are.
        message_class: A class of `message_types`.
    """
    if type_name != MOTION_TYPE or sys.byteorder != "little":
        return
    generic = message_class.serialize

    def serialize(
        self: Any, buffer: Any = None, endianness: Any = None, use_version_2: bool | None = None
    ) -> bytes:
        weights = self.weights
        is_usual = (
            buffer is None
            and endianness is None
            and not use_version_2
            and self.names is SHAPE_NAMES
            and type(weights) is array.array
            and weights.typecode == "f"
            and len(weights) == len(SHAPE_NAMES)
        )
        if not is_usual:
            return generic(self, buffer, endianness, use_version_2)
        header, head, names = self.header, self.head, _names()
        return b"".join(
            (
                _LITTLE_ENDIAN_CDR,
                _STAMP.pack(header.stamp.sec, header.stamp.nanosec),
                _frame_id(header.frame_id),
                _FRAME.pack(self.frame),
                names,
                weights.tobytes(),
                _padding(len(names) + weights.itemsize * len(weights), _MAX_ALIGNMENT),
                _HEAD_AND_SPEAKING.pack(head.x, head.y, head.z, head.w, self.speaking),
            )
        )

    message_class.serialize = serialize
