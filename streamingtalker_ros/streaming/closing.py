"""The ear for p, b and m presses the lips together: what listening knows for sure, sampling must not lose.

The network hears in each frame how likely one of the three sounds there. From the first of two probabilities on the
inner-lip gap of the default face is narrowed, at the second the lips touch, in every sample alike.
"""
import numpy as np

from ..face.rig import default_rig
from .controls import keep_closed


def pressure(logit, thresholds):
    """How firmly lips are pressed, 0…1, under a logit of p, b or m; thresholds: the two probabilities (low, high)."""
    low, high = thresholds
    probability = 1.0 / (1.0 + np.exp(-logit))
    return float(np.clip((probability - low) / max(high - low, 1e-6), 0.0, 1.0))


def press(weights, amount):
    """weights (52,) with the inner-lip gap, above that at rest, narrowed to 1 - amount of what it was."""
    row = default_rig().lip_gap_map()[1]
    gap = float(weights @ row)
    return keep_closed(weights, row, (1.0 - amount) * gap) if amount > 0.0 and gap > 0.0 else weights
