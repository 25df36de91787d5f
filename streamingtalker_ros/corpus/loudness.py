# SPDX-License-Identifier: Apache-2.0
"""Short-time loudness of a recording, from which rest, pauses and audio-visual delay are estimated."""

from __future__ import annotations

import numpy as np

from streamingtalker_ros.audio.constants import SAMPLE_RATE


def loudness_db(pcm: np.ndarray, times: np.ndarray, half_width: float = 0.04) -> np.ndarray:
    """Compute the mean power around given times.

    Args:
        pcm: (n,) mono audio at 16 kHz, full scale 1.
        times: (F,) seconds.
        half_width: half of the length of the window, in seconds.

    Returns:
        (F,) dBFS, at least -100.
    """
    energy = np.concatenate([[0.0], np.cumsum(np.square(pcm, dtype=np.float64))])
    first, last = (
        np.clip(((times + offset) * SAMPLE_RATE).astype(int), 0, len(pcm))
        for offset in (-half_width, half_width)
    )
    mean = (energy[last] - energy[first]) / np.maximum(last - first, 1)
    return 10.0 * np.log10(np.maximum(mean, 1e-10))
