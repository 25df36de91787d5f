# SPDX-License-Identifier: Apache-2.0
"""Common style of the charts, and their conversion to SVG for an HTML page; matplotlib is imported on use."""

from __future__ import annotations

import base64
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from streamingtalker_ros.errors import require
from streamingtalker_ros.evaluation.baselines import BASELINES
from streamingtalker_ros.evaluation.results import BASELINE_CHECKPOINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT_COLOUR, MUTED_COLOUR, GRID_COLOUR, PAGE_COLOUR = "#1d2330", "#7b8496", "#e6e9ef", "#ffffff"
GENERATED_COLOUR, REFERENCE_COLOUR, WAVEFORM_COLOUR = (
    "#2457c5",
    "#ee7b1c",
    "#b9c1cf",
)  # distinct for the colour-blind too
PASS_COLOUR, FAIL_COLOUR = "#1f8a5b", "#c8372d"
BASELINE_COLOURS = ("#b08d2c", "#12968f", "#9a5fb8", "#8a94a6")
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
FIGURE_WIDTH: Final = 11.0
"""Inches, of a chart across the full page."""

_RC_PARAMS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "font.family": ["DejaVu Sans"],
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "text.color": TEXT_COLOUR,
    "axes.labelcolor": MUTED_COLOUR,
    "axes.titlecolor": TEXT_COLOUR,
    "axes.edgecolor": "#c9cfda",
    "xtick.color": MUTED_COLOUR,
    "ytick.color": MUTED_COLOUR,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID_COLOUR,
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
_figure_numbers = itertools.count()


@contextmanager
def new_figure(width: float = FIGURE_WIDTH, height: float = 3.0) -> Iterator[Figure]:
    """Create a figure in the common style.

    Args:
        width: inches.
        height: inches.
    """
    matplotlib = require("matplotlib", "the report")
    figure_class = require("matplotlib.figure", "the report").Figure
    with matplotlib.rc_context(_RC_PARAMS):
        yield figure_class(figsize=(width, height))


def figure_to_svg(figure: Figure, jpeg_images: bool = False) -> str:
    """Convert a figure to an inline <svg> element with unique ids, as wide as its container.

    Args:
        figure: the figure.
        jpeg_images: whether to compress its images as JPEG, a fifth of the size of PNG.

    Returns:
        HTML.
    """
    matplotlib = require("matplotlib", "the report")
    file = io.StringIO()
    with matplotlib.rc_context({**_RC_PARAMS, "svg.hashsalt": "report"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href", "href")
    if jpeg_images:
        text = re.sub(r"data:image/png;base64,([\s\w+/=]+)", _png_to_jpeg, text)
    referenced, prefix = set(re.findall(r'(?:href="|url\()#([^")]+)', text)), f"c{next(_figure_numbers)}-"
    text = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{prefix}{found[1]}"' if found[1] in referenced else "", text
    )
    text = re.sub(r'(href="|url\()#', rf"\1#{prefix}", text)
    text = re.sub(r"<g/>\s*", "", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("'DejaVu Sans'", FONT)
    return text


def _png_to_jpeg(found: re.Match[str]) -> str:
    """Convert the base64 PNG of a regular expression's first group to a JPEG data URL."""
    pil = require("PIL.Image", "the report")
    image, file = pil.open(io.BytesIO(base64.b64decode(found[1]))), io.BytesIO()
    page = pil.new("RGB", image.size, PAGE_COLOUR)
    page.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    page.save(file, "JPEG", quality=86, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def system_colours(systems: Iterable[str], model: str, reference: str) -> dict[str, str]:
    """Assign colours to systems, the same in every chart.

    Args:
        systems: names of the systems.
        model: which of them is evaluated.
        reference: which of them is the reference.

    Returns:
        System -> colour.
    """
    baselines = dict(zip((BASELINE_CHECKPOINT, *BASELINES), BASELINE_COLOURS, strict=True))
    return {
        system: GENERATED_COLOUR
        if system == model
        else REFERENCE_COLOUR
        if system == reference
        else baselines.get(system, MUTED_COLOUR)
        for system in systems
    }


def hide_frame(axes: Axes, *sides: str) -> None:
    """Hide the grid and some spines (all when none is named) of axes that show an image or a track."""
    for side in sides or ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    axes.grid(False)
