# SPDX-License-Identifier: Apache-2.0
"""A bag's voice through the talker, on the bag's own clock, into a new bag of audio and face motion.

ros2 launch streamingtalker_ros replay.launch.py bag:=BAG out:=NEW_BAG [audio:=/mic/audio] [rate:=1.0]
The frames are those of `streamingtalker replay BAG --out NEW_BAG`, which needs no ROS and does not take as long.
"""

import os
import signal

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
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

MEET = "2.0"  # s in which the player, the talker and the recorder find each other before the first message
REST = 1.0  # s after the last frame in which the recorder writes it


def _end(reason):
    """An action that says why and ends it all, if that has not begun yet."""
    return OpaqueFunction(
        function=lambda context: (
            None if context.is_shutdown else [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]
        )
    )


def _recorded(event, context):
    return _end("nothing could be recorded: is the folder `out` there already?") if event.returncode else None


def generate_launch_description():
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
    topics = [] if os.environ.get("ROS_DISTRO") == "humble" else ["--topics"]  # which took them bare
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
            *topics,
            "/face_motion",
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
            MEET,
            "--rate",
            LaunchConfiguration("rate"),
            "--disable-keyboard-controls",
            "--topics",
            audio,
            info,
        ],
    )
    # the player starts when the talker listens; the talker ends, with its last frames, when the player has ended
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 with audio_common_msgs"),
            DeclareLaunchArgument("out", description="folder of the bag to write, not there yet"),
            DeclareLaunchArgument(
                "audio", default_value="/audio", description="topic of the audio in the bag"
            ),
            DeclareLaunchArgument(
                "audio_info", default_value="/audio_info", description="topic of its format"
            ),
            DeclareLaunchArgument("rate", default_value="1.0", description="of playing, in times real time"),
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
                    on_exit=[TimerAction(period=REST, actions=[_end("the bag has ended")])],
                )
            ),
            # without a model, or a bag to write into, nothing is worth waiting for
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=talker,
                    start_state="configuring",
                    goal_state="unconfigured",
                    entities=[_end("the talker cannot be configured: see its error above")],
                )
            ),
            RegisterEventHandler(OnProcessExit(target_action=recorder, on_exit=_recorded)),
            recorder,
            talker,
        ]
    )
