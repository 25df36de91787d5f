# SPDX-License-Identifier: Apache-2.0
"""The contact sheet: it shows the mouth open and closed, and draws the curves where they belong."""

import numpy as np
import pytest

from streamingtalker_ros.face.rendering.contact_sheet import contact_sheet, select_key_frames


def test_moments_are_open_and_closed_by_turns() -> None:
    opening = np.tile(np.r_[np.linspace(0, 1, 5), np.linspace(1, 0, 5)], 12)  # a syllable every ten frames
    chosen = select_key_frames(opening, 12)
    assert len(chosen) == 12 and chosen == sorted(chosen)
    assert (opening[chosen[0::2]] == 1).all() and (opening[chosen[1::2]] == 0).all()
    assert select_key_frames(opening[:3], 12) == [0, 1, 2]


def test_pictures_and_curves_are_where_they_belong() -> None:
    """One white picture in black ones; lips that open in the second half only."""
    pytest.importorskip("PIL", reason="Pillow is not installed")
    images = [np.full((40, 200, 3), 255 * (k == 1), np.uint8) for k in range(4)]
    opening = np.r_[np.zeros(50), np.full(50, 0.01)]
    silence = np.zeros(64000, np.float32)
    sheet = contact_sheet(images, [0.0, 1.0, 2.0, 3.0], silence, 16000, opening, 25.0, "title", columns=4)
    pixels = np.asarray(sheet).astype(int)
    middles = [pixels[46, 16 + k * 206 + 100].tolist() for k in range(4)]
    assert middles == [[0] * 3, [255] * 3, [0] * 3, [0] * 3]
    red = (pixels[:, :, 0] > 150) & (pixels[:, :, 1] < 120)  # the curve of the lips
    rows = [np.flatnonzero(red[:, column]).mean() for column in (16 + 200, 16 + 600)]
    assert rows[0] - rows[1] == pytest.approx(96, abs=2)  # from the base line to the top of the strip
