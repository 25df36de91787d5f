# SPDX-License-Identifier: Apache-2.0
"""The one reader of YAML: what the last of two values would hide is rejected, what YAML allows is read."""

from __future__ import annotations

import pytest

from streamingtalker_ros.config_files import parse_yaml
from streamingtalker_ros.errors import TalkerError


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\nb: 2\na: 3", "a", 3),
        ("joints: {jaw: 1, jaw: 2}", "jaw", 1),
        ("a: [{p: 1},\n  {p: 1, p: 2}]", "p", 2),
        ("a: &x {p: 1, p: 2}\nb: {<<: *x}", "p", 1),
    ],
)
def test_a_repeated_key_is_rejected_with_its_line(text: str, key: str, line: int) -> None:
    with pytest.raises(TalkerError, match=rf"\({key} is given twice in line {line}\)"):
        parse_yaml(text, "the file")


def test_a_mapping_may_repeat_merged_keys_and_those_of_others() -> None:
    text = "a: &x {p: 1, q: 2}\nb: {<<: *x, p: 3}\nc: {<<: [*x, *x], q: 4}\nd: {1: one, '1': text}"
    assert parse_yaml(text, "the file") == {
        "a": {"p": 1, "q": 2},
        "b": {"p": 3, "q": 2},
        "c": {"p": 1, "q": 4},
        "d": {1: "one", "1": "text"},
    }
