# SPDX-License-Identifier: Apache-2.0
"""Processes that a command starts: they end when the command does, even if it is killed without a warning.

A command of this package reads a pipe whose other end only its starter holds, and the workers of a pool wait
for the end of their starter; the system closes both whatever ends it. Beside a program of others a watcher
reads such a pipe and kills what the program has started, too.
"""

from __future__ import annotations

import contextlib
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

_TERMINATION_S: Final = 0.5  # from SIGTERM to SIGKILL
_WATCHER: Final = 'read -r line; kill -s KILL -- "-$1"'  # its input ends when this process does
_PIPE_VARIABLE: Final = "STREAMINGTALKER_STARTER_ON_STDIN"
_POLL_S: Final = 0.005
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


class Program:
    """A program of others: neither it nor what it has started outlives `stop`, or this process.

    Args:
        arguments: The program and its arguments; no shell reads them.

    Attributes:
        process: The running process; its standard streams are pipes.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        is_posix = os.name == "posix"
        # in a session of its own: its group holds all that it starts, and Ctrl-C reaches this process only
        self.process = subprocess.Popen(
            arguments, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=is_posix
        )
        self._watcher: subprocess.Popen[bytes] | None = None
        self._is_stopped = False
        if is_posix:
            try:
                self._watcher = subprocess.Popen(
                    ["/bin/sh", "-c", _WATCHER, "watcher", str(self.process.pid)],
                    stdin=pipe,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                self.stop()
                raise

    def stop(self) -> int:
        """End the program and all that it has started; return its exit code, as `subprocess.Popen` does."""
        if not self._is_stopped:
            self._is_stopped = True
            try:
                if not self.wait(0.0):
                    self._signal(signal.SIGTERM)
                    self.wait(_TERMINATION_S)
                self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            finally:
                self.process.wait()
                for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                    if stream is not None:
                        with contextlib.suppress(OSError):  # of text that it did not read
                            stream.close()
                if self._watcher is not None:
                    self._watcher.kill()
                    self._watcher.wait()
                    if self._watcher.stdin is not None:
                        self._watcher.stdin.close()
        return self.process.returncode

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the program; its number stays in use until `stop` returns.

        Args:
            timeout: s to wait at most.

        Returns:
            Whether it has ended.
        """
        deadline = time.monotonic() + timeout
        while not self._has_ended():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _has_ended(self) -> bool:
        if not hasattr(os, "waitid"):
            return self.process.poll() is not None
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


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
