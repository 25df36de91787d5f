# SPDX-License-Identifier: Apache-2.0
"""What is kept of a training: its `log.csv` files, thinned, and a picture of their curves.

    python -m streamingtalker_ros.training.curves codec=runs/mine/codec talker=runs/mine/talker --out docs/training

writes `codec.csv` and `talker.csv`; `--picture FILE.png` draws every CSV that the folder then holds.
"""

import argparse
import csv
import re
import sys
from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError, require

ROWS = 100  # of a thinned log
AROUND = 4  # rows of a thinned log to either side that a curve's mean takes
INK = {"loss": "#1d2330", "phones_right": "#1f8a5b", "perplexity": "#1f8a5b", "found": "#1f8a5b"}
SHARES = ("phones_right", "perplexity", "found")  # what grows as it gets better; all else is a loss


def read_log(path):
    """A log.csv of `loop` -> (names of its columns, rows (n, columns)). Raises TalkerError where it is none."""
    try:
        with open(path, newline="") as file:
            names, *rows = list(csv.reader(file))
        rows = np.array([row for row in rows if len(row) == len(names)], np.float64)
    except (OSError, ValueError) as error:
        raise TalkerError(f"{path} is no log of a training ({error})") from None
    if not len(rows) or names[:1] != ["step"]:
        raise TalkerError(f"{path} is no log of a training: it has no rows with a step")
    return names, rows


def thinned(names, rows, count=ROWS):
    """At most `count` rows: the mean of neighbours, under the last one's step; seconds become minutes since the first
    row. Returns (names, rows)."""
    groups = np.array_split(rows, min(count, len(rows)))
    out = np.array([group.mean(0) for group in groups])
    out[:, 0] = [group[-1, 0] for group in groups]
    names = list(names)
    if "time" in names:
        column = names.index("time")
        out[:, column] = [(group[-1, column] - rows[0, column]) / 60.0 for group in groups]
        names[column] = "minutes"
    return names, out


def write(path, names, rows) -> None:
    """A thinned log as a CSV file; equal logs give equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            writer.writerow([f"{row[0]:.0f}", *(f"{value:.4g}" for value in row[1:])])


def smooth(values):
    """The mean of each value's neighbours, AROUND rows to either side; fewer at the ends."""
    return np.array([values[max(k - AROUND, 0) : k + AROUND + 1].mean() for k in range(len(values))])


def draw(paths, picture) -> None:
    """One panel per CSV: its losses over the steps in parts of where they begin, shares on an axis of their own;
    faint as logged, bold as `smooth` gives them."""
    require("matplotlib", "the picture").use("Agg")
    from matplotlib import pyplot, ticker

    figure, panels = pyplot.subplots(
        len(paths), squeeze=False, dpi=90, layout="constrained", figsize=(10.0, 2.6 * len(paths))
    )
    for panel, path in zip(panels.flat, paths):
        names, rows = read_log(path)
        columns = [name for name in names if name not in ("step", "time", "minutes")]
        other = panel.twinx() if set(columns) & set(SHARES) else None
        lines = []
        for name in columns:
            values = rows[:, names.index(name)]
            mean, share = smooth(values), name in SHARES
            unit = 1.0 if share or mean[0] <= 0 else mean[0]
            look = {"color": INK.get(name), "linestyle": "--" if share else "-"}
            label = (
                f"{name.replace('_', ' ')} {mean[0]:.3g} to {mean[-1]:.3g}{' (right axis)' if share else ''}"
            )
            axis = other if share else panel
            lines += axis.plot(
                rows[:, 0], mean / unit, label=label, linewidth=2.2 if name == "loss" else 1.3, **look
            )
            axis.plot(
                rows[:, 0],
                values / unit,
                linewidth=0.7,
                alpha=0.2,
                **{**look, "color": lines[-1].get_color()},
            )
        panel.set_yscale("log")
        panel.set_ylim(0.1, 2.0)
        panel.yaxis.set_major_locator(ticker.FixedLocator((0.1, 0.2, 0.5, 1.0, 2.0)))
        panel.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        panel.yaxis.set_minor_locator(ticker.NullLocator())
        panel.set_xlim(0, rows[-1, 0])
        panel.set_title(path.stem.replace("_", " "), loc="left", fontsize=11, fontweight="bold")
        panel.grid(color="#e6e9ef", linewidth=0.8)
        for axis in filter(None, (panel, other)):
            axis.spines["top"].set_visible(False)
        panel.legend(
            lines,
            [line.get_label() for line in lines],
            fontsize=8,
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.06, 0.5),
        )
    panels[-1, 0].set_xlabel("step")
    figure.supylabel("loss in parts of its beginning", fontsize=10)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Software": None})
    pyplot.close(figure)


def _number(name):
    """What sorts "9_talker" before "10_talker"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m streamingtalker_ros.training.curves",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="*", metavar="NAME=DIR", help="a stage's folder, which holds log.csv")
    parser.add_argument("--out", type=Path, default=Path("docs/training"), metavar="DIR")
    parser.add_argument("--picture", type=Path, default=None, metavar="FILE.png")
    args = parser.parse_args(argv)
    try:
        for run in args.runs:
            name, _, folder = run.partition("=")
            write(args.out / f"{name}.csv", *thinned(*read_log(Path(folder) / "log.csv")))
        if args.picture:
            paths = sorted(args.out.glob("*.csv"), key=lambda path: _number(path.stem))
            if not paths:
                raise TalkerError(f"{args.out} holds no CSV to draw: name runs as NAME=DIR")
            draw(paths, args.picture)
    except TalkerError as error:
        print(f"recipe_log: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
