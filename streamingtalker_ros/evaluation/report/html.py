# SPDX-License-Identifier: Apache-2.0
"""The report of a study: one HTML file that needs nothing else. `write_page(study, path)`.

Charts are inline SVG, sounds inline FLAC; a playhead runs over a clip's curves while it sounds.
"""

import base64
import html
import io
from pathlib import Path

import numpy as np

from streamingtalker_ros import __version__
from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import require
from streamingtalker_ros.evaluation import acceptance
from streamingtalker_ros.evaluation.report.charts import agreement, clip, runs
from streamingtalker_ros.evaluation.report.charts.style import svg
from streamingtalker_ros.evaluation.report.html_style import MEASURES, SCRIPT, STYLE
from streamingtalker_ros.evaluation.results import REFERENCE

EXAMPLES = ((90, "among the best"), (50, "a usual one"), (10, "among the worst"))
COLUMNS = (
    ("lip_opening_r_median", "lip opening r", "{:.2f}"),
    ("lip_opening_r_p10", "10th percentile", "{:.2f}"),
    ("lip_width_r_median", "lip width r", "{:.2f}"),
    ("lag_ms", "lag, ms", "{:+.0f}"),
    ("amplitude_ratio", "amplitude", "{:.2f}"),
    ("closure_recall", "p b m closed", "{:.1%}"),
    ("false_closures", "false contacts", "{:.1%}"),
    ("lip_opening_error_mm", "error, mm", "{:.2f}"),
    ("lve_mm2", "LVE, mm²", "{:.1f}"),
    ("fdd_mm2", "FDD, mm²", "{:+.2f}"),
    ("mod_mm", "MOD, mm", "{:.2f}"),
    ("jerk_over_amplitude_ratio", "jerk over amplitude", "{:.2f}"),
    ("blinks_per_minute", "blinks a minute", "{:.0f}"),
    ("pause_lip_speed_share", "lip speed in pauses", "{:.1%}"),
    ("loudness_r_median", "r with loudness", "{:.2f}"),
    ("loudness_lag_ms", "lag to loudness, ms", "{:+.0f}"),
)
SAMPLING = (
    ("lip_opening_error_mm", "lip opening error, mm", "{:.2f}"),
    ("lve_mm2", "LVE, mm²", "{:.1f}"),
    ("mouth_weights_error", "mouth weights", "{:.4f}"),
    ("lip_opening_r_median", "lip opening r", "{:.2f}"),
    ("closure_recall", "p b m closed", "{:.1%}"),
    ("false_closures", "false contacts", "{:.1%}"),
)


def write_page(study, path) -> None:
    """Draw everything that a study holds into an HTML file. Raises TalkerError without matplotlib."""
    require("matplotlib", "the report")
    rows = acceptance.judge(study)
    parts = [_head(study, rows), _targets(rows)]
    if sum(bool(section.spoken) for section in study.sections) > 1:
        parts.append(
            _part(
                "At a glance",
                "The model and its baselines on every corpus.",
                svg(agreement.overview_chart(study)),
            )
        )
    for section in study.sections:
        parts.append(_section(study, section))
    if study.robustness:
        parts.append(
            _part(
                "Rooms and wires",
                "The same clips in noise, at other levels, through a telephone. Judged "
                "by what the clean clip is judged by.",
                svg(runs.robustness_chart(study.robustness, acceptance.FALLS)),
            )
        )
    if study.quiet:
        parts.append(
            _part(
                "Rest",
                "Nobody speaks: the lips must lie still. And when speech stops in the middle of a "
                "word, the mouth must close.",
                svg(runs.rest_chart(study.quiet, acceptance.REST_SPEED, acceptance.REST_MS)),
            )
        )
    if study.seeds:
        parts.append(_seeds(study))
    if study.hour:
        hour = study.hour
        seeds, minutes = hour["voices"], hour["block_seconds"] / 60.0
        text = (
            f"{hour['minutes']:g} minutes of the same speech, again and again, by {seeds} seed{'s' * (seeds > 1)}: every "
            f"point is {minutes:.3g} minutes, as a share of the first. Thin: one seed; green: within 5 %."
        )
        parts.append(_part("An hour", text, svg(runs.hour_chart(hour, acceptance.DRIFT))))
    parts.append(_part("How it is measured", "", f"<dl>{MEASURES}</dl>"))
    title = html.escape(f"How {study.name} speaks")
    Path(path).write_text(
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>\n'
        + "\n".join(parts)
        + f"\n<script>{SCRIPT}</script></body></html>\n",
        encoding="utf-8",
    )


