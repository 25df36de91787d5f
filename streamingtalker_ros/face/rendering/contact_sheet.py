# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of a speaking face: pictures of chosen moments over the waveform and the opening of the
lips.

Takes pictures, their times, the voice and a curve over time; gives one Pillow image. Only Pillow is used, so
that pictures of a clip need no plotting library.
"""

import numpy as np

from streamingtalker_ros.errors import require

_INK, _FAINT, _VOICE, _LIPS = (40, 44, 52), (205, 208, 214), (92, 124, 168), (196, 84, 64)
_MARGIN, _GAP, _STRIP = 16, 6, 96


def moments(opening, count):
    """Frames worth showing: one per stretch of the clip, by turns where the lips are widest and where they
    meet.

    opening: (T,) lip gap over the frames, any unit -> up to `count` ascending frame indices.
    """
    stretches = np.array_split(np.arange(len(opening)), min(count, len(opening)))
    return [
        int(frames[np.argmax(opening[frames]) if k % 2 == 0 else np.argmin(opening[frames])])
        for k, frames in enumerate(stretches)
    ]


def contact_sheet(images, times, pcm, rate, opening, frame_rate, title, columns=6):
    """images: list of (H, W, 3) uint8 of one size; times: their seconds; pcm: (n,) float32 at `rate` Hz;
    opening: (T,) lip gap in metres at `frame_rate`; title: one line. Returns a PIL.Image.

    Raises TalkerError where Pillow is not installed.
    """
    image_module = require("PIL.Image", "the contact sheet")
    draw_module = require("PIL.ImageDraw", "the contact sheet")
    height, width = images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = columns * (width + _GAP) - _GAP, rows * (height + 18 + _GAP)
    size = grid[0] + 2 * _MARGIN, grid[1] + 2 * (_STRIP + 30) + 3 * _MARGIN
    sheet = image_module.new("RGB", size, (250, 250, 252))
    draw = draw_module.Draw(sheet)
    draw.font = require("PIL.ImageFont", "the contact sheet").load_default(13)
    draw.text((_MARGIN, _MARGIN - 10), title, fill=_INK)
    for k, (image, time) in enumerate(zip(images, times)):
        left = _MARGIN + (k % columns) * (width + _GAP)
        top = _MARGIN + 10 + (k // columns) * (height + 18 + _GAP)
        sheet.paste(image_module.fromarray(np.ascontiguousarray(image)), (left, top))
        gap = 1000 * opening[min(len(opening) - 1, int(round(time * frame_rate)))]
        draw.text((left + 4, top + height + 2), f"{time:.2f} s   lips {max(gap, 0):.1f} mm", fill=_INK)
    seconds = max(len(pcm) / rate, len(opening) / frame_rate)
    strip = _Strip(draw, _MARGIN, grid[0], seconds, times)
    top = grid[1] + _MARGIN + 14
    strip.axes(top, "voice")
    strip.wave(top, pcm, rate)
    top += _STRIP + 30
    peak = max(1.0, float(np.max(opening)) * 1000)
    strip.axes(top, f"lip opening, 0 to {peak:.0f} mm", ticks=True)
    strip.curve(top, 1000 * np.clip(opening, 0, None) / peak, frame_rate)
    return sheet


class _Strip:
    """Draws curves over the clip's time, one under the other, with the shown moments marked."""

    def __init__(self, draw, left, width, seconds, times) -> None:
        self._draw, self._left, self._width, self._seconds, self._times = draw, left, width, seconds, times

    def _x(self, time):
        return self._left + self._width * time / self._seconds

    def axes(self, top, label, ticks=False) -> None:
        for time in self._times:
            self._draw.line([self._x(time), top + 12, self._x(time), top + 12 + _STRIP], fill=_FAINT)
        self._draw.text((self._left, top - 6), label, fill=_INK)
        base = top + 12 + _STRIP
        self._draw.line([self._left, base, self._left + self._width, base], fill=_INK)
        for second in range(int(self._seconds) + 1 if ticks else 0):
            self._draw.line([self._x(second), base, self._x(second), base + 4], fill=_INK)
            self._draw.text((self._x(second) + 2, base + 2), f"{second} s", fill=_INK)

    def wave(self, top, pcm, rate) -> None:
        pixels = np.arange(int(self._width * len(pcm) / rate / self._seconds))
        if not len(pixels):
            return
        edges = np.linspace(0, len(pcm), len(pixels) + 1).astype(int)
        middle, half = top + 12 + _STRIP / 2, _STRIP / 2 / max(0.05, float(np.abs(pcm).max()))
        for pixel, start, end in zip(pixels, edges[:-1], edges[1:]):
            piece = pcm[start : max(end, start + 1)]
            x = self._left + int(pixel)
            self._draw.line([x, middle - half * piece.max(), x, middle - half * piece.min()], fill=_VOICE)

    def curve(self, top, level, frame_rate) -> None:
        base = top + 12 + _STRIP
        points = [(self._x(n / frame_rate), base - _STRIP * float(value)) for n, value in enumerate(level)]
        if len(points) > 1:
            self._draw.line(points, fill=_LIPS, width=2)
