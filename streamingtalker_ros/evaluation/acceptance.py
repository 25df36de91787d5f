# SPDX-License-Identifier: Apache-2.0
"""What a default talker must show, as rows that pass or fail: figures beside their bounds.

`judge(study)` walks over what was measured; nothing that was not measured has a row.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.evaluation.robustness import PROMISED

ENOUGH = 20  # bilabials, and clips: under it a share says little
RECALL, FALSE = 0.90, 0.10
KNOWN_R = 0.85
UNSEEN = {"lip_opening_r_median": 0.78, "lip_opening_r_p10": 0.45, "lip_width_r_median": 0.45}
AMPLITUDE = (0.8, 1.2)
FRAME_MS = 40.0
REST_SPEED, REST_MS = 0.10, 200.0
FALLS = 0.10
DRIFT = 0.05
BLINKS = (10.0, 25.0)
VARIES = {"brows_std": 0.01, "lids_std": 0.03, "head_degrees": 0.2}
MEGABYTES, P50_MS, P99_MS = 25.0, 8.0, 20.0
NAMES = {
    "lip_opening_r_median": "lip opening, median r",
    "lip_opening_r_p10": "lip opening, 10th percentile of r",
    "lip_width_r_median": "lip width, median r",
    "opening_mean": "mean lip opening",
    "opening_std": "spread of lip opening",
    "width_std": "spread of lip width",
    "blinks_per_minute": "blinks",
    "head_std_degrees": "spread of the head's rotation",
    "brows_std": "brows",
    "lids_std": "lids",
    "head_degrees": "head",
}


@dataclass(frozen=True)
class Row:
    """group: heading; what: the figure's name; value: as text; bound: as text; passed: bool; where: what it was
    measured on."""

    group: str
    what: str
    value: str
    bound: str
    passed: bool
    where: str


def _at_least(group, what, value, bound, where, show="{:.2f}"):
    return Row(group, what, show.format(value), "≥ " + show.format(bound), bool(value >= bound), where)


def _at_most(group, what, value, bound, where, show="{:.2f}"):
    return Row(group, what, show.format(value), "≤ " + show.format(bound), bool(value <= bound), where)


def _within(group, what, value, low, high, where, show="{:.2f}"):
    bound = f"{show.format(low)} to {show.format(high)}"
    return Row(group, what, show.format(value), bound, bool(low <= value <= high), where)


def judge(study):
    """A Study -> list of Row, in the order of the report."""
    rows = []
    for section in study.sections:
        figures = study.figures[section.name][study.model]
        rows += _lips(section, figures) + _closures(section, figures)
    rows += _rest(study.quiet) if study.quiet else []
    for name, conditions in study.robustness.items():
        rows += [
            _at_most(
                "robustness", f"r falls under {condition}", conditions[condition]["r_falls_by"], FALLS, name
            )
            for condition in PROMISED
            if np.isfinite(conditions[condition]["r_falls_by"])
        ]
    rows += _hour(study.hour) if study.hour else []
    rows += _seeds(study.seeds_figures) if study.seeds_figures else []
    return rows + _facts(study.facts)


def _lips(section, figures):
    """Agreement with captured lips; a teacher's curves are no evidence, so they have no bound."""
    if section.rule_made or not section.spoken:
        return []
    if section.known:
        return [
            _at_least(
                "known voice, held-out clips",
                NAMES["lip_opening_r_median"],
                figures["lip_opening_r_median"],
                KNOWN_R,
                section.name,
            )
        ]
    group = "voices never heard"
    rows = [
        _at_least(group, NAMES[key], figures[key], bound, section.name)
        for key, bound in UNSEEN.items()
        if np.isfinite(figures[key])
    ]
    return rows + [
        _within(group, "lag, ms", figures["lag_ms"], -FRAME_MS, FRAME_MS, section.name, "{:+.0f}"),
        _within(
            group, "amplitude, made over reference", figures["amplitude_ratio"], *AMPLITUDE, section.name
        ),
    ]