def _part(title, text, *bodies) -> str:
    words = f'<p class="text">{html.escape(text)}</p>' if text else ""
    return f"<section><h2>{html.escape(title)}</h2>{words}{''.join(bodies)}</section>"


def _head(study, rows) -> str:
    passed = sum(row.passed for row in rows)
    names = ", ".join(html.escape(section.name) for section in study.sections)
    verdict = f'<p class="verdict"><b>{passed}</b> of {len(rows)} targets met</p>' if rows else ""
    tiles = "".join(_tile(row) for row in _telling(rows))
    return (
        f'<header><h1>How <em>{html.escape(study.name)}</em> speaks</h1><p class="text">streamingtalker_ros '
        f"{__version__}, measured by <code>streamingtalker evaluate</code> on {names}.</p>{verdict}"
        f'<div class="tiles">{tiles}</div></header>'
    )


def _telling(rows, most=8):
    """The rows that a reader wants first: one for each thing that is measured, the worst place of it."""
    chosen = {}
    for row in rows:
        known = chosen.get(row.what)
        if known is None or (known.passed and not row.passed):
            chosen[row.what] = row
    order = (
        "lip opening, median r",
        "lip width, median r",
        "lag, ms",
        "amplitude, made over reference",
        "p, b, m that close the lips",
        "open vowels closed by mistake",
        "lip speed without a voice, share of speech's",
        "mouth closed after the last sound",
        "blinks a minute",
        "a frame, median ms",
    )
    return [chosen[what] for what in order if what in chosen][:most]


def _tile(row) -> str:
    state = "good" if row.passed else "bad"
    return (
        f'<div class="tile {state}"><span>{html.escape(row.what)}</span><b>{html.escape(row.value)}</b>'
        f"<i>{html.escape(row.bound)}</i></div>"
    )


def _targets(rows):
    if not rows:
        return ""
    body, group = "", None
    for row in rows:
        if row.group != group:
            group = row.group
            body += f'<tr class="group"><th colspan="5">{html.escape(group)}</th></tr>'
        state = "good" if row.passed else "bad"
        cells = "".join(
            f"<td>{html.escape(text)}</td>" for text in (row.what, row.value, row.bound, row.where)
        )
        body += (
            f'<tr class="{state}"><td><span class="mark">{"✓" if row.passed else "✗"}</span></td>{cells}</tr>'
        )
    return _part("What it must show", "", f'<div class="scroll"><table class="targets">{body}</table></div>')


