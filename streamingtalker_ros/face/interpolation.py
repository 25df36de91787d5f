# SPDX-License-Identifier: Apache-2.0
"""Linear interpolation of face motion between frames, for live outputs and files of another rate."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


def interpolate_pose(
    weights: npt.NDArray[np.floating],
    next_weights: npt.NDArray[np.floating],
    head: npt.NDArray[np.floating],
    next_head: npt.NDArray[np.floating],
    fraction: npt.ArrayLike,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Interpolate between poses: weights linearly, the head by normalised linear interpolation (nlerp).

    Args:
        weights: (…, 52) of the earlier pose.
        next_weights: (…, 52) of the later pose.
        head: (…, 4) quaternion xyzw of the earlier pose.
        next_head: (…, 4) quaternion xyzw of the later pose; q and -q are one rotation.
        fraction: (…) of the way, 0 gives the earlier pose and 1 the later one.

    Returns:
        Weights (…, 52) and unit quaternions (…, 4).
    """
    part = np.asarray(fraction, np.float64)[..., None]
    first, second = np.asarray(head, np.float64), np.asarray(next_head, np.float64)
    sign = np.where((first * second).sum(axis=-1, keepdims=True) < 0, -1.0, 1.0)
    mixed = (1.0 - part) * first + part * sign * second
    mixed /= np.linalg.norm(mixed, axis=-1, keepdims=True)
    blended = (1.0 - part) * np.asarray(weights, np.float64) + part * np.asarray(next_weights, np.float64)
    return blended, mixed


def resample_motion(
    weights: npt.NDArray[np.floating],
    head: npt.NDArray[np.floating],
    times: npt.NDArray[np.floating],
    frame_rate: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Resample a clip to a regular frame rate, from its first frame to its last.

    Args:
        weights: (T, 52), T at least 1.
        head: (T, 4) quaternions xyzw.
        times: (T,) seconds, rising.
        frame_rate: Frames per second of the result.

    Returns:
        Weights (N, 52), unit quaternions (N, 4) and times (N,) in seconds, the last at or before the clip's.
    """
    start, end = float(times[0]), float(times[-1])
    count = math.floor((end - start) * frame_rate + 1e-6) + 1
    at = start + np.arange(count) / frame_rate
    if len(times) == 1:
        return np.asarray(weights, np.float64), np.asarray(head, np.float64), at
    index = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    fraction = np.clip((at - times[index]) / (times[index + 1] - times[index]), 0.0, 1.0)
    blended, mixed = interpolate_pose(
        weights[index], weights[index + 1], head[index], head[index + 1], fraction
    )
    return blended, mixed, at
