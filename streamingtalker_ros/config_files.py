# SPDX-License-Identifier: Apache-2.0
"""Reads YAML and JSON configuration files and checks their keys; an error suggests the nearest valid key.

Every error is a `TalkerError` that names the file and what to change.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from streamingtalker_ros.errors import TalkerError


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
    try:
        values = yaml.safe_load(_read_text(path, description))
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not text"
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise TalkerError(f"{description} {path} is not valid YAML ({problem}{where})") from None
    return _mapping(values, f"{description} {path}")


def read_json(path: str | Path, description: str = "the file") -> dict[str, Any]:
    """Parse a JSON file whose top level is an object.

    Args:
        path: the file.
        description: what the file is, for the error message.

    Raises:
        TalkerError: if the file cannot be read, is not JSON, or is not an object.
    """
    try:
        values = json.loads(_read_text(path, description))
    except ValueError as error:
        raise TalkerError(f"{description} {path} is not valid JSON ({error})") from None
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
    unknown = [str(key) for key in values if key not in allowed]
    if unknown:
        near = difflib.get_close_matches(unknown[0], allowed, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(allowed)}"
        others = f" (and {', '.join(unknown[1:])})" if unknown[1:] else ""
        raise TalkerError(f"{where} has the unknown {kind} {unknown[0]!r}{others}: {hint}")


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


def _read_text(path: str | Path, description: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise TalkerError(f"{description} {path} cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise TalkerError(f"{description} {path} cannot be read: it is not text") from None


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise TalkerError(f"{where} must be a table of names and values")
    return values
