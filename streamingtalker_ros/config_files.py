# SPDX-License-Identifier: Apache-2.0
"""Reads YAML and JSON configuration files and checks their keys; an error suggests the nearest valid key.

Every error is a `TalkerError` that names the file and what to change; it is one short sentence whatever the
file holds, and files whose aliases stand for more than they hold are rejected.
"""

from __future__ import annotations

import codecs
import difflib
import json
import os
import re
import reprlib
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from streamingtalker_ros.errors import TalkerError, one_line

MAX_YAML_BYTES: Final = 100_000
"""Longest YAML file; the parser reads some 50 kB per second."""

_MAX_MERGED_KEYS: Final = 2000
_MAX_FLOW_DEPTH: Final = 100  # of brackets and braces; each level slows the scanner down
_MAX_TEXT_BYTES: Final = 20_000_000
_MAX_CHAR_BYTES: Final = 4  # of a character in UTF-8 or UTF-16


def read_yaml(path: str | Path, description: str = "the file") -> dict[str, Any]:
    """Parse a YAML file whose top level is a mapping.

    Args:
        path: the file.
        description: what the file is, for the error message ("the recipe").

    Returns:
        The mapping; empty for an empty file.

    Raises:
        TalkerError: if the file cannot be read, is not YAML, or is not a mapping.
    """
    return _mapping(parse_yaml_file(path, description), f"{description} {path}")


def parse_yaml_file(path: str | Path, description: str = "the file", *, regular: bool = False) -> Any:
    """Parse a YAML file.

    Args:
        path: The file.
        description: What it is, for the error message.
        regular: As for `read_text`.

    Returns:
        As `parse_yaml`.

    Raises:
        TalkerError: If the file cannot be read or is not YAML.
    """
    return parse_yaml(read_yaml_text(path, description, regular=regular), f"{description} {path}")


def read_yaml_text(path: str | Path, description: str = "the file", *, regular: bool = False) -> str:
    """Read the text of a YAML file, of at most the size that `parse_yaml` accepts.

    Args:
        path: The file.
        description: What it is, for the error message.
        regular: As for `read_text`.

    Returns:
        The text.

    Raises:
        TalkerError: As `read_text`.
    """
    return read_text(path, description, max_bytes=_MAX_CHAR_BYTES * MAX_YAML_BYTES, regular=regular)


def parse_yaml(text: str, where: str) -> Any:
    """Parse a YAML text.

    Args:
        text: the text.
        where: the file, for the error message ("the recipe train.yaml").

    Returns:
        Its content: mappings, lists and scalars; None for an empty text.

    Raises:
        TalkerError: if it is not YAML, repeats a key, is longer than `MAX_YAML_BYTES` or nested too deeply,
            has a value that cannot be represented (a date, a number), or merges more than `_MAX_MERGED_KEYS`.
    """
    if len(text) > MAX_YAML_BYTES:
        raise TalkerError(
            f"{where} is longer than {MAX_YAML_BYTES} characters: it is not a configuration file"
        )
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        problem = shorten(str(getattr(error, "problem", None) or "not text"))
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise TalkerError(f"{where} is not YAML ({problem}{line})") from None
    except RecursionError:
        raise TalkerError(f"{where} is nested too deeply: it is not a configuration file") from None
    except Exception as error:  # of a date, a number or a key that Python cannot represent
        reason = shorten(str(error) or type(error).__name__)
        raise TalkerError(f"{where} has a value that cannot be read ({reason})") from None


