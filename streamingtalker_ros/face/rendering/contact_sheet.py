# SPDX-License-Identifier: Apache-2.0
"""Contact sheet of a clip: images of key frames above the waveform and the curve of the lip opening.

Drawn with Pillow alone, so that it needs no plotting library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import require

if TYPE_CHECKING:
    from PIL.Image import Image

_TEXT_COLOR, _GRID_COLOR = (40, 44, 52), (205, 208, 214)
_WAVEFORM_COLOR, _OPENING_COLOR = (92, 124, 168), (196, 84, 64)
_MARGIN, _GAP, _PLOT_HEIGHT = 16, 6, 96  # pixels
_CAPTION_HEIGHT, _TITLE_HEIGHT = 18, 12  # pixels
_PURPOSE = "the contact sheet"


def select_key_frames(opening: npt.NDArray[np.floating], count: int) -> list[int]:
    """Select one frame of each of `count` equal stretches: alternately the widest and the narrowest opening.

    Args:
        opening: (T,) lip opening, in any unit.
        count: Frames to select; fewer for a shorter clip.

    Returns:
        Ascending frame indices.
    """
    stretches = np.array_split(np.arange(len(opening)), min(count, len(opening)))
    return [
        int(frames[np.argmax(opening[frames]) if k % 2 == 0 else np.argmin(opening[frames])])
        for k, frames in enumerate(stretches)
    ]


def contact_sheet(
    images: Sequence[npt.NDArray[np.uint8]],
    times: Sequence[float],
    pcm: npt.NDArray[np.float32],
    rate: int,
    opening: npt.NDArray[np.floating],
    frame_rate: float,
    title: str,
    columns: int = 6,
) -> Image:
    """Draw the contact sheet.

    Args:
        images: (H, W, 3) each, of one size; with (H, W, 4) the sheet is transparent.
        times: Seconds of each image.
        pcm: (n,) mono audio of the clip.
        rate: Sample rate of the audio in Hz.
        opening: (T,) lip gap in metres.
        frame_rate: Frames per second of the opening.
        title: One line.
        columns: Images in a row.

    Returns:
        The image.

    Raises:
        TalkerError: If Pillow is not installed.
    """
    image_module, draw_module = require("PIL.Image", _PURPOSE), require("PIL.ImageDraw", _PURPOSE)
    height, width, channels = images[0].shape
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    grid = columns * (width + _GAP) - _GAP, rows * (height + _CAPTION_HEIGHT + _GAP)
    size = grid[0] + 2 * _MARGIN, grid[1] + 2 * (_PLOT_HEIGHT + 30) + 3 * _MARGIN
    mode, paper = ("RGB", (250, 250, 252)) if channels == 3 else ("RGBA", (0, 0, 0, 0))
    sheet = image_module.new(mode, size, paper)
    draw = draw_module.Draw(sheet)
    draw.font = require("PIL.ImageFont", _PURPOSE).load_default(13)
    draw.text((_MARGIN, _MARGIN - 10), title, fill=_TEXT_COLOR)
    for k, (image, time) in enumerate(zip(images, times, strict=True)):
        left = _MARGIN + (k % columns) * (width + _GAP)
        top = _MARGIN + 10 + (k // columns) * (height + _CAPTION_HEIGHT + _GAP)
        sheet.paste(image_module.fromarray(np.ascontiguousarray(image)), (left, top))
        gap = 1000 * opening[min(len(opening) - 1, round(time * frame_rate))]
        draw.text((left + 4, top + height + 2), f"{time:.2f} s   lips {max(gap, 0):.1f} mm", fill=_TEXT_COLOR)
    seconds = max(len(pcm) / rate, len(opening) / frame_rate)
    plots = _Plots(draw, _MARGIN, grid[0], seconds, times)
    top = grid[1] + _MARGIN + 14
    plots.draw_axes(top, "voice")
    plots.draw_waveform(top, pcm, rate)
    top += _PLOT_HEIGHT + 30
    peak_mm = max(1.0, float(np.max(opening)) * 1000)
    plots.draw_axes(top, f"lip opening, 0 to {peak_mm:.0f} mm", ticks=True)
    plots.draw_curve(top, 1000 * np.clip(opening, 0, None) / peak_mm, frame_rate)
    return sheet


class _Plots:
    """Draws curves over the time of the clip, with the times of the images marked."""

    def __init__(self, draw: Any, left: int, width: int, seconds: float, times: Sequence[float]) -> None:
        self._draw, self._left, self._width, self._seconds, self._times = draw, left, width, seconds, times

    def _x(self, time: float) -> float:
        return self._left + self._width * time / self._seconds

    def draw_axes(self, top: int, label: str, ticks: bool = False) -> None:
        base = top + _TITLE_HEIGHT + _PLOT_HEIGHT
        for time in self._times:
            self._draw.line([self._x(time), top + _TITLE_HEIGHT, self._x(time), base], fill=_GRID_COLOR)
        self._draw.text((self._left, top - 6), label, fill=_TEXT_COLOR)
        self._draw.line([self._left, base, self._left + self._width, base], fill=_TEXT_COLOR)
        for second in range(int(self._seconds) + 1 if ticks else 0):
            self._draw.line([self._x(second), base, self._x(second), base + 4], fill=_TEXT_COLOR)
            self._draw.text((self._x(second) + 2, base + 2), f"{second} s", fill=_TEXT_COLOR)

    def draw_waveform(self, top: int, pcm: npt.NDArray[np.float32], rate: int) -> None:
        pixels = np.arange(int(self._width * len(pcm) / rate / self._seconds))
        if not len(pixels):
            return
        edges = np.linspace(0, len(pcm), len(pixels) + 1).astype(int)
        middle = top + _TITLE_HEIGHT + _PLOT_HEIGHT / 2
        scale = _PLOT_HEIGHT / 2 / max(0.05, float(np.abs(pcm).max()))
        for pixel, start, end in zip(pixels, edges[:-1], edges[1:], strict=True):
            samples = pcm[start : max(end, start + 1)]
            x = self._left + int(pixel)
            ends = [x, middle - scale * samples.max(), x, middle - scale * samples.min()]
            self._draw.line(ends, fill=_WAVEFORM_COLOR)

    def draw_curve(self, top: int, level: npt.NDArray[np.floating], frame_rate: float) -> None:
        base = top + _TITLE_HEIGHT + _PLOT_HEIGHT
        points = [
            (self._x(n / frame_rate), base - _PLOT_HEIGHT * float(value)) for n, value in enumerate(level)
        ]
        if len(points) > 1:
            self._draw.line(points, fill=_OPENING_COLOR, width=2)
