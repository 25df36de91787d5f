# SPDX-License-Identifier: Apache-2.0
"""Damaged files, messages and settings: read, or rejected in one sentence, in bounded time and memory.

The short form; `make soak` runs the same targets for minutes (test/soak/test_soak_fuzzing.py).
"""

from __future__ import annotations

import os
from typing import Final

import pytest

from support.fuzz_targets import SEED, TARGETS
from support.fuzzing import FuzzTarget

SECONDS: Final = float(os.environ.get("FUZZ_SECONDS", "16"))  # of all targets


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_input_is_read_or_rejected_in_bounded_time_and_memory(target: FuzzTarget) -> None:
    target.run(SEED, seconds=SECONDS / len(TARGETS)).check()
