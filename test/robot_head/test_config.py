# SPDX-License-Identifier: Apache-2.0
"""Heads are read from YAML and validated completely; every error states the problem and its solution."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.robot_head import load_head
from streamingtalker_ros.robot_head.config import parse_head

SHIPPED = ("jaw", "animatronic", "pan_tilt", "arkit", "facs")
JAW = yaml.safe_load(resources.find("config", "heads/jaw.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_heads_load_and_their_gains_cover_half_of_each_range(name: str) -> None:
    head = load_head(name)
    assert head.outputs and (head.joints or name == "facs")
    for joint in head.joints:
        reach = sum(
            abs(gain) * (0.5 if source.startswith("head_") else 1) for source, gain in joint.gains.items()
        )
        assert reach >= 0.5 * (joint.max - joint.min) / 2, joint.name
        assert joint.gains, joint.name


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("joins",), {}, "unknown key 'joins': did you mean 'joints'"),
        (("rate",), 0, "rate of the head"),
        (("rate",), "fast", "give a number"),
        (("rate",), True, "give a number"),
        (("timeout",), float("nan"), "give a number"),
        (("outputs",), [], "no outputs"),
        (("outputs",), [{"type": "JointStates", "topic": "a"}], "did you mean 'JointState'"),
        (("outputs",), [{"type": "JointState"}], "lacks type or topic"),
        (
            ("outputs",),
            [{"type": "JointState", "topic": "a", "joints": ["jaw_joints"]}],
            "unknown joint 'jaw_joints': did you mean 'jaw_joint'",
        ),
        (("joints",), [], "no joints"),
        (("joints", "jaw_joint"), None, "not a mapping"),
        (("joints", "jaw_joint", "from"), {"jawopen": 1}, "unknown source 'jawopen': did you mean 'jawOpen'"),
        (("joints", "jaw_joint", "from"), {"jawOpen": "much"}, "gain of jawOpen"),
        (("joints", "jaw_joint", "from"), "jawOpen", "follows nothing"),
        (("joints", "jaw_joint", "max"), None, "no max"),
        (("joints", "jaw_joint", "max_velocity"), None, "a joint without limits is not driven"),
        (("joints", "jaw_joint", "max_acceleration"), 0, "a number from 1e-09 to 1e\\+12"),
        (("joints", "jaw_joint", "min"), 2.0, "is above max"),
        (("joints", "jaw_joint", "rest"), 9.0, "outside of its limits"),
        (("joints", "jaw_joint", "smoothing"), -1, "from 0 to 1"),
        (("joints", "jaw_joint", "deadband"), -1, "from 0 to 1e\\+06"),
        (("joints", "jaw_joint", "speed"), 1, "unknown key 'speed'"),
    ],
)
def test_an_invalid_head_is_rejected_in_one_sentence(path: tuple[str, ...], value: Any, message: str) -> None:
    document = yaml.safe_load(yaml.safe_dump(JAW))
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(TalkerError, match=message) as error:
        parse_head(document, "jaw")
    assert "\n" not in str(error.value)


def test_a_head_is_loaded_by_name_or_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(JAW))
    assert load_head(path).joints == load_head("jaw").joints and load_head(str(path)).name == "mine"


def test_numbers_may_have_an_exponent_without_a_point(tmp_path: Path) -> None:
    path = tmp_path / "head.yaml"
    text = yaml.safe_dump(JAW)
    assert "max_acceleration: " in text
    path.write_text(
        "\n".join(
            line.partition("max_acceleration")[0] + "max_acceleration: 2e2"
            if "max_acceleration" in line
            else line
            for line in text.splitlines()
        )
    )
    assert {joint.max_acceleration for joint in load_head(path).joints} == {200.0}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("joints: {a: [")
    (tmp_path / "list.yaml").write_text("[joints]")
    for source, message in (
        (tmp_path / "absent.yaml", "absent.yaml cannot be read"),
        ("absent", "there is no head 'absent'"),
        (tmp_path / "broken.yaml", "line 1"),
        (tmp_path / "list.yaml", "table of names and values"),
        (tmp_path, "cannot be read|missing"),
    ):
        with pytest.raises(TalkerError, match=message):
            load_head(source)


@pytest.mark.parametrize(
    "path, value, message",
    [
        (
            ("joints", "jaw_joint", "max_acceleration"),
            1e160,
            "is 1e\\+160: give a number from 1e-09 to 1e\\+12",
        ),
        (("joints", "jaw_joint", "max_velocity"), 10**400, "max_velocity is .*: give a number from"),
        (("joints", "jaw_joint", "max_velocity"), 5e-324, "from 1e-09"),
        (("joints", "jaw_joint", "max"), float("inf"), "from -1e\\+06 to 1e\\+06"),
        (("joints", "jaw_joint", "offset"), -1e300, "from -1e\\+06 to 1e\\+06"),
        (("joints", "jaw_joint", "from"), {"jawOpen": 1e200}, "from -1e\\+06 to 1e\\+06"),
        (("joints", "jaw_joint", "from"), {"jawOpen": float("nan")}, "gain of jawOpen is nan"),
        (("rate",), 10**2000, "give a number from 1 to 1000"),
        (("outputs",), 7, "not a list"),
        (("outputs",), "JointState", "not a list"),
        (("outputs",), [{"type": ["JointState"], "topic": "a"}], "unknown type"),
        (("outputs",), [{"type": "JointState", "topic": ["a"] * 10**6}], "topic of an output"),
        (("name",), {"a": 1}, "name of the head"),
        (("feedback",), "x" * 10**6, "at most 200 characters"),
        (("joints",), {"j" * 10**6: {}}, "at most 200 characters"),
        (("joints",), {f"joint{k}": {} for k in range(5000)}, "at most 1000"),
        (("joints",), {"jaw\0": {}}, "all printable"),
        (("outputs",), [{"type": "JointState", "topic": "a\nb"}], "all printable"),
        (("x" * 10**6,), 1, "unknown key"),
    ],
)
def test_an_absurd_value_is_rejected_with_the_allowed_range_in_one_short_sentence(
    path: tuple[str, ...], value: Any, message: str
) -> None:
    document = yaml.safe_load(yaml.safe_dump(JAW))
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(TalkerError, match=message) as error:
        parse_head(document, "jaw")
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


BOMB = "".join(f"b{k}: &b{k} [{', '.join([f'*b{k - 1}'] * 9)}]\n" for k in range(1, 9))
MERGES = "".join(f"m{k}: &m{k} {{<<: [{', '.join([f'*m{k - 1}'] * 9)}]}}\n" for k in range(1, 9))


@pytest.mark.parametrize(
    "text",
    [
        "b0: &b0 [1]\n" + BOMB + "rate: *b8\n",
        "b0: &b0 [1]\n" + BOMB + "name: *b8\n",
        "joints: &b0 [1]\n" + BOMB,
        "m0: &m0 {a: 1}\n" + MERGES,
        "[" * 5000,
        "rate: 2001-99-99\n",
        f"rate: {'9' * 6000}\n",
        "rate: !!python/object:os.system x\n",
        "? [a]\n: 1\n",
        "rate: !!binary a\n",
        "rate: &a [*a]\n",
        "a\x01b",
        "x: 1\n" * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_of_yaml_ends_in_anything_but_one_short_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "head.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(TalkerError) as error:
        load_head(path)
    assert time.process_time() - start < 2.0
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000 + len(str(path))
