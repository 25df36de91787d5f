# SPDX-License-Identifier: Apache-2.0
"""Pages of pictures with fewer tiles, for tests of the command that draws them."""

from __future__ import annotations

import pytest

from streamingtalker_ros.cli import pictures


def limit_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each page of `streamingtalker pictures` have two tiles."""
    pages = pictures.pages
    monkeypatch.setattr(
        pictures, "pages", lambda rig: [page._replace(tiles=page.tiles[:2]) for page in pages(rig)]
    )
