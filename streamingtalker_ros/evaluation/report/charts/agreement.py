# SPDX-License-Identifier: Apache-2.0
"""Charts of a test set: correlation, lag and amplitude per clip, closures, spectrum of the opening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation import dynamics, metrics
from streamingtalker_ros.evaluation.acceptance import AMPLITUDE_RANGE, MAX_LAG_MS
from streamingtalker_ros.evaluation.baselines import LOUDNESS_DRIVEN_JAW
from streamingtalker_ros.evaluation.inference import inter_ocular_distance
from streamingtalker_ros.evaluation.metrics import MAX_LAG_FRAMES
from streamingtalker_ros.evaluation.report.charts.style import (
    FIGURE_WIDTH,
    GENERATED_COLOUR,
    MUTED_COLOUR,
    REFERENCE_COLOUR,
    TEXT_COLOUR,
    hide_frame,
    new_figure,
    system_colours,
)
from streamingtalker_ros.evaluation.results import REFERENCE, EvaluationResults
from streamingtalker_ros.evaluation.test_set import TestSet
from streamingtalker_ros.phonetics.phones import Phone, has_unreliable_alignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

AROUND_FRAMES = 6
"""Frames that the chart of closures shows on either side of a phone."""

MAX_CLOSURES = 400
"""Rows of the chart of closures."""


def agreement_chart(results: EvaluationResults, test_set: TestSet, bound: float | None = None) -> Figure:
    """Plot r of the lip opening per clip, cross-correlation and amplitude, for each system.

    Args:
        results: the evaluation.
        test_set: one of its test sets.
        bound: acceptance bound of the median r, or None.

    Returns:
        The figure.
    """
    systems = [name for name in results.scores[test_set.name] if name != REFERENCE]
    colours = system_colours(systems, results.system, REFERENCE)
    with new_figure(FIGURE_WIDTH, 0.95 + 0.46 * max(len(systems), 3)) as figure:
        left, middle, right = figure.subplots(
            1, 3, gridspec_kw={"width_ratios": [2.5, 1.0, 1.0], "wspace": 0.28}
        )
        _plot_correlations(left, results, test_set, systems, colours, bound)
        _plot_lags(middle, results, test_set, systems, colours)
        _plot_amplitudes(right, results, test_set, systems, colours)
        figure.subplots_adjust(0.215, 0.50 / figure.get_figheight(), 0.985, 1 - 0.36 / figure.get_figheight())
    return figure


def overview_chart(results: EvaluationResults) -> Figure:
    """Plot median r, amplitude and closure recall of every system on every test set.

    Args:
        results: Results with scores; test sets whose reference does not move are left out.

    Returns:
        The figure.
    """
    test_sets = [test_set for test_set in results.test_sets if test_set.moving_clips][::-1]
    systems = list(
        dict.fromkeys(
            name for test_set in test_sets for name in results.scores[test_set.name] if name != REFERENCE
        )
    )[::-1]
    colours = system_colours(systems[::-1], results.system, REFERENCE)
    panels = (
        ("lip_opening_r_median", "lip opening, median r", (0, 1.03)),
        ("amplitude_ratio", "amplitude ratio", (0, 1.6)),
        ("closure_recall", "closure recall, p b m", (0, 1.03)),
    )
    with new_figure(FIGURE_WIDTH, 1.15 + 0.42 * len(test_sets)) as figure:
        for axes, (key, title, limits) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
            for system in systems:
                is_model = system == results.system
                points = [
                    (results.scores[test_set.name][system][key], row)
                    for row, test_set in enumerate(test_sets)
                    if system in results.scores[test_set.name]
                ]
                axes.scatter(
                    *zip(*points, strict=True),
                    s=110 if is_model else 42,
                    color=colours[system],
                    lw=1.3 if is_model else 0.8,
                    ec="white",
                    zorder=4 if is_model else 3,
                    label=system,
                )
            for row, test_set in enumerate(test_sets if key == "lip_opening_r_median" else ()):
                scores = results.scores[test_set.name][results.system]
                axes.plot(
                    [scores["lip_opening_r_p10"], scores[key]],
                    [row, row],
                    color=GENERATED_COLOUR,
                    lw=1.6,
                    zorder=2,
                )
            if key == "amplitude_ratio":
                axes.axvspan(*AMPLITUDE_RANGE, color=MUTED_COLOUR, alpha=0.09, lw=0)
            axes.set(
                title=title,
                xlim=limits,
                ylim=(-0.6, len(test_sets) - 0.4),
                yticks=range(len(test_sets)),
                yticklabels=[test_set.name for test_set in test_sets],
            )
            axes.tick_params(axis="y", labelcolor=TEXT_COLOUR, labelsize=9.5)
            axes.spines["left"].set_visible(False)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            names[::-1],
            loc="lower center",
            ncols=len(names),
            fontsize=8.5,
            handletextpad=0.2,
            columnspacing=1.4,
        )
        height = figure.get_figheight()
        figure.subplots_adjust(0.13, 0.66 / height, 0.985, 1 - 0.36 / height, wspace=0.10)
    return figure


def _plot_correlations(
    axes: Axes,
    results: EvaluationResults,
    test_set: TestSet,
    systems: Sequence[str],
    colours: Mapping[str, str],
    bound: float | None,
) -> None:
    """A row of dots per system, its 10th to 90th percentile and its median."""
    rng = np.random.default_rng(3)
    for row, system in enumerate(systems):
        values = results.per_clip[test_set.name][system].get("lip_opening_r", np.zeros(0))
        if not len(values):
            continue
        y = row + np.clip(rng.normal(0.0, 0.09, len(values)), -0.24, 0.24)
        axes.scatter(
            values, y, s=13 if len(values) < 150 else 6, color=colours[system], alpha=0.38, lw=0, zorder=2
        )
        low, median, high = np.percentile(values, [10, 50, 90])
        axes.plot([low, high], [row, row], color=colours[system], lw=1.6, zorder=3)
        axes.plot([median], [row], marker="o", ms=8, color=colours[system], mec="white", mew=1.4, zorder=4)
        axes.annotate(
            f"{median:.2f}",
            (median, row),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=colours[system],
            weight="bold",
        )
    if bound:
        axes.axvline(bound, color=TEXT_COLOUR, lw=1.0, ls=(0, (2, 2)), zorder=1)
        axes.annotate(
            f"bound {bound:.2f}",
            (bound, len(systems) - 0.55),
            (3, 0),
            textcoords="offset points",
            fontsize=8,
            color=MUTED_COLOUR,
            va="center",
        )
    axes.set(
        ylim=(len(systems) - 0.4, -0.65),
        yticks=range(len(systems)),
        yticklabels=systems,
        xlim=(min(-0.02, *axes.get_xlim()), 1.03),
        title="Lip opening: r with the reference, one dot per clip",
    )
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelcolor=TEXT_COLOUR, labelsize=9.5)
    axes.set_xlabel("r; the line spans the 10th to the 90th percentile")
    axes.spines["left"].set_visible(False)


def _plot_lags(
    axes: Axes,
    results: EvaluationResults,
    test_set: TestSet,
    systems: Sequence[str],
    colours: Mapping[str, str],
) -> None:
    """Mean cross-correlation over the clips, and the model's lag."""
    ms = 1e3 * np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1) / FRAME_RATE
    for system in reversed(systems):
        rows = results.per_clip[test_set.name][system].get("cross_correlation")
        if rows is None or not len(rows):
            continue
        mean, is_model = rows.mean(0), system == results.system
        axes.plot(
            ms, mean, color=colours[system], lw=2.2 if is_model else 1.2, alpha=1.0 if is_model else 0.8
        )
        if is_model:
            axes.plot(
                [results.scores[test_set.name][system]["lag_ms"]],
                [mean.max()],
                "o",
                ms=6,
                color=colours[system],
                mec="white",
                mew=1.2,
            )
    axes.axvspan(-MAX_LAG_MS, MAX_LAG_MS, color=MUTED_COLOUR, alpha=0.09, lw=0)
    axes.set(title="Lag", xticks=(-200, -100, 0, 100, 200))
    axes.set_xlabel("ms late")


