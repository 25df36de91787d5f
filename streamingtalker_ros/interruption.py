# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while a program still imports its modules: it ends at once, without a traceback.

Imports next to nothing, so that a program can call it first.
"""

from __future__ import annotations

import os
import signal

EXIT_INTERRUPTED = 130
"""Exit code after SIGINT, as of a shell."""


def end_quietly_on_interrupt() -> None:
    """End the process on SIGINT until it handles the signal itself. An ignored SIGINT stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(EXIT_INTERRUPTED))
