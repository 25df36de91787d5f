# SPDX-License-Identifier: Apache-2.0
"""Charts of what was run beside the clips: rooms and wires, rest, seeds, the hour."""

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation import dynamics
from streamingtalker_ros.evaluation.drift import BLOCKS
from streamingtalker_ros.evaluation.report.charts.style import (
    BAD,
    FAINT,
    GOOD,
    INK,
    MADE,
    OTHERS,
    TRUE,
    WIDTH,
    bare,
    drawing,
)
from streamingtalker_ros.evaluation.robustness import CONDITIONS
from streamingtalker_ros.face.rotation import quaternion_to_euler

SNR = (
    "clean",
    "pink noise, 30 dB",
    "pink noise, 20 dB",
    "pink noise, 10 dB",
    "pink noise, 5 dB",
    "pink noise, 0 dB",
)
LABELS = {
    "opening_mean": "mean lip opening",
    "opening_std": "spread of lip opening",
    "width_std": "spread of lip width",
    "blinks_per_minute": "blinks",
    "head_std_degrees": "spread of the head",
}


def robustness_chart(robustness, allowed=0.1):
    """Figure: median r under more and more noise, and under everything else, beside what it may fall by."""
    sections = list(robustness)
    with drawing(WIDTH, 3.2) as figure:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.0, 1.45]})
        names = [name for _, name in CONDITIONS if name not in SNR]
        height = 0.8 / len(sections)
        for k, section in enumerate(sections):
            colour = (MADE, *OTHERS[1:], OTHERS[0])[k % 5]
            figures = robustness[section]
            clean = figures["clean"][
                "lip_opening_r_median"
            ]  # not every condition is measured over as many clips
            r = [clean - figures[name]["r_falls_by"] for name in SNR]
            left.plot(range(len(SNR)), r, "-o", color=colour, lw=2, ms=5, mec="white", label=section)
            left.fill_between([0, len(SNR) - 1], r[0], r[0] - allowed, color=colour, alpha=0.07, lw=0)
            fall = np.array([figures[name]["r_falls_by"] for name in names])
            y = np.arange(len(names)) + (k - 0.5 * (len(sections) - 1)) * height
            right.barh(y, fall, 0.82 * height, color=colour, lw=0)
        left.set(
            xticks=range(len(SNR)),
            xticklabels=["clean", "30", "20", "10", "5", "0 dB"],
            ylim=(0, 1),
            title="Median r of lip opening in pink noise",
        )
        left.set_xlabel("speech over noise; shaded: a fall of 0.1")
        left.legend(loc="lower left")
        right.axvline(allowed, color=INK, lw=1.0, ls=(0, (2, 2)))
        right.axvline(0.0, color=FAINT, lw=1.0)
        right.set(
            yticks=range(len(names)),
            yticklabels=names,
            title="By how much r falls otherwise",
            ylim=(len(names) - 0.4, -0.6),
        )
        right.set_xlim(min(-0.02, right.get_xlim()[0]), max(0.14, right.get_xlim()[1]))
        right.grid(axis="y", visible=False)
        right.tick_params(axis="y", labelcolor=INK)
        right.set_xlabel("fall of the median r")
        figure.subplots_adjust(0.04, 0.155, 0.985, 0.89, wspace=0.36)
    return figure


def rest_chart(quiet, share=0.1, limit=200.0):
    """Figure: lip speed in sounds without a voice, and how soon the mouth is closed when speech stops dead."""
    with drawing(WIDTH, 2.9) as figure:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1.5, 1.0]})
        names = list(quiet["share"])
        values = np.array([100 * quiet["share"][name] for name in names])
        left.barh(
            names,
            np.maximum(values, 0.15),
            0.66,
            color=[BAD if v > 100 * share else GOOD for v in values],
            lw=0,
        )
        for row, value in enumerate(values):
            left.text(
                value + 0.012 * max(values.max(), 20),
                row,
                f"{value:.1f} %" if value > 0.05 else "still",
                va="center",
                fontsize=8.5,
                color=INK,
            )
        left.axvline(100 * share, color=INK, lw=1.0, ls=(0, (2, 2)))
        left.set(title="Lip speed in sounds without a voice", xlim=(0, max(20.0, 1.15 * values.max())))
        left.invert_yaxis()
        left.grid(axis="y", visible=False)
        left.tick_params(axis="y", labelcolor=INK)
        left.set_xlabel("95th percentile, % of that in speech")
        times = np.sort(quiet["closing_ms"])
        right.step(
            np.r_[0, times, max(limit * 1.2, times[-1])],
            np.r_[0, np.arange(1, len(times) + 1), len(times)] / len(times) * 100,
            where="post",
            color=MADE,
            lw=2,
        )
        right.axvline(limit, color=INK, lw=1.0, ls=(0, (2, 2)))
        right.set(
            title="Mouth closed after speech stops dead", ylim=(0, 104), xlim=(0, max(limit * 1.2, times[-1]))
        )
        right.set_xlabel("ms after the last sound")
        right.set_ylabel("% of clips")
        figure.subplots_adjust(0.105, 0.165, 0.985, 0.89, wspace=0.16)
    return figure


