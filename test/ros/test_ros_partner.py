# SPDX-License-Identifier: Apache-2.0
"""The partner's audio at the lifecycle node: the face attends, says who speaks, and may be interrupted."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from launch.launch_description import LaunchDescription
from lifecycle_msgs.msg import Transition
from rclpy.qos import DurabilityPolicy, QoSProfile

from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.msg import DialogueState
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker, parameter_file

DOMAIN = own_domain()
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@launch_pytest.fixture(scope="module")
def talker_launch() -> Iterator[LaunchDescription]:
    with tempfile.TemporaryDirectory() as folder:
        # a busy machine skips no frame
        yield launch_talker(
            DOMAIN, params_file=parameter_file(Path(folder), device="cpu", overload_after=10.0)
        )


@pytest.fixture(scope="module")
def graph(talker_launch: LaunchDescription) -> Iterator[Graph]:
    graph = Graph(DOMAIN)
    graph.reset_talker()
    yield graph
    graph.close()


@pytest.fixture
def dialogue(graph: Graph) -> list[Any]:
    """Messages of who speaks, from the latched one on that nobody does."""
    messages = graph.subscribe(DialogueState, "dialogue_state", qos=LATCHED)
    assert wait_for(lambda: messages and messages[-1].state == DialogueState.IDLE)
    return messages


launched = pytest.mark.launch(fixture=talker_launch)


def now(graph: Graph) -> int:
    return graph.node.get_clock().now().nanoseconds


def has_ended(dialogue: list[Any], *states: int) -> bool:
    """Whether all of some states were there, and nobody speaks any more."""
    return {*states} <= {each.state for each in dialogue} and dialogue[-1].state == DialogueState.IDLE


@launched
@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "best effort"])
def test_the_face_attends_to_a_partner_and_says_so(graph: Graph, dialogue: list[Any], reliable: bool) -> None:
    begin = len(graph.frames)
    graph.publish_audio(voice(6.0), now(graph), reliable=reliable, topic="partner_audio")
    assert wait_for(lambda: has_ended(dialogue, DialogueState.LISTENING))
    states = {message.state for message in dialogue}
    assert states == {DialogueState.IDLE, DialogueState.LISTENING}
    frames = graph.frames[begin:]
    assert len(frames) > 10 and not any(frame.speaking for frame in frames)
    assert not np.array([frame.weights for frame in frames])[:, MOUTH_MASK].any()


@launched
def test_a_node_that_is_deactivated_says_that_nobody_speaks(graph: Graph, dialogue: list[Any]) -> None:
    sender = threading.Thread(
        target=graph.publish_audio, args=(voice(6.0), now(graph)), kwargs={"topic": "partner_audio"}
    )
    sender.start()
    assert wait_for(lambda: dialogue[-1].state == DialogueState.LISTENING)
    assert graph.change(Transition.TRANSITION_DEACTIVATE)
    assert wait_for(lambda: dialogue[-1].state == DialogueState.IDLE, 10)
    sender.join()
    assert graph.change(Transition.TRANSITION_ACTIVATE)


@launched
@pytest.mark.parametrize("interrupts", [False, True])
def test_a_partner_who_speaks_into_a_sentence_may_interrupt_it(
    graph: Graph, dialogue: list[Any], interrupts: bool
) -> None:
    assert graph.set(interrupt_on_partner=interrupts)[0].successful
    words = voice(6.0)
    sentence = np.tile(words[::-1], 3)  # of no partner's words, so that it is no echo
    sender = threading.Thread(
        target=graph.publish_audio, args=(sentence, now(graph)), kwargs={"unpaced": True}
    )
    sender.start()
    graph.publish_audio(words, now(graph), topic="partner_audio")
    sender.join()
    assert wait_for(lambda: has_ended(dialogue, DialogueState.SPEAKING, DialogueState.OVERLAP))
    assert [message.interrupted for message in dialogue].count(True) == interrupts
