# SPDX-License-Identifier: Apache-2.0
"""Checks the fields of a checkpoint's configuration: names, types, ranges.

A configuration is a flat dataclass whose fields are whole numbers, numbers, truth values, texts, or tuples of
texts or numbers. Every error is one sentence that names the file and the field.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from streamingtalker_ros.config_files import describe, shorten
from streamingtalker_ros.errors import TalkerError

Range: TypeAlias = tuple[float, float]
"""Least and greatest value of a number, or of each number of a list."""

MAX_TEXT_LENGTH: Final = 200
MAX_LIST_LENGTH: Final = 10_000


def check_fields(
    config_type: type[Any], values: Mapping[str, Any], ranges: Mapping[str, Range], where: str
) -> dict[str, Any]:
    """Check values against the fields of a dataclass.

    Args:
        config_type: The dataclass; its annotations are texts.
        values: Values by field name, as parsed from JSON.
        ranges: Range of each field that holds a number or numbers.
        where: The file, for the error message.

    Returns:
        A new dictionary; numbers of float fields are floats, lists are tuples.

    Raises:
        TalkerError: If a name is unknown, or a value has another type or is out of range.
    """
    types: dict[str, str] = {field.name: str(field.type) for field in dataclasses.fields(config_type)}
    unknown = [name for name in values if name not in types]
    if unknown:
        listed = ", ".join(repr(shorten(str(name), 40)) for name in unknown[:4])
        more = ", …" if len(unknown) > 4 else ""
        near = difflib.get_close_matches(shorten(str(unknown[0]), 40), types, 1)
        hint = f"did you mean {near[0]!r}? Otherwise it" if near else "it"
        raise TalkerError(
            f"{where} has unknown fields [{listed}{more}]: {hint} was written by a newer version, "
            "upgrade streamingtalker_ros"
        )
    return {
        name: _check_field(name, value, types[name], ranges.get(name), where)
        for name, value in values.items()
    }


def check_whole_number(name: str, value: Any, low: float, high: float, where: str) -> int:
    """Return a whole number of a configuration.

    Args:
        name: The field, for the error message.
        value: The value as parsed.
        low: Least value allowed.
        high: Greatest value allowed.
        where: The file, for the error message.

    Raises:
        TalkerError: If it is none, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise TalkerError(
            f"{where}: {name} is {describe(value)}, it must be a whole number from {low:.0f} to {high:.0f}"
        )
    return value


def check_divides(values: Mapping[str, int], width: str, parts: str, where: str) -> None:
    """Raise TalkerError unless `values[parts]` divides `values[width]`.

    Args:
        values: Numbers by name.
        width: Name of the number that is divided.
        parts: Name of the number of parts.
        where: The file, for the error message.
    """
    if values[width] % values[parts]:
        raise TalkerError(
            f"{where}: {width} is {values[width]}, which {parts} {values[parts]} does not divide"
        )


def _check_field(name: str, value: Any, kind: str, limits: Range | None, where: str) -> Any:
    low, high = limits or (-math.inf, math.inf)
    if kind == "int":
        return check_whole_number(name, value, low, high, where)
    if kind == "float":
        return _check_number(name, value, low, high, where)
    if kind == "bool":
        if not isinstance(value, bool):
            raise TalkerError(f"{where}: {name} is {describe(value)}, it must be true or false")
        return value
    if kind == "str":
        return _check_text(name, value, where)
    if kind.startswith("tuple["):
        if not isinstance(value, (list, tuple)) or len(value) > MAX_LIST_LENGTH:
            raise TalkerError(
                f"{where}: {name} is {describe(value)}, it must be a list of at most {MAX_LIST_LENGTH} items"
            )
        if kind.startswith("tuple[str"):
            return tuple(_check_text(f"an item of {name}", item, where) for item in value)
        return tuple(_check_number(f"an item of {name}", item, low, high, where) for item in value)
    if not isinstance(value, dict):
        raise TalkerError(f"{where}: {name} is {describe(value)}, it must be an object")
    return value


def _check_number(name: str, value: Any, low: float, high: float, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise TalkerError(
            f"{where}: {name} is {describe(value)}, it must be a number from {low:g} to {high:g}"
        )
    return float(value)


def _check_text(name: str, value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_TEXT_LENGTH:
        raise TalkerError(
            f"{where}: {name} is {describe(value)}, it must be a text of one line, "
            f"of at most {MAX_TEXT_LENGTH} characters"
        )
    return value
