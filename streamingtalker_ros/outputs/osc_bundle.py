# SPDX-License-Identifier: Apache-2.0
"""OSC 1.0 bundles of one layout, of which only the numbers change from one to the next.

The bundle is laid out once; `encode` then writes the numbers into a copy, which takes microseconds where a
general writer takes a millisecond for the 70 messages of a face.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Argument: TypeAlias = str | int | float
"""An argument of a message; a float stands for a number that `encode` gets."""

_IMMEDIATELY: Final = struct.pack("!Q", 1)  # the time tag of a bundle without a time


def _string(text: str) -> bytes:
    data = text.encode() + b"\0"
    return data + bytes(-len(data) % 4)


class OscBundle:
    """A bundle of messages.

    Args:
        messages: Address and arguments of each message.
    """

    def __init__(self, messages: Sequence[tuple[str, Sequence[Argument]]]) -> None:
        bundle = bytearray(_string("#bundle") + _IMMEDIATELY)
        positions: list[int] = []
        for address, arguments in messages:
            tags = "".join({str: "s", int: "i", float: "f"}[type(argument)] for argument in arguments)
            start = _string(address) + _string("," + tags)
            body = bytearray(start)
            for argument in arguments:
                if isinstance(argument, str):
                    body += _string(argument)
                elif isinstance(argument, int):
                    body += struct.pack("!i", argument)
                else:
                    positions.append(len(bundle) + 4 + len(body))
                    body += struct.pack("!f", argument)
            bundle += struct.pack("!i", len(body)) + body
        self._words = np.frombuffer(bytes(bundle), ">f4").copy()
        self._indices = np.array(positions, np.intp) // 4

    @property
    def num_floats(self) -> int:
        """Number of float arguments of all messages."""
        return len(self._indices)

    def encode(self, values: npt.ArrayLike) -> bytes:
        """Return the bundle.

        Args:
            values: The float arguments of all messages, in order.
        """
        self._words[self._indices] = values
        return self._words.tobytes()
