# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the browser tests: a page needs its bundle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.web import assets
from streamingtalker_ros.web.server import Server
from support.web_client import running_server
from tools.browser.chromium import Chromium


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the browser tests of this folder, with the reason, while the page is not built."""
    if assets.is_built():
        return
    for item in items:
        if item.path.parent.name == "web" and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=assets.NOT_BUILT))


@pytest.fixture(scope="module")
def server(talker: Talker) -> Iterator[Server]:
    """Never skips old audio, so that a busy machine shows late frames, not wrong ones."""
    with running_server(talker, backlog_seconds=60.0) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    """A browser without a voice at its microphone."""
    with Chromium() as browser:
        yield browser
