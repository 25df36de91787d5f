# SPDX-License-Identifier: Apache-2.0
"""A whole clip to 16 kHz: takes (n,) float32 mono at any rate, gives (m,) float32 mono at 16 kHz.

The same resampler as in a stream, so that a clip and its packets give the same numbers.
"""

import numpy as np

from streamingtalker_ros.audio.resample import Resampler

RATE = 16000


def to_16k(pcm, rate):
    """pcm: (n,) float32 mono at `rate` Hz -> (ceil(n · 16000 / rate),) float32 at 16 kHz."""
    resampler = Resampler(rate, RATE)
    return np.concatenate([resampler.accept(pcm), resampler.finish()])
