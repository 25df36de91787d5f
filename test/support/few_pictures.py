# SPDX-License-Identifier: Apache-2.0
"""Fewer tiles in the pictures of `streamingtalker pictures` and `markers --picture`: drawing takes long."""

from __future__ import annotations

import pytest

from streamingtalker_ros.cli import markers_preview, pictures


def limit_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each page of `pictures` have two tiles, and the picture of `markers` one."""
    pages, draw_markers = pictures.pages, markers_preview.render
    monkeypatch.setattr(
        pictures, "pages", lambda rig: [page._replace(tiles=page.tiles[:2]) for page in pages(rig)]
    )
    monkeypatch.setattr(
        markers_preview, "render", lambda rig, faces, size: draw_markers(rig, faces[:1], size)
    )
