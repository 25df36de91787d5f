# SPDX-License-Identifier: Apache-2.0
"""Lip closures in speech, classified as expected or false, and false ones by the phone they fall on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.evaluation.metrics import PHONE_MARGIN_S, frames_within
from streamingtalker_ros.phonetics.phones import BILABIALS, LABIODENTALS, VOWELS, Phone

EXPECTED: Final = "expected"
"""Class of the closures that are not false."""

PHONE_CLASSES: Final = {
    **{name: name for name in ("n", "l", "t", "d", "k", "s")},
    **dict.fromkeys(VOWELS, "vowels"),
    **dict.fromkeys(LABIODENTALS, "f v"),
}
"""Phone -> class of a false closure on it; all others are `OTHER_PHONES`."""

OTHER_PHONES: Final = "other"

FALSE_CLOSURE_CLASSES: Final = tuple(dict.fromkeys([*PHONE_CLASSES.values(), OTHER_PHONES]))
"""Classes of false closures, in the order of tables."""

REFERENCE_MARGIN_FRAMES: Final = 1
"""Frames by which a closure may miss one of the reference."""


def find_runs(mask: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Find the runs of true values.

    Args:
        mask: (T,).

    Returns:
        (first, last + 1) of each run.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def classify_closures(
    closed: npt.NDArray[np.bool_],
    reference_closed: npt.NDArray[np.bool_],
    phones: Sequence[Phone],
    frame_rate: float,
) -> Counter[str]:
    """Count the closures of one clip by class.

    A closure is expected on a p, b or m and where the reference closes too. One that reaches into a pause is
    rest, and is not counted.

    Args:
        closed: (T,) whether the lips are closed.
        reference_closed: (T,) the same of the reference.
        phones: the clip's phones, normalized.
        frame_rate: frames per second.

    Returns:
        Class -> closures: `EXPECTED`, and false ones by `PHONE_CLASSES`.
    """
    names = np.full(len(closed), "pau", object)
    is_expected = np.zeros(len(closed), bool)
    for first, end in find_runs(reference_closed):
        is_expected[max(0, first - REFERENCE_MARGIN_FRAMES) : end + REFERENCE_MARGIN_FRAMES] = True
    for phone in phones:
        names[frames_within(phone.start, phone.end, len(closed), frame_rate)] = phone.name
    for phone in phones:
        if phone.name in BILABIALS:
            start, end = phone.start - PHONE_MARGIN_S, phone.end + PHONE_MARGIN_S
            is_expected[frames_within(start, end, len(closed), frame_rate)] = True
    counts: Counter[str] = Counter()
    for first, end in find_runs(closed):
        if "pau" in names[first:end]:
            continue
        name = str(names[(first + end - 1) // 2])
        counts[EXPECTED if is_expected[first:end].any() else PHONE_CLASSES.get(name, OTHER_PHONES)] += 1
    return counts
