"""The talker: hears `audio`, publishes `face_motion`; it configures and activates by itself.

ros2 launch streamingtalker_ros talker.launch.py [namespace:=robot] [audio:=/mic/audio] \
    [params_file:=mine.yaml]
"""
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    share = FindPackageShare("streamingtalker_ros")
    return LaunchDescription([
        DeclareLaunchArgument("namespace", default_value="", description="of the node and its topics"),
        DeclareLaunchArgument("audio", default_value="audio", description="topic of the audio"),
        DeclareLaunchArgument("audio_info", default_value="audio_info",
                              description="topic of the audio's format (audio_common_msgs of ros-drivers)"),
        DeclareLaunchArgument("params_file", description="parameters, see config/talker.yaml",
                              default_value=PathJoinSubstitution([share, "config", "talker.yaml"])),
        Node(package="streamingtalker_ros", executable="talker", name="talker", output="screen",
             namespace=LaunchConfiguration("namespace"),
             parameters=[LaunchConfiguration("params_file")],
             remappings=[("audio", LaunchConfiguration("audio")),
                         ("audio_info", LaunchConfiguration("audio_info"))]),
    ])
