# SPDX-License-Identifier: Apache-2.0
"""Visemes are the non-negative weights whose mouth comes nearest to a frame's, whatever came before."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.coarticulation.residual import synthesize_lips
from streamingtalker_ros.face.visemes import (
    MICROSOFT_VISEMES,
    OCULUS_VISEMES,
    PRESTON_BLAIR_VISEMES,
    VISEME_POSES,
    VisemeEstimator,
    solve_non_negative,
)
from streamingtalker_ros.phonetics.phones import Phone


@pytest.mark.parametrize("name", OCULUS_VISEMES)
def test_the_pose_of_a_viseme_is_that_viseme(name: str) -> None:
    weights = VisemeEstimator().estimate(VISEME_POSES[OCULUS_VISEMES.index(name)])
    assert OCULUS_VISEMES[int(weights.argmax())] == name and weights.max() > 0.9


def test_weights_are_not_negative_and_sum_to_one_for_every_face() -> None:
    random = np.random.default_rng(0)
    estimator = VisemeEstimator()
    for scale in (0.0, 0.01, 0.3, 1.0):
        for frame in random.uniform(0, scale, (100, 52)):
            weights = estimator.estimate(frame)
            assert weights.shape == (15,) and weights.min() >= 0
            assert weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_mixture_of_two_visemes_is_found_again() -> None:
    for first, second in (("PP", "ou"), ("FF", "ih"), ("TH", "CH"), ("sil", "oh")):
        indices = OCULUS_VISEMES.index(first), OCULUS_VISEMES.index(second)
        weights = VisemeEstimator().estimate(0.5 * VISEME_POSES[list(indices)].sum(axis=0))
        np.testing.assert_allclose(weights[list(indices)], 0.5, atol=0.06)


def test_the_result_does_not_depend_on_the_frames_before_and_no_viseme_improves_it() -> None:
    random = np.random.default_rng(1)
    estimator = VisemeEstimator()
    for frame in random.uniform(0, 0.4, (300, 52)) * (random.uniform(size=(300, 52)) < 0.3):
        weights = estimator.estimate(frame)
        np.testing.assert_array_equal(weights, VisemeEstimator().estimate(frame))


@pytest.mark.parametrize("seed", range(20))
def test_the_least_squares_solution_is_that_of_scipy_from_any_start(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(seed)
    matrix, frame = random.uniform(0, 1, (20, 14)), random.uniform(-1, 1, 20)
    expected, _ = optimize.nnls(matrix, frame)
    start = random.uniform(size=14) < 0.5
    np.testing.assert_allclose(
        solve_non_negative(matrix.T @ matrix, matrix.T @ frame, start), expected, atol=1e-9
    )


def test_spoken_consonants_and_vowels_show_their_visemes() -> None:
    shown = {"p": "PP", "b": "PP", "m": "PP", "f": "FF", "v": "FF", "th": "TH", "aa": "aa", "uw": "ou"}
    estimator = VisemeEstimator()
    for phone, viseme in shown.items():
        phones = [Phone("pau", 0, 0.4), Phone("ax", 0.4, 0.56), Phone(phone, 0.56, 0.76)]
        phones += [Phone("ax", 0.76, 0.9), Phone("pau", 0.9, 1.4)]
        weights = synthesize_lips(phones, 35, np.zeros(22_400, np.float32))[16]
        assert OCULUS_VISEMES[int(estimator.estimate(weights).argmax())] == viseme, phone


def test_every_viseme_has_a_name_in_the_other_sets() -> None:
    assert set(MICROSOFT_VISEMES) == set(PRESTON_BLAIR_VISEMES) == set(OCULUS_VISEMES)
    assert all(0 <= number <= 21 for numbers in MICROSOFT_VISEMES.values() for number in numbers)
