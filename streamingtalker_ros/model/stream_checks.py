# SPDX-License-Identifier: Apache-2.0
"""Checks of what a caller passes to a talker: seeds, steps, batches of streams and their audio.

Everything is checked before any state changes, so that a call that raises `TalkerError` leaves all streams as
they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError

StreamT = TypeVar("StreamT")


class NotCopyable:
    """Refuses `copy.copy`, `copy.deepcopy` and `pickle`: a copy would share the state of the original."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Raise TalkerError."""
        raise TalkerError(
            f"a {type(self).__name__} cannot be copied or pickled: open another stream with open_stream, or "
            "load another talker"
        )


def check_seed(seed: Any) -> int:
    """Return the seed of a stream as an integer.

    Raises:
        TalkerError: If it is no number.
    """
    try:
        return int(seed)
    except Exception:  # of any object's __int__
        raise TalkerError(f"the seed is {describe(seed)}: give a whole number") from None


def check_steps(steps: Any, limit: int) -> int:
    """Return a number of diffusion steps.

    Args:
        steps: The number as given.
        limit: The greatest number allowed.

    Raises:
        TalkerError: If it is no whole number from 1 to `limit`.
    """
    try:
        number = int(steps)
        if number == steps and 1 <= number <= limit:
            return number
    except Exception:  # of any object's __int__ or comparison
        pass
    raise TalkerError(
        f"{describe(steps)} diffusion steps cannot be taken: choose a whole number from 1 to {limit}"
    )


def check_batch(
    talker: object, stream_type: type[StreamT], streams: Iterable[Any], chunks: Iterable[Any]
) -> tuple[list[StreamT], list[Any]]:
    """Check the arguments of `TalkerProtocol.accept`, apart from the audio itself.

    Args:
        talker: The talker that is called.
        stream_type: Class of its streams, which have the attribute `talker`.
        streams: The streams as given.
        chunks: Their audio as given.

    Returns:
        Both as lists of equal length.

    Raises:
        TalkerError: If a stream is passed twice or is not one of the talker's, or a chunk is missing.
    """
    try:
        stream_list, chunk_list = list(streams), list(chunks)
    except TypeError:
        raise TalkerError(
            "no lists were passed: pass a list of streams and a list with one array of audio for each"
        ) from None
    checked = [
        stream
        for stream in stream_list
        if isinstance(stream, stream_type) and getattr(stream, "talker", None) is talker
    ]
    if len(checked) != len(stream_list):
        raise TalkerError("a stream of another talker was passed: open it with this talker's open_stream")
    if len(set(map(id, checked))) != len(checked):
        raise TalkerError("a stream is passed twice in one call: concatenate its chunks")
    if len(chunk_list) != len(checked):
        raise TalkerError(
            f"{len(checked)} streams and {len(chunk_list)} chunks of audio were passed: pass one for each"
        )
    return checked, chunk_list
