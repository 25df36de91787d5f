# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the browser tests: a page needs its bundle."""

from __future__ import annotations

import pytest

from streamingtalker_ros.web import assets


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the browser tests of this folder, with the reason, while the page is not built."""
    if assets.is_built():
        return
    for item in items:
        if item.path.parent.name == "web" and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=assets.NOT_BUILT))
