# SPDX-License-Identifier: Apache-2.0
"""How far a mouth follows its voice: a check that sound and motion of a recording belong together."""

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.video.neutral_pose import loudness

REACH = 0.3  # s within which sound and opening are compared
QUIETEST = -60.0  # dB; what is softer is silence


def lag(opening, pcm):
    """(s by which lip opening (T,) at 25 frames/s follows the loudness of pcm (n,) at 16 kHz, their correlation there).

    Negative: the mouth is ahead. Found between frames by a parabola through the best three; (0, 0) where either is
    constant. Real speech lies within about 30 ms of 0: a mouth is already opening when the voice sets in.
    """
    times = (np.arange(len(opening)) + 0.5) / FRAME_RATE
    level = np.maximum(loudness(pcm, times, 0.02), QUIETEST)
    reach = int(min(REACH * FRAME_RATE, len(opening) // 3))
    shifts = np.arange(-reach, reach + 1)
    found = np.array(
        [
            _correlation(
                opening[max(0, k) : len(opening) + min(0, k)], level[max(0, -k) : len(level) + min(0, -k)]
            )
            for k in shifts
        ]
    )
    best = int(np.clip(np.argmax(found), 1, len(found) - 2))
    before, peak, after = found[best - 1 : best + 2]
    bend = before - 2 * peak + after
    return float((shifts[best] + (0.5 * (before - after) / bend if bend else 0.0)) / FRAME_RATE), float(peak)


def _correlation(a, b):
    a, b = a - a.mean(), b - b.mean()
    power = np.sqrt((a * a).sum() * (b * b).sum())
    return (a * b).sum() / power if power > 1e-12 else 0.0
