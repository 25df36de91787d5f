# SPDX-License-Identifier: Apache-2.0
"""Every numeric option has a range, which its error states; no parser takes abbreviations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamingtalker_ros.cli.argument_types import RangeError, integer, number
from streamingtalker_ros.cli.command_parser import CommandParser
from streamingtalker_ros.cli.main import create_parser, main

ROOT = Path(__file__).parents[2]
ABSURD = (
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-1e400",
    "9" * 5000,
    "-" + "9" * 30,
    "",
    "many",
    "1,5",
    "0x10",
    "١e9999",
)


def walk(
    parser: CommandParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], CommandParser]]:
    for name, subparser in parser.subcommands.items():
        yield (*path, name), subparser
        yield from walk(subparser, (*path, name))


def numeric_options() -> Iterator[tuple[tuple[str, ...], str]]:
    """Every option that takes a number: its type rejects words."""
    for path, parser in walk(create_parser()):
        for action in parser.actions:
            if action.type in (None, str, Path) or not action.option_strings:
                continue
            assert callable(action.type)
            try:
                action.type("word")
            except RangeError:
                yield path, action.option_strings[-1]


OPTIONS = sorted(set(numeric_options()))


def test_no_option_takes_any_number_whatever() -> None:
    unbounded = [
        (*path, action.option_strings)
        for path, parser in walk(create_parser())
        for action in parser.actions
        if action.type in (int, float)
    ]
    assert not unbounded and len(OPTIONS) > 40


@pytest.mark.parametrize(
    "path, option", OPTIONS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_absurd_numbers_are_rejected_in_one_line_that_states_the_range(
    path: tuple[str, ...], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ABSURD:
        assert main([*path, f"{option}={text}"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"streamingtalker: error: {option} must be ") and error.count("\n") == 1
        assert "at most" in error and len(error) < 250, error


def test_ranges_hold_their_ends() -> None:
    assert [integer(1, 5)(text) for text in ("1", "5", " 3 ")] == [1, 5, 3]
    assert [number(0, 2)(text) for text in ("0", "2", "1e0")] == [0.0, 2.0, 1.0]
    for convert, text in ((integer(1, 5), "0"), (integer(1, 5), "6"), (number(0, 2, above=True), "0")):
        with pytest.raises(Exception, match="must be"):
            convert(text)


def test_no_parser_of_the_repository_takes_abbreviations() -> None:
    sources = [
        path
        for folder in ("streamingtalker_ros", "tools", "scripts", "examples")
        for path in (ROOT / folder).rglob("*")
    ]
    calls = []
    for path in sources:
        if path.suffix not in ("", ".py") or not path.is_file() or "node_modules" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", getattr(node.func, "id", "")) == "ArgumentParser"
            ):
                allowed = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                calls.append((path.relative_to(ROOT).as_posix(), allowed.get("allow_abbrev")))
    assert calls and not [path for path, value in calls if value != "False"]


def test_an_error_of_the_command_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        [],
        ["animate"],
        ["animate", "a", "--out", "b.csv", "--view", "back"],
        ["nothing"],
    ):
        with pytest.raises(SystemExit) as end:
            main(words)
        error = capsys.readouterr().err
        assert end.value.code == 2 and error.count("\n") == 1 and "--help" in error, error
