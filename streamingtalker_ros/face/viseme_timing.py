# SPDX-License-Identifier: Apache-2.0
"""Visemes of a clip with begin and end, as characters of drawn or sprite mouths need them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.visemes import (
    MICROSOFT_VISEMES,
    OCULUS_VISEMES,
    PRESTON_BLAIR_VISEMES,
    VisemeEstimator,
)

VISEME_SETS: Final[dict[str, Callable[[str], str]]] = {
    "oculus": lambda name: name,
    "microsoft": lambda name: str(MICROSOFT_VISEMES[name]),
    "preston-blair": lambda name: PRESTON_BLAIR_VISEMES[name],
}
"""Name of each Oculus viseme in each set."""


class VisemeSpan(NamedTuple):
    """A viseme and its time.

    Attributes:
        name: Name in the set.
        start: s.
        end: s.
    """

    name: str
    start: float
    end: float


def time_visemes(
    weights: npt.NDArray[np.floating],
    speaking: npt.NDArray[np.bool_],
    times: npt.NDArray[np.floating],
    frame_rate: float,
    viseme_set: str = "oculus",
) -> list[VisemeSpan]:
    """Return the visemes of a clip: of each frame the one of the greatest weight, equal neighbours joined.

    Args:
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        speaking: (T,) voice activity; without it the viseme is that of silence.
        times: (T,) begin of each frame in s, rising.
        frame_rate: Frames per second.
        viseme_set: A key of `VISEME_SETS`.

    Returns:
        The spans, which follow each other without a gap.
    """
    estimator, to_name = VisemeEstimator(), VISEME_SETS[viseme_set]
    spans: list[VisemeSpan] = []
    for frame, is_voice, time in zip(weights, speaking, times, strict=True):
        best = int(estimator.estimate(frame).argmax()) if is_voice else 0
        name, start, end = to_name(OCULUS_VISEMES[best]), float(time), float(time) + 1.0 / frame_rate
        if spans and spans[-1].name == name:
            spans[-1] = VisemeSpan(name, spans[-1].start, end)
        else:
            spans.append(VisemeSpan(name, start, end))
    return spans
