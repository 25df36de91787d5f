# SPDX-License-Identifier: Apache-2.0
"""How well the lips agree over all clips of a section: r by clip, delay, amplitude, openings, spectra."""

import numpy as np

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.evaluation import dynamics, metrics
from streamingtalker_ros.evaluation.inference import inter_ocular
from streamingtalker_ros.evaluation.report.charts.style import (
    FAINT,
    INK,
    MADE,
    TRUE,
    WIDTH,
    bare,
    colours,
    drawing,
)
from streamingtalker_ros.evaluation.results import REFERENCE
from streamingtalker_ros.evaluation.test_set import MOST_LAG
from streamingtalker_ros.phonetics.phones import has_unreliable_alignment


def agreement_chart(study, section, bound=None):
    """Figure: a row of dots for each system (r of lip opening by clip), delay, amplitude. bound: of the median r."""
    systems = [name for name in study.figures[section.name] if name != REFERENCE]
    paint = colours(systems, study.model, REFERENCE)
    with drawing(WIDTH, 0.95 + 0.46 * max(len(systems), 3)) as figure:
        left, middle, right = figure.subplots(
            1, 3, gridspec_kw={"width_ratios": [2.5, 1.0, 1.0], "wspace": 0.28}
        )
        _dots(left, study, section, systems, paint, bound)
        _delays(middle, study, section, systems, paint)
        _amplitudes(right, study, section, systems, paint)
        figure.subplots_adjust(0.215, 0.50 / figure.get_figheight(), 0.985, 1 - 0.36 / figure.get_figheight())
    return figure


def overview_chart(study):
    """Figure: median r, amplitude and closure recall of every system on every section."""
    sections = [section for section in study.sections if section.spoken][::-1]
    systems = list(
        dict.fromkeys(
            name for section in sections for name in study.figures[section.name] if name != REFERENCE
        )
    )[::-1]
    paint = colours(systems[::-1], study.model, REFERENCE)
    panels = (
        ("lip_opening_r_median", "lip opening, median r", (0, 1.03)),
        ("amplitude_ratio", "amplitude", (0, 1.6)),
        ("closure_recall", "p, b, m closed", (0, 1.03)),
    )
    with drawing(WIDTH, 1.15 + 0.42 * len(sections)) as figure:
        for axes, (key, title, span) in zip(figure.subplots(1, 3, sharey=True), panels):
            for system in systems:
                main = system == study.model
                points = [
                    (study.figures[section.name][system][key], row)
                    for row, section in enumerate(sections)
                    if system in study.figures[section.name]
                ]
                axes.scatter(
                    *zip(*points),
                    s=110 if main else 42,
                    color=paint[system],
                    lw=1.3 if main else 0.8,
                    ec="white",
                    zorder=4 if main else 3,
                    label=system,
                )
            for row, section in enumerate(sections if key == "lip_opening_r_median" else ()):
                figures = study.figures[section.name][study.model]
                axes.plot(
                    [figures["lip_opening_r_p10"], figures[key]], [row, row], color=MADE, lw=1.6, zorder=2
                )
            if key == "amplitude_ratio":
                axes.axvspan(0.8, 1.2, color=FAINT, alpha=0.09, lw=0)
            axes.set(
                title=title,
                xlim=span,
                ylim=(-0.6, len(sections) - 0.4),
                yticks=range(len(sections)),
                yticklabels=[section.name for section in sections],
            )
            axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
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
        tall = figure.get_figheight()
        figure.subplots_adjust(0.13, 0.66 / tall, 0.985, 1 - 0.36 / tall, wspace=0.10)
    return figure


