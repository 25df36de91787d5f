# SPDX-License-Identifier: Apache-2.0
"""The talker: `audio` in, `face_motion` out; it configures and activates itself.

ros2 launch streamingtalker_ros talker.launch.py [namespace:=robot] [audio:=/mic/audio]
[params_file:=mine.yaml]. Several talkers of one graph have a namespace each.
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_context import LaunchContext
from launch.launch_description import LaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

# parameters with a launch argument; an empty one leaves the parameter file's value
OVERRIDES = {
    "model": "folder of the checkpoint; default the parameter file's",
    "device": "auto, cpu, cuda or cuda:N; default the parameter file's",
    "autostart": "false: leave the transitions to a lifecycle manager; default the parameter file's",
    "use_sim_time": "true: follow /clock",
}


def _create_talker(context: LaunchContext) -> list[Node]:
    texts = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    overrides: dict[str, str | bool] = {**texts}
    for name in ("autostart", "use_sim_time"):
        if texts[name].lower() in ("true", "false"):
            overrides[name] = texts[name].lower() == "true"
    return [
        Node(
            package="streamingtalker_ros",
            executable="talker",
            name="talker",
            output="screen",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {name: value for name, value in overrides.items() if value != ""},
            ],
            remappings=[(topic, LaunchConfiguration(topic)) for topic in ("audio", "audio_info")],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Return the talker and its launch arguments."""
    params_file = PathJoinSubstitution([FindPackageShare("streamingtalker_ros"), "config", "talker.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="of the node and its topics"),
            DeclareLaunchArgument("audio", default_value="audio", description="topic of the audio"),
            DeclareLaunchArgument(
                "audio_info",
                default_value="audio_info",
                description="topic of the audio's format (audio_common_msgs of ros-drivers)",
            ),
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
