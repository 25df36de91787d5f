# SPDX-License-Identifier: Apache-2.0
"""Log of the libraries below the web server: never blocks, and repeats no message within a minute.

What clients do makes uvicorn, websockets and asyncio log; nobody may fill the operator's disk by that, and a
reader of stderr that does not read may not stop the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from streamingtalker_ros.process import FaultLog, print_line

LIBRARIES: Final = ("uvicorn", "uvicorn.error", "websockets", "asyncio")
REPEAT_INTERVAL_S: Final = 60.0
_MAX_KINDS: Final = 200  # of messages, that are distinguished


class ThrottledHandler(logging.Handler):
    """Prints each kind of message at most once per `REPEAT_INTERVAL_S`, with the number of those left out.

    Args:
        faults: logs messages that come with an exception, once per place in the code.
        write: prints a line.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        faults: FaultLog,
        write: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.WARNING)
        self._faults = faults
        self._write = write or (lambda text: print_line(text, error=True, timeout=0.0))
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when printed last, and how often left out since

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, unless its kind was printed just now.

        Args:
            record: of the library.
        """
        with contextlib.suppress(Exception):
            message = record.getMessage().strip()
            error = record.exc_info[1] if record.exc_info else None
            if isinstance(error, asyncio.CancelledError) or message.endswith("CancelledError"):
                return  # the server ends
            if isinstance(error, OSError):  # of the system or the network, such as too many open files
                message = f"{message} ({error})"
            elif error is not None:
                self._faults.log(message, error)
                return
            kind = f"{record.name} {record.msg}"[:200]  # without its arguments
            if len(self._kinds) >= _MAX_KINDS and kind not in self._kinds:
                kind = ""
            now = self._clock()
            printed, suppressed = self._kinds.get(kind, (-REPEAT_INTERVAL_S, 0))
            if now - printed < REPEAT_INTERVAL_S:
                self._kinds[kind] = (printed, suppressed + 1)
                return
            self._kinds[kind] = (now, 0)
            note = f" ({suppressed} more since the last one)" if suppressed else ""
            self._write(f"streamingtalker: {record.levelname.lower()}: {message}{note}")


def throttle_library_logs(faults: FaultLog) -> None:
    """Let the libraries' loggers print by `ThrottledHandler` alone; for the process of the command.

    Args:
        faults: logs their exceptions.
    """
    handler = ThrottledHandler(faults)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
