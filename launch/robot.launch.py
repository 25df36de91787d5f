# SPDX-License-Identifier: Apache-2.0
"""The talker and the joints of a robot's head: `audio` in, the commands of the head's YAML file out.

ros2 launch streamingtalker_ros robot.launch.py head:=jaw [audio:=/mic/audio] [markers:=true] [required:=true]
head: a YAML file of yours (docs/heads.md), or one of the package: jaw, animatronic, pan_tilt, arkit, facs.
The arguments of talker.launch.py are accepted, too. required:=true ends the launch if the talker or the head
driver ends, respawn:=true starts it again.
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from streamingtalker_ros.ros import launch_support


def _create_nodes(context: LaunchContext) -> list[Action]:
    sim_time = {"use_sim_time": launch_support.read_flag(context, "use_sim_time")}
    head = {"head": ParameterValue(launch_support.read_text(context, "head"), value_type=str)}
    actions = launch_support.create_node(
        context, "head_driver", name="head_driver", parameters=[head, sim_time]
    )
    if launch_support.read_flag(context, "markers"):
        actions += launch_support.create_node(
            context, "face_markers", name="face_markers", parameters=[sim_time]
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    """Return the talker, the head driver and the markers."""
    talker = PathJoinSubstitution([FindPackageShare("streamingtalker_ros"), "launch", "talker.launch.py"])
    return LaunchDescription(
        [
            *launch_support.declare_common_arguments(),
            DeclareLaunchArgument(
                "head", default_value="jaw", description="YAML of the head's joints, or a name"
            ),
            DeclareLaunchArgument(
                "markers", default_value="false", description="true: publish the face for RViz, too"
            ),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="true: follow /clock"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(talker)),
            OpaqueFunction(function=_create_nodes),
        ]
    )