def _section(study, section):
    systems = study.figures[section.name]
    reference = (
        "as a camera saw them"
        if section.tracked
        else "by the rules of the teacher"
        if section.rule_made
        else "as they were captured"
    )
    voices = len({one.voice for one in section.clips} - {"", "none"})
    text = (
        f"{len(section.clips)} clips, {section.seconds / 60:.1f} minutes"
        + (f", {voices} voice{'s' * (voices > 1)}" if voices else "")
        + (", heard in training in other clips." if section.known else ".")
        + (
            f" Judged by the lips {reference}."
            if REFERENCE in systems
            else " There is no reference to judge by."
        )
    )
    bodies = [_systems(systems)]
    bound = None
    if not section.rule_made and section.spoken:
        bound = acceptance.KNOWN_R if section.known else acceptance.UNSEEN["lip_opening_r_median"]
    if section.spoken:
        bodies.append(_figure(agreement.agreement_chart(study, section, bound)))
    chart = agreement.closure_chart(study, section)
    if chart:
        bodies.append(
            _figure(
                chart,
                "Every p, b and m laid over the others. Dark is closed; between the white lines "
                "lies the sound itself.",
            )
        )
    bodies.append(_figure(agreement.motion_chart(study, section)))
    bodies += [_example(study, section, i, word) for i, word in _examples(study, section)]
    if section.licences:
        bodies.append(f'<p class="small">Sounds: {html.escape("; ".join(section.licences))}</p>')
    return _part(section.name, text, *bodies)


def _figure(figure, caption="") -> str:
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(figure)}{words}</figure>"


def _examples(study, section):
    """(index of a clip, what it is) for clips at some percentiles of r; the first clips where r is unknown."""
    r = study.per_clip[section.name][study.model].get("lip_opening_r", np.zeros(0))
    if not len(r):
        return [(i, "") for i in range(min(2, len(section.clips)))]
    chosen = {}
    for q, word in EXAMPLES:
        k = int(np.abs(r - np.percentile(r, q)).argmin())
        chosen.setdefault(section.spoken[k], f"{word}, r {r[k]:.2f}")
    return list(chosen.items())


def _example(study, section, i, word) -> str:
    picture = clip.clip_chart(study, section, i)
    sound = section.clips[i].pcm[: int(clip.MOST * SAMPLE_RATE)]
    file = io.BytesIO()
    require("soundfile", "the report").write(file, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    data = base64.b64encode(file.getvalue()).decode()
    left, right = (100.0 * side for side in clip.SPAN)
    return (
        f'<figure class="clip"><figcaption><b>{html.escape(section.clips[i].name)}</b> {html.escape(word)}'
        f'<audio controls preload="metadata" src="data:audio/flac;base64,{data}"></audio></figcaption>'
        f'<div class="stage" data-left="{left:.2f}" data-right="{right:.2f}" '
        f'data-seconds="{len(sound) / SAMPLE_RATE:.3f}">'
        f'{svg(picture, photographs=True)}<div class="head"></div></div></figure>'
    )


def _systems(systems):
    columns = [
        column for column in COLUMNS if any(np.isfinite(figures[column[0]]) for figures in systems.values())
    ]
    return _table(systems, columns, "system")


def _table(rows, columns, first) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for _, name, _ in columns)
    body = "".join(
        f"<tr><th>{html.escape(name)}</th>"
        + "".join(
            f"<td>{show.format(figures[key]) if np.isfinite(figures[key]) else '–'}</td>"
            for key, _, show in columns
        )
        + "</tr>"
        for name, figures in rows.items()
    )
    return f'<div class="scroll"><table class="numbers"><tr><th class="{first}"></th>{head}</tr>{body}</table></div>'


def _seeds(study):
    figures = study.seeds_figures
    text = f"The clip {study.seeds.clip.name} by {figures['seeds']} seeds. "
    if np.isfinite(figures["lip_opening_std_mm_at_closures"]):
        text += (
            f"What the sound decides they must share: lip opening deviates by "
            f"{figures['lip_opening_std_mm_at_closures']:.2f} mm at closures, by "
            f"{figures['lip_opening_std_mm_at_open_vowels']:.2f} mm at open vowels. "
        )
    text += (
        f"What it leaves open they must not: brows deviate by {figures['brows_std']:.3f}, lids by "
        f"{figures['lids_std']:.3f}, the head by {figures['head_degrees']:.2f}°."
    )
    bodies = [_figure(runs.seeds_chart(study))]
    if study.sampling_table:
        bodies.append(_table(study.sampling_table, SAMPLING, "system"))
    return _part("Seeds", text, *bodies)
