# SPDX-License-Identifier: Apache-2.0
"""Processes that a command starts: they end when the command does, even if it is killed without a warning.

A command of this package reads a pipe whose other end only its starter holds, and the workers of a pool wait
for the end of their starter; the system closes both whatever ends it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

ORDERLY_END_S: Final = 5.0
"""Time for a command whose starter has ended to end in order, joints at rest first."""

_PIPE_VARIABLE: Final = "STREAMINGTALKER_STARTER_ON_STDIN"
_EXIT_STARTER_ENDED: Final = 128 + signal.SIGTERM


def start_command(arguments: Sequence[str], stdout: IO[Any], stderr: int) -> subprocess.Popen[bytes]:
    """Start a `streamingtalker` command that ends when this process ends.

    Args:
        arguments: The command and its arguments.
        stdout: File that receives its output.
        stderr: As `subprocess.Popen` takes it.

    Returns:
        The process. Its stdin is a pipe; closing it ends the command.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "streamingtalker_ros", *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, _PIPE_VARIABLE: "1"},
    )


def follow_starter() -> None:
    """End this process when its starter ends, if it was started by `start_command`."""
    if os.environ.pop(_PIPE_VARIABLE, None) is not None:
        threading.Thread(target=_end_after_stdin, name="starter", daemon=True).start()


def worker_pool(
    num_workers: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return a pool of worker processes that end when this process ends.

    Args:
        num_workers: Number of processes.
        initializer: Called in each of them first.
        initargs: Its arguments.
    """
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(num_workers, initializer=_initialize_worker, initargs=(initializer, initargs))


def _end_after_stdin() -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORDERLY_END_S)
    os._exit(_EXIT_STARTER_ENDED)


def _initialize_worker(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_after_parent, name="starter", daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _end_after_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(_EXIT_STARTER_ENDED)
