# SPDX-License-Identifier: Apache-2.0
"""Supervision of a long-running command: a thread that ends by an exception ends its process, visibly.

A process that has lost one of its threads looks alive, and is deaf, mute, or holds a robot's joints where
they are. Every long-running command and node therefore runs under a `Supervisor`, in the main thread:

    with Supervisor() as supervisor:            # before the first thread starts
        node = HeadNode(…)
        try:
            supervisor.wait(duration)           # until a signal, `stop()`, or a thread that failed
        finally:
            node.rest()                         # motors first
            node.close()
    return supervisor.exit_code                 # 0, or EXIT_THREAD_FAILED

It supervises every `threading.Thread` of the process, whoever started it: threads are not registered and need
no wrapper. The one rule for a thread: its loop catches the exceptions of single items (a message, a frame, a
callback), and lets every other exception out. That exception is then logged once, with its traceback, and
`wait` returns. A command whose main thread is busy in a framework passes a callback that makes it return:
`supervisor.on_stop(server.stop)`. One whose main thread blocks elsewhere, as in `sleep`, uses
`Supervisor(interrupt_main=True)`: KeyboardInterrupt is raised there.

If the main thread does not end the block within `SHUTDOWN_TIMEOUT_S` after a failure, the process is ended
where it stands, so that whatever restarts it can do so.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn

from streamingtalker_ros.interruption import EXIT_INTERRUPTED
from streamingtalker_ros.process import STOP_SIGNALS, FaultLog, flush_output, on_stop_signals, print_line

EXIT_THREAD_FAILED: Final = 70
"""Exit code of a process that lost a thread: EX_SOFTWARE of sysexits.h."""

EXIT_DEFECT: Final = 1
"""After an exception that no part of the program expects, and its traceback."""

SHUTDOWN_TIMEOUT_S: Final = 5.0
"""Time from a thread's failure until the process is ended in any case."""

_POLL_S: Final = (
    0.2  # an event of which nobody is notified, such as an exception set from outside, is noticed
)


def run_and_exit(main: Callable[[], int]) -> NoReturn:
    """Run a program, and end the process with its exit code.

    A process that failed is ended at once, without the second that an interpreter with torch takes to free
    its modules: whatever supervises it learns of it, and restarts it, that much earlier.

    Args:
        main: Returns the exit code.
    """
    try:
        code = main()
    except SystemExit:
        raise
    except KeyboardInterrupt:  # before the program handles signals
        os._exit(EXIT_INTERRUPTED)
    except BaseException:
        print_line(traceback.format_exc().rstrip(), error=True)  # which never blocks
        os._exit(EXIT_DEFECT)
    if code == EXIT_THREAD_FAILED:
        flush_output()
        os._exit(code)
    sys.exit(code)


class Supervisor:
    """Knows why and when a long-running command is to stop; a context manager for the main thread.

    While the block runs, SIGINT, SIGTERM and SIGHUP stop it, and so does a thread that ends by an exception.

    Args:
        interrupt_main: Raise KeyboardInterrupt in the main thread when it is to stop.

    Attributes:
        failed_thread: Name of the first thread that ended by an exception, or None.
    """

    def __init__(self, interrupt_main: bool = False) -> None:
        self.failed_thread: str | None = None
        self._interrupts_main = interrupt_main  # until it was interrupted once
        self._stop = threading.Event()
        self._finished = threading.Event()
        self._callbacks: list[Callable[[], object]] = []
        self._faults = FaultLog()
        self._previous_hook: Callable[..., Any] = threading.excepthook
        self._previous_handlers: dict[int, Any] = {}

    @property
    def is_stopping(self) -> bool:
        """Whether a signal arrived, a thread failed, or `stop` was called."""
        return self._stop.is_set()

    @property
    def exit_code(self) -> int:
        """0, or EXIT_THREAD_FAILED if a thread ended by an exception."""
        return EXIT_THREAD_FAILED if self.failed_thread is not None else 0

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Call a callback once when the command is to stop.

        Args:
            callback: Called in the thread that failed, or in the main thread after a signal. It must not
                block; its exceptions are logged.
        """
        self._callbacks.append(callback)

    def stop(self) -> None:
        """Make `wait` return. May be called from any thread."""
        if self._stop.is_set():
            return
        self._stop.set()
        for callback in self._callbacks:
            try:
                callback()
            except Exception as fault:
                self._faults.log("stopping failed in part", fault)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the command is to stop.

        Args:
            timeout: s to wait at most, None for no limit.

        Returns:
            Whether it is to stop; False at the timeout.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
            if self._stop.wait(max(0.0, remaining)):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def thread_failed(self, name: str, fault: BaseException) -> None:
        """Report a thread that ends by an exception, which no `threading.excepthook` receives.

        Args:
            name: Name of the thread, for the log.
            fault: The exception.
        """
        is_first, self.failed_thread = self.failed_thread is None, self.failed_thread or name
        self._faults.log(f"the thread '{name}' ended by an exception, and the process ends with it", fault)
        if is_first:
            threading.Thread(target=self._end_process, name="shutdown", daemon=True).start()
        self.stop()
        main = threading.main_thread()
        if is_first and self._interrupts_main and main.ident is not None:
            with contextlib.suppress(OSError, ValueError):
                signal.pthread_kill(main.ident, signal.SIGINT)  # ends its sleep, too

    def __enter__(self) -> Supervisor:
        self._previous_hook, threading.excepthook = threading.excepthook, self._on_thread_exception
        self._previous_handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        on_stop_signals(self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finished.set()
        threading.excepthook = self._previous_hook
        for number, handler in self._previous_handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if isinstance(error, SystemExit):  # nothing in a command's block asks for it: the main thread failed
            raise SystemExit(error.code or EXIT_THREAD_FAILED) from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()
        if self._interrupts_main:
            self._interrupts_main = False  # nothing interrupts the way to rest
            raise KeyboardInterrupt

    def _on_thread_exception(self, args: threading.ExceptHookArgs) -> None:
        fault = args.exc_value if args.exc_value is not None else args.exc_type()
        self.thread_failed(args.thread.name if args.thread is not None else "unknown", fault)

    def _end_process(self) -> None:
        if not self._finished.wait(SHUTDOWN_TIMEOUT_S):
            flush_output()
            os._exit(EXIT_THREAD_FAILED)
