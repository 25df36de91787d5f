# SPDX-License-Identifier: Apache-2.0
"""Courses of movements over time."""

from __future__ import annotations


def smooth_step(x: float) -> float:
    """Return the minimum-jerk course from 0 to 1 (T. Flash, N. Hogan 1985).

    Args:
        x: Fraction of the movement's duration; clipped to 0..1.
    """
    x = min(max(x, 0.0), 1.0)
    return x**3 * (10.0 + x * (6.0 * x - 15.0))
