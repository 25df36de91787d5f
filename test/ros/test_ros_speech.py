# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node says texts of its topic and of its action, with the sound in step with the lips."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
import soundfile
from action_msgs.msg import GoalStatus
from launch.launch_description import LaunchDescription
from lifecycle_msgs.msg import Transition
from std_msgs.msg import String
from std_srvs.srv import Trigger

from streamingtalker_ros.action import Say
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceMotion, SpeechStatus
from streamingtalker_ros.ros import qos
from streamingtalker_ros.ros.message_types import message_class
from support.ros_action import Client
from support.ros_graph import VARIANT, Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker, parameter_file
from support.tts_command import command

DOMAIN = own_domain()
SECONDS, WAV_SECONDS = 2.0, 1.0


def wav_file() -> list[int]:
    file = io.BytesIO()
    soundfile.write(file, voice(WAV_SECONDS), 16000, format="WAV")
    return list(file.getvalue())


@launch_pytest.fixture(scope="module")
def talker_launch() -> Iterator[LaunchDescription]:
    with tempfile.TemporaryDirectory() as folder:
        pcm = Path(folder) / "voice.pcm"
        pcm.write_bytes(np.asarray(voice(SECONDS), np.int16).tobytes())
        file = parameter_file(
            Path(folder), device="cpu", tts_command=command("pcm", pcm), tts_rate=16000, overload_after=10.0
        )
        yield launch_talker(DOMAIN, params_file=file)


@pytest.fixture(scope="module")
def graph(talker_launch: LaunchDescription) -> Iterator[Graph]:
    graph = Graph(DOMAIN)
    assert wait_for(lambda: graph.state() == "active", 60)
    yield graph
    graph.close()


@pytest.fixture(scope="module")
def sounds(graph: Graph) -> list[Any]:
    """Messages of `audio_synced` so far."""
    return graph.subscribe(message_class(audio_common.PUBLISHED_TYPES[VARIANT]), "audio_synced")


launched = pytest.mark.launch(fixture=talker_launch)


@launched
def test_a_text_of_the_topic_is_said_in_step_with_the_face(graph: Graph, sounds: list[Any]) -> None:
    frames = graph.subscribe(FaceMotion, "face_motion", qos=qos.MOTION_SUBSCRIPTION)
    states = graph.subscribe(SpeechStatus, "say_state")
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


@launched
def test_the_format_of_the_sound_in_step_is_latched(graph: Graph) -> None:
    if VARIANT != "ros-drivers":
        pytest.skip("the messages of mgonzs13 hold their format")
    formats = graph.subscribe(message_class(audio_common.INFO_TYPE), "audio_synced_info", qos=qos.LATCHED)
    assert wait_for(lambda: formats)
    assert (formats[0].sample_rate, formats[0].channels, formats[0].sample_format) == (16000, 1, "S16LE")


@launched
def test_the_action_says_texts_and_sound_files_with_feedback(graph: Graph) -> None:
    client = Client(graph, Say, "say")
    for content, seconds in (({"text": "Hello"}, SECONDS), ({"audio": wav_file()}, WAV_SECONDS)):
        client.feedback.clear()
        goal = client.send(**content)
        assert goal.accepted
        result = client.result(goal)
        assert result.status == GoalStatus.STATUS_SUCCEEDED and result.result.outcome == "finished"
        assert result.result.duration == pytest.approx(seconds)
        assert {message.state for message in client.feedback} >= {"starting", "speaking"}
        times = [message.time for message in client.feedback]
        assert times == sorted(times) and times[-1] > 0.3
    failed = client.result(client.send(text=""))
    assert failed.status == GoalStatus.STATUS_ABORTED and "nothing to say" in failed.result.message


@launched
def test_to_cancel_a_goal_is_barge_in_and_the_next_goal_is_said(graph: Graph, sounds: list[Any]) -> None:
    client = Client(graph, Say, "say")
    first, second = client.send(text="one"), client.send(audio=wav_file())
    heard = len(sounds)
    assert wait_for(lambda: len(sounds) > heard + 5, 60)
    client.cancel(first)
    cancelled = client.result(first)
    assert cancelled.status == GoalStatus.STATUS_CANCELED and cancelled.result.outcome == "interrupted"
    assert client.result(second).result.outcome == "finished"  # it has waited
    third, fourth = client.send(text="three"), client.send(text="four")
    assert graph.call(Trigger, "/talker/interrupt").success
    assert [client.result(goal).result.outcome for goal in (third, fourth)] == ["interrupted"] * 2


@launched
def test_the_action_of_ros4hri_says_texts(graph: Graph) -> None:
    tts = pytest.importorskip("tts_msgs.action", reason="tts_msgs is not sourced here").TTS
    client = Client(graph, tts, "tts_engine/tts")
    done = client.result(client.send(input="Hello", locale="en_GB"))
    assert done.status == GoalStatus.STATUS_SUCCEEDED and done.result.error_msg == ""
    failed = client.result(client.send(input=""))
    assert failed.status == GoalStatus.STATUS_ABORTED and "nothing to say" in failed.result.error_msg
    goal = client.send(input="Hello again")
    client.cancel(goal)
    cancelled = client.result(goal)
    assert cancelled.status == GoalStatus.STATUS_CANCELED and cancelled.result.error_msg == "interrupted"


@launched
def test_goals_of_a_node_that_is_not_active_are_interrupted_and_refused(graph: Graph) -> None:
    client = Client(graph, Say, "say")
    goal = client.send(text="Hello")
    graph.change(Transition.TRANSITION_DEACTIVATE)
    assert client.result(goal).result.outcome == "interrupted"
    assert not client.send(text="not active").accepted
