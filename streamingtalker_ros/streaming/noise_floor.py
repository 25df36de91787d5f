# SPDX-License-Identifier: Apache-2.0
"""Estimates how far a voice stands above the noise around it, hop by hop.

The voice's level is a peak follower, as in the features; the noise is the quietest hop of the last two
seconds (minimum statistics, Martin 2001), since speakers pause, if only in the closure of a stop. Between a
voice's peaks and its quietest hop lie 26 dB and more in a quiet room; noise 10 dB under the voice leaves 8 to
20 dB.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.blendshape.feature_constants import LEVEL_RELEASE, MIN_LEVEL
from streamingtalker_ros.streaming.voice_gate import hop_power

MEMORY_S = 2.0  # seconds in which a voice has a quiet hop
SILENCE_DB = -100.0  # dB of full scale, of digital silence
_SILENCE_POWER = 10.0 ** (0.1 * SILENCE_DB)
DB_PER_NEPER = 10.0 / math.log(10.0)  # of power; nepers are the features' unit


class NoiseFloorEstimator:
    """Level of one stream above its noise floor.

    Args:
        frame_rate: Hops per second.

    Attributes:
        snr_db: dB of the level above the noise floor in the newest hop, 0 or more.
    """

    def __init__(self, frame_rate: float) -> None:
        self.release_db = LEVEL_RELEASE * DB_PER_NEPER / frame_rate  # dB per hop
        self.powers: deque[float] = deque(maxlen=round(MEMORY_S * frame_rate))  # dB of the last hops
        self.reset()

    def reset(self) -> None:
        """Discard the level and the noise floor."""
        self.powers.clear()
        self.level = MIN_LEVEL * DB_PER_NEPER
        self.snr_db = 0.0

    @property
    def floor_power(self) -> float:
        """Power of the noise floor; that of digital silence before the first hop."""
        return 10.0 ** (0.1 * min(self.powers, default=SILENCE_DB))

    def update(self, hop: npt.NDArray[np.float32]) -> float:
        """Process a hop.

        Args:
            hop: (hop,) samples in -1..1.

        Returns:
            dB of the level above the noise floor, 0 or more.
        """
        power = 10.0 * math.log10(hop_power(hop) + _SILENCE_POWER)
        self.powers.append(power)
        self.level = max(power, self.level - self.release_db, MIN_LEVEL * DB_PER_NEPER)
        self.snr_db = self.level - min(self.powers)
        return self.snr_db
