# SPDX-License-Identifier: Apache-2.0
"""The talker, a player and the face in RViz.

Plays an audio file (default the demo's), then ends; or the microphone, until Ctrl-C.

ros2 launch streamingtalker_ros demo.launch.py [file:=mine.wav] [loop:=true] [microphone:=true] [rviz:=false]
Without RViz, watch it with `ros2 topic echo /face_motion`.
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

import streamingtalker_ros

DEMO_AUDIO = Path(streamingtalker_ros.__file__).parent / "data" / "voice.flac"
REST_S = 1.0  # after the audio, for the mouth to close
PACKAGE_SHARE = FindPackageShare("streamingtalker_ros")


def _is_true(context: LaunchContext, name: str) -> bool:
    return LaunchConfiguration(name).perform(context).lower() == "true"


def _create_player(context: LaunchContext) -> list[Action]:
    files = [] if _is_true(context, "microphone") else [LaunchConfiguration("file")]
    player = Node(
        package="streamingtalker_ros",
        executable="play",
        output="screen",
        arguments=[*files, *(["--loop"] if _is_true(context, "loop") else [])],
    )
    return [
        player,
        RegisterEventHandler(
            OnProcessExit(
                target_action=player,
                on_exit=[
                    TimerAction(
                        period=REST_S, actions=[EmitEvent(event=Shutdown(reason="the audio has ended"))]
                    )
                ],
            )
        ),
    ]


def _create_rviz(context: LaunchContext) -> list[Action]:
    if not _is_true(context, "rviz"):
        return []
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [
            LogInfo(
                msg="RViz is not installed, so the face is not shown: sudo apt install ros-$ROS_DISTRO-rviz2"
            )
        ]
    return [
        Node(package="streamingtalker_ros", executable="face_markers", output="screen"),
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz2",
            output="screen",
            arguments=["-d", PathJoinSubstitution([PACKAGE_SHARE, "config", "face.rviz"])],
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the player, the talker and RViz."""
    return LaunchDescription(
        [
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
