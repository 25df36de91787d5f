# SPDX-License-Identifier: Apache-2.0
"""Parses an expression, the weights of ARKit shapes that are added under the speech.

`parse_expression({"mouthSmileLeft": 0.4})` equals `parse_expression(["mouthSmileLeft:0.4"])`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import describe, shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX

Expression: TypeAlias = Mapping[str, Any] | Iterable[str] | str | None


def parse_expression(expression: Expression) -> npt.NDArray[np.float32]:
    """Parse an expression.

    Args:
        expression: {"mouthSmileLeft": 0.4, …}, strings such as "mouthSmileLeft:0.4", or one string with
            commas between; empty strings are ignored. None is the neutral expression.

    Returns:
        (52,) weights in the order of `ARKIT_NAMES`, read-only.

    Raises:
        TalkerError: If a name is unknown or a weight is not a number from -1 to 1.
    """
    if isinstance(expression, str):
        expression = expression.split(",")
    if not isinstance(expression, Mapping):
        expression = dict(_split_pair(text) for text in expression or () if str(text).strip())
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, weight in expression.items():
        if name not in INDEX:
            matches = difflib.get_close_matches(shorten(str(name)), ARKIT_NAMES, 1)
            hint = f"did you mean {matches[0]}?" if matches else "give one of the 52 ARKit names"
            raise TalkerError(f"unknown shape {describe(str(name))} in the expression: {hint}")
        weights[INDEX[name]] = check_float(f"the weight of {name}", weight, -1.0, 1.0)
    weights.flags.writeable = False
    return weights


def _split_pair(text: str) -> tuple[str, str]:
    name, _, weight = str(text).replace("=", ":").partition(":")
    return name.strip(), weight.strip()


def check_float(name: str, value: Any, low: float, high: float) -> float:
    """Convert a value to a float within a range.

    Args:
        name: What the value is, for the message.
        value: A number, or a text that is one.
        low: Least value allowed.
        high: Greatest value allowed.

    Returns:
        The number.

    Raises:
        TalkerError: If the value is not a number from `low` to `high`.
    """
    try:
        number = float(value)
    except Exception:  # an integer beyond the floats, and what any object's __float__ raises
        number = float("nan")
    if not low <= number <= high:
        raise TalkerError(f"{name} is {describe(value)}: give a number from {low:g} to {high:g}")
    return number
