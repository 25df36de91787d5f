# SPDX-License-Identifier: Apache-2.0
"""Parameters: one definition, the YAML that agrees with it, invalid values rejected with a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamingtalker_ros import resources
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.runtime import parameters
from streamingtalker_ros.runtime.parameters import PARAMETERS, TalkerParameters


def test_the_yaml_holds_every_parameter_with_its_default() -> None:
    values = parameters.load()
    assert list(values) == list(PARAMETERS)
    assert parameters.from_values(values) == TalkerParameters()


def test_the_yaml_documents_every_parameter_with_its_range_and_when_it_may_change() -> None:
    lines = resources.find("config", "talker.yaml").read_text(encoding="utf-8").splitlines()
    comments, text = {}, ""
    for line in lines:
        if line.strip().startswith("#"):
            text += " " + line.strip(" #")
        elif match := re.match(r"    (\w+):", line):
            comments[match[1]], text = " ".join(text.split()), ""
    for name, parameter in PARAMETERS.items():
        comment, meta = comments[name], parameter.metadata
        assert " ".join(meta["description"].split()) in comment, name
        assert comment.endswith("Live." if meta["dynamic"] else "Read-only."), name
        for allowed in (meta["choices"] or ()) + (meta["range"] or ()):
            assert str(allowed) in comment, (name, allowed)


def test_a_file_may_address_all_nodes_and_this_one(tmp_path: Path) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "/**": {"ros__parameters": {"seed": 1, "idle": False, "use_sim_time": True}},
                "talker": {"ros__parameters": {"seed": 2}},
                "camera": {"ros__parameters": {"fps": 30}},
            }
        )
    )
    assert parameters.load(file) == {"seed": 2, "idle": False}


SECTIONS = {
    "any namespace": ("/**/talker: {P: {seed: 1}}", {"/talker": 1, "/robot/talker": 1, "/a/b/talker": 1}),
    "any node": ("/**: {P: {seed: 1}}", {"/talker": 1, "/robot/talker": 1}),
    "any node of a namespace": ("/robot/**: {P: {seed: 1}}", {"/talker": None, "/robot/talker": 1}),
    "one namespace": (
        "/*/talker: {P: {seed: 1}}",
        {"/talker": None, "/robot/talker": 1, "/a/b/talker": None},
    ),
    "the full name": ("/robot/talker: {P: {seed: 1}}", {"/talker": None, "/robot/talker": 1}),
    "the name in the root namespace": ("/talker: {P: {seed: 1}}", {"/talker": 1, "/robot/talker": None}),
    "the bare name, other than in rclpy": ("talker: {P: {seed: 1}}", {"/talker": 1, "/robot/talker": 1}),
    "nested": ("robot: {talker: {P: {seed: 1}}}", {"/talker": None, "/robot/talker": 1}),
    "nested wildcard": ("/**: {talker: {P: {seed: 1}}}", {"/talker": 1, "/robot/talker": 1}),
    "the later section wins": ("talker: {P: {seed: 1}}\n/**: {P: {seed: 2}}", {"/talker": 2, "/a/talker": 2}),
    "another order": ("/**: {P: {seed: 2}}\n/**/talker: {P: {seed: 1}}", {"/talker": 1, "/a/talker": 1}),
    "other nodes": ("camera: {P: {fps: 3}}\n/talkers: {P: {fps: 3}}\na: {b: 3}", {"/talker": None}),
    "three stars": ("/***: {P: {seed: 1}}", {"/talker": None}),
}


@pytest.mark.parametrize("text, seeds", SECTIONS.values(), ids=list(SECTIONS))
def test_sections_name_the_node_as_in_rclpy(tmp_path: Path, text: str, seeds: dict[str, int | None]) -> None:
    file = tmp_path / "robot.yaml"
    file.write_text(text.replace("P:", "ros__parameters:"))
    assert {name: parameters.load(file, name).get("seed") for name in seeds} == seeds


def test_a_file_that_sets_nothing_for_the_node_is_warned_of(tmp_path: Path) -> None:
    file, warnings = tmp_path / "robot.yaml", list[str]()
    file.write_text("/talker: {ros__parameters: {seed: 1}}\ncamera: {ros__parameters: {fps: 30}}")
    assert parameters.ParameterFile(file, warn=warnings.append).read().seed == 1 and not warnings
    assert parameters.ParameterFile(file, (), "/robot/talker", warnings.append).read().seed == 0
    assert len(warnings) == 1 and "sets nothing for /robot/talker" in warnings[0]
    assert "/talker, camera; name one /** or /robot/talker" in warnings[0]


def test_aliases_that_stand_for_many_sections_are_rejected_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: {y: {}}}"]
    lines += [f"a{k}: &a{k} {{{', '.join(f'n{j}: *a{k - 1}' for j in range(10))}}}" for k in range(1, 12)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(TalkerError, match="more than 10000 sections"):
        parameters.load(file)


@pytest.mark.parametrize(
    "text, message",
    [
        ("talker: {seed: 1}", "no ros__parameters under talker"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_file_of_another_form_is_rejected_with_the_reason(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(TalkerError, match=message):
        parameters.load(file)
    with pytest.raises(TalkerError, match="cannot be read"):
        parameters.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "values, message",
    [
        ({"pacing": "fast"}, "pacing is 'fast': choose one of audio, none"),
        ({"sample_rate": 4000}, "sample_rate is 4000: give a value from 8000 to 192000"),
        ({"idle": 1}, "idle is 1, of type int: give a bool"),
        ({"seed": 1.5}, "seed is 1.5, of type float: give a int"),
        ({"seed": True}, "seed is True"),
        ({"volume": 1}, "volume is not a parameter of the talker"),
        ({"frame_id": "a\0b"}, "give at most 1000 printable characters"),
        ({"frame_id": "a\udcff"}, "give at most 1000 printable characters"),
        ({"tts_action": "tts engine"}, "tts_action is 'tts engine': write words of letters"),
        ({"audio_topic": "a" * 100_000}, "give at most 1000 printable characters"),
    ],
)
def test_invalid_values_are_rejected_with_the_reason(values: dict[str, Any], message: str) -> None:
    with pytest.raises(TalkerError, match=re.escape(message)):
        parameters.from_values(values)


def test_an_integer_is_accepted_where_a_float_is_expected() -> None:
    assert TalkerParameters(overload_after=2).overload_after == 2.0


@pytest.mark.parametrize(
    "text, expected",
    [
        ("device=cpu", ("device", "cpu")),
        ("idle=false", ("idle", False)),
        ("seed=3", ("seed", 3)),
        ("idle_after=0.2", ("idle_after", 0.2)),
        ("idle_after=1e-1", ("idle_after", 0.1)),
        ("guidance=2E0", ("guidance", 2.0)),
        ("model=", ("model", "")),
        ("style=none", ("style", "none")),
    ],
)
def test_assignments_of_the_command_line(text: str, expected: Any) -> None:
    assert parameters.parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["seed", "volume=1", "seed=many", "idle=[", "seed=-1"])
def test_invalid_assignments_are_rejected(text: str) -> None:
    with pytest.raises(TalkerError):
        parameters.parse_assignment(text)


def test_addresses_of_outputs_are_checked_and_empty_ones_ignored() -> None:
    values = TalkerParameters(outputs=("", "osc://127.0.0.1", "livelink://host?subject=Anna"))
    assert values.outputs == ("", "osc://127.0.0.1", "livelink://host?subject=Anna")
    assert parameters.parse_assignment("outputs=osc://a,vmc://b") == ("outputs", ("osc://a", "vmc://b"))
    for bad in (("osc:/host",), "osc://host", [1], ("osc://host?rate=0",)):
        with pytest.raises(TalkerError):
            TalkerParameters(outputs=bad)  # pyright: ignore[reportArgumentType]
