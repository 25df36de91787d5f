# SPDX-License-Identifier: Apache-2.0
"""Emotions and head gestures over DDS: topics, services, the message of ROS4HRI, and what is no emotion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds import message_definitions
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.message_types import message_class
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.resources import find
from streamingtalker_ros.runtime.expression_input import (
    EXPRESSION_TYPE,
    GESTURE_TYPE,
    HRI_EXPRESSION_TYPE,
    MAKE_GESTURE_SERVICE,
    SET_EXPRESSION_SERVICE,
)
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.dds_peer import call_service, call_trigger
from support.scheduler_harness import voice
from support.waiting import wait_for

SMILE = INDEX["mouthSmileLeft"]
FROWN = INDEX["mouthFrownLeft"]


class Setup:
    """A talker with idle frames, a recorder of its motion and a peer."""

    def __init__(self, talker: Talker, **parameters: Any) -> None:
        self.warnings: list[str] = []
        domain = own_domain()
        self.node = TalkerNode(
            TalkerParameters(**parameters), domain=domain, talker=talker, warn=self.warnings.append
        )
        self.recorder = FaceMotionRecorder(domain)
        self.peer = DdsNode("peer", "", domain)
        self.peer.start()
        assert self.recorder.wait_for_publisher(10)
        audio = AudioPublisher(16_000, domain=domain)
        assert audio.wait_for_subscriber(10)
        for stamp, block in paced_packets(voice(0.4), 16_000, 0.02, 1):
            audio.publish(block, stamp)
        audio.close()
        assert self.recorder.wait(10, 20)

    def publisher(self, topic: str, type_name: str) -> Any:
        writer = self.peer.create_publisher(topic, type_name)
        assert wait_for(lambda: matched_readers(writer))
        return writer

    def weight(self, shape: int) -> float:
        """Of the newest frame."""
        return float(self.recorder.frames[-1].weights[shape])

    def pitch_deg(self) -> float:
        """Of the head in the newest frame."""
        return float(np.degrees(quaternion_to_euler(self.recorder.frames[-1].head)[1]))

    def close(self) -> None:
        self.node.close()
        self.recorder.close()
        self.peer.close()


@pytest.fixture
def setup(talker: Talker) -> Iterator[Setup]:
    setup = Setup(talker)
    yield setup
    setup.close()


def test_messages_of_the_topic_show_emotions_and_invalid_ones_cost_one_warning(setup: Setup) -> None:
    writer = setup.publisher("expression", EXPRESSION_TYPE)
    message = message_class(EXPRESSION_TYPE)
    writer.write(message(name="happy", strength=1.0))
    assert wait_for(lambda: setup.weight(SMILE) > 0.6, 20)
    for fields in (
        {"name": "hapy", "strength": 1.0},
        {"name": "sad", "strength": float("nan")},
        {"name": "sad", "strength": 1.0, "valence": 7.0},
        {"name": "x" * 5000, "strength": 1.0},
    ):
        for _ in range(20):
            writer.write(message(**fields))
    writer.write(message(name="sad", strength=1.0, decay=1.0))
    assert wait_for(lambda: setup.weight(FROWN) > 0.2, 20)
    assert wait_for(lambda: setup.weight(FROWN) < 0.05 and setup.weight(SMILE) < 0.05, 20)  # it has faded
    assert len(setup.warnings) == 1 and "expression is ignored" in setup.warnings[0]


def test_a_point_of_the_circumplex_is_an_emotion(setup: Setup) -> None:
    writer = setup.publisher("expression", EXPRESSION_TYPE)
    writer.write(message_class(EXPRESSION_TYPE)(strength=1.0, valence=0.8, arousal=0.5))
    assert wait_for(lambda: setup.weight(SMILE) > 0.4, 20)


def test_the_message_of_ros4hri_is_understood(setup: Setup) -> None:
    writer = setup.peer.create_publisher("expression", HRI_EXPRESSION_TYPE)
    assert wait_for(lambda: matched_readers(writer), 20)
    writer.write(message_class(HRI_EXPRESSION_TYPE)(expression="excited", confidence=0.9))
    assert wait_for(lambda: setup.weight(SMILE) > 0.5, 20)
    assert setup.warnings == []


def test_services_publish_on_the_topic_and_say_what_is_wrong(talker: Talker) -> None:
    setup = Setup(talker, emotion="sad:0.5")
    try:
        received: list[Any] = []
        setup.peer.create_subscription("expression", EXPRESSION_TYPE, received.append)
        gestures: list[Any] = []
        setup.peer.create_subscription("gesture", GESTURE_TYPE, gestures.append)
        assert wait_for(lambda: setup.weight(FROWN) > 0.2, 20)  # of the parameter
        done = call_service(
            setup.peer, "/talker/set_expression", SET_EXPRESSION_SERVICE, name="happy", strength=1.0
        )
        assert done.success and wait_for(lambda: setup.weight(SMILE) > 0.6, 20)
        wrong = call_service(
            setup.peer, "/talker/set_expression", SET_EXPRESSION_SERVICE, name="hapy", strength=1.0
        )
        assert not wrong.success and "did you mean happy" in wrong.message
        assert call_trigger(setup.peer, "/talker/clear_expression").success
        assert wait_for(lambda: setup.weight(SMILE) < 0.1 and setup.weight(FROWN) > 0.2, 20)
        assert wait_for(lambda: len(received) == 2)
        assert [message.name for message in received] == ["happy", ""]
        assert all(message.header.stamp.sec > 0 for message in received)
        before = setup.pitch_deg()
        done = call_service(
            setup.peer, "/talker/gesture", MAKE_GESTURE_SERVICE, name="lean", amplitude=12.0, count=1
        )
        assert done.success and wait_for(lambda: setup.pitch_deg() > before + 6.0, 20)
        wrong = call_service(setup.peer, "/talker/gesture", MAKE_GESTURE_SERVICE, name="wave")
        assert not wrong.success and "choose one of nod" in wrong.message
        assert wait_for(lambda: len(gestures) == 1) and gestures[0].name == "lean"
        assert setup.warnings == []
    finally:
        setup.close()


def test_a_gesture_of_the_topic_moves_the_head_and_another_type_is_named(setup: Setup) -> None:
    writer = setup.publisher("gesture", GESTURE_TYPE)
    before = setup.pitch_deg()
    writer.write(message_class(GESTURE_TYPE)(name="lean", amplitude=15.0))
    assert wait_for(lambda: setup.pitch_deg() > before + 8.0, 20)
    other = setup.peer.create_publisher("gesture", "std_msgs/msg/String")
    assert wait_for(lambda: any("send streamingtalker_ros" in text for text in setup.warnings), 20)
    del other


@pytest.mark.parametrize(
    "file, parts",
    [
        ("srv/SetExpression.srv", ("Request", "Response")),
        ("srv/MakeGesture.srv", ("Request", "Response")),
        ("action/Say.action", ("Goal", "Result", "Feedback")),
    ],
)
def test_the_services_and_actions_of_the_files_are_those_of_the_nodes_without_ros(
    file: str, parts: tuple[str, ...]
) -> None:
    text = (find("msg", "Expression.msg").parents[1] / file).read_text(encoding="utf-8")
    halves = [
        [" ".join(line.split("#")[0].split()) for line in half.splitlines() if line.split("#")[0].strip()]
        for half in text.split("---\n")
    ]
    for half, fields in zip(parts, halves, strict=True):
        stated = message_definitions.COMMON[f"streamingtalker_ros/{file.split('.')[0]}_{half}"]
        assert stated.splitlines() == fields
