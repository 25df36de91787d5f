# SPDX-License-Identifier: Apache-2.0
"""`CommandParser`: argparse without abbreviations, whose errors suggest the nearest command or option.

Subparsers are of the same class, so that one definition holds for every command and subcommand.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from streamingtalker_ros.cli.argument_types import RangeError
from streamingtalker_ros.errors import TalkerError


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of an option, except None and False."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """Argument parser of the command line; an error is one line on stderr."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **{**kwargs, "allow_abbrev": False, "exit_on_error": False})
        self._subcommands: Any = None

    def add_subparsers(self, **kwargs: Any) -> Any:
        """Add subcommands, see `argparse.ArgumentParser.add_subparsers`."""
        self._subcommands = super().add_subparsers(**kwargs)
        return self._subcommands

    @property
    def option_names(self) -> tuple[str, ...]:
        """The options, such as ("-h", "--help", "--out")."""
        return tuple(self._option_string_actions)

    @property
    def actions(self) -> tuple[argparse.Action, ...]:
        """The arguments, as `add_argument` returned them."""
        return tuple(self._actions)

    @property
    def subcommands(self) -> dict[str, CommandParser]:
        """Parser of each subcommand; empty where there is none."""
        return {} if self._subcommands is None else dict(self._subcommands.choices)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but report an unknown subcommand or option first.

        argparse would name a missing required option before the mistyped one.

        Args:
            args: Words of the command line without the program's name; None for those of the process.
            namespace: Object that receives the attributes; None for a new `argparse.Namespace`.

        Returns:
            The namespace and the list of the words that were not recognized.

        Raises:
            TalkerError: If a number is out of the range of its option.
        """
        words = list(sys.argv[1:] if args is None else args)
        if self.subcommands:
            self._check_subcommand(words)
        else:
            self._check_options(words)
        try:
            return super().parse_known_args(words, namespace)
        except argparse.ArgumentError as error:
            if isinstance(error.__context__, RangeError):
                raise TalkerError(f"{error.argument_name} {error.message}") from None
            self.error(str(error))

    def error(self, message: str) -> NoReturn:
        """Print an error in one line and exit with code 2.

        Args:
            message: What is wrong.
        """
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)\n")

    def _check_subcommand(self, words: Sequence[str]) -> None:
        word = next((word for word in words if not word.startswith("-")), None)
        if word is not None and word not in self.subcommands:
            kind = str(self._subcommands.metavar or "command").lower()
            self.error(f"there is no {kind} {word!r}: {_suggest(word, self.subcommands)}")

    def _check_options(self, words: Sequence[str]) -> None:
        for word in words:
            if word == "--":  # only positional arguments follow
                return
            name = word.partition("=")[0]
            if name.startswith("--") and " " not in name and name not in self.option_names:
                self.error(f"there is no option {name}: {_suggest(name, self.option_names)}")


def _suggest(word: str, names: Iterable[str]) -> str:
    """The nearest name as a question, or all names."""
    names = [name for name in names if not name.startswith("-") or name.startswith("--")]
    prefixed = [name for name in names if len(word) > 2 and name.startswith(word)]
    candidates = prefixed or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {candidates[0]}?" if candidates else f"choose one of {', '.join(names)}"
