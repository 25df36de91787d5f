# SPDX-License-Identifier: Apache-2.0
"""A conversation: a partner's voice, a person who walks by, emotions, speech, the face and a robot's head.

ros2 launch streamingtalker_ros conversation.launch.py [partner:=guest.wav] [tts_command:="piper …"]
partner: an audio file, played in a loop as the partner's voice; "microphone", or "none" for no partner.
A small node, `scripted_person`, stands in for person detection and a dialogue manager: replace it by yours.
The arguments of robot.launch.py and talker.launch.py are accepted, too.
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from streamingtalker_ros.ros import launch_support

MICROPHONE, NONE = "microphone", "none"


def _create_nodes(context: LaunchContext) -> list[Action]:
    sim_time = launch_support.read_flag(context, "use_sim_time")
    parameters = {
        "emotion_period": launch_support.read_number(context, "emotion_period", 0.1, 3600.0),
        "say_period": launch_support.read_number(context, "say_period", 0.0, 3600.0),
        "use_sim_time": sim_time,
    }
    actions = launch_support.create_node(
        context, "scripted_person", name="scripted_person", parameters=[parameters]
    )
    partner = launch_support.read_text(context, "partner")
    if partner != NONE:
        arguments = [] if partner == MICROPHONE else [launch_support.read_file(context, "partner"), "--loop"]
        actions += launch_support.create_node(
            context,
            "play",
            name="partner",
            arguments=arguments,
            remappings={
                name: launch_support.read_text(context, f"partner_{name}") for name in ("audio", "audio_info")
            },
            is_finite=True,
        )
    return actions


def generate_launch_description() -> LaunchDescription:
    """Return the talker, the head driver, the partner and the scripted person."""
    robot = PathJoinSubstitution([FindPackageShare("streamingtalker_ros"), "launch", "robot.launch.py"])
    return LaunchDescription(
        [
            *launch_support.declare_common_arguments(),
            DeclareLaunchArgument(
                "partner",
                default_value=MICROPHONE,
                description="audio file of the partner, microphone or none",
            ),
            DeclareLaunchArgument(
                "tts_command",
                default_value="espeak-ng --stdin --stdout",
                description="text-to-speech command of the texts",
            ),
            DeclareLaunchArgument(
                "emotion_period", default_value="8.0", description="seconds between two emotions"
            ),
            DeclareLaunchArgument(
                "say_period", default_value="12.0", description="seconds between two texts; 0: none"
            ),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="true: follow /clock"),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(robot)),
            OpaqueFunction(function=_create_nodes),
        ]
    )
