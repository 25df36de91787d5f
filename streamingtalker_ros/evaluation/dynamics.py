# SPDX-License-Identifier: Apache-2.0
"""Temporal metrics of a face: lip speed, jerk, power spectrum, blinks.

Weights are (T, 52) in the order of `ARKIT_NAMES`, curves (T,) in any unit; results are in the unit of the
input.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.rotation import quaternion_to_euler

EYELIDS: Final = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
"""Columns of the eyelids' weights."""

BLINK_ONSET: Final = 0.5
BLINK_OFFSET: Final = 0.25
"""A blink begins above `BLINK_ONSET` and ends below `BLINK_OFFSET` (mean weight of both lids)."""

FAST_HZ: Final = 5.0
"""Above it lips move within a syllable."""

SEGMENT_FRAMES: Final = 64
"""Frames of a segment of the power spectrum, 2.56 s at 25 frames/s."""


def blink_onsets(weights: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Find the frames at which a blink begins.

    Two thresholds (hysteresis) keep a lid that trembles at one of them from blinking in every frame.

    Args:
        weights: (T, 52).

    Returns:
        (N,) frame indices.
    """
    is_closed, onsets = False, []
    for n, eyelid in enumerate(np.asarray(weights)[:, EYELIDS].mean(1)):
        if not is_closed and eyelid > BLINK_ONSET:
            onsets.append(n)
        is_closed = eyelid > (BLINK_OFFSET if is_closed else BLINK_ONSET)
    return np.array(onsets, int)


def mean_vertex_speed(vertices: np.ndarray, frame_rate: float) -> np.ndarray:
    """Mean speed of vertices between frames.

    Args:
        vertices: (T, V, 3) metres.
        frame_rate: frames per second.

    Returns:
        (T - 1,) metres per second.
    """
    return np.linalg.norm(np.diff(vertices, axis=0), axis=-1).mean(-1) * frame_rate


def rms_jerk(curve: np.ndarray, frame_rate: float) -> float:
    """Root mean square of a curve's third difference.

    Noise and discontinuities raise it, and so does a larger amplitude: compare it between motions of equal
    amplitude.

    Args:
        curve: (T,).
        frame_rate: frames per second.

    Returns:
        The unit of `curve` per s³; NaN under four frames.
    """
    return (
        float(np.sqrt(np.mean(np.diff(curve, n=3) ** 2)) * frame_rate**3) if len(curve) > 3 else float("nan")
    )


def fast_power_fraction(curves: Iterable[np.ndarray], frame_rate: float) -> float:
    """Fraction of the power of several curves together that lies above `FAST_HZ`.

    Args:
        curves: (T,) each.
        frame_rate: frames per second.

    Returns:
        The fraction; NaN when every curve is too short for `power_spectrum`, or none moves.
    """
    frequencies, power = power_spectrum(curves, frame_rate)
    total = power.sum()
    return float(power[frequencies > FAST_HZ].sum() / total) if total > 0 else float("nan")


def rotation_range(head: np.ndarray) -> float:
    """Peak-to-peak rotation of the head: the largest of the ranges of yaw, pitch and roll.

    Args:
        head: (T, 4) quaternions xyzw.

    Returns:
        Degrees.
    """
    return float(np.degrees(np.ptp(np.unwrap(quaternion_to_euler(head), axis=0), axis=0).max()))


def power_spectrum(curves: Iterable[np.ndarray], frame_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Power spectral density of several curves together by Welch's method (1967).

    Segments of `SEGMENT_FRAMES`, half overlapping, mean removed, under a Hann window; shorter curves are left
    out.

    Args:
        curves: (T,) each.
        frame_rate: frames per second.

    Returns:
        Frequencies (F,) in Hz and the density (F,) in unit²/Hz; NaN when every curve is too short.
    """
    window = np.hanning(SEGMENT_FRAMES + 1)[:-1]
    segments = [
        curve[start : start + SEGMENT_FRAMES]
        for curve in curves
        for start in range(0, len(curve) - SEGMENT_FRAMES + 1, SEGMENT_FRAMES // 2)
    ]
    frequencies = np.fft.rfftfreq(SEGMENT_FRAMES, 1.0 / frame_rate)
    if not segments:
        return frequencies, np.full(len(frequencies), np.nan)
    stacked = np.stack(segments).astype(np.float64)
    power = np.abs(np.fft.rfft((stacked - stacked.mean(1, keepdims=True)) * window, axis=1)) ** 2
    power[:, 1:-1] *= 2.0  # the negative frequencies' half
    return frequencies, power.mean(0) / (frame_rate * (window**2).sum())
