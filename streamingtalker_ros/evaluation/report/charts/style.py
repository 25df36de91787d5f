# SPDX-License-Identifier: Apache-2.0
"""How all charts look, and how a Figure becomes SVG inside a page. matplotlib is imported late and without pyplot."""

import base64
import io
import itertools
import re
from contextlib import contextmanager

from streamingtalker_ros.errors import require
from streamingtalker_ros.evaluation.baselines import BASELINES

INK, FAINT, GRID, PAPER = "#1d2330", "#7b8496", "#e6e9ef", "#ffffff"
MADE, TRUE, VOICE = "#2457c5", "#ee7b1c", "#b9c1cf"  # told apart by the colour-blind as well
GOOD, BAD = "#1f8a5b", "#c8372d"
OTHERS = ("#b08d2c", "#12968f", "#9a5fb8", "#8a94a6")
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
WIDTH = 11.0  # inches of a chart over the whole page

_RULES = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "font.family": ["DejaVu Sans"],
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.edgecolor": "#c9cfda",
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.solid_capstyle": "round",
}
_numbers = itertools.count()


@contextmanager
def drawing(width=WIDTH, height=3.0):
    """A Figure of inches in the style of all of them."""
    matplotlib = require("matplotlib", "the report")
    figure = require("matplotlib.figure", "the report").Figure
    with matplotlib.rc_context(_RULES):
        yield figure(figsize=(width, height))


def svg(figure, photographs=False):
    """A Figure -> <svg> text for the inside of a page: without a head, with ids of its own, as wide as its place.

    photographs: its pictures become JPEG, a fifth of the size.
    """
    matplotlib = require("matplotlib", "the report")
    file = io.StringIO()
    with matplotlib.rc_context({**_RULES, "svg.hashsalt": "report"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    if photographs:
        text = re.sub(r"data:image/png;base64,([\s\w+/=]+)", _jpeg, text)
    wanted, mark = set(re.findall(r'(?:href="|url\()#([^")]+)', text)), f"c{next(_numbers)}-"
    text = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{mark}{found[1]}"' if found[1] in wanted else "", text
    )
    text = re.sub(r'(href="|url\()#', rf"\1#{mark}", text)
    text = re.sub(r"<g/>\s*", "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("'DejaVu Sans'", FONT)
    return text


def _jpeg(found):
    image = require("PIL.Image", "the report")
    picture, file = image.open(io.BytesIO(base64.b64decode(found[1]))), io.BytesIO()
    paper = image.new("RGB", picture.size, PAPER)
    paper.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    paper.save(file, "JPEG", quality=86, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def colours(systems, model, reference):
    """{system: colour}: the model's, the reference's, and one for each baseline, the same in every chart."""
    known = dict(zip(("the baseline checkpoint", *BASELINES), OTHERS))
    return {
        system: MADE if system == model else TRUE if system == reference else known.get(system, FAINT)
        for system in systems
    }


def bare(axes, *sides) -> None:
    """Take away spines and ticks of an Axes that shows a picture or a track."""
    for side in sides or ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    axes.grid(False)
