# SPDX-License-Identifier: Apache-2.0
"""Enforces the mouth that the encoder's articulation heads predict on the sampled frame.

The heads predict for each frame the probability of a bilabial (p, b, m), where the lips meet, and of an open
vowel, and the measures of the mouth (`face.mouth_measures`). A sample of the diffusion head, one of many,
follows the sound less closely. Therefore a fraction of the measures is taken from the heads; from the first
of two thresholds of probability on the inner-lip gap of the default face is narrowed, at the second the
lips touch, in every sample; or the lips are kept apart. The evidence for a closure is the bilabial's logit,
less where the lips are predicted to be wide apart (`model.blendshape.closure`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.lip_measure import lip_gap_measure
from streamingtalker_ros.face.mouth_measures import MEASURES, default_mouth_measures
from streamingtalker_ros.model.blendshape.closure import closure_logit
from streamingtalker_ros.model.blendshape.config import TalkerConfig

MIN_OPEN_GAP_M = 0.0025  # metres of inner-lip gap, above rest, that an open vowel has at least
MIN_PARTED_GAP_M = 0.0018  # the same of every other sound but p, b, m
RELEASE_LOGIT_DROP = 0.35  # fall of the closure logit within a frame at which the lips part
PARTING_RATIO = 0.5  # of the lower closure threshold, from which on a closure is possible
PARTING_VOICE = (0.5, 0.9)  # probabilities of a voice between which the lips are kept apart
NOISE_PENALTY = 2.0  # of a logit: evidence against a closure in noise
# dB of the voice above its noise floor: up to the first the whole penalty applies, from the second on none
FULL_PENALTY_DB, NO_PENALTY_DB = 16.0, 28.0


class LipTargets(NamedTuple):
    """Targets of a frame's lips.

    Attributes:
        closing: How firmly the lips are pressed together, 0…1.
        opening: How firmly they are kept apart as in an open vowel, 0…1.
        parting: How firmly they are kept apart as in any sound but p, b, m, 0…1.
        measures: (4,) measures of the mouth, in the order of `MEASURES`; None for a model without their head.
        closure_logit: Evidence for a closure.
    """

    closing: float = 0.0
    opening: float = 0.0
    parting: float = 0.0
    measures: npt.NDArray[np.float64] | None = None
    closure_logit: float = -float("inf")

    @property
    def aperture(self) -> float | None:
        """Lip aperture as a fraction of a wide-open mouth; None for a model without its head."""
        return None if self.measures is None else float(self.measures[APERTURE])


NO_TARGETS = LipTargets()
APERTURE, ROUNDING = MEASURES.index("aperture"), MEASURES.index("rounding")


def confidence(logit: float, thresholds: Sequence[float]) -> float:
    """Map a logit to 0…1, linearly between two thresholds (low, high) of its probability."""
    low, high = thresholds
    probability = 1.0 / (1.0 + np.exp(-logit))
    return min(max(float((probability - low) / max(high - low, 1e-6)), 0.0), 1.0)


def read_articulation_heads(
    logits: Sequence[float],
    config: TalkerConfig,
    previous: LipTargets = NO_TARGETS,
    snr_db: float = math.inf,
) -> LipTargets:
    """Convert the auxiliary logits of a frame to lip targets.

    Closing and opening reduce each other where both sounds are likely. Lips are pressed only until the
    evidence falls: they part with the burst, before the sound is over; a small fall does not count. In noise
    more evidence is needed, since a mistake is likelier there and costs as much of the motion.

    Args:
        logits: (1 to 7,) of `AudioEncoder.auxiliary_logits`.
        config: Configuration of the model, which names its heads.
        previous: Targets of the frame before.
        snr_db: dB of the voice's level above its noise floor (`NoiseFloorEstimator`).

    Returns:
        The targets; 0 or None where the model lacks the head.
    """
    outputs = iter(logits[1:])
    bilabial = next(outputs) if config.bilabial_thresholds else None
    open_vowel = next(outputs) if config.open_vowel_thresholds else None
    measures = np.fromiter(outputs, np.float64) if config.lip_measure_weight else None
    penalty = NOISE_PENALTY * min(max((NO_PENALTY_DB - snr_db) / (NO_PENALTY_DB - FULL_PENALTY_DB), 0.0), 1.0)
    closing, opening, parting, evidence = 0.0, 0.0, 0.0, previous.closure_logit
    if bilabial is not None:
        aperture = None if measures is None else float(measures[APERTURE])
        evidence = closure_logit(bilabial, aperture) - penalty
        if evidence >= previous.closure_logit - RELEASE_LOGIT_DROP:
            closing = confidence(evidence, config.bilabial_thresholds)
        low = config.bilabial_thresholds[0]
        is_possible = confidence(evidence, (PARTING_RATIO * low, low))
        parting = (1.0 - is_possible) * confidence(logits[0], PARTING_VOICE)
    if open_vowel is not None:
        opening = confidence(open_vowel, config.open_vowel_thresholds)
    return LipTargets(closing * (1.0 - opening), opening * (1.0 - closing), parting, measures, evidence)


def apply_lip_constraints(
    weights: npt.NDArray[np.float32],
    targets: LipTargets,
    config: TalkerConfig,
    amplitude: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float32]:
    """Move a frame's lips to their targets.

    Args:
        weights: (52,) in 0..1.
        targets: Of `read_articulation_heads`.
        config: Holds the fraction of the measures that is taken from the targets.
        amplitude: (4,) of a speaking style, with which the measures are multiplied; None for 1.

    Returns:
        (52,), a new array, or the same if nothing changes.
    """
    if targets.measures is not None:
        weights = blend_measures(weights, targets.measures, config.lip_measure_weight, amplitude)
    min_gap = max(targets.opening * MIN_OPEN_GAP_M, targets.parting * MIN_PARTED_GAP_M)
    return open_lips(close_lips(weights, targets.closing), min_gap)


def blend_measures(
    weights: npt.NDArray[np.float32],
    measures: npt.NDArray[np.float64],
    fraction: float,
    amplitude: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the nearest weights whose measures are (1 - fraction) · their own + fraction · the targets.

    Args:
        weights: (52,) in 0..1.
        measures: (4,) targets; apertures and roundings below 0 count as touching lips and none.
        fraction: 0…1.
        amplitude: (4,) factors on the result; None for 1.
    """
    mouth = default_mouth_measures()
    own = mouth(weights)
    change = measures - own
    for k in (APERTURE, ROUNDING):
        change[k] = max(measures[k], 0.0) - own[k]
    target = own + fraction * change
    return mouth.fit(weights, target if amplitude is None else amplitude * target)


def close_lips(weights: npt.NDArray[np.float32], amount: float) -> npt.NDArray[np.float32]:
    """Return weights (52,) whose inner-lip gap above rest is narrowed to 1 - amount of what it was."""
    if amount > 0.0:
        lip_gap = lip_gap_measure()
        gap = lip_gap(weights)
        if gap > 0.0:
            return lip_gap.limit(weights, (1.0 - amount) * gap, gap)
    return weights


def open_lips(weights: npt.NDArray[np.float32], min_gap: float) -> npt.NDArray[np.float32]:
    """Return weights (52,) whose inner-lip gap above rest is at least `min_gap` metres."""
    if min_gap > 0.0:
        lip_gap = lip_gap_measure()
        gap = lip_gap(weights)
        if gap < min_gap:
            return lip_gap.negative.limit(weights, -min_gap, -gap)
    return weights
