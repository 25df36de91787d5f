# SPDX-License-Identifier: Apache-2.0
"""Charts of the further measurements: robustness, rest, seeds, drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation import dynamics
from streamingtalker_ros.evaluation.drift import NUM_BLOCKS
from streamingtalker_ros.evaluation.report.charts.style import (
    BASELINE_COLOURS,
    FAIL_COLOUR,
    FIGURE_WIDTH,
    GENERATED_COLOUR,
    MUTED_COLOUR,
    PASS_COLOUR,
    REFERENCE_COLOUR,
    TEXT_COLOUR,
    hide_frame,
    new_figure,
)
from streamingtalker_ros.evaluation.results import EvaluationResults
from streamingtalker_ros.evaluation.robustness import CONDITIONS
from streamingtalker_ros.evaluation.test_set import Scores
from streamingtalker_ros.face.rotation import quaternion_to_euler

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PINK_NOISE_CONDITIONS: Final = (
    "clean",
    "pink noise, 30 dB",
    "pink noise, 20 dB",
    "pink noise, 10 dB",
    "pink noise, 5 dB",
    "pink noise, 0 dB",
)
LABELS: Final = {
    "opening_mean": "mean lip opening",
    "opening_std": "std of lip opening",
    "width_std": "std of lip width",
    "blinks_per_minute": "blinks",
    "head_std_degrees": "std of head rotation",
}


def robustness_chart(robustness: Mapping[str, Mapping[str, Scores]], max_loss: float = 0.1) -> Figure:
    """Plot the median r over the level of pink noise, and its loss under every other condition.

    Args:
        robustness: test set -> condition -> scores.
        max_loss: acceptance bound of the loss.

    Returns:
        The figure.
    """
    test_sets = list(robustness)
    with new_figure(FIGURE_WIDTH, 3.2) as figure:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.0, 1.45]})
        names = [name for _, name in CONDITIONS if name not in PINK_NOISE_CONDITIONS]
        height = 0.8 / len(test_sets)
        for k, test_set in enumerate(test_sets):
            colour = (GENERATED_COLOUR, *BASELINE_COLOURS[1:], BASELINE_COLOURS[0])[k % 5]
            scores = robustness[test_set]
            clean = scores["clean"]["lip_opening_r_median"]
            # from the losses, since not every condition is measured over as many clips
            r = [clean - scores[name]["r_loss"] for name in PINK_NOISE_CONDITIONS]
            left.plot(
                range(len(PINK_NOISE_CONDITIONS)),
                r,
                "-o",
                color=colour,
                lw=2,
                ms=5,
                mec="white",
                label=test_set,
            )
            left.fill_between(
                [0, len(PINK_NOISE_CONDITIONS) - 1], r[0], r[0] - max_loss, color=colour, alpha=0.07, lw=0
            )
            loss = np.array([scores[name]["r_loss"] for name in names])
            y = np.arange(len(names)) + (k - 0.5 * (len(test_sets) - 1)) * height
            right.barh(y, loss, 0.82 * height, color=colour, lw=0)
        left.set(
            xticks=range(len(PINK_NOISE_CONDITIONS)),
            xticklabels=["clean", "30", "20", "10", "5", "0 dB"],
            ylim=(0, 1),
            title="Median r of lip opening in pink noise",
        )
        left.set_xlabel(f"signal-to-noise ratio; shaded: a loss of {max_loss:g}")
        left.legend(loc="lower left")
        right.axvline(max_loss, color=TEXT_COLOUR, lw=1.0, ls=(0, (2, 2)))
        right.axvline(0.0, color=MUTED_COLOUR, lw=1.0)
        right.set(
            yticks=range(len(names)),
            yticklabels=names,
            title="Loss of r under other conditions",
            ylim=(len(names) - 0.4, -0.6),
        )
        right.set_xlim(min(-0.02, right.get_xlim()[0]), max(0.14, right.get_xlim()[1]))
        right.grid(axis="y", visible=False)
        right.tick_params(axis="y", labelcolor=TEXT_COLOUR)
        right.set_xlabel("loss of the median r")
        figure.subplots_adjust(0.04, 0.155, 0.985, 0.89, wspace=0.36)
    return figure


def rest_chart(
    non_speech: Mapping[str, Any], max_ratio: float = 0.1, max_closing_ms: float = 200.0
) -> Figure:
    """Plot the lip speed in sounds without speech, and the closing time after truncated speech.

    Args:
        non_speech: results of `results.measure_non_speech`.
        max_ratio: acceptance bound of the lip speed over that in speech.
        max_closing_ms: acceptance bound of the closing time.

    Returns:
        The figure.
    """
    with new_figure(FIGURE_WIDTH, 2.9) as figure:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.5, 1.0]})
        names = list(non_speech["lip_speed_ratio"])
        values = np.array([100 * non_speech["lip_speed_ratio"][name] for name in names])
        left.barh(
            names,
            np.maximum(values, 0.15),
            0.66,
            color=[FAIL_COLOUR if v > 100 * max_ratio else PASS_COLOUR for v in values],
            lw=0,
        )
        for row, value in enumerate(values):
            left.text(
                value + 0.012 * max(values.max(), 20),
                row,
                f"{value:.1f} %" if value > 0.05 else "0 %",
                va="center",
                fontsize=8.5,
                color=TEXT_COLOUR,
            )
        left.axvline(100 * max_ratio, color=TEXT_COLOUR, lw=1.0, ls=(0, (2, 2)))
        left.set(title="Lip speed in sounds without speech", xlim=(0, max(20.0, 1.15 * values.max())))
        left.invert_yaxis()
        left.grid(axis="y", visible=False)
        left.tick_params(axis="y", labelcolor=TEXT_COLOUR)
        left.set_xlabel("95th percentile, % of that in speech")
        times = np.sort(non_speech["closing_ms"])
        right.step(
            np.r_[0, times, max(max_closing_ms * 1.2, times[-1])],
            np.r_[0, np.arange(1, len(times) + 1), len(times)] / len(times) * 100,
            where="post",
            color=GENERATED_COLOUR,
            lw=2,
        )
        right.axvline(max_closing_ms, color=TEXT_COLOUR, lw=1.0, ls=(0, (2, 2)))
        right.set(
            title="Mouth closed after truncated speech",
            ylim=(0, 104),
            xlim=(0, max(max_closing_ms * 1.2, times[-1])),
        )
        right.set_xlabel("ms after the last sound")
        right.set_ylabel("% of clips")
        figure.subplots_adjust(0.105, 0.165, 0.985, 0.89, wspace=0.16)
    return figure


def seeds_chart(results: EvaluationResults) -> Figure:
    """Plot one clip generated with all seeds: lip opening with closures, blinks, brows and head rotation.

    Args:
        results: Results for which `measure_sampling` has been called.

    Returns:
        The figure.

    Raises:
        ValueError: If the results hold no spread over seeds.
    """
    seeds = results.seed_spread
    if seeds is None:
        raise ValueError("these results hold no spread over seeds: call measure_sampling first")
    count, frames = seeds.openings.shape
    t, seconds = (np.arange(frames) + 0.5) / FRAME_RATE, frames / FRAME_RATE
    with new_figure(FIGURE_WIDTH, 6.0) as figure:
        lips, blink, brow, head = figure.subplots(
            4, 1, sharex=True, gridspec_kw={"height_ratios": [1.8, 1.1, 0.8, 0.8]}
        )
        _plot_percentile_bands(lips, t, 1e3 * seeds.openings, GENERATED_COLOUR)
        for frame, fraction in seeds.closures:
            colour = PASS_COLOUR if fraction >= 0.9 else REFERENCE_COLOUR if fraction >= 0.5 else FAIL_COLOUR
            lips.plot([t[frame]], [-0.9], marker="o", ms=6.5, color=colour, clip_on=False)
            lips.annotate(
                f"{round(fraction * count)}",
                (t[frame], -0.9),
                (0, -10),
                textcoords="offset points",
                fontsize=7.5,
                ha="center",
                va="center",
                color=MUTED_COLOUR,
                annotation_clip=False,
            )
        lips.axhline(1e3 * seeds.limit, color=TEXT_COLOUR, lw=0.8, ls=(0, (2, 2)))
        lips.set(
            ylim=(-1.6, None),
            title=f"Lip opening of {count} seeds, mm (range, quartiles, median); dots: seeds that close",
        )
        for row in range(count):
            onsets = dynamics.blink_onsets(seeds.weights[row])
            blink.vlines(t[onsets], row + 0.1, row + 0.9, color=GENERATED_COLOUR, lw=2.2)
        blink.set(ylim=(count, 0), yticks=[], title="Blinks, one row per seed")
        hide_frame(blink, "left")
        brows = [i for i, name in enumerate(results.rig.shape_names) if name == "browInnerUp"]
        _plot_percentile_bands(brow, t, seeds.weights[..., brows[0]], BASELINE_COLOURS[1])
        brow.set(title="browInnerUp")
        yaw = np.degrees(quaternion_to_euler(seeds.head)[..., 0])
        _plot_percentile_bands(head, t, yaw, BASELINE_COLOURS[2])
        head.set(title="Head yaw to its left, degrees", xlim=(0, seconds))
        head.set_xlabel("seconds", labelpad=1)
        figure.subplots_adjust(0.05, 0.075, 0.985, 0.955, hspace=0.38)
    return figure


def _plot_percentile_bands(axes: Axes, t: np.ndarray, runs: np.ndarray, colour: str) -> None:
    """Plot runs (S, T) as bands between percentiles, their median, and two of them as thin lines."""
    for (low, high), alpha in (((0, 100), 0.12), ((25, 75), 0.28)):
        axes.fill_between(
            t, np.percentile(runs, low, 0), np.percentile(runs, high, 0), color=colour, alpha=alpha, lw=0
        )
    axes.plot(t, np.median(runs, 0), color=colour, lw=1.8)
    for run in runs[:2]:
        axes.plot(t, run, color=colour, lw=0.7, alpha=0.8)


def drift_chart(drift: Mapping[str, Any], max_ratio: float = 0.05) -> Figure:
    """Plot each statistic of the blocks relative to the first block, per seed and their mean.

    Args:
        drift: results of `drift.measure_drift`.
        max_ratio: acceptance bound of the relative change.

    Returns:
        The figure.
    """
    names = list(drift["blocks"])
    minutes = (np.arange(NUM_BLOCKS) + 0.5) * drift["minutes"] / NUM_BLOCKS
    with new_figure(FIGURE_WIDTH, 2.6) as figure:
        for axes, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
            values = np.array(drift["blocks"][name])
            first = values[0].mean()
            axes.axhspan(1 - max_ratio, 1 + max_ratio, color=PASS_COLOUR, alpha=0.13, lw=0)
            axes.axhline(1.0, color=MUTED_COLOUR, lw=0.8)
            for voice in values.T if first else ():
                axes.plot(minutes, voice / first, color=GENERATED_COLOUR, lw=0.7, alpha=0.35)
            if first:
                axes.plot(
                    minutes,
                    values.mean(1) / first,
                    "-o",
                    color=GENERATED_COLOUR,
                    lw=2,
                    ms=4,
                    mec="white",
                    mew=0.8,
                )
            ratio = drift["late_over_early"][name]["ratio"]
            axes.set(
                title=LABELS[name],
                ylim=(0.55, 1.45),
                yticks=(0.6, 0.8, 1.0, 1.2, 1.4),
                xlim=(0, drift["minutes"]),
                xticks=np.linspace(0, drift["minutes"], 3),
            )
            axes.text(
                0.97,
                0.03,
                f"last / first {ratio:.3f}",
                transform=axes.transAxes,
                ha="right",
                fontsize=8.5,
                color=PASS_COLOUR if abs(ratio - 1) <= max_ratio else FAIL_COLOUR,
                weight="bold",
            )
            axes.set_xlabel("minutes")
        figure.subplots_adjust(0.04, 0.18, 0.985, 0.87, wspace=0.10)
    return figure
