# SPDX-License-Identifier: Apache-2.0
"""Kills threads of a process from outside: `KillableProcess`, and the program that it runs.

The program (`python -m support.thread_killer … COMMAND …`) runs a `streamingtalker` command, or an executable
of the ROS 2 package. A raw thread of it obeys lines on a pipe: `list` answers the Python threads of the
process, found by their frames, whoever started them; `kill IDENT` sets an exception in one of them.
"""

from __future__ import annotations

import _thread
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

_KILL_S = 2.0  # until a thread that waits has noticed
_POLL_S = 0.01
_ROOT = Path(__file__).parents[2]


class ThreadKilledError(BaseException):
    """What a killed thread raises; no handler of `Exception` catches it."""


class KillableProcess:
    """A `streamingtalker` command whose threads can be killed; a context manager.

    Args:
        arguments: The command line after `streamingtalker`, or an executable of the ROS 2 package and its
            arguments.
        ros: Whether it is the latter; the package is then the one that is built and sourced.
        environment: Variables that differ.

    Attributes:
        process: The process; stdout and stderr are one pipe.
    """

    def __init__(
        self, *arguments: object, ros: bool = False, environment: dict[str, str] | None = None
    ) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        # the source tree would hide the built package, which holds the generated messages
        after = os.environ.get("PYTHONPATH", "") if ros else str(_ROOT)
        path = os.pathsep.join([str(_ROOT / "test"), after])
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "support.thread_killer",
                str(requests),
                str(answers),
                "ros" if ros else "streamingtalker",
                *map(str, arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=(requests, answers),
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
        )
        os.close(requests)
        os.close(answers)

    def read_line(self) -> str:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def threads(self) -> dict[int, str]:
        """Return the names of its threads by their identifiers."""
        return {int(ident): name for ident, name in self._request("list").items()}

    def kill_thread(self, ident: int, wake: Callable[[], object] = lambda: None) -> None:
        """Raise ThreadKilledError in a thread, until it has ended; in the main thread once.

        A callback that the DDS binding calls from C loses the exception, so once may be too few.

        Args:
            ident: Of the thread.
            wake: Called after each attempt: wakes a thread that waits without limit, which would notice late.
        """
        name = self.threads()[ident]
        while self._request(f"kill {ident}") == {"killed": 1} and name != threading.main_thread().name:
            wake()
            deadline = time.monotonic() + _KILL_S
            while time.monotonic() < deadline:
                try:
                    if ident not in self.threads():
                        return
                except (BrokenPipeError, ValueError):  # the process has ended
                    return
                time.sleep(_POLL_S)

    def end(self, timeout: float) -> tuple[int, str, float]:
        """Wait for its end; return the exit code, the rest of its output and the seconds that it took."""
        start = time.monotonic()
        output, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, output, time.monotonic() - start

    def _request(self, line: str) -> dict[str, Any]:
        os.write(self._requests, f"{line}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            answer += (part := os.read(self._answers, 65536))
            if not part:
                raise BrokenPipeError
        return json.loads(answer)

    def __enter__(self) -> KillableProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self._requests)
        os.close(self._answers)


def _obey(requests: int, answers: int) -> None:
    """Answer each line of the pipe, until it is closed."""
    with open(requests, encoding="utf-8") as lines:
        for line in lines:
            words = line.split()
            if words[0] == "list":
                names = {thread.ident: thread.name for thread in threading.enumerate()}
                answer: dict[Any, Any] = {
                    ident: names.get(ident, "unknown to threading")
                    for ident in sys._current_frames()
                    if ident != _thread.get_ident()
                }
            else:
                set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
                answer = {
                    "killed": set_exception(
                        ctypes.c_ulong(int(words[1])), ctypes.py_object(ThreadKilledError)
                    )
                }
            os.write(answers, (json.dumps(answer) + "\n").encode())


def _run(program: str, arguments: list[str]) -> int:
    if program == "ros":
        from streamingtalker_ros.ros.entry_points import run_program as run_executable

        sys.argv = arguments
        run_executable(arguments[0])
    from streamingtalker_ros.cli import run_program

    sys.argv = ["streamingtalker", *arguments]
    run_program()


if __name__ == "__main__":
    _thread.start_new_thread(_obey, (int(sys.argv[1]), int(sys.argv[2])))
    sys.exit(_run(sys.argv[3], sys.argv[4:]))
