# SPDX-License-Identifier: Apache-2.0
"""Minutes of damaged bags and checkpoints: the long form of the tests of damaged bags and checkpoints.

`FUZZ_SECONDS` bounds each, `FUZZ_SEED` sets the first seed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from support import bag_fuzzing, checkpoint_fuzzing
from support.fuzz_targets import SEED
from support.soak_length import SECONDS, print_measurement

pytestmark = pytest.mark.soak

_SECONDS: Final = float(os.environ.get("FUZZ_SECONDS") or SECONDS / 5)  # of each
_SEED: Final = int(os.environ.get("FUZZ_SEED") or SEED + 1)
_BATCH: Final = 200
RUNS: Final[dict[str, Callable[[Path, int, int], int]]] = {
    "bags": bag_fuzzing.run,
    "configurations": checkpoint_fuzzing.run_configs,
    "weights": checkpoint_fuzzing.run_weights,
    "published": checkpoint_fuzzing.run_published,
}


@pytest.mark.parametrize("name", RUNS)
def test_damaged_files_are_read_or_rejected(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end, seed, read = time.monotonic() + _SECONDS, _SEED, 0
    while time.monotonic() < end:
        folder = tmp_path / str(seed)
        folder.mkdir()
        read += RUNS[name](folder, seed, _BATCH)
        seed += 1
    print_measurement(capsys, f"{name}: {_BATCH * (seed - _SEED)} damaged, {read} of them read")
