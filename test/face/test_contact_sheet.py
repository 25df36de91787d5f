# SPDX-License-Identifier: Apache-2.0
"""The contact sheet shows the mouth open and closed, and draws images and curves at their places."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.face.rendering.contact_sheet import contact_sheet, select_key_frames


def test_key_frames_alternate_between_open_and_closed_lips() -> None:
    opening = np.tile(np.r_[np.linspace(0, 1, 5), np.linspace(1, 0, 5)], 12)  # a syllable every ten frames
    frames = select_key_frames(opening, 12)
    assert len(frames) == 12 and frames == sorted(frames)
    assert (opening[frames[0::2]] == 1).all() and (opening[frames[1::2]] == 0).all()
    assert select_key_frames(opening[:3], 12) == [0, 1, 2]


def test_images_and_the_curve_of_the_opening_are_at_their_places() -> None:
    images = [np.full((40, 200, 3), 255 * (k == 1), np.uint8) for k in range(4)]
    opening = np.r_[np.zeros(50), np.full(50, 0.01)]
    silence = np.zeros(64000, np.float32)
    sheet = contact_sheet(images, [0.0, 1.0, 2.0, 3.0], silence, 16000, opening, 25.0, "title", columns=4)
    pixels = np.asarray(sheet).astype(int)
    centers = [pixels[46, 16 + k * 206 + 100].tolist() for k in range(4)]
    assert centers == [[0] * 3, [255] * 3, [0] * 3, [0] * 3]
    is_curve = (pixels[:, :, 0] > 150) & (pixels[:, :, 1] < 120)
    rows = [np.flatnonzero(is_curve[:, column]).mean() for column in (16 + 200, 16 + 600)]
    assert rows[0] - rows[1] == pytest.approx(96, abs=2)  # from the base line to the top of the plot