def _closures(section, figures):
    if figures["bilabials"] < ENOUGH:
        return []
    where = f"{section.name}: {figures['bilabials']} p/b/m, {figures['open_vowels']} open vowels"
    if figures["squeezed"]:
        where += f"; with {figures['squeezed']} squeezed p/b/m {100 * figures['closure_recall_of_all']:.1f} %"
    return [
        _at_least(
            "closures",
            "p, b, m that close the lips",
            100 * figures["closure_recall"],
            100 * RECALL,
            where,
            "{:.1f} %",
        ),
        _at_most(
            "closures",
            "open vowels closed by mistake",
            100 * figures["false_closures"],
            100 * FALSE,
            where,
            "{:.1f} %",
        ),
    ]


def _rest(quiet):
    worst = max(quiet["share"], key=quiet["share"].get)
    return [
        _at_most(
            "rest",
            "lip speed without a voice, share of speech's",
            100 * quiet["share"][worst],
            100 * REST_SPEED,
            f"p95; worst of {len(quiet['share'])} sounds: {worst}",
            "{:.1f} %",
        ),
        _at_most(
            "rest",
            "mouth closed after the last sound",
            quiet["closing_p95_ms"],
            REST_MS,
            f"p95 of {len(quiet['closing_ms'])} clips cut dead",
            "{:.0f} ms",
        ),
    ]


def _hour(hour):
    where = f"{hour['minutes']:g} minutes, {hour['voices']} seed{'s' * (hour['voices'] > 1)}: last twelfth over first"

    def sure(change):
        return where + (f", ± {change['error']:.3f}" if np.isfinite(change["error"]) else "")

    rows = [
        _within(
            "an hour",
            f"{NAMES[name]}, last over first",
            change["ratio"],
            1.0 - DRIFT,
            1.0 + DRIFT,
            sure(change),
            "{:.3f}",
        )
        for name, change in hour["late_over_early"].items()
        if np.isfinite(change["ratio"])
    ]
    return rows + [
        _within(
            "an hour",
            "blinks a minute",
            hour["blinks_per_minute"],
            *BLINKS,
            f"{hour['minutes']:g} minutes",
            "{:.1f}",
        )
    ]


def _seeds(figures):
    where = f"{figures['seeds']} seeds of one clip, standard deviation"
    rows = [
        _at_least("seeds", f"{NAMES[name]} differ", figures[name], bound, where, "{:.3f}")
        for name, bound in VARIES.items()
    ]
    if np.isfinite(figures["lip_opening_std_mm_at_closures"]):
        rows.append(
            _at_most(
                "seeds",
                "lip opening at closures, mm",
                figures["lip_opening_std_mm_at_closures"],
                0.1 * figures["lip_opening_mm_at_open_vowels"],
                where + "; bound: a tenth of an open vowel",
            )
        )
    return rows


def _facts(facts):
    rows = []
    if "codes" in facts:
        rows.append(
            _at_least(
                "model",
                "codes of the codebook in use",
                facts["codes_used"],
                0.5 * facts["codes"],
                f"of {facts['codes']}; perplexity {facts['perplexity']:.0f}",
                "{:.0f}",
            )
        )
    if "p50_ms" in facts:
        where = f"{facts['cpu']}, {facts['threads']} thread(s)" if facts["device"] == "cpu" else facts["cuda"]
        rows += [
            _at_most("model", "a frame, median ms", facts["p50_ms"], P50_MS, where, "{:.1f}"),
            _at_most("model", "a frame, 99th percentile ms", facts["p99_ms"], P99_MS, where, "{:.1f}"),
        ]
    if np.isfinite(facts.get("megabytes", float("nan"))):
        rows.append(
            _at_most("model", "weights, MB", facts["megabytes"], MEGABYTES, "weights.safetensors", "{:.1f}")
        )
    return rows
