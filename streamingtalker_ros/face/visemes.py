# SPDX-License-Identifier: Apache-2.0
"""Visemes from ARKit weights: the 15 of Oculus LipSync (OVR), and other sets by their names.

Each viseme has a pose of the mouth, `VISEME_POSES` (from formats/shape_names.json), at the size that the
shapes have in fluent speech. The weights of a frame are those, none negative, whose sum of poses comes
nearest to the frame's mouth: ridge regression with non-negative weights. They sum to 1 at most; `sil`, the
mouth at rest, has what is missing to 1. What a mouth looks like does not say which sound it makes: visemes
that look alike, such as DD and nn, share their weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.names import pose_shapes

OCULUS_VISEMES: Final[tuple[str, ...]] = (
    "sil",
    "PP",
    "FF",
    "TH",
    "DD",
    "kk",
    "CH",
    "SS",
    "nn",
    "RR",
    "aa",
    "E",
    "ih",
    "oh",
    "ou",
)
"""The visemes of Oculus LipSync in its order: `sil` is silence, capitals are consonants."""


def _pose(viseme: str) -> npt.NDArray[np.float32]:
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, weight in pose_shapes(viseme).items():
        weights[INDEX[name]] = weight
    return weights


VISEME_POSES: Final[npt.NDArray[np.float32]] = np.stack([_pose(name) for name in OCULUS_VISEMES])
"""(15, 52) ARKit weights of each viseme of `OCULUS_VISEMES`."""

# Shapes that tell visemes apart count more than the jaw, which moves most and tells least.
_SHAPE_IMPORTANCE: Final = np.ones(len(ARKIT_NAMES))
for _name, _factor in (("tongueOut", 2.0), ("mouthPucker", 1.5), ("mouthFunnel", 1.5), ("mouthClose", 2.0)):
    _SHAPE_IMPORTANCE[INDEX[_name]] = _factor
_RIDGE: Final = 2e-5  # small against the poses, whose squares are 0.02 to 0.5
_BLOCK_TRIES: Final = 3
_MAX_EXCHANGES: Final = 200
_TOLERANCE: Final = 1e-12  # of a gradient that counts as none


class VisemeEstimator:
    """Estimates the visemes of one face's frames.

    It begins each search at the solution of the frame before, which is quick; the result does not depend on
    that.

    Args:
        visemes: Names of `OCULUS_VISEMES` without `sil`, of which the mouth is to be composed.
    """

    def __init__(self, visemes: Sequence[str] = OCULUS_VISEMES[1:]) -> None:
        matrix = VISEME_POSES[[OCULUS_VISEMES.index(name) for name in visemes]] * _SHAPE_IMPORTANCE
        self._normal = matrix @ matrix.T + _RIDGE * np.eye(len(matrix))
        self._projection = matrix * _SHAPE_IMPORTANCE
        self._positive: npt.NDArray[np.bool_] | None = None  # which weights of the last frame were not 0

    def estimate(self, weights: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Weights of the visemes of a frame.

        Args:
            weights: (52,) in 0..1, in the order of `ARKIT_NAMES`.

        Returns:
            (1 + V,) in 0..1: `sil`, and the estimator's visemes in order; they sum to 1.
        """
        target = self._projection @ np.asarray(weights, np.float64)
        start = target > 0.0 if self._positive is None else self._positive
        solution = solve_non_negative(self._normal, target, start)
        self._positive = solution > 0.0
        total = float(solution.sum())
        if total > 1.0:
            solution, total = solution / total, 1.0
        result = np.empty(1 + len(solution), np.float32)
        result[0], result[1:] = 1.0 - total, solution
        return result


def solve_non_negative(
    normal: npt.NDArray[np.float64], target: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Minimise x'Nx / 2 - target'x over x >= 0, N the matrix `normal`, by block principal pivoting.

    J. Kim and H. Park, Fast Nonnegative Matrix Factorization: An Active-set-like Method And Comparisons, SIAM
    J. Sci. Comput. 33 (2011): weights of the wrong sign change sides together, and where that makes it no
    better, the last of them alone, which always ends.

    Args:
        normal: (V, V), positive definite.
        target: (V,).
        positive: (V,) which weights are likely not 0; it changes how long the search takes.

    Returns:
        x, (V,).
    """
    solution = np.zeros(len(target))
    fewest, tries = len(target) + 1, _BLOCK_TRIES
    for _ in range(_MAX_EXCHANGES):
        indices = positive.nonzero()[0]
        solution = np.zeros(len(target))
        if len(indices):
            solution[indices] = np.linalg.solve(normal[indices[:, None], indices], target[indices])
        wrong = np.where(positive, solution < 0.0, normal @ solution - target < -_TOLERANCE).nonzero()[0]
        if not len(wrong):
            break
        if len(wrong) < fewest:
            fewest, tries = len(wrong), _BLOCK_TRIES
        elif tries:
            tries -= 1
        else:
            wrong = wrong[-1:]
        positive = positive.copy()
        positive[wrong] ^= True
    return np.maximum(solution, 0.0)


MICROSOFT_VISEMES: Final[dict[str, tuple[int, ...]]] = {
    "sil": (0,),
    "PP": (21,),
    "FF": (18,),
    "TH": (17,),
    "DD": (19,),
    "kk": (20,),
    "CH": (16,),
    "SS": (15,),
    "nn": (14,),
    "RR": (13,),
    "aa": (2,),
    "E": (4,),
    "ih": (6,),
    "oh": (8,),
    "ou": (7,),
}
"""Number of the Microsoft speech API's viseme (0 to 21) that shows each Oculus viseme."""

PRESTON_BLAIR_VISEMES: Final[dict[str, str]] = {
    "sil": "rest",
    "PP": "MBP",
    "FF": "FV",
    "TH": "L",
    "DD": "etc",
    "kk": "etc",
    "CH": "etc",
    "SS": "etc",
    "nn": "L",
    "RR": "WQ",
    "aa": "AI",
    "E": "E",
    "ih": "E",
    "oh": "O",
    "ou": "U",
}
"""Name of the mouth of Preston Blair's chart (as Papagayo spells them) that shows each Oculus viseme."""
