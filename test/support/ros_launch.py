# SPDX-License-Identifier: Apache-2.0
# launch comes with a ROS installation
# pyright: reportMissingImports=false
"""The talker of the ROS tests, launched as a user launches it."""

from __future__ import annotations

from pathlib import Path

import launch_pytest
import yaml
from ament_index_python.packages import get_package_share_directory
from launch.action import Action
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

TALKER_LAUNCH_FILE = Path(get_package_share_directory("streamingtalker_ros")) / "launch" / "talker.launch.py"


def launch_talker(domain: int, *actions: Action, **arguments: str) -> LaunchDescription:
    """Return the launch of `talker.launch.py` for a test.

    Args:
        domain: ROS domain.
        actions: Further ones, before the talker.
        arguments: Launch arguments.
    """
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(domain)),
            *actions,
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(TALKER_LAUNCH_FILE)), launch_arguments=arguments.items()
            ),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


def parameter_file(folder: Path, **values: object) -> str:
    """Write a parameter file of the talker into a folder; return its path."""
    file = folder / "talker.yaml"
    file.write_text(yaml.safe_dump({"talker": {"ros__parameters": values}}))
    return str(file)
