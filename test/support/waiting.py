# SPDX-License-Identifier: Apache-2.0
"""Waits for what another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """Poll a condition until it is true, for at most `seconds`; return its last result."""
    deadline = time.monotonic() + seconds
    while not (result := condition()) and time.monotonic() <= deadline:
        time.sleep(0.01)
    return result
