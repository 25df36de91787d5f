# SPDX-License-Identifier: Apache-2.0
"""Heads are read from YAML and validated completely; every error is one sentence with a cure."""

from __future__ import annotations

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
        (("joints", "jaw_joint"), None, "no mapping"),
        (("joints", "jaw_joint", "from"), {"jawopen": 1}, "unknown source 'jawopen': did you mean 'jawOpen'"),
        (("joints", "jaw_joint", "from"), {"jawOpen": "much"}, "gain of jawOpen"),
        (("joints", "jaw_joint", "from"), "jawOpen", "follows nothing"),
        (("joints", "jaw_joint", "max"), None, "no max"),
        (("joints", "jaw_joint", "max_velocity"), None, "a joint without limits is not driven"),
        (("joints", "jaw_joint", "max_acceleration"), 0, "above 0"),
        (("joints", "jaw_joint", "min"), 2.0, "is above max"),
        (("joints", "jaw_joint", "rest"), 9.0, "outside of its limits"),
        (("joints", "jaw_joint", "smoothing"), -1, "0 to 1 s"),
        (("joints", "jaw_joint", "deadband"), -1, "0 or more"),
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


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("joints: {a: [")
    (tmp_path / "list.yaml").write_text("[joints]")
    for source, message in (
        (tmp_path / "absent.yaml", "absent.yaml cannot be read"),
        ("absent", "missing"),
        (tmp_path / "broken.yaml", "line 1"),
        (tmp_path / "list.yaml", "table of names and values"),
        (tmp_path, "cannot be read|missing"),
    ):
        with pytest.raises(TalkerError, match=message):
            load_head(source)
