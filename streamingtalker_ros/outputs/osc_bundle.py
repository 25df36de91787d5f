# SPDX-License-Identifier: Apache-2.0
"""OSC bundles of one layout, of which only the numbers change from one to the next.

python-osc writes the layout once; `encode` then writes the numbers into a copy, which takes microseconds
where python-osc takes more than a millisecond for the 70 messages of a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require

Argument: TypeAlias = str | int | float
"""An argument of a message; a float stands for a number that `encode` gets."""


class OscBundle:
    """A bundle of messages.

    Args:
        messages: Address and arguments of each message.

    Raises:
        TalkerError: If python-osc is not installed.
    """

    def __init__(self, messages: Sequence[tuple[str, Sequence[Argument]]]) -> None:
        # all of OSC is aligned to four bytes: the floats are the words in which two sets of numbers differ
        zeros, ones = (np.frombuffer(_encode(messages, number), ">u4") for number in (0.0, 1.0))
        self._indices = np.flatnonzero(zeros != ones)
        self._words = zeros.view(">f4").copy()

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


def _encode(messages: Sequence[tuple[str, Sequence[Argument]]], number: float) -> bytes:
    """Return the bundle in which every float is `number`."""
    bundles = require("pythonosc.osc_bundle_builder", "an OSC or VMC output")
    builders = require("pythonosc.osc_message_builder", "an OSC or VMC output")
    bundle: Any = bundles.OscBundleBuilder(bundles.IMMEDIATELY)
    for address, arguments in messages:
        message: Any = builders.OscMessageBuilder(address)
        for argument in arguments:
            message.add_arg(number if isinstance(argument, float) else argument)
        bundle.add_content(message.build())
    return bundle.build().dgram
