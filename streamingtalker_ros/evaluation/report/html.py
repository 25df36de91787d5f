# SPDX-License-Identifier: Apache-2.0
"""HTML report of an evaluation: one self-contained file, rendered from `templates/report.html.j2`."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import require
from streamingtalker_ros.evaluation import acceptance
from streamingtalker_ros.evaluation.acceptance import Criterion
from streamingtalker_ros.evaluation.closure_classes import FALSE_CLOSURE_CLASSES
from streamingtalker_ros.evaluation.report.charts import agreement, clip, runs
from streamingtalker_ros.evaluation.report.charts.style import figure_to_svg
from streamingtalker_ros.evaluation.results import REFERENCE, EvaluationResults, clips_at_percentiles
from streamingtalker_ros.evaluation.speaker_scores import speaker_rows, still_shapes
from streamingtalker_ros.evaluation.test_set import Scores, TestSet
from streamingtalker_ros.output_files import write_text

TEMPLATES: Final = Path(__file__).parent / "templates"

EXAMPLE_PERCENTILES: Final = ((90, "among the best"), (50, "median"), (10, "among the worst"))
"""Percentiles of r at which a clip is shown, and their labels."""

MAX_KEY_CRITERIA: Final = 8

_KEY_CRITERIA = (
    "lip opening, median r",
    "lip width, median r",
    "lag, ms",
    "amplitude ratio",
    "closure recall, p b m",
    "false contacts in open vowels",
    "lip speed without speech, of that in speech",
    "mouth closed after truncated speech",
    "blinks per minute",
    "frame time, median ms",
)

Column = tuple[str, str, str]
"""Key of a score, title, format."""

TEST_SET_COLUMNS: Final[tuple[Column, ...]] = (
    ("lip_opening_r_median", "lip opening r", "{:.2f}"),
    ("lip_opening_r_p10", "10th percentile", "{:.2f}"),
    ("lip_width_r_median", "lip width r", "{:.2f}"),
    ("lag_ms", "lag, ms", "{:+.0f}"),
    ("amplitude_ratio", "amplitude ratio", "{:.2f}"),
    ("closure_recall", "closure recall", "{:.1%}"),
    ("false_closures", "false contacts", "{:.1%}"),
    ("lip_opening_error_mm", "error, mm", "{:.2f}"),
    ("lve_mm2", "LVE, mm²", "{:.1f}"),
    ("fdd_mm2", "FDD, mm²", "{:+.2f}"),
    ("mod_mm", "MOD, mm", "{:.2f}"),
    ("jerk_over_amplitude_ratio", "jerk over amplitude", "{:.2f}"),
    ("blinks_per_minute", "blinks per minute", "{:.0f}"),
    ("pause_lip_speed_share", "lip speed in pauses", "{:.1%}"),
    ("loudness_r_median", "r with loudness", "{:.2f}"),
    ("loudness_lag_ms", "lag to loudness, ms", "{:+.0f}"),
)
SPEAKER_COLUMNS: Final[tuple[Column, ...]] = (
    ("clips", "clips", "{:.0f}"),
    ("lip_opening_r", "lip opening r", "{:.2f}"),
    ("lip_width_r", "lip width r", "{:.2f}"),
    ("lip_width_r_in_speech", "in speech", "{:.2f}"),
    ("upper_lip_r", "upper lip r", "{:.2f}"),
    ("chin_r", "chin r", "{:.2f}"),
    ("rounding_r", "rounding r", "{:.2f}"),
    ("lip_opening_amplitude", "amplitude of lip opening", "{:.2f}"),
    ("lip_width_amplitude", "lip width", "{:.2f}"),
    ("upper_lip_amplitude", "upper lip", "{:.2f}"),
    ("lower_lip_amplitude", "lower lip", "{:.2f}"),
    ("chin_amplitude", "chin", "{:.2f}"),
    ("parted_before_speech", "parted before speech", "{:.1%}"),
    ("parted_after_speech", "after", "{:.1%}"),
    ("parted_in_pauses", "in pauses", "{:.1%}"),
    ("closures", "closures", "{:.0f}"),
    ("false_closures", "false", "{:.1%}"),
    *(
        (f"false_closures_at_{name.replace(' ', '_')}", f"at {name}", "{:.1%}")
        for name in FALSE_CLOSURE_CLASSES
    ),
    ("sync_lag_frames", "sync lag, frames", "{:+.1f}"),
    ("sync_confidence", "sync confidence", "{:.2f}"),
    ("lip_opening_fast_power", "lip opening above 5 Hz", "{:.1%}"),
    ("lip_width_fast_power", "lip width above 5 Hz", "{:.1%}"),
    ("head_range_degrees", "head, degrees", "{:.1f}"),
    ("brows_std", "brows, std", "{:.3f}"),
)
SAMPLING_COLUMNS: Final[tuple[Column, ...]] = (
    ("lip_opening_error_mm", "lip opening error, mm", "{:.2f}"),
    ("lve_mm2", "LVE, mm²", "{:.1f}"),
    ("mouth_weights_error", "mouth weights", "{:.4f}"),
    ("lip_opening_r_median", "lip opening r", "{:.2f}"),
    ("closure_recall", "closure recall", "{:.1%}"),
    ("false_closures", "false contacts", "{:.1%}"),
)


@dataclass
class ScoreTable:
    """A table of scores as text: column titles, and rows of a name and its cells."""

    titles: list[str]
    rows: list[tuple[str, list[str]]]


@dataclass
class ChartBlock:
    """A chart as HTML, with its caption."""

    svg: Any
    caption: str = ""


@dataclass
class ExampleClip:
    """A clip with its chart and its sound.

    Attributes:
        name: name of the clip.
        label: why it is shown.
        svg: chart as HTML.
        flac: base64 of the sound.
        left: start of the time axis, per cent of the chart's width.
        right: end of the time axis.
        seconds: duration of the sound.
    """

    name: str
    label: str
    svg: Any
    flac: str
    left: str
    right: str
    seconds: str


@dataclass
class TestSetSection:
    """The section of the page about one test set."""

    name: str
    text: str
    scores: ScoreTable
    figures: list[ChartBlock] = field(default_factory=list)
    examples: list[ExampleClip] = field(default_factory=list)
    licences: Sequence[str] = ()


def write_report(results: EvaluationResults, path: str | os.PathLike[str]) -> None:
    """Write the report of an evaluation.

    Args:
        results: the measurements.
        path: HTML file to write.

    Raises:
        TalkerError: If matplotlib or Jinja2 is missing.
    """
    require("matplotlib", "the report")
    jinja2 = require("jinja2", "the report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["groupby_in_order"] = _group_in_order
    criteria = acceptance.check_criteria(results)
    html = environment.get_template("report.html.j2").render(
        name=results.name,
        version=__version__,
        test_set_names=[test_set.name for test_set in results.test_sets],
        criteria=criteria,
        key_criteria=_key_criteria(criteria),
        test_sets=[_test_set_section(results, test_set) for test_set in results.test_sets],
        **_charts(results),
    )
    write_text(path, html.lstrip() + "\n")


def _svg(figure: Any, jpeg_images: bool = False) -> Any:
    """Convert a figure to markup that the template does not escape."""
    return require("markupsafe", "the report").Markup(figure_to_svg(figure, jpeg_images))


def _group_in_order(rows: Iterable[Any], attribute: str) -> list[tuple[Any, list[Any]]]:
    """Template filter: group consecutive rows by an attribute; unlike `groupby` it does not sort."""
    return [(key, list(group)) for key, group in groupby(rows, attrgetter(attribute))]


def _charts(results: EvaluationResults) -> dict[str, Any]:
    """Variables of the template for the sections that need no loop; None hides a section."""
    overview = robustness = rest = seeds = drift = None
    if sum(bool(test_set.moving_clips) for test_set in results.test_sets) > 1:
        overview = _svg(agreement.overview_chart(results))
    if results.robustness:
        robustness = _svg(runs.robustness_chart(results.robustness, acceptance.MAX_R_LOSS))
    if results.non_speech:
        rest = _svg(
            runs.rest_chart(results.non_speech, acceptance.MAX_REST_SPEED_RATIO, acceptance.MAX_CLOSING_MS)
        )
    if results.seed_spread:
        seeds = {
            "text": _seeds_text(results.seed_spread.clip.name, results.seed_scores),
            "svg": _svg(runs.seeds_chart(results)),
            "table": _score_table(results.sampling, SAMPLING_COLUMNS) if results.sampling else None,
        }
    if results.drift:
        voices, block_minutes = results.drift["voices"], results.drift["block_seconds"] / 60.0
        drift = {
            "text": (
                f"{results.drift['minutes']:g} minutes of repeated speech, {voices} "
                f"seed{'s' * (voices > 1)}; each point: {block_minutes:.3g} minutes, relative to the first; "
                f"thin: one seed; green: within {100 * acceptance.MAX_DRIFT_RATIO:g} %."
            ),
            "svg": _svg(runs.drift_chart(results.drift, acceptance.MAX_DRIFT_RATIO)),
        }
    speakers = speaker_rows(results)
    return {
        "overview": overview,
        "speakers": _score_table(speakers, SPEAKER_COLUMNS) if speakers else None,
        "still_shapes": still_shapes(results.all_curves()),
        "robustness": robustness,
        "rest": rest,
        "seeds": seeds,
        "drift": drift,
    }


def _key_criteria(criteria: Iterable[Criterion]) -> list[Criterion]:
    """Select the criteria for the top of the page: one per measurement, failures before passes."""
    selected: dict[str, Criterion] = {}
    for criterion in criteria:
        selection = selected.get(criterion.name)
        if selection is None or (selection.passed and not criterion.passed):
            selected[criterion.name] = criterion
    return [selected[name] for name in _KEY_CRITERIA if name in selected][:MAX_KEY_CRITERIA]


def _test_set_section(results: EvaluationResults, test_set: TestSet) -> TestSetSection:
    systems = results.scores[test_set.name]
    section = TestSetSection(
        test_set.name,
        _test_set_text(test_set, REFERENCE in systems),
        _score_table(systems, TEST_SET_COLUMNS),
        licences=test_set.licences,
    )
    if test_set.moving_clips:
        bound = None
        if not test_set.is_rule_based:
            bound = (
                acceptance.MIN_R_KNOWN_VOICE
                if test_set.is_known_voice
                else acceptance.MIN_R_UNSEEN_VOICES["lip_opening_r_median"]
            )
        section.figures.append(ChartBlock(_svg(agreement.agreement_chart(results, test_set, bound))))
    closures = agreement.closure_chart(results, test_set)
    if closures:
        caption = "Lip opening around every p, b and m. Dark is closed; the white lines bound the phone."
        section.figures.append(ChartBlock(_svg(closures), caption))
    section.figures.append(ChartBlock(_svg(agreement.motion_chart(results, test_set))))
    section.examples = [
        _example_clip(results, test_set, i, label) for i, label in _select_examples(results, test_set)
    ]
    return section


def _test_set_text(test_set: TestSet, has_reference: bool) -> str:
    voices = len({one.voice for one in test_set.clips} - {"", "none"})
    origin = (
        "lips tracked in video"
        if test_set.is_tracked
        else "the rule-based coarticulation model"
        if test_set.is_rule_based
        else "captured motion"
    )
    return (
        f"{len(test_set.clips)} clips, {test_set.seconds / 60:.1f} minutes"
        + (f", {voices} voice{'s' * (voices > 1)}" if voices else "")
        + (" with other clips in the training set." if test_set.is_known_voice else ".")
        + (f" Reference: {origin}." if has_reference else " There is no reference.")
    )


def _select_examples(results: EvaluationResults, test_set: TestSet) -> list[tuple[int, str]]:
    """(index of a clip, label) at `EXAMPLE_PERCENTILES` of r; the first clips where r is unknown."""
    clips = clips_at_percentiles(results, test_set, [q for q, _ in EXAMPLE_PERCENTILES])
    if not clips:
        return [(i, "") for i in range(min(2, len(test_set.clips)))]
    examples: dict[int, str] = {}
    for (i, r), (_, label) in zip(clips, EXAMPLE_PERCENTILES, strict=True):
        examples.setdefault(i, f"{label}, r {r:.2f}")
    return list(examples.items())


def _example_clip(results: EvaluationResults, test_set: TestSet, i: int, label: str) -> ExampleClip:
    svg = _svg(clip.clip_chart(results, test_set, i), jpeg_images=True)
    sound = test_set.clips[i].pcm[: int(clip.MAX_SECONDS * SAMPLE_RATE)]
    file = io.BytesIO()
    require("soundfile", "the report").write(file, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    left, right = (f"{100.0 * side:.2f}" for side in clip.TIME_AXIS_SPAN)
    return ExampleClip(
        test_set.clips[i].name,
        label,
        svg,
        base64.b64encode(file.getvalue()).decode(),
        left,
        right,
        f"{len(sound) / SAMPLE_RATE:.3f}",
    )


def _score_table(rows: Mapping[str, Scores], columns: Sequence[Column]) -> ScoreTable:
    """Format scores; columns without any finite value are left out."""
    used = [column for column in columns if any(np.isfinite(scores[column[0]]) for scores in rows.values())]
    return ScoreTable(
        [title for _, title, _ in used],
        [
            (name, [form.format(scores[key]) if np.isfinite(scores[key]) else "–" for key, _, form in used])
            for name, scores in rows.items()
        ],
    )


def _seeds_text(clip_name: str, scores: Scores) -> str:
    text = f"The clip {clip_name} with {scores['seeds']} seeds. "
    if np.isfinite(scores["lip_opening_std_mm_at_closures"]):
        text += (
            "Standard deviation of the lip opening, which the audio determines: "
            f"{scores['lip_opening_std_mm_at_closures']:.2f} mm at closures, "
            f"{scores['lip_opening_std_mm_at_open_vowels']:.2f} mm at open vowels. "
        )
    return text + (
        f"Of what the audio leaves open: brows {scores['brows_std']:.3f}, eyelids {scores['lids_std']:.3f}, "
        f"head {scores['head_degrees']:.2f}°."
    )
