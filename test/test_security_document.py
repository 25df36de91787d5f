# SPDX-License-Identifier: Apache-2.0
"""docs/security.md: each test that it names exists, each bound that it states is the code's."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
BOUNDS = re.findall(r"`([a-z][\w.]+\.\w+)` = ([\d.]+)", TEXT)
TESTS = sorted(set(re.findall(r"`(test/[\w/]+\.py)::(\w+)`", TEXT)))


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def resolve(name: str) -> Any:
    """Return a constant by its name below the package, such as "web.limits.Limits.max_sessions"."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["streamingtalker_ros", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"{name} is in no module")


@pytest.mark.parametrize("path, name", TESTS)
def test_each_named_test_exists(path: str, name: str) -> None:
    assert name in functions(path)


@pytest.mark.parametrize("name, value", BOUNDS)
def test_each_stated_bound_is_that_of_the_code(name: str, value: str) -> None:
    assert float(resolve(name)) == float(value)


def test_every_threat_has_a_bound_and_a_test() -> None:
    table = TEXT.partition("| Threat | Bound | Test |\n|---|---|---|\n")[2].partition("\n\n")[0].splitlines()
    assert len(table) >= 35
    for row in table:
        threat, bound, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert threat and bound and re.fullmatch(r"`test/[\w/]+\.py::\w+`", test), row
