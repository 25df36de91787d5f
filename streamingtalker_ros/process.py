# SPDX-License-Identifier: Apache-2.0
"""What a long-running command needs of its process: output that never stops it, signals that end it in order.

A warning is often written by a control loop. Its reader may have gone (`| head -1`), its disk may be full, its pager
may stand still: none of that may raise there, or wait there.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

LOGGER_NAME = "streamingtalker_ros"
_LONGEST = (
    3000  # characters of one text: a pipe that can be written to takes PIPE_BUF, 4096 bytes, without waiting
)
_PATIENCE = 1.0  # s that `say` waits for a reader that stands still
_GONE = (errno.EPIPE, errno.EBADF, errno.EIO)  # no later text will arrive either


def say(text: str, error: bool = False, patience: float = _PATIENCE) -> bool:
    """Print a line on stdout, or stderr with `error`. Never raises; what cannot be written is left out.

    Args:
        text: the line, without its end.
        error: write to stderr.
        patience: seconds to wait for a reader that does not read.

    Returns:
        Whether the line was written.
    """
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed before the process began
        return False
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 4]} … {text[-3 * _LONGEST // 4 :]}"
    try:
        if not _takes(stream, patience):
            return False
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()
    except (OSError, ValueError) as failure:
        if isinstance(failure, OSError) and failure.errno in _GONE:
            _discard(stream)
        return False
    return True


def warn(sentence: str) -> None:
    """Print a warning on stdout; neither raises nor waits."""
    say(f"streamingtalker: warning: {sentence}", patience=0.0)


def never_raising(warn: Callable[[str], Any]) -> Callable[[str], None]:
    """The same callable, for a control loop: an exception in it is dropped."""

    def guarded(sentence: str) -> None:
        with contextlib.suppress(Exception):
            warn(sentence)

    return guarded


class FaultLog:
    """Logs exceptions that nobody foresaw, each place in the code once, with its traceback. Never raises."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str, int]] = set()

    def log(self, where: str, fault: BaseException) -> None:
        """where: what was being done, for the sentence."""
        with contextlib.suppress(Exception):
            last = traceback.extract_tb(fault.__traceback__)[-1:]
            place = (
                type(fault).__name__,
                last[0].filename if last else "",
                (last[0].lineno or 0) if last else 0,
            )
            if place in self._logged:
                return
            self._logged.add(place)
            text = "".join(
                traceback.format_exception(type(fault), fault, fault.__traceback__, limit=-12)
            ).rstrip()
            logging.getLogger(LOGGER_NAME).error("%s (please report it; told once):\n%s", where, text)


class _SayHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            say(
                f"streamingtalker: {record.levelname.lower()}: {record.getMessage()}",
                error=True,
                patience=0.0,
            )


def log_to_stderr() -> None:
    """Let the package's logger write through `say`, and no logging handler complain of a stream that has gone."""
    logging.raiseExceptions = False
    logger = logging.getLogger(LOGGER_NAME)
    if not any(isinstance(handler, _SayHandler) for handler in logger.handlers):
        logger.addHandler(_SayHandler())


def flush_output() -> None:
    """Before the process ends: what cannot be written is discarded, so that the exit code stays the command's."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            if _takes(stream, _PATIENCE):
                stream.flush()
        except (OSError, ValueError):
            _discard(stream)


class QuietStream:
    """stderr for a progress bar: a terminal that has gone takes nothing and raises nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if _takes(sys.stderr, 0.0):
                sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


def on_stop_signals(handler: Callable[..., Any]) -> None:
    """Call `handler(number, frame)` on SIGINT, SIGTERM and SIGHUP. A SIGHUP that is ignored, as under nohup, stays so.

    Only from the main thread.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN:
            continue
        signal.signal(number, handler)


def _takes(stream: TextIO, patience: float) -> bool:
    """Whether the stream can be written to without waiting, after at most `patience` seconds."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError, AttributeError):  # no file of the system's, or no poll there
        return True
    return bool(poll.poll(round(1000 * patience)))


def _discard(stream: TextIO) -> None:
    """Send all later output of a stream nowhere; without it Python's own flush at the end would fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
