# SPDX-License-Identifier: Apache-2.0
"""Laws of the scores per speaker, on motion with known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streamingtalker_ros.evaluation import dynamics, metrics
from streamingtalker_ros.evaluation.closure_classes import classify_closures, find_runs
from streamingtalker_ros.evaluation.motion_curves import MotionCurves
from streamingtalker_ros.evaluation.results import REFERENCE, EvaluationResults
from streamingtalker_ros.evaluation.speaker_scores import (
    score_speakers,
    speaker_rows,
    still_shapes,
    summarize_speakers,
)
from streamingtalker_ros.evaluation.test_set import Scores, TestSet, load_test_set
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rotation import euler_to_quaternion
from streamingtalker_ros.phonetics.phones import Phone
from support.evaluation_corpus import synthetic_clip, write_corpus

PHONES = [Phone("pau", 0, 0.4), Phone("aa", 0.4, 0.8), Phone("n", 0.8, 1.0), Phone("p", 1.0, 1.2)]
PHONES += [Phone("aa", 1.2, 1.6), Phone("pau", 1.6, 2.0)]


def open_except(*spans: tuple[float, float]) -> np.ndarray:
    """(50,) lip opening that is 0.2 except in spans of seconds, where it is 0."""
    opening = np.full(50, 0.2)
    for start, end in spans:
        opening[round(start * 25) : round(end * 25)] = 0.0
    return opening


def closures(*spans: tuple[float, float], reference: np.ndarray | None = None) -> dict[str, int]:
    filmed = open_except() if reference is None else reference
    return dict(classify_closures(open_except(*spans) < 0.02, filmed < 0.02, PHONES, 25.0))


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    """Three tracked clips of anna and one of bert."""
    clips = [synthetic_clip(f"a{seed}", seed=seed) for seed in range(3)]
    folder = write_corpus(
        tmp_path_factory.mktemp("corpus") / "tracked", [*clips, synthetic_clip("b", voice="bert", seed=7)]
    )
    return load_test_set(default_rig(), folder)


def score_changed(
    test_set: TestSet, change: Callable[[MotionCurves], MotionCurves]
) -> tuple[dict[str, Scores], EvaluationResults]:
    """Scores per speaker of the reference, changed."""
    results = EvaluationResults("model", default_rig(), test_sets=[test_set])
    results.add(test_set, "model", [change(curves) for curves in test_set.reference])
    return score_speakers(results, "model"), results


def test_a_closure_is_false_unless_a_bilabial_or_the_film_closes_there() -> None:
    assert closures((1.04, 1.16)) == {"expected": 1}
    assert closures((0.84, 0.96)) == {"n": 1}
    assert closures((0.84, 0.96), reference=open_except((0.88, 0.92))) == {"expected": 1}
    assert closures((0.5, 0.6), (0.84, 0.96), (1.3, 1.4)) == {"vowels": 2, "n": 1}


def test_lips_that_rest_in_a_pause_are_no_closure() -> None:
    assert closures((0.0, 0.48), (1.52, 2.0)) == {}


def test_runs_are_found_at_both_ends() -> None:
    assert find_runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert find_runs(np.zeros(3, bool)) == []


def test_parted_lips_are_counted_in_the_320_ms_around_speech() -> None:
    speech = metrics.speech_span(PHONES)
    assert speech is not None and speech == (0.4, 1.6)
    opening = open_except((0.0, 0.24), (1.6, 2.0))  # parted 160 ms before, closed after
    assert metrics.parted_around_speech(opening, speech, 25.0) == (0.5, 0.0)
    assert np.isnan(metrics.parted_around_speech(opening, (0.0, 2.0), 25.0)).all()
    assert metrics.speech_span([Phone("pau", 0.0, 2.0)]) is None


def test_parted_lips_are_counted_at_the_end_of_a_pause() -> None:
    phones = [Phone("AA", 0.2, 0.6), Phone("pau", 0.6, 1.0), Phone("N", 1.0, 1.2), Phone("T", 1.3, 1.4)]
    assert metrics.parted_in_pauses(open_except((0.6, 0.84)), phones, 25.0) == 0.5
    assert np.isnan(metrics.parted_in_pauses(open_except(), phones[2:], 25.0))


def test_the_fast_power_of_a_mixture_is_that_of_its_fast_part() -> None:
    t = np.arange(500) / 25.0
    slow, fast = np.sin(2 * np.pi * 2 * t), np.sin(2 * np.pi * 8 * t)
    assert dynamics.fast_power_fraction([slow], 25.0) < 0.01
    assert dynamics.fast_power_fraction([slow + 0.5 * fast], 25.0) == pytest.approx(0.2, abs=0.01)
    assert np.isnan(dynamics.fast_power_fraction([np.zeros(100)], 25.0))


def test_the_rotation_range_is_that_of_the_largest_axis() -> None:
    angles = np.radians([[0, -4, 1], [2, 5, 0], [3, 0, 0]])
    assert dynamics.rotation_range(euler_to_quaternion(angles)) == pytest.approx(9.0, abs=1e-3)


def test_the_reference_is_perfect_for_every_speaker(test_set: TestSet) -> None:
    speakers, _ = score_changed(test_set, lambda curves: curves)
    assert speakers["anna"]["clips"] == 3 and speakers["bert"]["clips"] == 1
    for scores in speakers.values():
        for part in ("lip_opening", "lip_width", "upper_lip", "lower_lip", "chin"):
            assert scores[f"{part}_r"] == pytest.approx(1.0), part
            assert scores[f"{part}_amplitude"] == pytest.approx(1.0), part
        assert scores["false_closures"] == 0.0 and scores["closures"] > 0


@pytest.mark.parametrize(
    "part, curve", [("lip_width", "width"), ("upper_lip", "upper_lip_raise"), ("chin", "chin_drop")]
)
def test_half_the_motion_of_one_part_halves_its_amplitude_alone(
    test_set: TestSet, part: str, curve: str
) -> None:
    speakers, _ = score_changed(
        test_set, lambda curves: replace(curves, **{curve: 0.5 * getattr(curves, curve)})
    )
    for scores in speakers.values():
        for name in ("lip_opening", "lip_width", "upper_lip", "lower_lip", "chin"):
            assert scores[f"{name}_amplitude"] == pytest.approx(0.5 if name == part else 1.0), name
            assert scores[f"{name}_r"] == pytest.approx(1.0), name


def test_rounding_is_pucker_and_funnel_where_the_film_narrows(test_set: TestSet) -> None:
    def round_lips(curves: MotionCurves) -> MotionCurves:
        assert curves.weights is not None
        weights = curves.weights.copy()
        weights[:, [INDEX["mouthPucker"], INDEX["mouthFunnel"]]] = (curves.width.max() - curves.width)[
            :, None
        ]
        return replace(curves, weights=weights)

    for scores in score_changed(test_set, round_lips)[0].values():
        assert scores["rounding_r"] == pytest.approx(1.0, abs=1e-3)


def test_measurements_that_an_older_corpus_lacks_have_no_score(test_set: TestSet) -> None:
    old = replace(test_set, reference=[replace(curves, chin_drop=None) for curves in test_set.reference])
    results = EvaluationResults("model", default_rig(), test_sets=[old])
    results.add(old, "model", test_set.reference)
    scores = score_speakers(results, "model")["bert"]
    assert np.isnan(scores["chin_r"]) and np.isnan(scores["chin_amplitude"])
    assert scores["upper_lip_r"] == pytest.approx(1.0)


def test_a_speaker_with_one_clip_counts_as_much_as_one_with_many(test_set: TestSet) -> None:
    speakers, results = score_changed(
        test_set,
        lambda curves: (
            replace(curves, opening=0.5 * curves.opening) if curves is test_set.reference[3] else curves
        ),
    )
    results.add(test_set, REFERENCE, test_set.reference)
    rows = speaker_rows(results)
    assert list(rows) == ["anna", "bert", "all, model", "all, reference"]
    assert speakers["bert"]["lip_opening_amplitude"] == pytest.approx(0.5)
    assert rows["all, model"]["lip_opening_amplitude"] == pytest.approx(0.75)
    assert rows["all, reference"]["lip_opening_amplitude"] == pytest.approx(1.0)


def test_the_summary_is_the_median_and_of_fractions_the_mean_of_what_is_known() -> None:
    speakers = [{"chin_r": value, "false_closures": value} for value in (0.0, 0.0, 0.9, float("nan"))]
    assert summarize_speakers(speakers) == {"chin_r": 0.0, "false_closures": pytest.approx(0.3)}
    assert summarize_speakers([]) == {}


def test_rule_based_motion_has_no_speakers(test_set: TestSet) -> None:
    rules = replace(test_set, is_rule_based=True)
    assert score_changed(rules, lambda curves: curves)[0] == {}


def test_shapes_that_hardly_vary_are_still() -> None:
    weights = np.full((50, 52), 0.3)
    weights[:, INDEX["jawOpen"]] = np.linspace(0, 0.5, 50)
    weights[:, INDEX["jawLeft"]] += np.linspace(0, 0.01, 50)
    still = still_shapes([MotionCurves(np.zeros(50), np.zeros(50), weights)])
    assert len(still) == 51 and "jawLeft" in still and "jawOpen" not in still