def _dots(axes, study, section, systems, paint, bound) -> None:
    rng = np.random.default_rng(3)
    for row, system in enumerate(systems):
        values = study.per_clip[section.name][system].get("lip_opening_r", np.zeros(0))
        if not len(values):
            continue
        y = row + np.clip(rng.normal(0.0, 0.09, len(values)), -0.24, 0.24)
        axes.scatter(
            values, y, s=13 if len(values) < 150 else 6, color=paint[system], alpha=0.38, lw=0, zorder=2
        )
        low, median, high = np.percentile(values, [10, 50, 90])
        axes.plot([low, high], [row, row], color=paint[system], lw=1.6, zorder=3)
        axes.plot([median], [row], marker="o", ms=8, color=paint[system], mec="white", mew=1.4, zorder=4)
        axes.annotate(
            f"{median:.2f}",
            (median, row),
            (0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=paint[system],
            weight="bold",
        )
    if bound:
        axes.axvline(bound, color=INK, lw=1.0, ls=(0, (2, 2)), zorder=1)
        axes.annotate(
            f"wanted {bound:.2f}",
            (bound, len(systems) - 0.55),
            (3, 0),
            textcoords="offset points",
            fontsize=8,
            color=FAINT,
            va="center",
        )
    axes.set(
        ylim=(len(systems) - 0.4, -0.65),
        yticks=range(len(systems)),
        yticklabels=systems,
        xlim=(min(-0.02, *axes.get_xlim()), 1.03),
        title="Lip opening: r with the reference, each clip a dot",
    )
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    axes.set_xlabel("r; the line spans the 10th to the 90th percentile")
    axes.spines["left"].set_visible(False)


def _delays(axes, study, section, systems, paint) -> None:
    ms = 1e3 * np.arange(-MOST_LAG, MOST_LAG + 1) / FRAME_RATE
    for system in reversed(systems):
        crossed = study.per_clip[section.name][system].get("crossed")
        if crossed is None or not len(crossed):
            continue
        mean, main = crossed.mean(0), system == study.model
        axes.plot(ms, mean, color=paint[system], lw=2.2 if main else 1.2, alpha=1.0 if main else 0.8)
        if main:
            axes.plot(
                [study.figures[section.name][system]["lag_ms"]],
                [mean.max()],
                "o",
                ms=6,
                color=paint[system],
                mec="white",
                mew=1.2,
            )
    axes.axvspan(-40.0, 40.0, color=FAINT, alpha=0.09, lw=0)
    axes.set(title="Delay", xticks=(-200, -100, 0, 100, 200))
    axes.set_xlabel("ms late")


def _amplitudes(axes, study, section, systems, paint) -> None:
    axes.axvspan(0.8, 1.2, color=FAINT, alpha=0.09, lw=0)
    for system in reversed(systems):
        values = study.per_clip[section.name][system].get("amplitude", np.zeros(0))
        values = values[np.isfinite(values)]
        if len(values) < 2:
            continue
        main = system == study.model
        grid = np.linspace(0.0, 2.2, 200)
        width = max(0.05, 1.06 * values.std() * len(values) ** -0.2)
        density = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).mean(1)
        axes.plot(grid, density / density.max(), color=paint[system], lw=2.2 if main else 1.2)
        if main:
            axes.fill_between(grid, density / density.max(), color=paint[system], alpha=0.13, lw=0)
    axes.axvline(1.0, color=INK, lw=1.0, ls=(0, (2, 2)))
    axes.set(title="Amplitude", yticks=[], ylim=(0, 1.12), xlim=(0, 2.2))
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("made over reference")


def motion_chart(study, section):
    """Figure: how wide the lips stand how often, and at which rates they move, the model against the reference."""
    takes = study.takes[section.name]
    systems = [name for name in takes if name in (study.model, REFERENCE, "a jaw driven by loudness")]
    paint = colours(systems, study.model, REFERENCE)
    scale = 1e3 * inter_ocular(study.rig)
    with drawing(WIDTH, 2.9) as figure:
        left, right = figure.subplots(1, 2)
        edges = np.arange(
            0.0,
            max(
                8.0,
                1.1
                * scale
                * np.percentile(np.concatenate([take.opening for take in takes[systems[0]]]), 99.5),
            )
            + 0.5,
            0.5,
        )
        for system in systems[::-1]:
            opening = scale * np.concatenate([take.opening for take in takes[system]])
            share, _ = np.histogram(opening, edges)
            left.stairs(
                100.0 * share / len(opening),
                edges,
                color=paint[system],
                lw=2.0,
                label=system,
                fill=system == REFERENCE,
                alpha=0.35 if system == REFERENCE else 1.0,
            )
            hertz, power = dynamics.spectrum([scale * take.opening for take in takes[system]], FRAME_RATE)
            right.semilogy(
                hertz[1:],
                power[1:],
                color=paint[system],
                lw=2.2 if system != systems[-1] else 1.4,
                label=system,
            )
        left.set(title="How wide the lips stand", yscale="log")
        left.set_xlabel("lip opening, mm on the default face")
        left.set_ylabel("share of frames, %")
        right.axvspan(2.0, 7.0, color=FAINT, alpha=0.09, lw=0)
        right.text(
            4.5,
            0.97,
            "syllables",
            ha="center",
            va="top",
            fontsize=8,
            color=FAINT,
            transform=right.get_xaxis_transform(),
        )
        right.set(title="Spectrum of the lip opening")
        right.set_xlabel("Hz")
        right.set_ylabel("mm²/Hz")
        left.legend(loc="upper right")
        figure.subplots_adjust(0.065, 0.165, 0.985, 0.89, wspace=0.16)
    return figure


