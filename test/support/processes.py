# SPDX-License-Identifier: Apache-2.0
"""Child processes of a test, terminated when it ends."""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import Any

_STOP_TIMEOUT_S = 20.0


class ProcessGroup:
    """Starts processes; a context manager that terminates them and closes their pipes at its end."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[Any]] = []

    def start(self, *command: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a command.

        Args:
            command: The program and its arguments.
            options: Of `subprocess.Popen`.
        """
        self._processes.append(subprocess.Popen(command, **options))
        return self._processes[-1]

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_TIMEOUT_S)
            finally:
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        pipe.close()