def _plot_amplitudes(
    axes: Axes,
    results: EvaluationResults,
    test_set: TestSet,
    systems: Sequence[str],
    colours: Mapping[str, str],
) -> None:
    """Density of the amplitude ratio over the clips, by a Gaussian kernel (Silverman's width)."""
    axes.axvspan(*AMPLITUDE_RANGE, color=MUTED_COLOUR, alpha=0.09, lw=0)
    for system in reversed(systems):
        values = results.per_clip[test_set.name][system].get("lip_opening_amplitude", np.zeros(0))
        values = values[np.isfinite(values)]
        if len(values) < 2:
            continue
        is_model = system == results.system
        grid = np.linspace(0.0, 2.2, 200)
        width = max(0.05, 1.06 * values.std() * len(values) ** -0.2)
        density = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).mean(1)
        axes.plot(grid, density / density.max(), color=colours[system], lw=2.2 if is_model else 1.2)
        if is_model:
            axes.fill_between(grid, density / density.max(), color=colours[system], alpha=0.13, lw=0)
    axes.axvline(1.0, color=TEXT_COLOUR, lw=1.0, ls=(0, (2, 2)))
    axes.set(title="Amplitude ratio", yticks=[], ylim=(0, 1.12), xlim=(0, 2.2))
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("generated over reference")


