# SPDX-License-Identifier: Apache-2.0
"""Functions that worker processes of tests run, and whether a process runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from streamingtalker_ros.errors import TalkerError


def invert(number: float) -> float:
    """The inverse of a positive number."""
    if number < 0:
        raise TalkerError("negative: give a positive number")
    return 1 / number


def end_process_at_three(number: int) -> int:
    """The number; the process that receives 3 ends without a word."""
    if number == 3:
        os._exit(9)
    return number


def process_id(item: object) -> int:
    """Identifier of the process that runs this."""
    return os.getpid()


def sleep_long(item: object) -> None:
    """Sleep for longer than any test."""
    time.sleep(1000)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for a parent that asks for its code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
