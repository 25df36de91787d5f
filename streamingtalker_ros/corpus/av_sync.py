# SPDX-License-Identifier: Apache-2.0
"""Audio-visual delay: a check that the audio and the motion of a recording belong together."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.loudness import loudness_db

MAX_LAG_S: Final = 0.3
"""Largest delay that is considered, in seconds."""

SILENCE_DBFS: Final = -60.0
"""Level below which sound counts as silence."""

LOUDNESS_HALF_WIDTH_S: Final = 0.02
"""Half of the loudness window, in seconds: windows of neighbouring frames meet."""


def estimate_lag(lip_opening: np.ndarray, pcm: np.ndarray) -> tuple[float, float]:
    """Estimate the delay between lip opening and loudness by cross-correlation.

    A parabola through the best three frames interpolates between frames. Real speech lies within about 30 ms
    of 0, because a mouth already opens when the voice sets in.

    Args:
        lip_opening: (T,) at 25 frames/s, any unit.
        pcm: (n,) mono audio at 16 kHz.

    Returns:
        (delay of the lips in s, negative if they lead; correlation at that delay). (0, 0) if either is
        constant.
    """
    times = (np.arange(len(lip_opening)) + 0.5) / FRAME_RATE
    level = np.maximum(loudness_db(pcm, times, LOUDNESS_HALF_WIDTH_S), SILENCE_DBFS)
    max_shift = int(min(MAX_LAG_S * FRAME_RATE, len(lip_opening) // 3))
    shifts = np.arange(-max_shift, max_shift + 1)
    correlations = np.array(
        [
            _correlation(
                lip_opening[max(0, k) : len(lip_opening) + min(0, k)],
                level[max(0, -k) : len(level) + min(0, -k)],
            )
            for k in shifts
        ]
    )
    best = int(np.clip(np.argmax(correlations), 1, len(correlations) - 2))
    before, peak, after = correlations[best - 1 : best + 2]
    curvature = before - 2 * peak + after
    offset = 0.5 * (before - after) / curvature if curvature else 0.0
    return float((shifts[best] + offset) / FRAME_RATE), float(peak)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; 0 if either is constant."""
    a, b = a - a.mean(), b - b.mean()
    power = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / power) if power > 1e-12 else 0.0