def seeds_chart(study):
    """Figure: one clip by all seeds. Lips as bands with the closures, every blink of every seed, brows and head."""
    seeds, rate = study.seeds, FRAME_RATE
    count, frames = seeds.openings.shape
    t, seconds = (np.arange(frames) + 0.5) / rate, frames / rate
    with drawing(WIDTH, 6.0) as figure:
        lips, blink, brow, head = figure.subplots(
            4, 1, sharex=True, gridspec_kw={"height_ratios": [1.8, 1.1, 0.8, 0.8]}
        )
        _fan(lips, t, 1e3 * seeds.openings, MADE)
        for frame, share in seeds.closures:
            colour = GOOD if share >= 0.9 else TRUE if share >= 0.5 else BAD
            lips.plot([t[frame]], [-0.9], marker="o", ms=6.5, color=colour, clip_on=False)
            lips.annotate(
                f"{round(share * count)}",
                (t[frame], -0.9),
                (0, -10),
                textcoords="offset points",
                fontsize=7.5,
                ha="center",
                va="center",
                color=FAINT,
                annotation_clip=False,
            )
        lips.axhline(1e3 * seeds.limit, color=INK, lw=0.8, ls=(0, (2, 2)))
        lips.set(
            ylim=(-1.6, None),
            title=f"Lip opening of {count} seeds, mm: all, the middle half, the median. "
            "Dots: how many close each p, b, m",
        )
        for row in range(count):
            begins = dynamics.blinks(seeds.weights[row])
            blink.vlines(t[begins], row + 0.1, row + 0.9, color=MADE, lw=2.2)
        blink.set(ylim=(count, 0), yticks=[], title="Blinks, a row for each seed")
        bare(blink, "left")
        brows = [i for i, name in enumerate(study.rig.shape_names) if name == "browInnerUp"]
        _fan(brow, t, seeds.weights[..., brows[0]], OTHERS[1])
        brow.set(title="Inner brows raised")
        yaw = np.degrees(quaternion_to_euler(seeds.head)[..., 0])
        _fan(head, t, yaw, OTHERS[2])
        head.set(title="Head turned to its left, degrees", xlim=(0, seconds))
        head.set_xlabel("seconds", labelpad=1)
        figure.subplots_adjust(0.05, 0.075, 0.985, 0.955, hspace=0.38)
    return figure


def _fan(axes, t, runs, colour) -> None:
    """Runs (S, T) as bands between percentiles, the median, and two of them as thin lines."""
    for (low, high), alpha in (((0, 100), 0.12), ((25, 75), 0.28)):
        axes.fill_between(
            t, np.percentile(runs, low, 0), np.percentile(runs, high, 0), color=colour, alpha=alpha, lw=0
        )
    axes.plot(t, np.median(runs, 0), color=colour, lw=1.8)
    for run in runs[:2]:
        axes.plot(t, run, color=colour, lw=0.7, alpha=0.8)


def hour_chart(hour, band=0.05):
    """Figure: each statistic of the twelve blocks as a share of the first, every seed thin, their mean thick."""
    names = list(hour["blocks"])
    minutes = (np.arange(BLOCKS) + 0.5) * hour["minutes"] / BLOCKS
    with drawing(WIDTH, 2.6) as figure:
        for axes, name in zip(figure.subplots(1, len(names), sharey=True), names):
            values = np.array(hour["blocks"][name])
            first = values[0].mean()
            axes.axhspan(1 - band, 1 + band, color=GOOD, alpha=0.13, lw=0)
            axes.axhline(1.0, color=FAINT, lw=0.8)
            for voice in values.T if first else ():
                axes.plot(minutes, voice / first, color=MADE, lw=0.7, alpha=0.35)
            if first:
                axes.plot(minutes, values.mean(1) / first, "-o", color=MADE, lw=2, ms=4, mec="white", mew=0.8)
            ratio = hour["late_over_early"][name]["ratio"]
            axes.set(
                title=LABELS[name],
                ylim=(0.55, 1.45),
                yticks=(0.6, 0.8, 1.0, 1.2, 1.4),
                xlim=(0, hour["minutes"]),
                xticks=np.linspace(0, hour["minutes"], 3),
            )
            axes.text(
                0.97,
                0.03,
                f"last / first {ratio:.3f}",
                transform=axes.transAxes,
                ha="right",
                fontsize=8.5,
                color=GOOD if abs(ratio - 1) <= band else BAD,
                weight="bold",
            )
            axes.set_xlabel("minutes")
        figure.subplots_adjust(0.04, 0.18, 0.985, 0.87, wspace=0.10)
    return figure
