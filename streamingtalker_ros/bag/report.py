# SPDX-License-Identifier: Apache-2.0
"""Report of a replay: one self-contained HTML file, its curves as inline SVG of ten seconds per row."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# SVG user units of a row
_WIDTH: Final = 1000
_ENVELOPE_HEIGHT: Final = 60
_CURVE_HEIGHT: Final = 120
_MARGIN: Final = 44
_ROW_S: Final = 10.0
_MIN_SCALE_MM: Final = 5.0
_MAX_TICKS: Final = 5

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em;
       color: #1c1e21; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse } td { padding: .15em 1.5em .15em 0; vertical-align: top }
td + td { font-weight: 600 }
svg { width: 100%; height: auto; display: block; margin: .6em 0 }
svg text { font: 11px system-ui, sans-serif; fill: #666 }
.voice { fill: #b8bec6 } .speaking { fill: #7fbf7b } .grid { stroke: #e3e5e8 } .zero { stroke: #aab }
.generated, .reference { fill: none; stroke-width: 1.6; stroke-linejoin: round }
.generated { stroke: #1769aa } .reference { stroke: #e07b00; stroke-dasharray: 5 3 }
.key { display: inline-block; width: 1.6em; border-top: 3px solid; vertical-align: middle;
       margin: 0 .4em 0 1.2em }
"""

_Scale = Callable[[float], float]
FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Curve:
    """One curve of lip aperture.

    Attributes:
        kind: "generated" or "reference".
        seconds: (T,) since the beginning.
        aperture: (T,) mm.
        period: Seconds between consecutive frames; a longer gap interrupts the line.
    """

    kind: str
    seconds: FloatArray
    aperture: FloatArray
    period: float


def render_table(figures: Mapping[str, Any]) -> str:
    """Return an HTML table of two columns; floats have four digits.

    Args:
        figures: Name -> value, one row each. Underscores in names become spaces, and `str` converts values
            that are not floats.

    Returns:
        HTML in which names and values are escaped.
    """

    def to_text(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    rows = "".join(
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td><td>{html.escape(to_text(value))}</td></tr>\n"
        for name, value in figures.items()
    )
    return f"<table>\n{rows}</table>\n"


def render_page(
    title: str,
    sections: Mapping[str, Mapping[str, Any]],
    curves: Sequence[Curve],
    envelope: npt.ArrayLike,
    speaking: npt.ArrayLike,
) -> str:
    """Return the HTML page.

    Args:
        title: Its heading.
        sections: Figures by heading.
        curves: Curves of lip aperture; a vertex talker has none.
        envelope: (N, 3), seconds, least and greatest sample of each block of the audio.
        speaking: (M, 2), start and end in seconds of each frame with voice activity.
    """
    envelope = np.asarray(envelope, float).reshape(-1, 3)
    speaking = np.asarray(speaking, float).reshape(-1, 2)
    tables = "".join(
        f"<h2>{html.escape(name)}</h2>\n{render_table(figures)}" for name, figures in sections.items()
    )
    largest = max([_MIN_SCALE_MM, *(float(curve.aperture.max()) for curve in curves if len(curve.aperture))])
    starts = np.concatenate([*(curve.seconds for curve in curves), envelope[:, 0]])
    rows = "".join(
        _render_row(row * _ROW_S, largest, curves, envelope, speaking)
        for row in np.unique(np.floor(starts / _ROW_S))
    )
    keys = [
        ("#1769aa", "generated"),
        ("#e07b00;border-top-style:dashed", "reference"),
        ("#b8bec6", "voice"),
        ("#7fbf7b", "speaking"),
    ]
    kinds = {curve.kind for curve in curves}
    legend = "".join(
        f'<span class="key" style="border-color:{color}"></span>{name}'
        for color, name in keys
        if name in kinds or name in ("voice", "speaking")
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{_STYLE}</style></head><body>\n<h1>{html.escape(title)}</h1>\n{tables}"
        f"<h2>Lip opening, millimetres</h2>\n<p>{legend}</p>\n{rows}</body></html>\n"
    )


def _render_row(
    start: float, largest: float, curves: Sequence[Curve], envelope: FloatArray, speaking: FloatArray
) -> str:
    """Return ten seconds from `start` as SVG: envelope, curves, voice activity and axes."""
    height, bottom = _ENVELOPE_HEIGHT + _CURVE_HEIGHT + 40, _ENVELOPE_HEIGHT + _CURVE_HEIGHT + 10
    scale = (_WIDTH - _MARGIN - 10) / _ROW_S

    def x(seconds: float) -> float:
        return _MARGIN + (seconds - start) * scale

    def y(aperture: float) -> float:
        return bottom - aperture / largest * _CURVE_HEIGHT

    elements = [
        f'<line class="grid" x1="{x(start + s):.1f}" x2="{x(start + s):.1f}" y1="0" y2="{bottom}"/>'
        f'<text x="{x(start + s):.1f}" y="{height - 6}" text-anchor="middle">{start + s:g} s</text>'
        for s in range(int(_ROW_S) + 1)
    ]
    for value in _ticks(largest):
        kind, level = "grid" if value else "zero", y(value)
        elements.append(
            f'<line class="{kind}" x1="{_MARGIN}" x2="{_WIDTH - 10}" y1="{level:.1f}" '
            f'y2="{level:.1f}"/><text x="{_MARGIN - 6}" y="{level + 4:.1f}" '
            f'text-anchor="end">{value:g}</text>'
        )
    for first, last in speaking[(speaking[:, 0] >= start) & (speaking[:, 0] < start + _ROW_S)]:
        elements.append(
            f'<rect class="speaking" x="{x(first):.1f}" y="{bottom + 3}" height="5" '
            f'width="{(last - first) * scale:.1f}"/>'
        )
    in_row = (envelope[:, 0] >= start) & (envelope[:, 0] < start + _ROW_S)
    elements.append(_render_envelope(envelope[in_row], x))
    elements += [_render_curve(curve, start, x, y) for curve in curves]
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(elements)}</svg>\n'


def _ticks(largest: float) -> FloatArray:
    """Return a few round values from 0 to `largest` mm."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1e9) if largest / step <= _MAX_TICKS)
    return np.arange(0, largest + 1e-9, step)


def _render_envelope(blocks: FloatArray, x: _Scale) -> str:
    """Return one thin bar for each block of the audio, full scale over the full height."""
    middle, scale = _ENVELOPE_HEIGHT / 2, 0.95 * _ENVELOPE_HEIGHT / 2
    path = "".join(
        f"M{x(seconds):.1f} {middle - scale * high:.1f}h.9V{middle - scale * low + 0.5:.1f}h-.9z"
        for seconds, low, high in blocks
    )
    return f'<path class="voice" d="{path}"/>' if path else ""


def _render_curve(curve: Curve, start: float, x: _Scale, y: _Scale) -> str:
    """Return the segment of a curve in a row, with one more frame on either side."""
    chosen = (curve.seconds >= start - curve.period) & (curve.seconds <= start + _ROW_S + curve.period)
    seconds, aperture = curve.seconds[chosen], curve.aperture[chosen]
    interrupted = np.abs(np.diff(seconds, prepend=-1e9) - curve.period) > 0.5 * curve.period
    path = "".join(
        f"{'M' if starts else 'L'}{min(max(x(time), _MARGIN), _WIDTH - 10):.1f} {y(value):.1f}"
        for time, value, starts in zip(seconds, aperture, interrupted, strict=True)
    )
    return f'<path class="{curve.kind}" d="{path}"/>' if path else ""
