# SPDX-License-Identifier: Apache-2.0
"""The audio of a bag through the talker, on the bag's clock, into a new bag of audio and face motion.

ros2 launch streamingtalker_ros replay.launch.py bag:=BAG out:=NEW_BAG [audio:=/mic/audio] [rate:=1.0]
The frames are those of `streamingtalker replay BAG --out NEW_BAG`, which needs no ROS and is faster.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from launch.action import Action
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
from launch.events.process import ShutdownProcess
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.substitutions import FindPackageShare

from streamingtalker_ros.ros import launch_support

DISCOVERY_S = "2.0"  # until player, talker and recorder are connected
RECORDING_S = 1.0  # after the last frame, for the recorder to write it
DRAIN_S = "20"  # for the talker's last frames, before it is terminated
PLAYED = (
    "audio",
    "audio_info",
    "partner_audio",
    "partner_audio_info",
    "gaze_target",
    "expression",
    "gesture",
)
RECORDED = ("face_motion", "face_vertices", "face_model", "dialogue_state", *PLAYED)
TRANSFORMS = ("/tf", "/tf_static")  # of gaze targets in other frames


def _shut_down(reason: str) -> OpaqueFunction:
    """Return an action that logs the reason and shuts down, unless that has begun already."""
    return OpaqueFunction(
        function=lambda context: (
            None if context.is_shutdown else [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]
        )
    )


def _end_after_bag() -> Sequence[Action]:
    return [TimerAction(period=RECORDING_S, actions=[_shut_down("the bag has ended")])]


def _fail_to_configure(context: LaunchContext) -> None:
    if not context.is_shutdown:
        raise RuntimeError("the talker cannot be configured: see its error above")


def _on_recorder_exit(event: Any, context: LaunchContext) -> None:
    if event.returncode and not context.is_shutdown:
        raise RuntimeError("nothing could be recorded: is the folder `out` there already?")


def _create_processes(context: LaunchContext) -> list[Action]:
    topics = {name: launch_support.resolve_topic(context, name) for name in RECORDED}
    talker_actions = launch_support.create_node(
        context,
        "talker",
        name="talker",
        parameters=[
            launch_support.read_file(context, "params_file"),
            {"use_sim_time": True, "autostart": True},
        ],
        on_success=_end_after_bag,
        is_lifecycle=True,
        sigterm_timeout=DRAIN_S,
    )
    talker = talker_actions[0]
    assert isinstance(talker, LifecycleNode)
    level = launch_support.read_text(context, "log_level").lower()
    is_humble = os.environ.get("ROS_DISTRO") == "humble"  # its ros2 bag has no --log-level, nor --topics here
    recorder = ExecuteProcess(
        output="screen",
        cmd=[
            *("ros2", "bag", "record", "--use-sim-time"),
            *("--storage", launch_support.read_text(context, "storage")),
            *("--output", launch_support.read_text(context, "out")),
            *(() if is_humble else ("--log-level", level, "--topics")),
            *topics.values(),
        ],
    )
    player = ExecuteProcess(
        output="screen",
        cmd=[
            *("ros2", "bag", "play", launch_support.read_text(context, "bag")),
            *("--clock", "100", "--delay", DISCOVERY_S, "--disable-keyboard-controls"),
            *("--rate", str(launch_support.read_number(context, "rate", 0.01, 1000.0))),
            *(() if is_humble else ("--log-level", level)),
            *("--topics", *(topics[name] for name in PLAYED), *TRANSFORMS),
        ],
    )

    def end_talker(event: Any, context: LaunchContext) -> Sequence[Action]:
        if event.returncode and not context.is_shutdown:
            raise RuntimeError(f"the bag could not be played (exit code {event.returncode}): see above")
        # after this event, unlike after a signal, launch does not start the talker again
        return [EmitEvent(event=ShutdownProcess(process_matcher=matches_action(talker)))]

    # the player starts when the talker is active; the talker exits after it, with its last frames
    return [
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=talker, goal_state="active", entities=[player], handle_once=True
            )
        ),
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=end_talker)),
        # without a model or an output bag the replay stops immediately
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=talker,
                start_state="configuring",
                goal_state="unconfigured",
                entities=[OpaqueFunction(function=_fail_to_configure)],
            )
        ),
        RegisterEventHandler(OnProcessExit(target_action=recorder, on_exit=_on_recorder_exit)),
        recorder,
        *talker_actions,
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the bag player, the talker and the bag recorder."""
    return LaunchDescription(
        [
            *launch_support.declare_common_arguments(**{name: f"/{name}" for name in PLAYED}),
            DeclareLaunchArgument("bag", description="rosbag2 with audio_common_msgs"),
            DeclareLaunchArgument("out", description="folder of the bag to write, must not exist"),
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
            OpaqueFunction(function=_create_processes),
        ]
    )
