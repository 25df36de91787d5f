# SPDX-License-Identifier: Apache-2.0
"""The documents agree with the parser: every documented command, subcommand and option exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamingtalker_ros.cli.command_parser import CommandParser
from streamingtalker_ros.cli.main import COMMANDS, create_parser, main

ROOT = Path(__file__).parents[2]
# the changelog may name what a release has removed
PAGES = [*sorted(set(ROOT.glob("*.md")) - {ROOT / "CHANGELOG.md"}), *sorted((ROOT / "docs").rglob("*.md"))]
CALLS = (("streamingtalker",), ("-m", "streamingtalker_ros"))
END_OF_COMMAND = re.compile(r"\s(?:\||&&|;|>|&)\s?|\n")
# options of other tools that a page names without the tool
FOREIGN_OPTIONS = {"--free", "--show-args", "--soak", "--system-site-packages"}


@pytest.fixture(scope="module")
def parser() -> CommandParser:
    return create_parser()


def walk(
    parser: CommandParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], CommandParser]]:
    """Every command and subcommand with its parser."""
    for name, subparser in parser.subcommands.items():
        yield (*path, name), subparser
        yield from walk(subparser, (*path, name))


def code_of(text: str) -> Iterator[str]:
    """The code blocks and code spans of a page, with continued lines joined."""
    fence = re.compile(r"^ *```.*?\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for block in fence.findall(text):
        yield block.replace("\\\n", " ")
    for span in re.findall(r"`([^`]+)`", fence.sub("", text)):
        yield span.replace("\n", " ")


def command_lines(text: str) -> Iterator[list[str]]:
    """The words after `streamingtalker` of every command line in a text of code."""
    for line in END_OF_COMMAND.split(text):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # an apostrophe: no command line
            words = line.split()
        for call in CALLS:
            for start in range(len(words) - len(call) + 1):
                if tuple(words[start : start + len(call)]) == call:
                    yield words[start + len(call) :]


def find_error(parser: CommandParser, words: list[str]) -> str | None:
    """What the parser lacks of a command line; words such as KIND, $stage and … stand for any."""
    for position, word in enumerate(words):
        if parser.subcommands and not word.startswith("-"):
            if word in parser.subcommands:
                return find_error(parser.subcommands[word], words[position + 1 :])
            return None if word.isupper() or word[:1] in ("$", "…", "[") else f"no command {word}"
        name = word.strip("[]").partition("=")[0]
        if name.startswith("--") and name not in parser.option_names:
            return f"no option {name}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_documented_command_line_has_an_existing_command_and_options(
    page: Path, parser: CommandParser
) -> None:
    lines = [words for code in code_of(page.read_text(encoding="utf-8")) for words in command_lines(code)]
    errors = {" ".join(words): find_error(parser, words) for words in lines}
    assert not {line: error for line, error in errors.items() if error}


def test_the_pages_hold_command_lines_of_every_command() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = {words[0] for code in code_of(text) for words in command_lines(code) if words}
    assert not set(COMMANDS) - named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_option_that_a_page_names_exists(page: Path, parser: CommandParser) -> None:
    known = {"--version", *FOREIGN_OPTIONS}
    known.update(name for _, subparser in walk(parser) for name in subparser.option_names)
    spans = code_of(page.read_text(encoding="utf-8"))
    named = {match[0] for span in spans if (match := re.match(r"--[a-z][a-z-]*", span))}
    assert not named - known


def test_help_of_every_command_and_subcommand_exits_with_zero(
    parser: CommandParser, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [path for path, _ in walk(parser)]
    assert {path[0] for path in paths} == set(COMMANDS)
    for path in paths:
        with pytest.raises(SystemExit) as end:
            main([*path, "--help"])
        assert end.value.code == 0 and capsys.readouterr().out.startswith("usage: streamingtalker")
