# SPDX-License-Identifier: Apache-2.0
"""Numbers of the log-mel features, which both backends and the noise estimator use."""

from __future__ import annotations

import math
from typing import Final

WINDOW_SAMPLES: Final = 400
"""Samples of the window of a column, 25 ms."""
FFT_SIZE: Final = 512
POWER_FLOOR: Final = 1e-10
"""Added to each band: -100 dB of full scale, so that digital silence stays finite."""
MIN_LEVEL: Final = math.log(1e-7)
"""Log of the mean band power of a voice near -50 dBFS: the level never falls lower; softer audio is soft."""
LEVEL_RELEASE: Final = 1.2
"""Fall of the level in nepers of power per second, 5.2 dB/s."""
MIN_MEL_HZ: Final = 50.0
"""Lower edge of the first mel band."""
MAX_MEL_HZ: Final = 7800.0
"""Upper edge of the last mel band."""
