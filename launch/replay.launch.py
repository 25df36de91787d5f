# SPDX-License-Identifier: Apache-2.0
"""The audio of a bag through the talker, on the bag's clock, into a new bag of audio and face motion.

ros2 launch streamingtalker_ros replay.launch.py bag:=BAG out:=NEW_BAG [audio:=/mic/audio] [rate:=1.0]
The frames are those of `streamingtalker replay BAG --out NEW_BAG`, which needs no ROS and is faster.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown, matches_action
from launch.events.process import SignalProcess
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.substitutions import FindPackageShare

DISCOVERY_S = "2.0"  # until player, talker and recorder are connected
RECORDING_S = 1.0  # after the last frame, for the recorder to write it


def _shut_down(reason: str) -> OpaqueFunction:
    """Return an action that logs the reason and shuts down, unless that has begun already."""
    return OpaqueFunction(
        function=lambda context: (
            None if context.is_shutdown else [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]
        )
    )


def _on_recorder_exit(event: Any, context: LaunchContext) -> OpaqueFunction | None:
    return (
        _shut_down("nothing could be recorded: is the folder `out` there already?")
        if event.returncode
        else None
    )


def generate_launch_description() -> LaunchDescription:
    """Return the bag player, the talker and the bag recorder."""
    audio, info = LaunchConfiguration("audio"), LaunchConfiguration("audio_info")
    talker = LifecycleNode(
        package="streamingtalker_ros",
        executable="talker",
        name="talker",
        namespace="",
        output="screen",
        parameters=[LaunchConfiguration("params_file"), {"use_sim_time": True, "autostart": True}],
        remappings=[("audio", audio), ("audio_info", info)],
    )
    is_humble = os.environ.get("ROS_DISTRO") == "humble"  # its recorder has no --topics
    topics_option = [] if is_humble else ["--topics"]
    recorder = ExecuteProcess(
        output="screen",
        cmd=[
            "ros2",
            "bag",
            "record",
            "--use-sim-time",
            "--storage",
            LaunchConfiguration("storage"),
            "--output",
            LaunchConfiguration("out"),
            *topics_option,
            "/face_motion",
            "/face_vertices",
            "/face_model",
            audio,
            info,
        ],
    )
    player = ExecuteProcess(
        output="screen",
        cmd=[
            "ros2",
            "bag",
            "play",
            LaunchConfiguration("bag"),
            "--clock",
            "100",
            "--delay",
            DISCOVERY_S,
            "--rate",
            LaunchConfiguration("rate"),
            "--disable-keyboard-controls",
            "--topics",
            audio,
            info,
        ],
    )
    # the player starts when the talker is active; the talker exits after it, with its last frames
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 with audio_common_msgs"),
            DeclareLaunchArgument("out", description="folder of the bag to write, must not exist"),
            DeclareLaunchArgument(
                "audio", default_value="/audio", description="topic of the audio in the bag"
            ),
            DeclareLaunchArgument(
                "audio_info", default_value="/audio_info", description="topic of its format"
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="playback rate, 1 is real time"),
            DeclareLaunchArgument(
                "storage", default_value="mcap", description="of the new bag: mcap or sqlite3"
            ),
            DeclareLaunchArgument(
                "params_file",
                description="parameters, see config/talker.yaml",
                default_value=PathJoinSubstitution(
                    [FindPackageShare("streamingtalker_ros"), "config", "talker.yaml"]
                ),
            ),
            RegisterEventHandler(
                OnStateTransition(target_lifecycle_node=talker, goal_state="active", entities=[player])
            ),
            RegisterEventHandler(
                OnProcessExit(
                    target_action=player,
                    on_exit=[
                        EmitEvent(
                            event=SignalProcess(
                                signal_number=signal.SIGINT, process_matcher=matches_action(talker)
                            )
                        )
                    ],
                )
            ),
            RegisterEventHandler(
                OnProcessExit(
                    target_action=talker,
                    on_exit=[TimerAction(period=RECORDING_S, actions=[_shut_down("the bag has ended")])],
                )
            ),
            # without a model or an output bag the replay stops immediately
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=talker,
                    start_state="configuring",
                    goal_state="unconfigured",
                    entities=[_shut_down("the talker cannot be configured: see its error above")],
                )
            ),
            RegisterEventHandler(OnProcessExit(target_action=recorder, on_exit=_on_recorder_exit)),
            recorder,
            talker,
        ]
    )
