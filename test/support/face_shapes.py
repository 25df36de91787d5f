# SPDX-License-Identifier: Apache-2.0
"""Weights of ARKit shapes by name, and parts of a rig's mesh."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rig import Rig


def shape_weights(**shapes: float) -> npt.NDArray[np.float32]:
    """Weights (52,); a name without its side, such as `mouthSmile`, sets both sides."""
    weights = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in shapes.items():
        for side in ("",) if name in INDEX else ("Left", "Right"):
            weights[INDEX[name + side]] = value
    return weights


def part_triangles(rig: Rig, *parts: str) -> npt.NDArray[np.int64]:
    """Triangles (T, 3) of which all corners belong to some of the parts."""
    is_part = np.zeros(len(rig.vertices), bool)
    for name in parts:
        is_part[slice(*rig.parts[name])] = True
    return rig.triangles[is_part[rig.triangles].all(axis=1)].astype(np.int64)
