# SPDX-License-Identifier: Apache-2.0
"""`streamingtalker COMMAND …`: imports the module of the command, parses its arguments and runs it.

Errors are printed in one line. The module of a command NAME is `cli/NAME.py`. It has

    HELP                   one line, for `streamingtalker --help`
    add_arguments(parser)  adds the options; may set `parser.description` and the default `log_level`
    run(args) -> int       the exit code; raises TalkerError

At import it needs the base installation alone; torch and the extras are imported in `run`. Only the chosen
command is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, ModuleType
from typing import Final, NoReturn

from streamingtalker_ros import __version__
from streamingtalker_ros.child_processes import follow_starter
from streamingtalker_ros.cli.command_parser import CommandParser
from streamingtalker_ros.errors import TalkerError, describe_missing_package
from streamingtalker_ros.process import (
    LOGGER_NAME,
    flush_output,
    log_to_stderr,
    lost_output,
    on_stop_signals,
    print_line,
)
from streamingtalker_ros.supervision import run_and_exit

COMMANDS: Final = (
    "talk",
    "play",
    "say",
    "animate",
    "face",
    "pictures",
    "web",
    "demo",
    "markers",
    "head",
    "replay",
    "corpus",
    "train",
    "evaluate",
    "convert",
    "parity",
    "bench",
)
"""The commands, in the order of `streamingtalker --help`."""

EXIT_ERROR: Final = 2
EXIT_SIGNAL: Final = 128  # plus the number of the signal that ended the command, as of a shell


class _StopSignal(BaseException):
    """A signal that ends the command; outputs that are not finished are removed on its way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def create_parser(commands: Sequence[str] = COMMANDS) -> CommandParser:
    """Create the parser of the command line.

    Args:
        commands: names of the commands to import; the parser has no others.

    Returns:
        The parser. Its result has the attributes `command` and `run` in addition to the arguments.
    """
    parser = CommandParser(prog="streamingtalker", description="Live speech to a talking 3D face.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in commands:
        module = _import_command(name)
        help_text: str = module.HELP
        subparser = subparsers.add_parser(
            name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; None for those of the process.

    Returns:
        The exit code: that of the command, 2 on invalid input, a missing package or output that cannot be
        written, 128 + N after the signal N (Ctrl-C is 2), unless the command ends by it in order.

    Raises:
        SystemExit: after `--help` and `--version`, and with code 2 where the arguments cannot be parsed.
    """
    # one frame is too little work for two threads: on a loaded machine the second costs ten times its gain
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in words if not word.startswith("-")), None)
    lost_output()
    follow_starter()
    try:
        with _stop_signals_raise():
            args = create_parser([name] if name in COMMANDS else COMMANDS).parse_args(words)
            log_to_stderr()
            logging.getLogger(LOGGER_NAME).setLevel(getattr(args, "log_level", logging.WARNING))
            code = _run(args.run, args, name or "")
            lost = lost_output()
            if lost and not code:
                return _print_error(f"the results could not be printed ({lost}): run it again")
            return code
    except TalkerError as error:  # of the command line
        return _print_error(str(error))
    except KeyboardInterrupt:
        return _print_stopped(signal.SIGINT)
    except _StopSignal as stop:
        return _print_stopped(stop.number)
    finally:
        flush_output()


def run_program() -> NoReturn:
    """Run the command of the process's arguments, and end the process with its exit code."""
    run_and_exit(main)


def _run(run: Callable[..., int], args: object, name: str) -> int:
    """Run a command; what its surroundings cause is one line, a defect is a traceback."""
    try:
        return run(args)
    except TalkerError as error:
        return _print_error(str(error))
    except ModuleNotFoundError as error:
        message = describe_missing_package(error.name or "", f"`streamingtalker {name}`")
        if message is None:  # no dependency of the package: a defect, shown with its traceback
            raise
        return _print_error(message)
    except MemoryError:
        return _print_error("there is not enough memory: give a shorter or smaller input")
    except OSError as error:
        if error.errno is None:  # of a library, not of the system
            raise
        place = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
        return _print_error(f"cannot read or write{place} ({os.strerror(error.errno)}): check the paths")


@contextlib.contextmanager
def _stop_signals_raise() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise, so that unfinished outputs are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    process_id = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process_id:  # a worker process, which inherits the handler
            os._exit(EXIT_SIGNAL + number)
        raise _StopSignal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    on_stop_signals(stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_stopped(number: int) -> int:
    name = signal.Signals(number).name
    print_line(f"streamingtalker: error: stopped by {name} before the end: run it again", error=True)
    return EXIT_SIGNAL + number


def _import_command(name: str) -> ModuleType:
    return importlib.import_module(f"streamingtalker_ros.cli.{name}")


def _print_error(message: str) -> int:
    print_line(f"streamingtalker: error: {message}", error=True)
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
