# SPDX-License-Identifier: Apache-2.0
"""Types of options: an error states what is allowed. A number has a range; NaN and infinity are in none.

`command_parser` turns the error into a sentence that begins with the option's name.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Final

from streamingtalker_ros.messaging import ros_names
from streamingtalker_ros.model.blendshape.backend import BACKENDS, PRECISIONS

MAX_DURATION_S: Final = 1e8
"""Longest time that an option may state, three years; timers overflow somewhere beyond."""

MAX_COUNT: Final = 1_000_000_000
"""Greatest count that an option may state."""

MAX_DOMAIN: Final = 232
"""Greatest ROS domain whose ports exist."""

MAX_STEPS: Final = 1000
"""Greatest number of diffusion steps per frame."""

MAX_PROCESSES: Final = 1024
"""Greatest number of threads or processes that an option may state."""

PICTURE_SIZE_RANGE: Final = 16, 4096
"""Least and greatest width and height of a picture in pixels."""

_MAX_CHARS: Final = 40  # of the text in an error message


class RangeError(argparse.ArgumentTypeError):
    """The text is no number, or one out of range; the message continues the option's name: "must be …"."""


def add_backend_options(parser: argparse._ActionsContainer, default: str | None = "auto") -> None:
    """Add the options --device, --backend and --precision of a talker.

    Args:
        parser: Parser of the command, or a group of it; it is extended in place.
        default: Of each; None for a command whose parameter file sets them.
    """
    end = "" if default else "; the parameter file's if left out"
    parser.add_argument("--device", default=default, help=f"auto, cpu, cuda or cuda:N{end}")
    parser.add_argument(
        "--backend",
        default=default,
        choices=BACKENDS,
        help=f"what computes the frames: torch, ONNX Runtime (onnx), or auto{end}",
    )
    parser.add_argument(
        "--precision",
        default=default,
        choices=PRECISIONS,
        help=f"type in which the weights are multiplied; int8 on ONNX Runtime alone{end}",
    )


def timecode(text: str) -> float:
    """Convert a timecode to seconds since midnight: the `type` of an option.

    Args:
        text: HH:MM:SS or HH:MM:SS:FF, with sixtieths of a second FF.
    """
    from streamingtalker_ros.face.formats.livelink import parse_timecode  # late: it imports numpy

    try:
        return parse_timecode(text)
    except ValueError:
        raise RangeError(
            f"must be HH:MM:SS:FF, at most 23:59:59:59, with sixtieths of a second FF, not {_show(text)}"
        ) from None


def picture_size(text: str) -> tuple[int, int]:
    """Convert WIDTHxHEIGHT to pixels: the `type` of an option.

    Args:
        text: Two whole numbers, as 1280x720.
    """
    low, high = PICTURE_SIZE_RANGE
    width, _, height = text.lower().partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        size = 0, 0
    if not low <= min(size) <= max(size) <= high:
        raise RangeError(
            f"must be WIDTHxHEIGHT, each at least {low} and at most {high} pixels, not {_show(text)}"
        )
    return size


def integer(low: int, high: int = MAX_COUNT) -> Callable[[str], int]:
    """Return the `type` of an option that takes a whole number.

    Args:
        low: Least value allowed.
        high: Greatest value allowed.

    Returns:
        A function that converts the text; it raises `RangeError`.
    """

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # no whole number, or one of more digits than Python converts
            value = low - 1
        if not low <= value <= high:
            raise RangeError(f"must be {_bound(low)} and at most {high}, a whole number, not {_show(text)}")
        return value

    return convert


def number(low: float, high: float, *, above: bool = False) -> Callable[[str], float]:
    """Return the `type` of an option that takes a number.

    Args:
        low: Least value allowed.
        high: Greatest value allowed.
        above: Whether `low` itself is excluded.

    Returns:
        A function that converts the text; it raises `RangeError`.
    """

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low):
            least = f"above {low:g}" if above else _bound(low)
            raise RangeError(f"must be {least} and at most {high:g}, not {_show(text)}")
        return value

    return convert


def duration_s(text: str) -> float:
    """Convert the text of an option that takes seconds, 0 to `MAX_DURATION_S`."""
    return number(0.0, MAX_DURATION_S)(text)


def ros_domain(text: str) -> int:
    """Convert the text of an option that takes a ROS domain, 0 to `MAX_DOMAIN`."""
    return integer(0, MAX_DOMAIN)(text)


def ros_namespace(text: str) -> str:
    """Return the text of an option that takes a ROS namespace."""
    if not ros_names.is_namespace(text):
        raise RangeError(f"must be {ros_names.NAME_RULE}, not {_show(text)}")
    return text


def ros_topic(text: str) -> str:
    """Return the text of an option that takes the name of a topic, which may begin with / or ~/."""
    if not ros_names.is_full_name(f"/{text.removeprefix('~').removeprefix('/')}"):
        raise RangeError(f"must be {ros_names.NAME_RULE}, not {_show(text)}")
    return text


def frame_name(text: str) -> str:
    """Return the text of an option that takes the name of a coordinate frame."""
    if not text.isprintable():  # a message cannot hold it
        raise RangeError(f"must be of printable characters, not {_show(text)}")
    return text


def _bound(low: float) -> str:
    return "0 or more" if low == 0 else f"at least {low:g}"


def _show(text: str) -> str:
    return repr(text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…")
