# SPDX-License-Identifier: Apache-2.0
"""Errors are reported in one line: a missing model, an invalid parameter, no audio types."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import pytest
from ament_index_python.packages import get_package_prefix
from launch.actions import SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Log, ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python

from streamingtalker_ros import TalkerError
from streamingtalker_ros.ros import audio_input
from streamingtalker_ros.runtime.parameters import PARAMETERS, load
from support.processes import ProcessGroup
from support.ros_graph import Graph, own_domain, wait_for

DOMAIN = own_domain()
EXECUTABLES = Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros"
TALKER = EXECUTABLES / "talker"


@launch_pytest.fixture(scope="module")
def broken_launch() -> Any:
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            Node(
                package="streamingtalker_ros",
                executable="talker",
                name="talker",
                namespace="/",
                parameters=[{"model": "/there/is/no/such/model"}],
            ),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.fixture(scope="module")
def graph(broken_launch: Any) -> Iterator[Any]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


@pytest.mark.launch(fixture=broken_launch)
def test_a_missing_model_fails_configure_and_the_node_lives(graph: Graph) -> None:
    logged = graph.subscribe(Log, "/rosout")
    assert graph.state() == "unconfigured"
    assert not graph.change(Transition.TRANSITION_CONFIGURE)
    assert graph.state() == "unconfigured"
    errors = wait_for(lambda: [entry.msg for entry in logged if entry.level >= 40])
    assert len(set(errors)) == 1 and "/there/is/no/such/model" in errors[0] and "\n" not in errors[0]
    graph.counts()
    status = graph.diagnostics[-1].status[0]
    assert status.level == b"\2" and status.message == errors[0]


@pytest.mark.parametrize("name", ["talker", "play"])
def test_a_missing_package_is_named_with_its_install_command(name: str) -> None:
    """In a separate process, since a failed import changes the state of the process."""
    code = (
        "import sys; sys.modules['soxr'] = None\n"
        "from streamingtalker_ros.ros.entry_points import run_entry_point\n"
        f"sys.exit(run_entry_point('{name}'))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith(f"{name}: error: ") and "pip install soxr" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def run(executable: str, *arguments: str) -> tuple[int, list[str]]:
    """Run an executable until it ends; return its exit code and the lines of stderr."""
    result = subprocess.run(
        [EXECUTABLES / executable, *arguments], capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stderr.splitlines()


@pytest.mark.parametrize(
    "executable, arguments, words",
    [
        ("talker", ["-p", "steps:=-3"], ["steps", "0 to 1000"]),
        ("talker", ["-p", "device:=5"], ["device"]),
        ("talker", ["-p", "pacing:=sometimes"], ["pacing", "audio, none"]),
        ("talker", ["-p", "mouth_expressiveness:=3"], ["mouth_expressiveness", "0.0 to 2.0"]),
        ("talker", ["-p", "mouth_expressiveness:=.nan"], ["mouth_expressiveness", "0.0 to 2.0"]),
        ("talker", ["-p", "mouth_expressiveness:=true"], ["mouth_expressiveness"]),
        ("talker", ["-p", "steps:=[1, 2]"], ["steps"]),
        ("talker", ["-p", "expression:=['mouthSmiles:0.4']"], ["mouthSmiles", "did you mean"]),
        ("talker", ["-p", "steps"], ["steps", "name:=value"]),
        ("talker", ["-p", "steps=3"], ["steps:=3"]),
        ("talker", ["-p", "steps:=[1"], ["steps", "YAML"]),
        ("talker", ["-p", "steps:={a: 1}"], ["steps", "mapping"]),
        ("talker", ["-p"], ["-p", "name:=value"]),
        ("talker", ["-r", "audio"], ["audio", "from:=to"]),
        ("talker", ["-r", "__ns:=robot"], ["robot", "/robot"]),
        ("talker", ["--log-level", "loud"], ["loud", "debug"]),
        ("talker", ["--no-such-option"], ["--no-such-option"]),
        ("head_driver", ["-p", "head:=jow"], ["jow", "did you mean jaw", "pan_tilt"]),
        ("head_driver", ["-p", "head:=5"], ["head", "5"]),
        ("face_markers", ["-p", "rate:=1000"], ["rate", "1.0 to 120.0"]),
        ("face_markers", ["-p", "face:=/no/such/face.glb"], ["/no/such/face.glb"]),
        ("play", ["-p", "steps"], ["steps", "name:=value"]),
    ],
)
def test_an_invalid_ros_argument_ends_the_process_with_one_sentence(
    executable: str, arguments: list[str], words: list[str]
) -> None:
    code, lines = run(executable, "--ros-args", *arguments)
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith(f"{executable}: error: "), lines
    assert all(word in lines[0] for word in words), lines


FILES = {
    "missing": (None, "check its path"),
    "folder": ("", "is a folder"),
    "not text": (b"\xff\xfe\x00", "not text"),
    "not YAML": (b"/**: [1\n", "not valid YAML"),
    "nested": (b"[" * 3000, "not"),
    "no sections": (b"steps: 3\n", "outside of ros__parameters in line 1"),
    "a list": (b"- steps\n", "no ros__parameters in line 1"),
    "no names": (b"/**:\n  ros__parameters: 5\n", "line 2"),
    "two types": (b"/**: {ros__parameters: {expression: [a, 1]}}\n", "several types"),
    "lists": (b"/**: {ros__parameters: {expression: [[a]]}}\n", "list within a list"),
    "nothing": (b"/**:\n  ros__parameters:\n    seed:\n", "to nothing in line 3"),
    "huge number": (b"/**: {ros__parameters: {seed: %s}}\n" % (b"9" * 400), "seed"),
    "alias": (b"/**: {ros__parameters: {seed: &a 1, steps: *a}}\n", "alias"),
    "range": (b"/**: {ros__parameters: {idle_after: 7}}\n", "0.05 to 0.5"),
}


@pytest.mark.parametrize("kind", FILES)
def test_an_invalid_parameter_file_ends_the_process_with_one_sentence(kind: str, tmp_path: Path) -> None:
    content, words = FILES[kind]
    path = tmp_path / "parameters.yaml"
    if isinstance(content, str):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    code, lines = run("talker", "--ros-args", "--params-file", str(path))
    errors = [line for line in lines if line.startswith("talker: error: ")]
    assert code == 2 and len(errors) == 1 and len(errors[0]) < 400, lines
    assert words in errors[0], errors


@pytest.mark.parametrize("executable", ["talker", "head_driver", "face_markers", "scripted_person", "play"])
def test_help_is_printed_and_the_node_does_not_start(executable: str) -> None:
    result = subprocess.run([EXECUTABLES / executable, "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and result.stdout.startswith(f"usage: {executable}")
    assert result.stderr == ""
    names = {"talker": list(PARAMETERS), "head_driver": ["head"], "face_markers": ["rate", "face"]}
    names["scripted_person"] = ["frame_id", "emotion_period", "say_period"]
    assert all(f"\n  {name}" in result.stdout for name in names.get(executable, ["--loop"]))


@pytest.mark.parametrize("executable", ["talker", "head_driver", "face_markers", "scripted_person", "play"])
def test_an_unknown_option_is_named(executable: str) -> None:
    code, lines = run(executable, "--no-such-option")
    assert code == 2 and "--no-such-option" in lines[-1]


def test_overrides_without_effect_are_warned_of(tmp_path: Path) -> None:
    """An unknown name with the nearest one, and a file without a section for the node."""
    path = tmp_path / "parameters.yaml"
    path.write_text("/other:\n  ros__parameters: {steps: 3}\n")
    arguments = ["-p", "mouth_expresiveness:=1.0", "-p", "autostart:=false", "--params-file", str(path)]
    with ProcessGroup() as processes:
        talker = processes.start(
            str(TALKER),
            "--ros-args",
            *arguments,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert talker.stderr is not None
        lines = [talker.stderr.readline(), talker.stderr.readline()]
    assert "talker has no parameter mouth_expresiveness (did you mean mouth_expressiveness?)" in lines[0]
    assert f"{path} sets nothing for /talker: its sections are /other" in lines[1]


def test_whole_numbers_and_empty_lists_are_accepted(tmp_path: Path) -> None:
    """As by the node without ROS, which reads the same files."""
    path = tmp_path / "parameters.yaml"
    path.write_text(
        "/**: {ros__parameters: {mouth_expressiveness: 2, queue_seconds: 30, expression: [], device: cpu}}\n"
    )
    assert load(path)["mouth_expressiveness"] == 2
    names = ["mouth_expressiveness", "queue_seconds", "guidance", "expression"]
    domain = own_domain()
    graph = Graph(domain)
    try:
        with ProcessGroup() as processes:
            processes.start(
                str(TALKER),
                *("--ros-args", "--params-file", str(path), "-p", "guidance:=2", "-p", "autostart:=false"),
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            )
            request = GetParameters.Request(names=names)
            values = graph.call(GetParameters, "/talker/get_parameters", request).values
            assert [parameter_value_to_python(value) for value in values] == [2.0, 30.0, 2.0, [""]]
            assert {value.type for value in values[:3]} == {ParameterType.PARAMETER_DOUBLE}
            assert graph.change(Transition.TRANSITION_CONFIGURE), "and the model is loaded with them"
    finally:
        graph.close()


def test_without_audio_types_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("audio_common_msgs", "audio_common_msgs.msg"):
        monkeypatch.setitem(sys.modules, module, None)  # what is None there cannot be imported
    with pytest.raises(TalkerError, match="audio-common-msgs"):
        audio_input.installed_variant()
