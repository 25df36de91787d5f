# SPDX-License-Identifier: Apache-2.0
"""One corner of the mouth moves further than the other; the mouth is as wide and as open as without."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import INDEX, MIRROR
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.mouth_measures import default_mouth_measures
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.streaming.mouth_asymmetry import (
    ASYMMETRY_STD,
    MAX_ASYMMETRY,
    MAX_STEP,
    apply_asymmetry,
    draw_asymmetry,
)

SMILES = [INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]


def test_measures_and_inner_lips_of_any_mouth_stay_and_weights_stay_in_range() -> None:
    rng, rig = np.random.default_rng(0), default_rig()
    for _ in range(200):
        weights = rng.uniform(0.0, 1.0, 52).astype(np.float32) * rng.integers(0, 2, 52).astype(np.float32)
        changed = weights.copy()
        apply_asymmetry(changed, rng.uniform(-1.0, 1.0))
        assert changed.min() >= 0.0 and changed.max() <= 1.0
        np.testing.assert_allclose(changed + changed[MIRROR], weights + weights[MIRROR], atol=1e-6)
        measures = default_mouth_measures()
        np.testing.assert_allclose(measures(changed), measures(weights), atol=2e-6)
        assert abs(rig.lip_gap(changed) - rig.lip_gap(weights)) < 1e-6


def test_a_smile_of_both_sides_leans_to_the_side_of_the_sign() -> None:
    weights = np.zeros(52, np.float32)
    weights[SMILES] = 0.4
    apply_asymmetry(weights, 0.25)
    np.testing.assert_allclose(weights[SMILES], [0.5, 0.3], atol=1e-6)
    apply_asymmetry(weights, -0.25)
    assert weights[SMILES[0]] - weights[SMILES[1]] < 0.1
    lone = np.zeros(52, np.float32)
    lone[SMILES[0]] = 0.4  # a smile of one side is as it is meant
    apply_asymmetry(lone, -0.25)
    assert lone[SMILES[0]] == np.float32(0.4)


def test_seeds_lean_to_both_sides_by_as_much_as_people() -> None:
    drawn = np.array([draw_asymmetry(seed) for seed in range(2000)])
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - ASYMMETRY_STD) < 0.03
    assert abs(drawn).max() == MAX_ASYMMETRY and draw_asymmetry(7) == drawn[7]


def test_speech_leans_to_the_side_of_its_seed_and_off_is_as_learned(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    pcm = speech[: 2 * 16000]
    seed = max(range(20), key=lambda seed: abs(draw_asymmetry(seed)))

    def motion(asymmetry: float) -> npt.NDArray[np.float32]:
        stream = talker.open_stream(seed=seed, asymmetry=asymmetry)
        return np.stack([frame.weights for frame in stream.accept(pcm) + stream.finish()])

    learned, as_people = motion(0.0), motion(1.0)
    lean = np.ptp(as_people - learned, axis=0)
    assert lean.max() > 0.02 and not lean[INDEX["jawOpen"]] and not lean[INDEX["mouthClose"]]
    change = (as_people - learned)[:, SMILES]
    assert np.sign(change[:, 0].sum()) == np.sign(draw_asymmetry(seed)) == -np.sign(change[:, 1].sum())
    measures = default_mouth_measures()
    np.testing.assert_allclose(measures(as_people), measures(learned), atol=1e-5)


def test_a_change_of_control_or_seed_leans_the_mouth_in_small_steps(talker: Talker) -> None:
    seed = max(range(20), key=lambda seed: abs(draw_asymmetry(seed)))
    stream = talker.open_stream(seed=seed)
    assert stream.next_asymmetry() == draw_asymmetry(seed)
    for change in ({"asymmetry": 0.0}, {"asymmetry": 1.0}):
        stream.set(**change)
        values = [stream.next_asymmetry() for _ in range(20)]
        assert np.abs(np.diff(values)).max() <= MAX_STEP + 1e-9
        assert abs(values[-1] - change["asymmetry"] * draw_asymmetry(seed)) < 1e-9
    stream.seed = next(other for other in range(20) if draw_asymmetry(other) * draw_asymmetry(seed) < 0.0)
    assert abs(stream.next_asymmetry() - draw_asymmetry(seed)) <= MAX_STEP + 1e-9
