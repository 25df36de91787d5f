# SPDX-License-Identifier: Apache-2.0
"""Emotions and head gestures of the lifecycle node: topics, services, the message of ROS4HRI."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from launch.launch_description import LaunchDescription
from rcl_interfaces.msg import Log
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import Trigger

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.messaging.header import set_header, stamp_to_ns
from streamingtalker_ros.msg import Expression, Gesture
from streamingtalker_ros.srv import MakeGesture, SetExpression
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker, parameter_file

DOMAIN = own_domain()
SMILE, FROWN = ARKIT_NAMES.index("mouthSmileLeft"), ARKIT_NAMES.index("mouthFrownLeft")


@launch_pytest.fixture(scope="module")
def talker_launch() -> Iterator[LaunchDescription]:
    with tempfile.TemporaryDirectory() as folder:
        values = {"device": "cpu", "overload_after": 10.0, "emotion": "sad:0.5"}
        yield launch_talker(DOMAIN, params_file=parameter_file(Path(folder), **values))


@pytest.fixture(scope="module")
def graph(talker_launch: LaunchDescription) -> Iterator[Graph]:
    graph = Graph(DOMAIN)
    graph.reset_talker()
    graph.publish_audio(voice(0.4), graph.node.get_clock().now().nanoseconds)
    assert wait_for(lambda: len(graph.frames) > 15)  # idle frames follow
    yield graph
    graph.close()


launched = pytest.mark.launch(fixture=talker_launch)


def weight(graph: Graph, shape: int) -> float:
    """Of the newest frame."""
    return float(graph.frames[-1].weights[shape])


def angle_deg(graph: Graph, axis: int) -> float:
    """Yaw (0), pitch (1) or roll (2) of the head in the newest frame."""
    head = graph.frames[-1].head
    return float(np.degrees(quaternion_to_euler(np.array([head.x, head.y, head.z, head.w]))[axis]))


def open_publisher(graph: Graph, message_class: Any, topic: str, **profile: Any) -> Any:
    publisher = graph.node.create_publisher(message_class, topic, QoSProfile(depth=10, **profile))
    assert wait_for(publisher.get_subscription_count), f"{topic} has no subscriber of this type"
    time.sleep(0.5)
    return publisher


@launched
@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_an_emotion_of_the_topic_is_shown_until_it_has_faded(graph: Graph, reliability: Any) -> None:
    publisher = open_publisher(graph, Expression, "expression", reliability=reliability)
    publisher.publish(Expression(name="happy", strength=1.0, decay=2.0))
    assert wait_for(lambda: weight(graph, SMILE) > 0.5)
    assert wait_for(lambda: weight(graph, SMILE) < 0.1)
    graph.node.destroy_publisher(publisher)


@launched
def test_an_emotion_takes_effect_at_the_frame_of_its_stamp(graph: Graph) -> None:
    publisher = open_publisher(graph, Expression, "expression")
    message = Expression(name="happy", strength=1.0, decay=2.0)
    stamp = graph.node.get_clock().now().nanoseconds + 1_000_000_000
    set_header(message.header, stamp, "head")
    begin = len(graph.frames)
    publisher.publish(message)
    assert wait_for(lambda: weight(graph, SMILE) > 0.5)
    before = [each.weights[SMILE] for each in graph.frames[begin:] if stamp_to_ns(each.header.stamp) < stamp]
    assert len(before) > 5 and max(before) < 0.1
    assert wait_for(lambda: weight(graph, SMILE) < 0.1)
    graph.node.destroy_publisher(publisher)


@launched
def test_the_message_of_ros4hri_is_understood(graph: Graph) -> None:
    messages = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not sourced here")
    publisher = open_publisher(graph, messages.Expression, "expression")
    publisher.publish(messages.Expression(expression="excited", confidence=0.9))
    assert wait_for(lambda: weight(graph, SMILE) > 0.4)
    assert graph.call(Trigger, "/talker/clear_expression").success  # publishes the message of this package
    assert wait_for(lambda: weight(graph, SMILE) < 0.1 and weight(graph, FROWN) > 0.2)
    graph.node.destroy_publisher(publisher)


@launched
def test_services_publish_on_the_topics_and_say_what_is_wrong(graph: Graph) -> None:
    expressions, gestures = graph.subscribe(Expression, "expression"), graph.subscribe(Gesture, "gesture")

    def set_expression(**values: Any) -> Any:
        return graph.call(SetExpression, "/talker/set_expression", SetExpression.Request(**values))

    assert set_expression(name="happy", strength=1.0).success
    assert wait_for(lambda: weight(graph, SMILE) > 0.5)
    wrong = set_expression(name="hapy", strength=1.0)
    assert not wrong.success and "did you mean happy" in wrong.message
    assert graph.call(Trigger, "/talker/clear_expression").success
    assert wait_for(lambda: weight(graph, SMILE) < 0.1 and weight(graph, FROWN) > 0.2)
    assert wait_for(lambda: [message.name for message in expressions] == ["happy", ""])
    assert all(stamp_to_ns(message.header.stamp) > 0 for message in expressions)

    before = angle_deg(graph, 1)
    request = MakeGesture.Request(name="lean", amplitude=12.0, count=1)
    assert graph.call(MakeGesture, "/talker/gesture", request).success
    assert wait_for(lambda: angle_deg(graph, 1) > before + 6.0)
    assert wait_for(lambda: [message.name for message in gestures] == ["lean"])
    wrong = graph.call(MakeGesture, "/talker/gesture", MakeGesture.Request(name="wave"))
    assert not wrong.success and "choose one of nod" in wrong.message


@launched
def test_a_gesture_of_the_topic_moves_the_head_and_another_type_is_named(graph: Graph) -> None:
    warnings = graph.subscribe(Log, "/rosout")
    publisher = open_publisher(graph, Gesture, "gesture")
    before = angle_deg(graph, 2)
    publisher.publish(Gesture(name="tilt", amplitude=30.0))
    assert wait_for(lambda: abs(angle_deg(graph, 2) - before) > 8.0)
    graph.node.destroy_publisher(publisher)
    other = graph.node.create_publisher(String, "gesture", 10)
    sentence = "/gesture carries std_msgs/msg/String: publish streamingtalker_ros/msg/Gesture"
    assert wait_for(lambda: any(sentence in log.msg for log in warnings))
    graph.node.destroy_publisher(other)


@launched
def test_what_is_no_emotion_is_one_warning_and_the_frames_go_on(graph: Graph) -> None:
    warnings = graph.subscribe(Log, "/rosout")
    publisher = open_publisher(graph, Expression, "expression")
    count = len(graph.frames)
    for _ in range(20):
        for fields in (
            {"name": "hapy"},
            {"name": "sad", "strength": np.nan},
            {"name": "sad", "valence": 7.0},
        ):
            publisher.publish(Expression(**fields))
        time.sleep(0.05)
    assert wait_for(lambda: len(graph.frames) > count + 25)
    ignored = [log.msg for log in warnings if "expression is ignored" in log.msg]
    assert len(ignored) == 1, ignored
    publisher.publish(Expression(name="happy", strength=1.0, decay=1.0))
    assert wait_for(lambda: weight(graph, SMILE) > 0.5)
    graph.node.destroy_publisher(publisher)
