# SPDX-License-Identifier: Apache-2.0
"""Checks that a serialized ROS 2 message is whole, before the middleware deserializes it.

A damaged length makes the deserializers of ROS allocate and convert gigabytes, or log a line per message.
`CdrLayout` walks through the bytes with the types of the fields alone, allocates nothing, and visits at most
as many elements as the message has bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from streamingtalker_ros.errors import TalkerError

FieldTypes: TypeAlias = Mapping[str, str]
"""Types of a message by field, as `get_fields_and_field_types` of rclpy's classes returns them."""

_HEADER_BYTES: Final = 4
_BYTE_ORDERS: Final[dict[bytes, str]] = {b"\x00\x00": "big", b"\x00\x01": "little"}  # of plain CDR
_SIZES: Final = {
    **dict.fromkeys(("boolean", "octet", "char", "int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16"), 2),
    **dict.fromkeys(("int32", "uint32", "float"), 4),
    **dict.fromkeys(("int64", "uint64", "double"), 8),
}
_SEQUENCE: Final = re.compile(r"sequence<(.+?)(?:, *\d+)?>")
_ARRAY: Final = re.compile(r"(.+)\[(\d+)\]")
_STRING: Final = re.compile(r"string(?:<\d+>)?")


class _Cursor:
    """Position in a message."""

    def __init__(self, data: bytes) -> None:
        order = _BYTE_ORDERS.get(data[:2])
        if order is None:
            raise TalkerError(f"its encoding {data[:2].hex() or '(none)'} is not plain CDR")
        self._is_little = order == "little"
        self._data = memoryview(data)[_HEADER_BYTES:]
        self._position = 0

    def skip(self, size: int, count: int = 1) -> None:
        """Pass over numbers of a size, aligned to it."""
        if count:
            self._position += -self._position % size + size * count
        if self._position > len(self._data):
            raise TalkerError("it ends before its data")

    def length(self) -> int:
        """Read the length of a sequence or string."""
        self.skip(4)
        field = self._data[self._position - 4 : self._position]
        return int.from_bytes(field, "little" if self._is_little else "big")

    def skip_string(self) -> None:
        """Pass over a string, which ends in a zero byte."""
        length = self.length()
        self.skip(1, length)
        if length and self._data[self._position - 1]:
            raise TalkerError("a text in it does not end")


_Walk: TypeAlias = Callable[[_Cursor], None]


class CdrLayout:
    """Layout of a message type in plain CDR.

    Args:
        fields: Types of its fields, in their order.
        nested: Returns the types of the fields of another message, given its name such as "std_msgs/Header".

    Raises:
        TalkerError: If a field has a type that is not supported: wide strings.
    """

    def __init__(self, fields: FieldTypes, nested: Callable[[str], FieldTypes]) -> None:
        self._walk = _struct(fields, nested)

    def check(self, data: bytes) -> None:
        """Check that a message holds all its fields. More bytes behind them are accepted.

        Args:
            data: The message with its encapsulation header.

        Raises:
            TalkerError: If it does not; the text continues a sentence about the message.
        """
        self._walk(_Cursor(data))


def _struct(fields: FieldTypes, nested: Callable[[str], FieldTypes]) -> _Walk:
    walks = [_compile(type_name, nested) for type_name in fields.values()]

    def walk(cursor: _Cursor) -> None:
        for each in walks:
            each(cursor)

    return walk


def _compile(type_name: str, nested: Callable[[str], FieldTypes]) -> _Walk:
    if type_name in _SIZES:
        size = _SIZES[type_name]
        return lambda cursor: cursor.skip(size)
    if _STRING.fullmatch(type_name):
        return _Cursor.skip_string
    if match := _SEQUENCE.fullmatch(type_name):
        return _repeated(match[1], nested, None)
    if match := _ARRAY.fullmatch(type_name):
        return _repeated(match[1], nested, int(match[2]))
    if "/" not in type_name:
        raise TalkerError(f"a field of type {type_name} is not supported")
    return _struct(nested(type_name), nested)


def _repeated(element: str, nested: Callable[[str], FieldTypes], count: int | None) -> _Walk:
    """Return the walk over an array of `count` elements, or over a sequence, whose length precedes it."""
    if element in _SIZES:
        size = _SIZES[element]
        return lambda cursor: cursor.skip(size, cursor.length() if count is None else count)
    walk_element = _compile(element, nested)

    def walk(cursor: _Cursor) -> None:
        for _ in range(cursor.length() if count is None else count):
            walk_element(cursor)

    return walk
