# SPDX-License-Identifier: Apache-2.0
"""Rotations as unit quaternions, components in the order x, y, z, w."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def rotation_vector_to_quaternion(rotation: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convert a rotation vector to a unit quaternion: axis · sin(angle / 2), cos(angle / 2).

    Args:
        rotation: (3,) axis times angle, in radians.

    Returns:
        (4,) float32, xyzw.
    """
    half = 0.5 * float(np.linalg.norm(rotation))
    scale = 0.5 * math.sin(half) / half if half > 0.0 else 0.5
    return np.array([*(scale * rotation), math.cos(half)], np.float32)
