# SPDX-License-Identifier: Apache-2.0
"""The talker, a player and the face in RViz.

Plays an audio file (default the demo's), then ends; or the microphone, until Ctrl-C.

ros2 launch streamingtalker_ros demo.launch.py [file:=mine.wav] [loop:=true] [microphone:=true] [rviz:=false]
The arguments of talker.launch.py are accepted, too.
Without RViz, watch it with `ros2 topic echo /face_motion`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    TimerAction,
)
from launch.events import Shutdown
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.ros import launch_support

REST_S = 1.0  # after the audio, for the mouth to close
PACKAGE_SHARE = FindPackageShare("streamingtalker_ros")


def _end() -> Sequence[Action]:
    end = EmitEvent(event=Shutdown(reason="the audio has ended"))
    return [TimerAction(period=REST_S, actions=[end])]


def _create_player(context: LaunchContext) -> list[Action]:
    from_microphone = launch_support.read_flag(context, "microphone")
    arguments = [] if from_microphone else [launch_support.read_file(context, "file")]
    if launch_support.read_flag(context, "loop"):
        arguments.append("--loop")
    return launch_support.create_node(context, "play", arguments=arguments, on_success=_end, is_finite=True)


def _create_rviz(context: LaunchContext) -> list[Action]:
    if not launch_support.read_flag(context, "rviz"):
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [
            LogInfo(
                msg="RViz is not installed, so the face is not shown: sudo apt install ros-$ROS_DISTRO-rviz2"
            )
        ]
    config = PathJoinSubstitution([PACKAGE_SHARE, "config", "face.rviz"])
    return [
        *launch_support.create_node(context, "face_markers"),
        *launch_support.create_node(
            context,
            "rviz2",
            package="rviz2",
            name="rviz2",
            arguments=["-d", config],
            # the configuration names the topic without a namespace
            remappings={"/face_markers": launch_support.resolve_topic(context, "face_markers")},
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the player, the talker and RViz."""
    return LaunchDescription(
        [
            *launch_support.declare_common_arguments(),
            DeclareLaunchArgument(
                "file", default_value=str(DEMO_AUDIO), description="WAV, FLAC, OGG or MP3 to play"
            ),
            DeclareLaunchArgument("loop", default_value="false", description="true: play it in a loop"),
            DeclareLaunchArgument(
                "microphone", default_value="false", description="true: the microphone instead of a file"
            ),
            DeclareLaunchArgument(
                "rviz", default_value="true", description="show the face, where RViz is installed"
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(
                    PathJoinSubstitution([PACKAGE_SHARE, "launch", "talker.launch.py"])
                )
            ),
            OpaqueFunction(function=_create_rviz),
            OpaqueFunction(function=_create_player),
        ]
    )