class _Loader(yaml.SafeLoader):
    """The safe loader without repeated keys, and with bounds on merged ones and on open brackets.

    Of a repeated key the last value would win without a word. Merge keys can double the size of a mapping
    line by line.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._checked: set[yaml.MappingNode] = set()  # with merged keys, which its own may repeat

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:  # noqa: N803 (the name that is overridden)
        if self.flow_level >= _MAX_FLOW_DEPTH:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if node not in self._checked:
            self._checked.add(node)
            keys: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    if (key.tag, key.value) in keys:
                        problem = f"{shorten(key.value, 40)} is given twice"
                        raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                    keys.add((key.tag, key.value))
        super().flatten_mapping(node)
        if len(node.value) > _MAX_MERGED_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"a mapping of more than {_MAX_MERGED_KEYS} keys", node.start_mark
            )


# 1e3 and 1.5e3 are numbers in YAML 1.2, in JSON and for ROS, texts in YAML 1.1
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+"),
    list("-+.0123456789"),
)


class _ShortRepr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 2, 60, 40, 60
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 3


def describe(value: Any) -> str:
    """Return the literal of a value for an error message, in at most some 100 characters.

    Aliases of YAML can let a few bytes stand for a value whose literal would fill the memory.
    """
    try:
        return shorten(_ShortRepr().repr(value), 100)
    except ValueError:  # a whole number with more digits than Python writes
        return "a number of thousands of digits"


def shorten(text: str, length: int = 80) -> str:
    """Return a text for an error message: on one line, cut at `length` characters."""
    line = " ".join(one_line(text[: 4 * length]).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def read_json(path: str | Path, description: str = "the file") -> dict[str, Any]:
    """Parse a JSON file whose top level is an object.

    Args:
        path: the file.
        description: what the file is, for the error message.

    Raises:
        TalkerError: if the file cannot be read, is not JSON, or is not an object.
    """
    try:
        values = json.loads(read_text(path, description))
    except (ValueError, RecursionError) as error:
        raise TalkerError(f"{description} {path} is not valid JSON ({shorten(str(error))})") from None
    return _mapping(values, f"{description} {path}")


def check_keys(values: Iterable[str], allowed: Iterable[str], where: str, kind: str = "key") -> None:
    """Check that a mapping has no other keys than the allowed ones, or a list no other names.

    Args:
        values: the mapping, or the list of names.
        allowed: the valid names.
        where: the place, for the error message ("the recipe train.yaml, section codec").
        kind: what the names stand for, for the error message.

    Raises:
        TalkerError: if a key is unknown; the message suggests the nearest valid key, or lists all.
    """
    allowed = list(allowed)
    unknown = [key for key in values if key not in allowed]
    if unknown:
        first, *others_named = [
            shorten(key) if isinstance(key, str) else describe(key) for key in unknown[:4]
        ]
        near = difflib.get_close_matches(first, allowed, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(allowed)}"
        others = (
            f" (and {', '.join(others_named)}{', …' if len(unknown) > 4 else ''})" if others_named else ""
        )
        raise TalkerError(f"{where} has the unknown {kind} {first!r}{others}: {hint}")


def rename_keys(values: Mapping[str, Any], new_names: Mapping[str, str]) -> dict[str, Any]:
    """The mapping with old keys replaced by their new names, so that files of older versions still load.

    Args:
        values: the mapping.
        new_names: old key -> new key.

    Raises:
        TalkerError: if an old key and its new name are both there.
    """
    renamed: dict[str, Any] = {}
    for key, value in values.items():
        name = new_names.get(key, key)
        if name in renamed:
            raise TalkerError(f"{name!r} is set twice, once by an older name: keep one of them")
        renamed[name] = value
    return renamed


def read_text(
    path: str | Path,
    description: str = "the file",
    *,
    max_bytes: int = _MAX_TEXT_BYTES,
    regular: bool = False,
) -> str:
    """Read a text in UTF-8, or in UTF-16 with a byte order mark, as editors of other systems write it.

    Args:
        path: The file.
        description: What it is, for the error message.
        max_bytes: Size beyond which it is rejected.
        regular: Whether to reject pipes and devices, which could block the reader.

    Returns:
        The text without its byte order mark.

    Raises:
        TalkerError: If the file cannot be read, is too large or is not text.
    """
    try:
        # without O_NONBLOCK, opening a pipe waits for its writer
        with open(path, "rb", opener=_open_without_waiting if regular else None) as file:
            if regular and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise TalkerError(
                    f"{description} {path} cannot be read: it is a pipe or a device, not a file"
                )
            content = file.read(max_bytes + 1)  # bounded: the path may be a device
    except OSError as error:
        raise TalkerError(f"{description} {path} cannot be read ({error.strerror or error})") from None
    except ValueError:  # a path with a zero byte
        raise TalkerError(f"{description} {path!r} cannot be read: that is no path") from None
    if len(content) > max_bytes:
        raise TalkerError(f"{description} {path} is larger than {max_bytes} bytes: give another file")
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise TalkerError(f"{description} {path} cannot be read: it is not text in UTF-8") from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise TalkerError(f"{where} must be a table of names and values")
    return values
