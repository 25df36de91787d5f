# SPDX-License-Identifier: Apache-2.0
"""How far a voice stands above the noise around it, hop by hop.

The voice's level is a peak follower, as the features' own; the noise is the quietest hop of the last two seconds (minimum
statistics, Martin 2001), for whoever speaks pauses, if only in the closure of a stop. Between a voice's peaks and its
quietest hop lie 26 dB and more where the room is quiet; noise 10 dB under the voice leaves 8 to 20 of them.
"""

import math
from collections import deque

import numpy as np

from streamingtalker_ros.model.blendshape.features import QUIET, RELEASE

MEMORY = 2.0  # seconds in which a voice has a quiet hop
SILENCE = -100.0  # dB of full scale, of digital silence
DECIBELS = 10.0 / math.log(10.0)  # of a neper of power, the features' unit


class NoiseFloor:
    """What one stream knows of its noise. hear: (hop,) audio in -1..1 -> dB of the level above the floor, 0 and up."""

    def __init__(self, frame_rate) -> None:
        self.fall = RELEASE * DECIBELS / frame_rate
        self.powers = deque(maxlen=round(MEMORY * frame_rate))  # dB of the last hops
        self.reset()

    def reset(self) -> None:
        self.powers.clear()
        self.level = QUIET * DECIBELS

    def hear(self, hop):
        power = 10.0 * math.log10(
            float(np.var(hop)) + 10.0 ** (0.1 * SILENCE)
        )  # a constant offset is no noise
        self.powers.append(power)
        self.level = max(power, self.level - self.fall, QUIET * DECIBELS)
        return self.level - min(self.powers)
