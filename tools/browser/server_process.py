# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker web` as a process of its own, for measurements and screenshots that drive a browser at it."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import assets

LOADING = 120.0  # s that it may take to start


@contextlib.contextmanager
def server_process(*arguments):
    """Run it on a free port with these further arguments; gives (its address, the process). Raises TalkerError where it
    does not start, or the page is not built."""
    if not assets.is_built():
        raise TalkerError(assets.NOT_BUILT)
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "told.txt"
        with open(told, "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "streamingtalker_ros", "web", "--port", "0", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + LOADING
            while "open http" not in told.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TalkerError(
                        f"`streamingtalker web` did not start: {told.read_text().strip()[-300:]}"
                    )
                time.sleep(0.05)
            yield told.read_text().partition("open ")[2].split()[0], process
        finally:
            process.terminate()
            process.wait(timeout=15)


def resident_bytes(process):
    """Resident bytes of a process, 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
