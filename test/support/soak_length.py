# SPDX-License-Identifier: Apache-2.0
"""Duration of the soak tests: `make soak` sets SOAK_SECONDS=600 and SOAK_HOUR=3600; else the short forms."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import pytest

SECONDS = float(os.environ.get("SOAK_SECONDS", 10))  # of faults
HOUR = float(os.environ.get("SOAK_HOUR", 20))  # of one undisturbed voice
LONG = SECONDS > 60


def print_measurement(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Print a measurement, in the long form only."""
    if LONG:
        with capsys.disabled():
            print(f"\n    {text}", end="")


def memory(pid: int | str = "self") -> Any:
    """Resident megabytes of a process, or None where the system does not report it."""
    if pid == "self":
        gc.collect()  # takes 0.15 s, during which an audio source in this process sends nothing
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
    except OSError:
        return None


def memory_growth(sizes: Any) -> Any:
    """Megabytes from the first quarter to the end."""
    return 0.0 if None in sizes else sizes[-1] - sizes[len(sizes) // 4]
