"""The talker and a voice: an audio file (by default the demo's sentence) is spoken, then everything ends.

ros2 launch streamingtalker_ros demo.launch.py [file:=mine.wav] [loop:=true]
Watch it with `ros2 topic echo /face_motion`.
"""
from pathlib import Path

import streamingtalker_ros
from launch import LaunchDescription
from launch.actions import (DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, RegisterEventHandler,
                            TimerAction)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

VOICE = Path(streamingtalker_ros.__file__).parent / "data" / "voice.flac"
REST = 1.0  # s after the voice in which the face comes to rest


def generate_launch_description():
    loop = PythonExpression(["'--loop' if '", LaunchConfiguration("loop"),
                             "'.lower() == 'true' else '--once'"])
    player = Node(package="streamingtalker_ros", executable="play", output="screen",
                  arguments=[LaunchConfiguration("file"), loop])
    return LaunchDescription([
        DeclareLaunchArgument("file", default_value=str(VOICE), description="WAV, FLAC, OGG or MP3 to speak"),
        DeclareLaunchArgument("loop", default_value="false", description="true: speak it again and again"),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("streamingtalker_ros"), "launch", "talker.launch.py"]))),
        player,
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[
            TimerAction(period=REST, actions=[EmitEvent(event=Shutdown(reason="the voice has ended"))])])),
    ])
