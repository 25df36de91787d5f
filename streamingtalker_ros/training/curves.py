# SPDX-License-Identifier: Apache-2.0
"""Plots the training curves of runs from their `log.csv` files: `streamingtalker train curves`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.output_files import atomic_output

Array = npt.NDArray[np.float64]

MAX_ROWS = 100  # of a thinned log
SMOOTHING_RADIUS = 4  # rows of a thinned log on either side that enter a smoothed value
COLORS = {"loss": "#1d2330", "phone_accuracy": "#1f8a5b", "perplexity": "#1f8a5b"}
INCREASING_METRICS = (
    "phone_accuracy",
    "phones_right",
    "perplexity",
    "found",
)  # and earlier names


def read_log(path: str | Path) -> tuple[list[str], Array]:
    """Column names and rows (n, columns) of a `log.csv`.

    Args:
        path: The file; its first column is `step`. Incomplete lines are skipped.

    Raises:
        TalkerError: if the file is not a training log.
    """
    try:
        with open(path, newline="") as file:
            names, *lines = list(csv.reader(file))
        rows = np.array([line for line in lines if len(line) == len(names)], np.float64)
    except (OSError, ValueError) as error:
        raise TalkerError(f"{path} is not a training log ({error})") from None
    if not len(rows) or names[:1] != ["step"]:
        raise TalkerError(f"{path} is not a training log: it has no rows with a step")
    return names, rows


def thin_log(names: Sequence[str], rows: Array, max_rows: int = MAX_ROWS) -> tuple[list[str], Array]:
    """A log of at most `max_rows` rows, each the mean of its neighbours at the last one's step.

    Args:
        names: column names; `time` in seconds becomes `minutes` since the first row.
        rows: (n, columns).
        max_rows: length of the result.
    """
    groups = np.array_split(rows, min(max_rows, len(rows)))
    thinned = np.array([group.mean(0) for group in groups])
    thinned[:, 0] = [group[-1, 0] for group in groups]
    names = list(names)
    if "time" in names:
        column = names.index("time")
        thinned[:, column] = [(group[-1, column] - rows[0, column]) / 60.0 for group in groups]
        names[column] = "minutes"
    return names, thinned


def smooth(values: Array) -> Array:
    """Moving average over `SMOOTHING_RADIUS` rows on either side, fewer at the ends: (n,).

    Args:
        values: (n,), one for each row of the log.
    """
    radius = SMOOTHING_RADIUS
    return np.array([values[max(k - radius, 0) : k + radius + 1].mean() for k in range(len(values))])


def plot_curves(runs: Mapping[str, str | Path], picture: str | Path) -> None:
    """Plot one panel per run: losses relative to their beginning, increasing metrics on an axis of their own.

    Args:
        runs: title -> a stage's folder, which holds `log.csv`.
        picture: PNG file to write.

    Raises:
        TalkerError: if a folder holds no log, matplotlib is missing, or the picture cannot be written.
    """
    require("matplotlib", "the picture").use("Agg")
    from matplotlib import pyplot

    logs = {title: thin_log(*read_log(Path(folder) / "log.csv")) for title, folder in runs.items()}
    figure, panels = pyplot.subplots(
        len(logs), squeeze=False, dpi=90, layout="constrained", figsize=(10.0, 2.6 * len(logs))
    )
    for panel, (title, (names, rows)) in zip(panels.flat, logs.items(), strict=True):
        _plot_run(panel, title, names, rows)
    panels[-1, 0].set_xlabel("step")
    figure.supylabel("loss relative to its beginning", fontsize=10)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_output(picture) as partial:
            figure.savefig(partial, metadata={"Software": None})
    finally:
        pyplot.close(figure)


def _plot_run(panel: Any, title: str, names: Sequence[str], rows: Array) -> None:
    """Plot one log: faint as logged, bold smoothed."""
    from matplotlib import ticker

    columns = [name for name in names if name not in ("step", "time", "minutes")]
    right_axis = panel.twinx() if set(columns) & set(INCREASING_METRICS) else None
    lines: list[Any] = []
    for name in columns:
        values = rows[:, list(names).index(name)]
        mean, is_increasing = smooth(values), name in INCREASING_METRICS
        unit = 1.0 if is_increasing or mean[0] <= 0 else mean[0]
        style = {"color": COLORS.get(name), "linestyle": "--" if is_increasing else "-"}
        side = " (right axis)" if is_increasing else ""
        label = f"{name.replace('_', ' ')} {mean[0]:.3g} to {mean[-1]:.3g}{side}"
        axis = right_axis if is_increasing and right_axis else panel
        width = 2.2 if name == "loss" else 1.3
        lines += axis.plot(rows[:, 0], mean / unit, label=label, linewidth=width, **style)
        faint = {**style, "color": lines[-1].get_color(), "linewidth": 0.7, "alpha": 0.2}
        axis.plot(rows[:, 0], values / unit, **faint)
    panel.set_yscale("log")
    panel.set_ylim(0.1, 2.0)
    panel.yaxis.set_major_locator(ticker.FixedLocator((0.1, 0.2, 0.5, 1.0, 2.0)))
    panel.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    panel.yaxis.set_minor_locator(ticker.NullLocator())
    panel.set_xlim(0, rows[-1, 0])
    panel.set_title(title.replace("_", " "), loc="left", fontsize=11, fontweight="bold")
    panel.grid(color="#e6e9ef", linewidth=0.8)
    for axis in filter(None, (panel, right_axis)):
        axis.spines["top"].set_visible(False)
    panel.legend(
        lines,
        [line.get_label() for line in lines],
        fontsize=8,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.06, 0.5),
    )
