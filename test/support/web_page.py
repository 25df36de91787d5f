# SPDX-License-Identifier: Apache-2.0
"""The page in a browser, for tests."""

from __future__ import annotations

from streamingtalker_ros.web.server import Server
from tools.browser.chromium import Chromium, Page

READY = "app.serverInfo && app.timeline && app.timeline.newest"
"""JavaScript condition: the page has received frames."""


def open_page(browser: Chromium, server: Server, size: tuple[int, int], detail: str = "lowest") -> Page:
    """Open the page of a server and wait until it is ready.

    Args:
        browser: Opens the tab.
        server: Serves the page.
        size: Of the window, in CSS pixels.
        detail: Level at which the face is drawn.
    """
    page = browser.open(f"{server.address}?detail={detail}", size)
    page.wait(READY, 60)
    return page
