# SPDX-License-Identifier: Apache-2.0
"""Laws of the mouth's measures: they measure the rig, and corrected weights have the measures asked for."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.mouth_measures import COMPLIANCE, MEASURES, default_mouth_measures

MOUTH = default_mouth_measures()
RNG = np.random.default_rng(0)


def spoken_weights(count: int) -> np.ndarray:
    """Random weights (count, 52) of mouths as in speech: each measure can be met."""
    weights = np.zeros((count, 52), np.float32)
    for name, low, high in (
        ("jawOpen", 0.1, 0.5),
        ("mouthPucker", 0.05, 0.4),
        ("mouthFunnel", 0.0, 0.2),
        ("mouthUpperUp", 0.1, 0.5),
        ("mouthLowerDown", 0.1, 0.5),
        ("mouthStretch", 0.1, 0.4),
    ):
        amount = RNG.uniform(low, high, count)
        for side in ("", "Left", "Right"):
            if name + side in INDEX:
                weights[:, INDEX[name + side]] = amount
    return weights


def test_measures_are_those_of_the_rig() -> None:
    rig = default_rig()
    weights = RNG.uniform(0.0, 1.0, (20, 52)).astype(np.float32)
    aperture, _, _, rounding = MOUTH(weights).T
    assert aperture * MOUTH.unit == pytest.approx(rig.lip_gap(weights), abs=1e-6)
    assert rounding == pytest.approx(weights[:, INDEX["mouthPucker"]] + weights[:, INDEX["mouthFunnel"]])
    jaw = np.zeros(52)
    jaw[INDEX["jawOpen"]] = 1.0
    assert MOUTH(jaw)[0] == pytest.approx(1.0 + MOUTH.bias[0])
    raised = np.zeros(52)
    raised[[INDEX["mouthUpperUpLeft"], INDEX["mouthUpperUpRight"]]] = 1.0
    assert MOUTH(raised)[MEASURES.index("upper_lip")] > 0.1


def test_corrected_weights_have_the_measures_of_another_mouth() -> None:
    sources, targets = spoken_weights(200), spoken_weights(200)
    for source, target in zip(sources, targets, strict=True):
        corrected = MOUTH.fit(source, MOUTH(target))
        assert MOUTH(corrected) == pytest.approx(MOUTH(target), abs=0.01)
        assert corrected.min() >= 0.0 and corrected.max() <= 1.0


def test_a_mouth_that_has_the_measures_already_is_left_alone() -> None:
    for weights in spoken_weights(20):
        assert MOUTH.fit(weights, MOUTH(weights)) == pytest.approx(weights, abs=1e-6)


def test_only_compliant_shapes_change_and_both_sides_alike() -> None:
    weights = spoken_weights(1)[0]
    weights[INDEX["browInnerUp"]] = weights[INDEX["mouthLeft"]] = 0.3
    changed = MOUTH.fit(weights, MOUTH(weights) + np.array([0.1, 0.03, 0.03, 0.1])) - weights
    for name, change in zip(ARKIT_NAMES, changed, strict=True):
        if name.removesuffix("Left").removesuffix("Right") not in COMPLIANCE:
            assert change == 0.0
        if name.endswith("Left"):
            assert change == pytest.approx(changed[INDEX[name[:-4] + "Right"]], abs=1e-4)


def test_the_aperture_is_met_where_not_every_measure_can_be() -> None:
    weights = spoken_weights(1)[0]
    corrected = MOUTH.fit(weights, np.array([0.0, 0.3, 0.0, 0.9]))  # shut, wide and round
    assert MOUTH(corrected)[0] == pytest.approx(0.0, abs=5e-3)
