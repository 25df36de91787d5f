# SPDX-License-Identifier: Apache-2.0
"""Acceptance criteria of the default talker: measured values against their bounds.

`check_criteria(results)` covers what was measured; nothing that was not measured has a criterion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamingtalker_ros.evaluation.robustness import ACCEPTANCE_CONDITIONS
from streamingtalker_ros.evaluation.speaker_scores import score_speakers, summarize_speakers
from streamingtalker_ros.evaluation.test_set import Scores, TestSet

if TYPE_CHECKING:
    from streamingtalker_ros.evaluation.results import EvaluationResults

MIN_BILABIALS: Final = 20
"""Bilabials below which the closure recall has no criterion."""

MIN_CLOSURE_RECALL: Final = 0.90
MAX_FALSE_CONTACT_RATE: Final = 0.10

MIN_R_KNOWN_VOICE: Final = 0.85
"""Median r of the lip opening on other clips of voices in the training set."""

MIN_R_UNSEEN_VOICES: Final = {
    "lip_opening_r_median": 0.78,
    "lip_opening_r_p10": 0.45,
    "lip_width_r_median": 0.45,
}
AMPLITUDE_RANGE: Final = (0.8, 1.2)
"""Amplitude, generated over reference."""

MIN_SPEAKERS: Final = 3
"""Filmed people below which their summary has no criterion."""

MIN_SPEAKER_SCORES: Final = {
    "lip_opening_r": 0.80,
    "lip_width_r": 0.50,
    "rounding_r": 0.70,
    "upper_lip_amplitude": 0.60,
}
"""Least summary over filmed people that the model never heard."""

SPEAKER_RANGES: Final = {"lip_opening_amplitude": (0.8, 1.25), "lip_width_amplitude": (0.7, 1.3)}
MAX_FALSE_CLOSURES: Final = 0.08
"""Of the closures that the model makes, the fraction that filmed people do not make."""

MAX_LAG_MS: Final = 40.0
MAX_REST_SPEED_RATIO: Final = 0.10
"""Lip speed without speech over that in speech."""

MAX_CLOSING_MS: Final = 200.0
MAX_R_LOSS: Final = 0.10
"""Loss of the median r under `ACCEPTANCE_CONDITIONS`."""

MAX_DRIFT_RATIO: Final = 0.05
BLINKS_PER_MINUTE_RANGE: Final = (10.0, 25.0)

MIN_SEED_SPREAD: Final = {"brows_std": 0.01, "lids_std": 0.03, "head_degrees": 0.2}
"""Least standard deviation over seeds, in weights and degrees."""

MAX_CLOSURE_SPREAD_RATIO: Final = 0.1
"""Standard deviation over seeds at closures over the opening in open vowels."""

MIN_CODEBOOK_USAGE: Final = 0.5
MAX_WEIGHTS_MB: Final = 25.0
MAX_FRAME_P50_MS: Final = 8.0
MAX_FRAME_P99_MS: Final = 20.0

LABELS: Final = {
    "lip_opening_r_median": "lip opening, median r",
    "lip_opening_r_p10": "lip opening, 10th percentile of r",
    "lip_width_r_median": "lip width, median r",
    "opening_mean": "mean lip opening",
    "opening_std": "std of lip opening",
    "width_std": "std of lip width",
    "blinks_per_minute": "blinks",
    "head_std_degrees": "std of head rotation",
    "brows_std": "brows",
    "lids_std": "eyelids",
    "head_degrees": "head",
}
"""Score -> its name in reports."""


@dataclass(frozen=True)
class Criterion:
    """One criterion and its result.

    Attributes:
        group: heading.
        name: name of the measured value.
        value: the value as text.
        bound: the bound as text.
        passed: whether the value is within the bound.
        data: what it was measured on.
    """

    group: str
    name: str
    value: str
    bound: str
    passed: bool
    data: str


def _at_least(
    group: str, name: str, value: float, bound: float, data: str, form: str = "{:.2f}"
) -> Criterion:
    return Criterion(group, name, form.format(value), "≥ " + form.format(bound), bool(value >= bound), data)


def _at_most(group: str, name: str, value: float, bound: float, data: str, form: str = "{:.2f}") -> Criterion:
    return Criterion(group, name, form.format(value), "≤ " + form.format(bound), bool(value <= bound), data)


def _within(
    group: str, name: str, value: float, low: float, high: float, data: str, form: str = "{:.2f}"
) -> Criterion:
    bound = f"{form.format(low)} to {form.format(high)}"
    return Criterion(group, name, form.format(value), bound, bool(low <= value <= high), data)


def check_criteria(results: EvaluationResults) -> list[Criterion]:
    """Check the acceptance criteria.

    Args:
        results: the measurements.

    Returns:
        The criteria in the order of the report.
    """
    criteria = []
    for test_set in results.test_sets:
        scores = results.scores[test_set.name][results.system]
        criteria += [*_check_lips(test_set, scores), *_check_closures(test_set, scores)]
    criteria += _check_speakers(results)
    if results.non_speech:
        criteria += _check_rest(results.non_speech)
    for name, conditions in results.robustness.items():
        criteria += [
            _at_most(
                "robustness", f"loss of r, {condition}", conditions[condition]["r_loss"], MAX_R_LOSS, name
            )
            for condition in ACCEPTANCE_CONDITIONS
            if np.isfinite(conditions[condition]["r_loss"])
        ]
    if results.drift:
        criteria += _check_drift(results.drift)
    if results.seed_scores:
        criteria += _check_seeds(results.seed_scores)
    return criteria + _check_model(results.model_stats)


def _check_lips(test_set: TestSet, scores: Scores) -> list[Criterion]:
    """Agreement with captured lips; a rule-based reference has no bound."""
    if test_set.is_rule_based or not test_set.moving_clips:
        return []
    if test_set.is_known_voice:
        key = "lip_opening_r_median"
        return [
            _at_least("known voice, test clips", LABELS[key], scores[key], MIN_R_KNOWN_VOICE, test_set.name)
        ]
    group = "unseen voices"
    criteria = [
        _at_least(group, LABELS[key], scores[key], bound, test_set.name)
        for key, bound in MIN_R_UNSEEN_VOICES.items()
        if np.isfinite(scores[key])
    ]
    lag = _within(group, "lag, ms", scores["lag_ms"], -MAX_LAG_MS, MAX_LAG_MS, test_set.name, "{:+.0f}")
    amplitude = _within(group, "amplitude ratio", scores["amplitude_ratio"], *AMPLITUDE_RANGE, test_set.name)
    return [*criteria, lag, amplitude]


def _check_speakers(results: EvaluationResults) -> list[Criterion]:
    """Summary over filmed people that the model never heard."""
    unseen = [each for each in results.test_sets if not (each.is_rule_based or each.is_known_voice)]
    names = {each.name for each in unseen} | {clip.voice for each in unseen for clip in each.clips}
    speakers = score_speakers(results, results.system)
    rows = [scores for name, scores in speakers.items() if name in names]
    if len(rows) < MIN_SPEAKERS:
        return []
    summary, group, data = summarize_speakers(rows), "filmed people", f"{len(rows)} people never heard"
    criteria = [
        _at_least(group, key.replace("_", " "), summary[key], bound, data)
        for key, bound in MIN_SPEAKER_SCORES.items()
    ]
    criteria += [
        _within(group, key.replace("_", " "), summary[key], *bounds, data)
        for key, bounds in SPEAKER_RANGES.items()
    ]
    false_closures = 100 * summary["false_closures"]
    return [
        *criteria,
        _at_most(group, "false closures, of all", false_closures, 100 * MAX_FALSE_CLOSURES, data, "{:.1f} %"),
    ]


def _check_closures(test_set: TestSet, scores: Scores) -> list[Criterion]:
    if scores["bilabials"] < MIN_BILABIALS:
        return []
    data = f"{test_set.name}: {scores['bilabials']} p/b/m, {scores['open_vowels']} open vowels"
    if scores["unreliable_bilabials"]:
        data += (
            f"; {100 * scores['closure_recall_of_all']:.1f} % with {scores['unreliable_bilabials']} "
            "p/b/m of unreliable alignment"
        )
    return [
        _at_least(
            "closures",
            "closure recall, p b m",
            100 * scores["closure_recall"],
            100 * MIN_CLOSURE_RECALL,
            data,
            "{:.1f} %",
        ),
        _at_most(
            "closures",
            "false contacts in open vowels",
            100 * scores["false_closures"],
            100 * MAX_FALSE_CONTACT_RATE,
            data,
            "{:.1f} %",
        ),
    ]


def _check_rest(non_speech: Mapping[str, Any]) -> list[Criterion]:
    ratios = non_speech["lip_speed_ratio"]
    worst = max(ratios, key=ratios.get)
    return [
        _at_most(
            "rest",
            "lip speed without speech, of that in speech",
            100 * ratios[worst],
            100 * MAX_REST_SPEED_RATIO,
            f"p95; worst of {len(ratios)} sounds: {worst}",
            "{:.1f} %",
        ),
        _at_most(
            "rest",
            "mouth closed after truncated speech",
            non_speech["closing_p95_ms"],
            MAX_CLOSING_MS,
            f"p95 of {len(non_speech['closing_ms'])} truncated clips",
            "{:.0f} ms",
        ),
    ]


def _check_drift(drift: Mapping[str, Any]) -> list[Criterion]:
    minutes, voices = f"{drift['minutes']:g} minutes", drift["voices"]
    data = f"{minutes}, {voices} seed{'s' * (voices > 1)}: last block over first"
    criteria = []
    for name, change in drift["late_over_early"].items():
        if np.isfinite(change["ratio"]):
            error = f", ± {change['error']:.3f}" if np.isfinite(change["error"]) else ""
            criteria.append(
                _within(
                    "drift",
                    f"{LABELS[name]}, last over first",
                    change["ratio"],
                    1.0 - MAX_DRIFT_RATIO,
                    1.0 + MAX_DRIFT_RATIO,
                    data + error,
                    "{:.3f}",
                )
            )
    blinks = drift["blinks_per_minute"]
    return [
        *criteria,
        _within("drift", "blinks per minute", blinks, *BLINKS_PER_MINUTE_RANGE, minutes, "{:.1f}"),
    ]


def _check_seeds(scores: Scores) -> list[Criterion]:
    data = f"{scores['seeds']} seeds of one clip, standard deviation"
    criteria = [
        _at_least("seeds", f"variation of {LABELS[name]}", scores[name], bound, data, "{:.3f}")
        for name, bound in MIN_SEED_SPREAD.items()
    ]
    if np.isfinite(scores["lip_opening_std_mm_at_closures"]):
        criteria.append(
            _at_most(
                "seeds",
                "variation of lip opening at closures, mm",
                scores["lip_opening_std_mm_at_closures"],
                MAX_CLOSURE_SPREAD_RATIO * scores["lip_opening_mm_at_open_vowels"],
                f"{data}; bound: a tenth of an open vowel",
            )
        )
    return criteria


def _check_model(stats: Mapping[str, Any]) -> list[Criterion]:
    criteria = []
    if "codes" in stats:
        criteria.append(
            _at_least(
                "model",
                "codebook entries in use",
                stats["codes_used"],
                MIN_CODEBOOK_USAGE * stats["codes"],
                f"of {stats['codes']}; perplexity {stats['perplexity']:.0f}",
                "{:.0f}",
            )
        )
    if "p50_ms" in stats:
        machine = (
            f"{stats['cpu']}, {stats['threads']} thread(s)" if stats["device"] == "cpu" else stats["cuda"]
        )
        criteria += [
            _at_most("model", "frame time, median ms", stats["p50_ms"], MAX_FRAME_P50_MS, machine, "{:.1f}"),
            _at_most(
                "model",
                "frame time, 99th percentile ms",
                stats["p99_ms"],
                MAX_FRAME_P99_MS,
                machine,
                "{:.1f}",
            ),
        ]
    if np.isfinite(stats.get("megabytes", float("nan"))):
        criteria.append(
            _at_most(
                "model", "weights, MB", stats["megabytes"], MAX_WEIGHTS_MB, "weights.safetensors", "{:.1f}"
            )
        )
    return criteria
