# SPDX-License-Identifier: Apache-2.0
"""The talker and the joints of a robot's head: `audio` in, the commands of the head's YAML file out.

ros2 launch streamingtalker_ros robot.launch.py head:=jaw [audio:=/mic/audio] [markers:=true]
head: a YAML file of yours (docs/heads.md), or one of the package: jaw, animatronic, pan_tilt, arkit, facs.
The arguments of talker.launch.py are accepted, too.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Return the talker, the head driver and the markers."""
    talker = PathJoinSubstitution([FindPackageShare("streamingtalker_ros"), "launch", "talker.launch.py"])
    sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
    common = {
        "package": "streamingtalker_ros",
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "head", default_value="jaw", description="YAML of the head's joints, or a name"
            ),
            DeclareLaunchArgument(
                "markers", default_value="false", description="true: publish the face for RViz, too"
            ),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="true: follow /clock"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(talker)),
            Node(
                executable="head_driver",
                name="head_driver",
                **common,
                parameters=[{"head": ParameterValue(LaunchConfiguration("head"), value_type=str)}, sim_time],
            ),
            Node(
                executable="face_markers",
                name="face_markers",
                **common,
                condition=IfCondition(LaunchConfiguration("markers")),
                parameters=[sim_time],
            ),
        ]
    )
