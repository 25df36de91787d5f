# SPDX-License-Identifier: Apache-2.0
"""package.xml and requirements-ros.txt name what the ROS 2 package imports and starts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).absolute().parents[1]
OPTIONAL = {"rviz2", "hri_msgs"}  # used where they are installed
ROSDEP_KEYS = {
    "numpy": "python3-numpy",
    "yaml": "python3-yaml",
    "soundfile": "python3-soundfile",
    "tqdm": "python3-tqdm",
    "sounddevice": "python3-sounddevice-pip",
}


def dependencies(*kinds: str) -> set[str]:
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    return {element.text or "" for element in root if element.tag in kinds}


def requirements() -> dict[str, str]:
    """The lines of requirements-ros.txt: distribution -> requirement."""
    lines = [
        line.partition("#")[0].strip() for line in (ROOT / "requirements-ros.txt").read_text().splitlines()
    ]
    return {re.split(r"[<>=]", line)[0]: line for line in lines if line}


def imported_packages(*folders: str) -> Iterator[str]:
    """Yield the top-level packages that the Python files of some folders import."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.partition(".")[0]


def test_every_ros_package_that_is_imported_is_a_dependency() -> None:
    known = dependencies("depend", "exec_depend", "buildtool_depend")
    ros = re.compile(r"(ament_index_python|launch|launch_ros|rclpy|rcl_interfaces|\w+_msgs|\w+_srvs)")
    imported = {
        name for name in imported_packages("streamingtalker_ros/ros", "launch") if ros.fullmatch(name)
    }
    assert imported >= {"rclpy", "ament_index_python", "rcl_interfaces"}
    assert imported - OPTIONAL <= known


def test_every_message_package_of_the_nodes_is_a_dependency() -> None:
    """Types that are named by strings, as `message_class` takes them."""
    known = dependencies("depend", "exec_depend") | {"streamingtalker_ros", "package"} | OPTIONAL
    pattern = re.compile(r'"(\w+)/msg/\w+"')
    for folder in ("ros", "messaging", "robot_head", "rviz"):
        for path in (ROOT / "streamingtalker_ros" / folder).glob("*.py"):
            assert set(pattern.findall(path.read_text(encoding="utf-8"))) <= known, path


@pytest.mark.parametrize("module", ROSDEP_KEYS)
def test_every_python_package_with_a_rosdep_key_is_a_dependency(module: str) -> None:
    assert ROSDEP_KEYS[module] in dependencies("exec_depend")


def test_the_other_python_packages_are_in_the_requirements_with_the_bounds_of_the_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = requirements()
    assert named.pop("numpy").startswith("numpy<2;")  # of Humble, whose rclpy is compiled against numpy 1
    assert named.keys() == {"onnxruntime", "soxr", "safetensors", "python-osc", "av"}
    for requirement in named.values():
        assert f'"{requirement}"' in text


@pytest.mark.parametrize("document", ["README.md", "docs/ros2.md", "docs/integrator.md"])
def test_the_documents_install_what_the_requirements_name(document: str) -> None:
    assert "requirements-ros.txt" in (ROOT / document).read_text(encoding="utf-8")
