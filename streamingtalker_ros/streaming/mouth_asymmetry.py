# SPDX-License-Identifier: Apache-2.0
"""Moves one corner of the mouth further than the other, as people do; width and lip gap stay.

The amplitudes of the two corners of a filmed mouth differ by 0.3 in the logarithm, as a standard deviation
over the people that taught the default model. The network's two sides are nearly alike. So each seed has a
side and an amount of its own: what one corner gains the other loses. Only shapes that do not move the inner
lips take part, so that closures stay as they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.frame import Purpose
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.model.ddim import counter_generator

ASYMMETRY_STD: Final = 0.15
"""Standard deviation over seeds of (left - right) / (left + right): half of that of the logarithm."""

MAX_ASYMMETRY: Final = 0.25
"""Largest magnitude of it."""

MAX_STEP: Final = 0.03
"""Largest change of the asymmetry from frame to frame, where seed or control change."""

_SHAPES: Final = ("mouthSmile", "mouthDimple", "mouthStretch", "mouthFrown")
_LEFT, _RIGHT = ([INDEX[name + side] for name in _SHAPES] for side in ("Left", "Right"))


def draw_asymmetry(seed: int) -> float:
    """Draw the asymmetry of a seed: (left - right) / (left + right), where the network's sides are alike.

    Args:
        seed: Any integer, taken modulo 2^64.
    """
    asymmetry = ASYMMETRY_STD * counter_generator(seed, 0, Purpose.MOUTH_ASYMMETRY).standard_normal()
    return float(np.clip(asymmetry, -MAX_ASYMMETRY, MAX_ASYMMETRY))


def apply_asymmetry(weights: npt.NDArray[np.float32], asymmetry: float) -> None:
    """Shift the pull of the mouth's corners from one side to the other.

    Args:
        weights: (52,) in 0..1, changed in place; they stay in that range.
        asymmetry: -1..1, above 0 for more on the person's left.
    """
    left, right = weights[_LEFT], weights[_RIGHT]
    room = np.minimum(abs(asymmetry) * np.minimum(left, right), 1.0 - np.maximum(left, right))
    shift = np.copysign(room, asymmetry).astype(np.float32)
    weights[_LEFT] = left + shift
    weights[_RIGHT] = right - shift
