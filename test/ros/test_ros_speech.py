# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node says texts of its topic and of its action, with the sound in step with the lips."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
import yaml
from action_msgs.msg import GoalStatus
from ament_index_python.packages import get_package_share_directory
from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from lifecycle_msgs.msg import Transition
from rclpy.action import ActionClient
from std_msgs.msg import String

from streamingtalker_ros.action import Say
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceMotion, SpeechStatus
from streamingtalker_ros.ros import qos
from streamingtalker_ros.ros.audio_input import installed_variant
from streamingtalker_ros.ros.message_types import message_class
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.tts_command import command

DOMAIN = own_domain()
SECONDS = 3.0


@launch_pytest.fixture(scope="module")
def talker_launch() -> Iterator[LaunchDescription]:
    launch_file = Path(get_package_share_directory("streamingtalker_ros")) / "launch" / "talker.launch.py"
    with tempfile.TemporaryDirectory() as folder:
        pcm = Path(folder) / "voice.pcm"
        pcm.write_bytes(np.asarray(voice(SECONDS), np.int16).tobytes())
        file = Path(folder) / "talker.yaml"
        values = {
            "device": "cpu",
            "tts_command": command("pcm", pcm),
            "tts_rate": 16000,
            "overload_after": 10.0,
        }
        file.write_text(yaml.safe_dump({"talker": {"ros__parameters": values}}))
        yield LaunchDescription(
            [
                SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(str(launch_file)),
                    launch_arguments={"params_file": str(file)}.items(),
                ),
                launch_pytest.actions.ReadyToTest(),
            ]
        )


class Client:
    """A client of the action."""

    def __init__(self, graph: Graph) -> None:
        self.feedback: list[Any] = []
        self._client = ActionClient(graph.node, Say, "say")
        assert self._client.wait_for_server(60)

    def send(self, **values: Any) -> Any:
        """Send a goal; return its handle."""
        future = self._client.send_goal_async(
            Say.Goal(**values), feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        assert wait_for(future.done, 60)
        return future.result()

    def result(self, goal: Any) -> Any:
        """Wait for the end of a goal; return its status and its result."""
        future = goal.get_result_async()
        assert wait_for(future.done, 60)
        return future.result()


@pytest.mark.launch(fixture=talker_launch)
def test_texts_of_the_topic_and_of_the_action_are_said_in_step_with_the_face(
    talker_launch: LaunchDescription,
) -> None:
    graph = Graph(DOMAIN)
    try:
        assert wait_for(lambda: graph.state() == "active", 60)
        frames = graph.subscribe(FaceMotion, "face_motion", qos=qos.MOTION_SUBSCRIPTION)
        states = graph.subscribe(SpeechStatus, "say_state")
        variant = installed_variant()
        type_name = {"ros-drivers": "AudioDataStamped", "mgonzs13": "AudioStamped"}[variant]
        sounds = graph.subscribe(message_class(f"audio_common_msgs/msg/{type_name}"), "audio_synced")
        publisher = graph.node.create_publisher(String, "say", 10)
        assert wait_for(publisher.get_subscription_count, 60)
        time.sleep(1.0)  # the talker discovers the publisher
        publisher.publish(String(data="Hello"))
        assert wait_for(lambda: bool(states) and states[-1].state == "finished", 60)
        assert states[-1].duration == pytest.approx(SECONDS)
        by_stamp = {stamp_to_ns(message.header.stamp): message for message in frames}
        assert len(sounds) == round(25 * SECONDS)
        for index, message in enumerate(sounds):
            assert by_stamp[stamp_to_ns(message.header.stamp)].frame == index

        client = Client(graph)
        goal = client.send(text="Hello again")
        assert goal.accepted
        result = client.result(goal)
        assert result.status == GoalStatus.STATUS_SUCCEEDED and result.result.outcome == "finished"
        assert result.result.duration == pytest.approx(SECONDS)
        assert {message.state for message in client.feedback} >= {"starting", "speaking"}
        times = [message.time for message in client.feedback]
        assert times == sorted(times) and times[-1] > 1.0

        failed = client.result(client.send(text=""))
        assert failed.status == GoalStatus.STATUS_ABORTED and "nothing to say" in failed.result.message

        first, second = client.send(text="one"), client.send(text="two")
        heard = len(sounds)
        assert wait_for(lambda: len(sounds) > heard + 5, 60)
        assert wait_for(first.cancel_goal_async().done, 60)
        cancelled = client.result(first)
        assert cancelled.status == GoalStatus.STATUS_CANCELED and cancelled.result.outcome == "interrupted"
        assert client.result(second).result.outcome == "finished"  # it has waited

        third = client.send(text="three")
        graph.change(Transition.TRANSITION_DEACTIVATE)
        assert client.result(third).result.outcome == "interrupted"
        assert not client.send(text="not active").accepted
    finally:
        graph.close()
