# SPDX-License-Identifier: Apache-2.0
"""The report of a replay: one HTML file that needs nothing else, its curves drawn as inline SVG.

Takes the curves of lip opening, the outline of the voice and tables of figures; gives text. Ten seconds make
a row.
"""

import html
from dataclasses import dataclass

import numpy as np

WIDTH, VOICE, CURVE, MARGIN = 1000, 60, 120, 44  # of a row's drawing, in its own units
ROW = 10.0  # s

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2em auto; padding: 0 1em;
       color: #1c1e21; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse } td { padding: .15em 1.5em .15em 0; vertical-align: top }
td + td { font-weight: 600 }
svg { width: 100%; height: auto; display: block; margin: .6em 0 }
svg text { font: 11px system-ui, sans-serif; fill: #666 }
.voice { fill: #b8bec6 } .speaking { fill: #7fbf7b } .grid { stroke: #e3e5e8 } .zero { stroke: #aab }
.made, .reference { fill: none; stroke-width: 1.6; stroke-linejoin: round }
.made { stroke: #1769aa } .reference { stroke: #e07b00; stroke-dasharray: 5 3 }
.key { display: inline-block; width: 1.6em; border-top: 3px solid; vertical-align: middle;
       margin: 0 .4em 0 1.2em }
"""


@dataclass(frozen=True)
class Curve:
    """kind: "made" or "reference"; seconds: (T,) from the beginning; opening: (T,) mm; period: seconds
    between frames that belong together: a longer hole breaks the line.
    """

    kind: str
    seconds: np.ndarray
    opening: np.ndarray
    period: float


def table(figures) -> str:
    """Dict -> an HTML table of two columns; floats with four digits."""

    def text(value):
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    rows = "".join(
        f"<tr><td>{html.escape(str(name).replace('_', ' '))}</td><td>{html.escape(text(value))}</td></tr>\n"
        for name, value in figures.items()
    )
    return f"<table>\n{rows}</table>\n"


def page(title, sections, curves, voice, speaking) -> str:
    """The whole file as text.

    sections: {heading: dict of figures}; curves: list of Curve; voice: (N, 3) seconds, lowest and highest
    sample of each block of the voice; speaking: (M, 2) seconds, begin and end of each frame in which the face
    speaks.
    """
    voice, speaking = np.asarray(voice, float).reshape(-1, 3), np.asarray(speaking, float).reshape(-1, 2)
    tables = "".join(f"<h2>{html.escape(name)}</h2>\n{table(figures)}" for name, figures in sections.items())
    highest = max([5.0, *(float(curve.opening.max()) for curve in curves if len(curve.opening))])
    starts = np.concatenate([curve.seconds for curve in curves] + [voice[:, 0]])
    rows = "".join(
        _row(row * ROW, highest, curves, voice, speaking) for row in np.unique(np.floor(starts / ROW))
    )
    keys = [
        ("#1769aa", "generated"),
        ("#e07b00;border-top-style:dashed", "reference"),
        ("#b8bec6", "voice"),
        ("#7fbf7b", "speaking"),
    ]
    keys = "".join(
        f'<span class="key" style="border-color:{color}"></span>{name}'
        for color, name in keys
        if name != "reference" or len(curves) > 1
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n"
        f"<style>{_STYLE}</style></head><body>\n<h1>{html.escape(title)}</h1>\n{tables}"
        f"<h2>Lip opening, millimetres</h2>\n<p>{keys}</p>\n{rows}</body></html>\n"
    )


def _row(begin, highest, curves, voice, speaking) -> str:
    """Ten seconds from `begin` as an SVG: the voice, the curves under it, the strip of speaking, the axes."""
    height, bottom = VOICE + CURVE + 40, VOICE + CURVE + 10
    scale = (WIDTH - MARGIN - 10) / ROW

    def x(seconds):
        return MARGIN + (seconds - begin) * scale

    def y(opening):
        return bottom - opening / highest * CURVE

    parts = [
        f'<line class="grid" x1="{x(begin + s):.1f}" x2="{x(begin + s):.1f}" y1="0" y2="{bottom}"/>'
        f'<text x="{x(begin + s):.1f}" y="{height - 6}" text-anchor="middle">{begin + s:g} s</text>'
        for s in range(int(ROW) + 1)
    ]
    for value in _ticks(highest):
        kind, level = "grid" if value else "zero", y(value)
        parts.append(
            f'<line class="{kind}" x1="{MARGIN}" x2="{WIDTH - 10}" y1="{level:.1f}" '
            f'y2="{level:.1f}"/><text x="{MARGIN - 6}" y="{level + 4:.1f}" '
            f'text-anchor="end">{value:g}</text>'
        )
    for first, last in speaking[(speaking[:, 0] >= begin) & (speaking[:, 0] < begin + ROW)]:
        parts.append(
            f'<rect class="speaking" x="{x(first):.1f}" y="{bottom + 3}" height="5" '
            f'width="{(last - first) * scale:.1f}"/>'
        )
    parts.append(_outline(voice[(voice[:, 0] >= begin) & (voice[:, 0] < begin + ROW)], x))
    parts += [_line(curve, begin, x, y) for curve in curves]
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>\n'


def _ticks(highest):
    """A few round values from 0 to `highest` mm."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1e9) if highest / step <= 5)
    return np.arange(0, highest + 1e-9, step)


def _outline(blocks, x) -> str:
    """The voice's blocks as one thin bar each, full scale over the whole height."""
    middle, scale = VOICE / 2, 0.95 * VOICE / 2
    path = "".join(
        f"M{x(at):.1f} {middle - scale * high:.1f}h.9V{middle - scale * low + 0.5:.1f}h-.9z"
        for at, low, high in blocks
    )
    return f'<path class="voice" d="{path}"/>' if path else ""


def _line(curve, begin, x, y) -> str:
    """A curve's part in this row, with one frame more on either side; it breaks where frames are missing."""
    chosen = (curve.seconds >= begin - curve.period) & (curve.seconds <= begin + ROW + curve.period)
    seconds, opening = curve.seconds[chosen], curve.opening[chosen]
    breaks = np.abs(np.diff(seconds, prepend=-1e9) - curve.period) > 0.5 * curve.period
    path = "".join(
        f"{'M' if broken else 'L'}{min(max(x(at), MARGIN), WIDTH - 10):.1f} {y(value):.1f}"
        for at, value, broken in zip(seconds, opening, breaks)
    )
    return f'<path class="{curve.kind}" d="{path}"/>' if path else ""
