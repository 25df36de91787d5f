# SPDX-License-Identifier: Apache-2.0
"""Measures of the lips that are linear in the weights, and the projection of weights onto their limits."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.stored import default_rig

CONTACT_GAP_M: Final = 0.0003
"""Metres of inner-lip gap, above rest, up to which lips count as touching."""

MAX_EXCESS: Final = 1e-7
"""Of a measure of the lips over its limit, in its unit: rounding of float32."""


class LipMeasure:
    """A linear map of weights that measures the lips, prepared to project weights onto its limits.

    Args:
        row: (52,) the map, such as the inner-lip gap.

    Attributes:
        row: The same.
    """

    def __init__(self, row: npt.NDArray[np.float32]) -> None:
        self.row = row
        self._squares = np.square(row)
        self._rises, self._falls = row > 0.0, row < 0.0

    @functools.cached_property
    def negative(self) -> LipMeasure:
        """The measure with the opposite sign, whose upper limits are lower limits of this one."""
        return LipMeasure(-self.row)

    def __call__(self, weights: npt.NDArray[np.float32]) -> float:
        """Return weights @ row.

        Args:
            weights: (52,) in 0..1.
        """
        return float(weights.dot(self.row))

    def limit(
        self, weights: npt.NDArray[np.float32], limit: float, value: float | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the nearest weights in 0..1 with weights @ row = limit, for weights whose value is larger.

        `weights - x·row` clipped to 0..1 is that projection. Its value falls with x in straight segments that
        grow flatter, so Newton's steps from x = 0 approach the limit from above, at most one step for each
        shape that reaches 0 or 1.

        Args:
            weights: (52,) in 0..1.
            limit: The largest value allowed.
            value: weights @ row, where the caller has computed it.

        Returns:
            (52,), a new array, or the same if the value is not larger.
        """
        projected, amount = weights, 0.0
        excess = (self(weights) if value is None else value) - limit
        for _ in range(len(weights)):
            if excess <= MAX_EXCESS:
                break
            free = projected > 0.0
            free |= self._falls
            below = projected < 1.0
            below |= self._rises
            free &= below
            slope = float(np.add.reduce(self._squares[free]))
            if slope == 0.0:
                break
            amount += excess / slope
            projected = weights - self.row * np.float32(amount)
            np.maximum(projected, 0.0, out=projected)  # as np.clip, at a third of its cost
            np.minimum(projected, 1.0, out=projected)
            excess = self(projected) - limit
        return projected


@functools.lru_cache(maxsize=1)
def lip_gap_measure() -> LipMeasure:
    """The inner-lip gap of the default face above rest, in metres."""
    return LipMeasure(default_rig().lip_gap_map()[1])
