# SPDX-License-Identifier: Apache-2.0
"""Errors are reported in one line: a missing model, an invalid parameter, no audio types."""

from __future__ import annotations

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
from rcl_interfaces.msg import Log

from streamingtalker_ros import TalkerError
from streamingtalker_ros.ros import audio_input
from support.ros_graph import Graph, own_domain, wait_for

DOMAIN = own_domain()
TALKER = Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros" / "talker"


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


@pytest.mark.parametrize("value", ["steps:=-3", "device:=5", "pacing:=sometimes"])
def test_an_invalid_parameter_ends_the_process_with_one_line(value: Any) -> None:
    result = subprocess.run([TALKER, "--ros-args", "-p", value], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("talker: error: ")]
    assert len(errors) == 1 and value.partition(":")[0] in errors[0] and "Traceback" not in result.stderr


def test_without_audio_types_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("audio_common_msgs", "audio_common_msgs.msg"):
        monkeypatch.setitem(sys.modules, module, None)  # what is None there cannot be imported
    with pytest.raises(TalkerError, match="audio-common-msgs"):
        audio_input.installed_variant()
