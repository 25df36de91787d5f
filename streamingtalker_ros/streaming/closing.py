"""Two ears for the lips: what listening knows for sure, sampling must not lose.

The network hears in each frame how likely a p, b or m sounds there, and how likely an open vowel. What speaks for a
closure is the first, less a part of the second (`model.encoder.evidence`). From the first of two probabilities on the inner-lip gap of the default face is narrowed, at the second
the lips touch, in every sample alike; or they are kept apart.
"""
import numpy as np

from ..face.rig import default_rig
from ..model.encoder import evidence
from .controls import keep_closed

PARTED = 0.0025  # metres of inner-lip gap, above rest, that an open vowel has at least


def strength(logit, thresholds):
    """How firmly a sound is believed in, 0…1, under its logit; thresholds: two probabilities (low, high)."""
    low, high = thresholds
    probability = 1.0 / (1.0 + np.exp(-logit))
    return float(np.clip((probability - low) / max(high - low, 1e-6), 0.0, 1.0))


def listen(logits, config):
    """(pressure, parting) of the lips, 0…1 each, from a frame's `AudioEncoder.cues`; 0 for an ear that the model has
    not. One takes from the other where both sounds are believed in."""
    given = iter(logits[1:])
    closure, openness = (next(given) if thresholds else None for thresholds in (config.closure, config.openness))
    pressure = strength(evidence(closure, openness), config.closure) if config.closure else 0.0
    parting = strength(openness, config.openness) if config.openness else 0.0
    return pressure * (1.0 - parting), parting * (1.0 - pressure)


def press(weights, amount):
    """weights (52,) with the inner-lip gap, above that at rest, narrowed to 1 - amount of what it was."""
    row = default_rig().lip_gap_map()[1]
    gap = float(weights @ row)
    return keep_closed(weights, row, (1.0 - amount) * gap) if amount > 0.0 and gap > 0.0 else weights


def part(weights, amount):
    """weights (52,) with an inner-lip gap, above that at rest, of amount·PARTED at least."""
    row = default_rig().lip_gap_map()[1]
    wanted = amount * PARTED
    return keep_closed(weights, -row, -wanted) if amount > 0.0 and float(weights @ row) < wanted else weights
