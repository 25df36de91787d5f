# SPDX-License-Identifier: Apache-2.0
"""Training takes every core, which in a test makes threads wait for each other: here it finds one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def one_core() -> Iterator[None]:
    """Let the commands of these tests count one core."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        yield
