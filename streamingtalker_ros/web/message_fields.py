# SPDX-License-Identifier: Apache-2.0
"""Fields of a client's messages: how the document words their values, and how they are checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from streamingtalker_ros.errors import TalkerError

Number = TypeVar("Number", int, float)

SESSION_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Names under which sessions are shared."""


@dataclass(frozen=True)
class Field:
    """A field of a client's message.

    Attributes:
        required: Whether it may not be left out.
    """

    required: bool = True

    @property
    def description(self) -> str:
        """Its values, as docs/websocket.md words them."""
        return self._values if self.required else f"{self._values}, optional"

    def check(self, message: dict[str, Any], name: str) -> None:
        """Check the field of a message.

        Args:
            message: All fields.
            name: Name of this one.

        Raises:
            TalkerError: If it is missing, or has another value than `description` says.
        """
        if self.required or message.get(name) is not None:
            self._check_value(message, name)

    @property
    def _values(self) -> str:
        raise NotImplementedError

    def _check_value(self, message: dict[str, Any], name: str) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class NumberField(Field):
    """A number.

    Attributes:
        low: Least value.
        high: Greatest value.
        kind: int for whole numbers only.
    """

    low: float = 0
    high: float = 1
    kind: type[float] = float

    @property
    def _values(self) -> str:
        return f"{self.low:.16g} to {self.high:.16g}"  # exact for the largest integers of JavaScript

    def _check_value(self, message: dict[str, Any], name: str) -> None:
        check_number(message, name, self.low, self.high, self.kind)


@dataclass(frozen=True)
class SessionField(Field):
    """The name of a shared session."""

    @property
    def _values(self) -> str:
        return "name"

    def _check_value(self, message: dict[str, Any], name: str) -> None:
        value = message.get(name)
        if not (isinstance(value, str) and SESSION_NAME.fullmatch(value)):
            raise TalkerError(
                f"{name} is {describe_value(value)}: send a name of 1 to 64 letters, digits, points, hyphens "
                "and underscores"
            )


@dataclass(frozen=True)
class TextField(Field):
    """A text.

    Attributes:
        max_chars: Its greatest length.
    """

    max_chars: int = 40

    @property
    def _values(self) -> str:
        return f"text of at most {self.max_chars} characters"

    def _check_value(self, message: dict[str, Any], name: str) -> None:
        value = message.get(name)
        if not isinstance(value, str) or len(value) > self.max_chars:
            raise TalkerError(f"{name} is {describe_value(value)}: send a {self._values}")


@dataclass(frozen=True)
class PointField(Field):
    """A point, or null.

    Attributes:
        limit: Greatest magnitude of a coordinate, metres.
    """

    limit: float = 1.0

    @property
    def _values(self) -> str:
        return f"list of three numbers, {-self.limit:.0f} to {self.limit:.0f}; or null"

    def check(self, message: dict[str, Any], name: str) -> None:
        """Check the field of a message, which holds it even where it is null.

        Args:
            message: All fields.
            name: Name of this one.

        Raises:
            TalkerError: If it is missing, or is no point.
        """
        value = message.get(name, "")
        if value is None:
            return
        if not isinstance(value, list) or len(value) != 3:
            raise TalkerError(f"{name} is {describe_value(value)}: send three numbers, or null")
        for axis, coordinate in zip("xyz", value, strict=True):
            check_number({axis: coordinate}, axis, -self.limit, self.limit)


def describe_value(value: object) -> str:
    """Describe a client's value for an error message, briefly and without recursing into nested values."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of over 38 digits"
    return repr(str(value)[:40])


def check_number(
    message: dict[str, Any], name: str, low: float, high: float, kind: type[Number] = float
) -> Number:
    """Return a number field of a message.

    Args:
        message: the fields of the message.
        name: name of the field.
        low: least value allowed.
        high: greatest value allowed.
        kind: int to accept whole numbers only.

    Raises:
        TalkerError: if the field is missing, is not such a number, is not finite or is out of range.
    """
    value = message.get(name)
    types = int if kind is int else (int, float)
    # the range is checked before the conversion: an integer may be too large for a float
    if isinstance(value, bool) or not isinstance(value, types) or not low <= value <= high:
        noun = "whole number" if kind is int else "number"
        raise TalkerError(f"{name} is {describe_value(value)}: send a {noun} of {low} to {high}")
    return kind(value)
