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

import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Final

from streamingtalker_ros import __version__
from streamingtalker_ros.cli.command_parser import CommandParser
from streamingtalker_ros.errors import TalkerError, describe_missing_package
from streamingtalker_ros.process import LOGGER_NAME, flush_output, log_to_stderr, print_line

COMMANDS: Final = (
    "talk",
    "play",
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
EXIT_INTERRUPTED: Final = 130  # 128 + SIGINT, as of a shell


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
        The exit code: that of the command, 2 on invalid input or a missing package, 130 after Ctrl-C.

    Raises:
        SystemExit: after `--help` and `--version`, and with code 2 where the arguments cannot be parsed.
    """
    # one frame is too little work for two threads: on a loaded machine the second costs ten times its gain
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in words if not word.startswith("-")), None)
    args = create_parser([name] if name in COMMANDS else COMMANDS).parse_args(words)
    log_to_stderr()
    logging.getLogger(LOGGER_NAME).setLevel(getattr(args, "log_level", logging.WARNING))
    try:
        run: Callable[..., int] = args.run
        return run(args)
    except TalkerError as error:
        return _print_error(str(error))
    except ModuleNotFoundError as error:
        message = describe_missing_package(error.name or "", f"`streamingtalker {args.command}`")
        if message is None:  # no dependency of the package: a defect, shown with its traceback
            raise
        return _print_error(message)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        flush_output()


def _import_command(name: str) -> ModuleType:
    return importlib.import_module(f"streamingtalker_ros.cli.{name}")


def _print_error(message: str) -> int:
    print_line(f"streamingtalker: error: {message}", error=True)
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