def motion_chart(results: EvaluationResults, test_set: TestSet) -> Figure:
    """Plot distribution and power spectrum of the lip opening, the model against the reference.

    Args:
        results: Results with the curves of the model and the reference.
        test_set: One of the test sets of `results`.

    Returns:
        The figure.
    """
    curves = results.curves[test_set.name]
    systems = [name for name in curves if name in (results.system, REFERENCE, LOUDNESS_DRIVEN_JAW)]
    colours = system_colours(systems, results.system, REFERENCE)
    scale = 1e3 * inter_ocular_distance(results.rig)
    with new_figure(FIGURE_WIDTH, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        edges = np.arange(
            0.0,
            max(
                8.0,
                1.1
                * scale
                * np.percentile(np.concatenate([curve.opening for curve in curves[systems[0]]]), 99.5),
            )
            + 0.5,
            0.5,
        )
        for system in systems[::-1]:
            opening = scale * np.concatenate([curve.opening for curve in curves[system]])
            counts, _ = np.histogram(opening, edges)
            left.stairs(
                100.0 * counts / len(opening),
                edges,
                color=colours[system],
                lw=2.0,
                label=system,
                fill=system == REFERENCE,
                alpha=0.35 if system == REFERENCE else 1.0,
            )
            hertz, power = dynamics.power_spectrum(
                [scale * curve.opening for curve in curves[system]], FRAME_RATE
            )
            right.semilogy(
                hertz[1:],
                power[1:],
                color=colours[system],
                lw=2.2 if system != systems[-1] else 1.4,
                label=system,
            )
        left.set(title="Distribution of the lip opening", yscale="log")
        left.set_xlabel("lip opening, mm on the default face")
        left.set_ylabel("frames, %")
        right.axvspan(2.0, 7.0, color=MUTED_COLOUR, alpha=0.09, lw=0)
        right.text(
            4.5,
            0.97,
            "syllables",
            ha="center",
            va="top",
            fontsize=8,
            color=MUTED_COLOUR,
            transform=right.get_xaxis_transform(),
        )
        right.set(title="Spectrum of the lip opening")
        right.set_xlabel("Hz")
        right.set_ylabel("mm²/Hz")
        left.legend(loc="upper right")
        figure.subplots_adjust(0.065, 0.165, 0.985, 0.89, wspace=0.16)
    return figure


def closure_chart(results: EvaluationResults, test_set: TestSet) -> Figure | None:
    """Plot the lip opening around every p, b and m of a test set.

    One row of pixels each, from the darkest (closed) to the lightest (a median open vowel), ordered by the
    phone's duration; below them the median and the quartiles.

    Args:
        results: the evaluation.
        test_set: one of its test sets.

    Returns:
        The figure; None with fewer than ten reliably aligned phones.
    """
    curves = results.curves[test_set.name]
    systems = [name for name in (REFERENCE, results.system) if name in curves]
    occurrences = [
        (i, phone)
        for i, phones in enumerate(test_set.phones)
        for phone in phones
        if phone.name in metrics.BILABIALS and not has_unreliable_alignment(phone)
    ]
    if len(occurrences) < 10 or not results.scores[test_set.name][results.system]["vowel_opening_mm"] > 0:
        return None
    occurrences.sort(key=lambda occurrence: occurrence[1].end - occurrence[1].start)
    if len(occurrences) > MAX_CLOSURES:
        occurrences = [occurrences[int(k)] for k in np.linspace(0, len(occurrences) - 1, MAX_CLOSURES)]
    ms = 1e3 * np.arange(-AROUND_FRAMES, AROUND_FRAMES + 1) / FRAME_RATE
    with new_figure(FIGURE_WIDTH, 3.9) as figure:
        grid = figure.add_gridspec(
            2,
            len(systems) + 1,
            height_ratios=[2.3, 1.0],
            hspace=0.12,
            wspace=0.10,
            left=0.065,
            right=0.985,
            top=0.90,
            bottom=0.13,
            width_ratios=[*[1.0] * len(systems), 0.022],
        )
        for column, system in enumerate(systems):
            vowel_opening = metrics.vowel_opening(
                [curve.opening for curve in curves[system]], test_set.phones, FRAME_RATE
            )
            openings = [_opening_around(curves[system][i].opening, phone) for i, phone in occurrences]
            rows = np.array(openings) / vowel_opening
            image, average = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
            pixels = image.imshow(
                rows,
                aspect="auto",
                cmap=_opening_colormap(),
                vmin=0.0,
                vmax=1.0,
                interpolation="nearest",
                extent=(ms[0] - 20, ms[-1] + 20, len(rows), 0),
            )
            half = np.array([500.0 * (phone.end - phone.start) for _, phone in occurrences])
            for side in (-1, 1):
                image.plot(side * half, np.arange(len(half)) + 0.5, color="white", lw=1.1, alpha=0.9)
            scores = results.scores[test_set.name][system]
            image.set(
                yticks=[],
                xticks=[],
                title=f"{system}: {100 * scores['closure_recall']:.0f} % of {scores['bilabials']} closed",
            )
            hide_frame(image)
            low, middle, high = np.nanpercentile(rows, [25, 50, 75], axis=0)
            colour = GENERATED_COLOUR if system == results.system else REFERENCE_COLOUR
            average.fill_between(ms, low, high, color=colour, alpha=0.18, lw=0)
            average.plot(ms, middle, color=colour, lw=2.0)
            average.axhline(metrics.CLOSED_RATIO, color=TEXT_COLOUR, lw=0.9, ls=(0, (2, 2)))
            average.set(
                xlim=(ms[0] - 20, ms[-1] + 20),
                ylim=(-0.03, 1.05),
                yticks=(0, 0.5, 1),
                xticks=(-200, -100, 0, 100, 200),
            )
            average.set_xlabel("ms from the middle of the p, b or m", labelpad=2)
            if column == 0:
                image.set_ylabel(f"{len(rows)} p, b, m, short to long")
                average.set_ylabel("opening")
        bar = figure.colorbar(pixels, cax=figure.add_subplot(grid[0, -1]), ticks=(0, 1))
        bar.outline.set_visible(False)
        bar.ax.set_yticklabels(["closed", "open"], fontsize=8)
        bar.ax.tick_params(labelrotation=90, pad=1)
    return figure


def _opening_around(opening: np.ndarray, phone: Phone) -> npt.NDArray[np.float64]:
    """Opening (2 AROUND_FRAMES + 1,) around the middle of a phone; NaN beyond the clip."""
    middle = 0.5 * (phone.start + phone.end) * FRAME_RATE - 0.5
    position = middle + np.arange(-AROUND_FRAMES, AROUND_FRAMES + 1)
    return np.interp(position, np.arange(len(opening)), opening, left=np.nan, right=np.nan)


def _opening_colormap() -> Colormap:
    """From closed to open: dark blue over rose to cream, linear in lightness."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "lips", ["#141b3d", "#4b2a6b", "#a1386d", "#e0675a", "#f6b26b", "#fdf3d8"]
    )
