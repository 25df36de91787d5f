# SPDX-License-Identifier: Apache-2.0
"""The talker: hears `audio`, publishes `face_motion`; it configures and activates by itself.

ros2 launch streamingtalker_ros talker.launch.py [namespace:=robot] [audio:=/mic/audio] [params_file:=mine.yaml]
Several talkers of one graph have a namespace each.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

# parameters that have an argument of their own, used where it is given
OVERRIDES = {
    "model": "folder of the checkpoint; else as the parameter file says",
    "device": "auto, cpu, cuda or cuda:N; else as the parameter file says",
    "autostart": "false: leave the transitions to a lifecycle manager; else as the parameter file says",
    "use_sim_time": "true: live by /clock",
}


def _talker(context):
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    for name in ("autostart", "use_sim_time"):
        given[name] = {"true": True, "false": False}.get(given[name].lower(), given[name])
    return [
        Node(
            package="streamingtalker_ros",
            executable="talker",
            name="talker",
            output="screen",
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {name: value for name, value in given.items() if value != ""},
            ],
            remappings=[(topic, LaunchConfiguration(topic)) for topic in ("audio", "audio_info")],
        )
    ]


def generate_launch_description():
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
            OpaqueFunction(function=_talker),
        ]
    )
