# SPDX-License-Identifier: Apache-2.0
"""Output and signals of long-running commands: output never raises or blocks, signals end them in order.

A warning is often printed by a control loop, while the reader of the output has exited (`| head -1`), the
disk is full or a pager waits. None of that may raise there, or block there. `supervision` ends a process that
has lost one of its threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, TextIO

from streamingtalker_ros.errors import one_line, require

LOGGER_NAME: Final = "streamingtalker_ros"
STOP_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
_MAX_CHARS: Final = 3000  # of one text: a writable pipe accepts PIPE_BUF, 4096 bytes, without blocking
_WRITE_TIMEOUT_S: Final = 1.0
_MAX_TRACEBACK_FRAMES: Final = 12
_MAX_TEXTS: Final = 20  # of warnings that are given once each
_CLOSED_ERRNOS: Final = (errno.EPIPE, errno.EBADF, errno.EIO)  # later text cannot be written either

_lost_output: Exception | None = None  # the first failure of `print_result`


def print_line(text: str, error: bool = False, timeout: float = _WRITE_TIMEOUT_S) -> bool:
    """Print a line; text that cannot be written is dropped, and nothing is raised.

    Args:
        text: the line, without its end.
        error: print to stderr instead of stdout.
        timeout: seconds to wait for a reader that does not read.

    Returns:
        Whether the line was written.
    """
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed before the process started
        return False
    if len(text) > _MAX_CHARS:
        text = f"{text[: _MAX_CHARS // 4]} … {text[-3 * _MAX_CHARS // 4 :]}"
    try:
        if not _is_writable(stream, timeout):
            return False
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()
    except (OSError, ValueError) as failure:
        if isinstance(failure, OSError) and failure.errno in _CLOSED_ERRNOS:
            _redirect_to_null(stream)
        return False
    return True


def print_result(text: str) -> None:
    """Print a result of a command on stdout, whole, waiting for a slow reader; nothing is raised.

    Output that cannot be written does not end the command, which may have files to write; `lost_output` tells
    of it at the end.

    Args:
        text: The lines, without the end of the last.
    """
    global _lost_output
    stream = sys.stdout
    if stream is None:  # closed before the process started
        return
    try:
        try:
            stream.write(text + "\n")
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()
    except (OSError, ValueError) as failure:
        _lost_output = _lost_output or failure
        _redirect_to_null(stream)


def print_progress(text: str) -> None:
    """Print what a command does now on stderr if that is a terminal, where a progress bar will follow.

    Args:
        text: What it does, such as "loading the model".
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            print_line(f"{text} …", error=True, timeout=0.0)


def lost_output() -> str | None:
    """Return why a text of `print_result` could not be written, and forget it; None if all were written."""
    global _lost_output
    failure, _lost_output = _lost_output, None
    return None if failure is None else str(getattr(failure, "strerror", None) or failure)


def print_warning(text: str) -> None:
    """Print a warning on stdout without raising or blocking.

    Args:
        text: The warning, without the prefix `streamingtalker: warning:`.
    """
    print_line(f"streamingtalker: warning: {one_line(text)}", timeout=0.0)


def never_raising(warn: Callable[[str], Any]) -> Callable[[str], None]:
    """Return a callable that calls `warn` and suppresses its exceptions, for use in a control loop."""

    def guarded(text: str) -> None:
        with contextlib.suppress(Exception):
            warn(text)

    return guarded


def each_once(warn: Callable[[str], Any]) -> Callable[[str], None]:
    """Return a callable that calls `warn` once for each text, and for `_MAX_TEXTS` different ones at most."""
    texts: set[str] = set()

    def guarded(text: str) -> None:
        if text not in texts and len(texts) < _MAX_TEXTS:
            texts.add(text)
            warn(text)

    return guarded


class FaultLog:
    """Logs unexpected exceptions with their tracebacks, once per place in the code. Never raises."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str, int]] = set()

    def log(self, context: str, fault: BaseException) -> None:
        """Log an exception.

        Args:
            context: what failed, as the log message begins.
            fault: the exception, with its traceback.
        """
        with contextlib.suppress(Exception):
            frame = next(iter(traceback.extract_tb(fault.__traceback__)[-1:]), None)
            place = (
                type(fault).__name__,
                frame.filename if frame else "",
                (frame.lineno or 0) if frame else 0,
            )
            if place in self._logged:
                return
            self._logged.add(place)
            lines = traceback.format_exception(
                type(fault), fault, fault.__traceback__, limit=-_MAX_TRACEBACK_FRAMES
            )
            logging.getLogger(LOGGER_NAME).error(
                "%s (please report it; logged once):\n%s", context, "".join(lines).rstrip()
            )


class _PrintHandler(logging.Handler):
    """Writes log records by `print_line`."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            message = record.getMessage()
            if record.levelno < logging.ERROR:  # an error may be a traceback
                message = one_line(message)
            text = f"streamingtalker: {record.levelname.lower()}: {message}"
            print_line(text, error=True, timeout=0.0)


def log_to_stderr() -> None:
    """Write the package's log to stderr, and let no handler of `logging` report a closed stream."""
    logging.raiseExceptions = False
    logger = logging.getLogger(LOGGER_NAME)
    if not any(isinstance(handler, _PrintHandler) for handler in logger.handlers):
        logger.addHandler(_PrintHandler())


def release_free_memory() -> None:
    """Return memory that was freed to the system; glibc keeps that of large messages otherwise."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def flush_output() -> None:
    """Flush before the process exits; output that cannot be written is dropped, the exit code unchanged."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            if _is_writable(stream, _WRITE_TIMEOUT_S):
                stream.flush()
        except (OSError, ValueError):
            _redirect_to_null(stream)


class QuietStream:
    """stderr for a progress bar: a closed terminal raises nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)

    def write(self, text: str) -> int:
        """Write text if it can be written at once; return its length in any case."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if _is_writable(sys.stderr, 0.0):
                sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush stderr."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()


def progress_bar() -> Any:
    """Return `tqdm.tqdm` with bars on stderr that a closed terminal does not end.

    Raises:
        TalkerError: If tqdm is not installed.
    """
    return functools.partial(require("tqdm", "the progress bar").tqdm, file=QuietStream())


def on_stop_signals(handler: Callable[..., Any]) -> None:
    """Call `handler(number, frame)` on SIGINT, SIGTERM and SIGHUP; call this from the main thread.

    A SIGHUP that is ignored, as under nohup, stays ignored.
    """
    for number in STOP_SIGNALS:
        if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _is_writable(stream: TextIO, timeout: float) -> bool:
    """Return whether the stream can be written without blocking, after at most `timeout` seconds."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError, AttributeError):  # no file descriptor, or no poll on this system
        return True
    return bool(poll.poll(round(1000 * timeout)))


def _redirect_to_null(stream: TextIO) -> None:
    """Discard all later output of a stream; without this Python's own flush at exit would fail."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