def closure_chart(study, section, most=400):
    """Figure: the lips around every p, b and m of a section laid over one another, or None with fewer than ten.

    One line of pixels each, from the darkest (closed) to the lightest (as wide as a usual open vowel), ordered by the
    sound's length; under them the mean and the middle half.
    """
    reach = 6
    takes = study.takes[section.name]
    systems = [name for name in (REFERENCE, study.model) if name in takes]
    places = [
        (i, phone)
        for i, phones in enumerate(section.phones)
        for phone in phones
        if phone.name in metrics.BILABIALS and not has_unreliable_alignment(phone)
    ]
    if len(places) < 10 or not study.figures[section.name][study.model]["vowel_opening_mm"] > 0:
        return None
    places.sort(key=lambda place: place[1].end - place[1].start)
    if len(places) > most:
        places = [places[int(k)] for k in np.linspace(0, len(places) - 1, most)]
    ms = 1e3 * np.arange(-reach, reach + 1) / FRAME_RATE
    with drawing(WIDTH, 3.9) as figure:
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
            width_ratios=[1.0] * len(systems) + [0.022],
        )
        for column, system in enumerate(systems):
            widest = metrics.vowel_opening(
                [take.opening for take in takes[system]], section.phones, FRAME_RATE
            )
            rows = np.array([_around(takes[system][i].opening, phone, reach) for i, phone in places]) / widest
            picture, mean = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
            shown = picture.imshow(
                rows,
                aspect="auto",
                cmap=_lips(),
                vmin=0.0,
                vmax=1.0,
                interpolation="nearest",
                extent=(ms[0] - 20, ms[-1] + 20, len(rows), 0),
            )
            half = np.array([500.0 * (phone.end - phone.start) for _, phone in places])
            for side in (-1, 1):
                picture.plot(side * half, np.arange(len(half)) + 0.5, color="white", lw=1.1, alpha=0.9)
            figures = study.figures[section.name][system]
            picture.set(
                yticks=[],
                xticks=[],
                title=f"{system}: {100 * figures['closure_recall']:.0f} % of {figures['bilabials']} closed",
            )
            bare(picture)
            low, middle, high = np.nanpercentile(rows, [25, 50, 75], axis=0)
            colour = MADE if system == study.model else TRUE
            mean.fill_between(ms, low, high, color=colour, alpha=0.18, lw=0)
            mean.plot(ms, middle, color=colour, lw=2.0)
            mean.axhline(metrics.CLOSED, color=INK, lw=0.9, ls=(0, (2, 2)))
            mean.set(
                xlim=(ms[0] - 20, ms[-1] + 20),
                ylim=(-0.03, 1.05),
                yticks=(0, 0.5, 1),
                xticks=(-200, -100, 0, 100, 200),
            )
            mean.set_xlabel("ms from the middle of the p, b or m", labelpad=2)
            if column == 0:
                picture.set_ylabel(f"{len(rows)} p, b, m, short to long")
                mean.set_ylabel("opening")
        bar = figure.colorbar(shown, cax=figure.add_subplot(grid[0, -1]), ticks=(0, 1))
        bar.outline.set_visible(False)
        bar.ax.set_yticklabels(["closed", "open"], fontsize=8)
        bar.ax.tick_params(labelrotation=90, pad=1)
    return figure


def _around(opening, phone, reach):
    """Opening of the frames around a phone's middle, sampled at it: (2 reach + 1,), NaN beyond the clip."""
    at = 0.5 * (phone.start + phone.end) * FRAME_RATE - 0.5 + np.arange(-reach, reach + 1)
    return np.interp(at, np.arange(len(opening)), opening, left=np.nan, right=np.nan)


def _lips():
    """From closed to open: night blue over rose to cream, even in lightness."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "lips", ["#141b3d", "#4b2a6b", "#a1386d", "#e0675a", "#f6b26b", "#fdf3d8"]
    )
