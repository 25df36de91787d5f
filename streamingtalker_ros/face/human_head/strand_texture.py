# SPDX-License-Identifier: Apache-2.0
"""Texture of hair cards: strips of strands that run from the root (upper border) to the tip, with alpha."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.human_head.canvas import Image

LOCKS: Final = 8
"""Strips side by side, see `paint_strips`."""
TIP: Final = 0.92
"""Part of the length of a strip at which its locks have ended."""


class Strip(NamedTuple):
    """How the strands of a strip run.

    Attributes:
        strands: Number of strands.
        thickness: Half width of a strand as a fraction of the strip's width.
        body: Width of the dense middle, as a fraction; 0 for none.
        wave: Amplitude of waves, as a fraction of the width.
        waves: Waves along the strip.
        gather: How far the tips draw together, 0..1.
        ragged: Where along the strip the last strand begins and the dense middle is whole, 0..1.
    """

    strands: int
    thickness: float
    body: float
    wave: float
    waves: float
    gather: float
    ragged: float


def paint_strips(
    strip: Strip, color: npt.NDArray[np.float64], size: tuple[int, int], random: np.random.Generator
) -> Image:
    """An image (rows, columns, 4), sRGB and alpha, of `LOCKS` strips side by side.

    Args:
        strip: How the strands run.
        color: (3,) sRGB of the hair.
        size: Rows and columns.
        random: Source of random numbers.
    """
    rows, columns = size
    parts = [_paint_strip(strip, (rows, columns // LOCKS), random) for _ in range(LOCKS)]
    shade, alpha = (np.concatenate([part[k] for part in parts], axis=1) for k in range(2))
    fade = np.linspace(0.86, 1.10, rows)[:, None]
    tint = np.clip(color * (shade * fade)[..., None] + 0.02 * shade[..., None], 0.0, 1.0)
    return np.concatenate([tint, alpha[..., None]], axis=-1).astype(np.float32)


def _paint_strip(
    strip: Strip, size: tuple[int, int], random: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Shade and alpha (rows, columns) of one strip."""
    rows, columns = size
    along = np.linspace(0.0, 1.0, rows)[:, None]
    across = (np.arange(columns) + 0.5) / columns
    base = random.uniform(0.85, 1.12)
    inner = np.abs(across - 0.5 - 0.06 * np.sin(5.0 * along + random.uniform(0.0, 6.0)))
    edge = strip.body / 2.0 * (1.0 - 0.35 * along**2)
    first = strip.ragged * random.random(columns)
    last = TIP - 0.12 * np.square(2.0 * across - 1.0)  # a lock ends in one rounded tip
    alpha = np.clip((edge - inner) * columns / 3.0, 0.0, 1.0)
    alpha *= np.clip((along - first) * 120.0, 0.0, 1.0) * np.clip((last - along) * 12.0, 0.0, 1.0)
    shade = np.full((rows, columns), 0.62 * base)
    for _ in range(strip.strands):
        start, end = random.uniform(0.0, strip.ragged), random.uniform(0.72, 1.0)
        place = random.uniform(0.10, 0.90)
        drift = random.normal(0.0, 0.06) - strip.gather * (place - 0.5)
        turn = 2.0 * np.pi * (strip.waves * along + random.random())
        middle = place + drift * along**1.5 + strip.wave * random.uniform(0.6, 1.2) * np.sin(turn)
        thickness = strip.thickness * random.uniform(0.6, 1.4)
        taper = np.clip((along - start) / 0.04, 0.0, 1.0) * np.clip((end - along) / (0.45 * end), 0.0, 1.0)
        cover = np.clip((thickness * taper**0.7 - np.abs(across - middle)) * columns + 0.5, 0.0, 1.0)
        cover *= taper > 0.0
        if strip.body:  # a strand that leaves its lock would break into dots
            cover *= (inner < edge + 0.05) & (along < last - 0.02)
        tone = base * random.normal(1.0, 0.17) * (1.0 - 0.35 * np.abs(across - middle) / thickness)
        shade += (tone - shade) * cover
        alpha = np.maximum(alpha, cover)
    margin = np.clip(np.minimum(across, 1.0 - across) * columns / 2.0 - 0.5, 0.0, 1.0)
    return shade.clip(0.3, 1.5), alpha * margin
