# SPDX-License-Identifier: Apache-2.0
"""An expression as people write it: shape names with weights, to be added under the speech.

parse_expression({"mouthSmileLeft": 0.4})  ==  parse_expression(["mouthSmileLeft:0.4"])
"""

import difflib
from collections.abc import Mapping

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX


def parse_expression(given):
    """{"mouthSmileLeft": 0.4, …}, or strings "mouthSmileLeft:0.4" (one with commas, or several; empty ones count for
    nothing), or None -> (52,) float32, read-only. Raises TalkerError on an unknown name or a weight that is no number
    from -1 to 1."""
    if isinstance(given, str):
        given = given.split(",")
    if not isinstance(given, Mapping):
        given = dict(_pair(text) for text in given or () if str(text).strip())
    out = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, weight in given.items():
        if name not in INDEX:
            near = difflib.get_close_matches(str(name), ARKIT_NAMES, 1)
            raise TalkerError(
                f"unknown shape {str(name)!r} in the expression: "
                + (f"did you mean {near[0]}?" if near else "give one of the 52 ARKit names")
            )
        out[INDEX[name]] = number(f"the weight of {name}", weight, -1.0, 1.0)
    out.flags.writeable = False
    return out


def _pair(text):
    name, _, weight = str(text).replace("=", ":").partition(":")
    return name.strip(), weight.strip()


def number(what, value, low, high):
    """The value as a float. Raises TalkerError, naming `what`, where it is no number from low to high."""
    try:
        given = float(value)
    except (TypeError, ValueError, OverflowError):  # of a whole number beyond the floats
        given = float("nan")
    if not low <= given <= high:
        raise TalkerError(f"{what} is {value!r}: give a number from {low:g} to {high:g}")
    return given
