# SPDX-License-Identifier: Apache-2.0
"""The talker: `audio` in, `face_motion` out; it configures and activates itself.

ros2 launch streamingtalker_ros talker.launch.py [namespace:=robot] [audio:=/mic/audio]
[params_file:=mine.yaml] [respawn:=true]. Several talkers of one graph have a namespace each.
"""

from __future__ import annotations

from typing import Any

from launch.action import Action
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from streamingtalker_ros.ros import launch_support

# parameters with a launch argument; an empty one leaves the parameter file's value
OVERRIDES = {
    "model": "folder of the checkpoint; default the parameter file's",
    "device": "auto, cpu, cuda or cuda:N; default the parameter file's",
    "backend": "auto, torch or onnx; default the parameter file's",
    "precision": "auto, float32 or int8; default the parameter file's",
    "tts_command": "text-to-speech command of the topic `say`; default the parameter file's",
    "autostart": "false: leave the transitions to a lifecycle manager; default the parameter file's",
    "use_sim_time": "true: follow /clock",
}
FLAGS = ("autostart", "use_sim_time")


def _create_talker(context: LaunchContext) -> list[Action]:
    overrides: dict[str, Any] = {}
    for name in OVERRIDES:
        text = launch_support.read_text(context, name)
        if text:
            is_flag = name in FLAGS
            overrides[name] = (
                launch_support.read_flag(context, name) if is_flag else ParameterValue(text, value_type=str)
            )
    params_file = launch_support.read_file(context, "params_file")
    return launch_support.create_node(
        context, "talker", name="talker", parameters=[params_file, *([overrides] if overrides else [])]
    )


def generate_launch_description() -> LaunchDescription:
    """Return the talker and its launch arguments."""
    params_file = PathJoinSubstitution([FindPackageShare("streamingtalker_ros"), "config", "talker.yaml"])
    return LaunchDescription(
        [
            *launch_support.declare_common_arguments(),
            DeclareLaunchArgument(
                "params_file", default_value=params_file, description="parameters, see config/talker.yaml"
            ),
            *(
                DeclareLaunchArgument(name, default_value="", description=text)
                for name, text in OVERRIDES.items()
            ),
            OpaqueFunction(function=_create_talker),
        ]
    )
