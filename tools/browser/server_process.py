# SPDX-License-Identifier: Apache-2.0
"""Runs `streamingtalker web` as a subprocess, for measurements and screenshots with a browser."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import assets

START_TIMEOUT_S = 120.0


@contextlib.contextmanager
def server_process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the server on a free port while the block runs.

    Args:
        arguments: further arguments of the command.

    Yields:
        The URL of the page, and the process.

    Raises:
        TalkerError: if the server does not start, or the page is not built.
    """
    if not assets.is_built():
        raise TalkerError(assets.NOT_BUILT)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "streamingtalker_ros", "web", "--port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while "open http" not in output.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TalkerError(
                        f"`streamingtalker web` did not start: {output.read_text().strip()[-300:]}"
                    )
                time.sleep(0.05)
            yield output.read_text().partition("open ")[2].split()[0], process
        finally:
            process.terminate()
            process.wait(timeout=15)


def resident_bytes(process: subprocess.Popen[bytes]) -> int:
    """Resident memory of a process, or 0 on a system without /proc."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
