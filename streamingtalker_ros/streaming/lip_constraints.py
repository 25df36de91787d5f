# SPDX-License-Identifier: Apache-2.0
"""Ears for the lips: what listening knows for sure, sampling must not lose.

The network hears in each frame how likely lips meet there in a p, b or m, and how likely an open vowel sounds. A third ear
tells how wide the lips are apart, which a sample, one of many, follows less closely: a share of the gap is what that ear
says. What speaks for a closure is the first, the less the wider the third (`model.encoder.evidence`). From the first of
two probabilities on the inner-lip gap of the default face is narrowed, at the second the lips touch, in every sample
alike; or they are kept apart. A fourth ear tells the mouth's width, as the third its opening.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig
from streamingtalker_ros.model.blendshape.encoder import evidence
from streamingtalker_ros.streaming.controls import keep_closed

PARTED = 0.0025  # metres of inner-lip gap, above rest, that an open vowel has at least
FALL = 0.35  # of a logit, by which the evidence for a closure falls in a frame before the lips part
DOUBT = 2.0  # of a logit, what speaks against a closure in noise
LOUD, FAINT = (
    16.0,
    28.0,
)  # dB of the voice above its noise floor: noise up to the first is worth all DOUBT, from the second none


class Lips(NamedTuple):
    """How firmly lips are pressed together and kept apart, 0…1 each; the lip gap in parts of a wide-open mouth and what the
    mouth is wider than at rest, in parts of that, None where no ear tells it; the evidence for a closure, a logit."""

    pressure: float = 0.0
    parting: float = 0.0
    opening: float | None = None
    width: float | None = None
    evidence: float = -float("inf")


def strength(logit, thresholds):
    """How firmly a sound is believed in, 0…1, under its logit; thresholds: two probabilities (low, high)."""
    low, high = thresholds
    probability = 1.0 / (1.0 + np.exp(-logit))
    return float(np.clip((probability - low) / max(high - low, 1e-6), 0.0, 1.0))


def listen(cues, config, before=Lips(), above=math.inf):
    """The Lips of a frame's `AudioEncoder.cues`; 0 for an ear that the model has not. before: those of the last frame;
    above: dB by which the voice stands above its noise floor (`noise.NoiseFloor`).

    Pressure and parting take from each other where both sounds are believed in. Lips are pressed only until the
    evidence falls: they part with the burst, before the sound is over. A flicker is no fall. In noise the ear must be
    surer: a mistake there is likelier, and takes as much from the motion.
    """
    given = iter(cues[1:])
    closure, openness, opening, width = (
        next(given) if told else None
        for told in (config.closure, config.openness, config.opening, config.lip_width)
    )
    doubt = DOUBT * min(max((FAINT - above) / (FAINT - LOUD), 0.0), 1.0)
    heard = evidence(closure, opening) - doubt if config.closure else before.evidence
    pressure = strength(heard, config.closure) if config.closure and heard >= before.evidence - FALL else 0.0
    parting = strength(openness, config.openness) if config.openness else 0.0
    return Lips(pressure * (1.0 - parting), parting * (1.0 - pressure), opening, width, heard)


def shape(weights, lips, config):
    """weights (52,) with the lips as the ears, `Lips`, have them, by the shares of config. A new array, or the same."""
    if lips.width is not None:
        weights = spread(weights, lips.width, config.lip_width)
    if lips.opening is not None:
        weights = steer(weights, lips.opening, config.opening)
    return part(press(weights, lips.pressure), lips.parting)


def steer(weights, opening, share):
    """The nearest weights (52,) in 0..1 whose inner-lip gap is 1 - share of what it was and share of `opening`, in parts
    of a wide-open mouth (`jawOpen` 1); below 0 that counts as touching lips."""
    bias, row = default_rig().lip_gap_map()
    gap = float(weights @ row)
    return _move(weights, row, share * (max(opening, 0.0) * float(row[INDEX["jawOpen"]]) - bias - gap))


def spread(weights, width, share):
    """The nearest weights (52,) in 0..1 whose mouth is wider than at rest by 1 - share of what it was and share of `width`,
    in parts of its width at rest; the inner-lip gap stays, but for shapes that meet 0 or 1."""
    rest, row, apart = _across()
    return _move(weights, apart, share * (width * rest - float(weights @ row)))


@functools.lru_cache(maxsize=1)
def _across():
    """The default face: its mouth's width at rest, how the shapes widen it, and what of that the mouth's own shapes can do
    and leave the lip gap alone."""
    rest, row = default_rig().lip_width_map()
    ours = np.array([name.startswith("mouth") for name in ARKIT_NAMES])
    gap = default_rig().lip_gap_map()[1] * ours
    return rest, row, row * ours - gap * np.float32((row @ gap) / (gap @ gap))


def _move(weights, row, by):
    """The nearest weights in 0..1 with `by` more of weights @ row, or as near to that as 0 and 1 allow."""
    value = float(weights @ row)
    return keep_closed(weights, row, value + by) if by < 0.0 else keep_closed(weights, -row, -value - by)


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
