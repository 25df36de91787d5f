# SPDX-License-Identifier: Apache-2.0
"""How a face moves over time: speed of the lips, jerk, spectrum, blinks. On arrays alone, one clip each.

Weights are (T, 52) in ARKIT_NAMES order, curves (T,) in any unit; every result is in the unit of what came in.
"""

import numpy as np

from streamingtalker_ros.face.arkit import INDEX

LIDS = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
SHUT, OPEN = 0.5, 0.25  # a blink begins above the first and ends below the second
SEGMENT = 64  # frames of a spectrum's segments, 2.56 s at 25 frames/s


def blinks(weights):
    """Frames at which a blink begins, (N,) int: the mean of both lids rises over 0.5; it is over below 0.25.

    Two thresholds, so that a lid that trembles at one of them does not blink with every frame.
    """
    lids, shut, found = np.asarray(weights)[:, LIDS].mean(1), False, []
    for n, lid in enumerate(lids):
        if not shut and lid > SHUT:
            found.append(n)
        shut = lid > (OPEN if shut else SHUT)
    return np.array(found, int)


def vertex_speed(points, frame_rate):
    """Mean speed of some vertices from frame to frame: (T, V, 3) metres -> (T - 1,) metres per second."""
    return np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(-1) * frame_rate


def jerk(curve, frame_rate):
    """Root mean square of a curve's third difference, per s³; NaN under four frames.

    Noise and jumps raise it, but so does moving more: compare it between motions of equal amplitude.
    """
    return (
        float(np.sqrt(np.mean(np.diff(curve, n=3) ** 2)) * frame_rate**3) if len(curve) > 3 else float("nan")
    )


def spectrum(curves, frame_rate):
    """Power spectral density of some curves together, after Welch (1967): frequencies (F,) Hz, density (F,) unit²/Hz.

    Segments of 2.56 s (at 25 frames/s), half overlapping, their mean removed, under a Hann window; shorter curves are
    left out, and the density is NaN when none is left.
    """
    window = np.hanning(SEGMENT + 1)[:-1]
    parts = [
        curve[start : start + SEGMENT]
        for curve in curves
        for start in range(0, len(curve) - SEGMENT + 1, SEGMENT // 2)
    ]
    hertz = np.fft.rfftfreq(SEGMENT, 1.0 / frame_rate)
    if not parts:
        return hertz, np.full(len(hertz), np.nan)
    parts = np.stack(parts).astype(np.float64)
    power = np.abs(np.fft.rfft((parts - parts.mean(1, keepdims=True)) * window, axis=1)) ** 2
    power[:, 1:-1] *= 2.0  # the negative frequencies' half
    return hertz, power.mean(0) / (frame_rate * (window**2).sum())
