# SPDX-License-Identifier: Apache-2.0
"""Four linear measures of the mouth, and the nearest ARKit weights that have given ones.

A tracked face, a prediction from audio and a sampled frame describe a mouth by the same numbers: lip
aperture, width, raise of the upper lip and rounding. `MouthMeasures` computes them from weights and corrects
weights until they have them; which shapes take part, and how much, is `COMPLIANCE`. The chin is no measure:
its skin moves less in a film than a rig's jaw, and the lower lip would be pulled down in its place.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rig import Rig

MEASURES: Final = ("aperture", "width", "upper_lip", "rounding")
"""Names of the measures, in the order of every array of them.

aperture: gap of the inner lips, 1 where `jawOpen` is 1; below 0 the lips are pressed together.
width: change of the mouth's width, as a fraction of the width at rest.
upper_lip: raise of the inner upper lip, in the unit of the aperture.
rounding: sum of the weights `mouthPucker` and `mouthFunnel`, which a frontal camera sees as narrowing.
"""

SPEECH_STD: Final = (0.19, 0.054, 0.07, 0.083)
"""Standard deviation of each measure in speech, the median of twelve speakers of the GRID corpus."""

COMPLIANCE: Final = {
    "jawOpen": 1.0,
    "mouthClose": 0.5,
    "mouthLowerDown": 0.6,
    "mouthUpperUp": 0.6,
    "mouthPucker": 1.0,
    "mouthFunnel": 0.3,
    "mouthStretch": 1.0,
    "mouthSmile": 0.5,
    "mouthDimple": 0.3,
    "mouthRollUpper": 0.15,
    "mouthRollLower": 0.1,
    "mouthShrugUpper": 0.1,
    "mouthPress": 0.05,
}
"""How readily a shape changes to meet the measures, left and right alike; shapes left out do not change."""

MAX_ROUNDS: Final = 5
"""Corrections of one frame: shapes that reach 0 or 1 in one are fixed in those that follow."""

MAX_RESPONSES: Final = 256
"""Sets of free shapes whose response is kept; few occur in speech."""

RIDGE: Final = np.diag([1e-5, 2e-5, 1e-4, 1e-3])
"""Where the shapes cannot meet all measures, the aperture has priority."""


class MouthMeasures:
    """The measures of a face.

    Args:
        rig: Face with the 52 ARKit shapes and the landmarks of lips and corners.

    Attributes:
        rows: (4, 52) float64, `measures = bias + rows @ weights`.
        bias: (4,) float64.
        unit: Metres of lip gap that `jawOpen` at 1 opens: the unit of aperture and upper lip.
    """

    def __init__(self, rig: Rig) -> None:
        gap, gap_row = rig.lip_gap_map()
        rest_width, width_row = rig.lip_width_map()
        self.unit = float(gap_row[rig.shape_names.index("jawOpen")])
        upper_lip, _ = rig.middle_lip_pairs()
        rounding = [name in ("mouthPucker", "mouthFunnel") for name in ARKIT_NAMES]
        self.rows = np.stack(
            [
                gap_row / self.unit,
                width_row / rest_width,
                rig.deltas[:, upper_lip, 2].mean(1) / self.unit,
                np.array(rounding, np.float64),
            ]
        ).astype(np.float64)
        self.bias = np.array([gap / self.unit, 0.0, 0.0, 0.0])
        sides = [name.removesuffix("Left").removesuffix("Right") for name in ARKIT_NAMES]
        self._compliance = np.array([COMPLIANCE.get(name, 0.0) for name in sides])
        self._responses: dict[bytes, npt.NDArray[np.float64]] = {}

    def __call__(self, weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Measure weights.

        Args:
            weights: (…, 52), 0..1.

        Returns:
            (…, 4), in the order of `MEASURES`.
        """
        return np.asarray(weights, np.float64) @ self.rows.T + self.bias

    def fit(
        self, weights: npt.NDArray[np.float32], target: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """Correct weights as little as possible until they have given measures.

        Least-norm steps weighted by `COMPLIANCE`. Measures that the shapes cannot have together within 0..1
        are met as nearly as `RIDGE` says.

        Args:
            weights: (52,) in 0..1.
            target: (4,) measures.

        Returns:
            (52,) weights in 0..1, a new array.
        """
        result = weights.astype(np.float64)
        is_free = np.ones(len(result), np.bool_)
        for _ in range(MAX_ROUNDS):
            error = target - self.bias - self.rows @ result
            moved = result + self._response(is_free) @ error
            result = np.minimum(np.maximum(moved, 0.0), 1.0)
            is_inside = moved == result
            if is_inside.all():
                break
            is_free &= is_inside
        return result.astype(np.float32)

    def _response(self, is_free: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Least change (52, 4) of the weights that are free, per change of each measure."""
        key = is_free.tobytes()
        response = self._responses.get(key)
        if response is None:
            compliant = self.rows * (self._compliance * is_free)
            response = np.linalg.solve(compliant @ self.rows.T + RIDGE, compliant).T
            if len(self._responses) >= MAX_RESPONSES:
                self._responses.clear()
            self._responses[key] = response
        return response


@functools.lru_cache(maxsize=1)
def default_mouth_measures() -> MouthMeasures:
    """The measures of the default face."""
    from streamingtalker_ros.face.default_head.stored import default_rig

    return MouthMeasures(default_rig())
