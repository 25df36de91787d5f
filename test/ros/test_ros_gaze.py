# SPDX-License-Identifier: Apache-2.0
"""Gaze targets of the rclpy node, as launched: any QoS, any frame through tf2, what holds no target."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import launch_pytest
import numpy as np
import pytest
from geometry_msgs.msg import PointStamped, TransformStamped, Vector3
from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from streamingtalker_ros import ARKIT_NAMES
from support.gaze import gaze_errors
from support.gaze_messages import gaze_message
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker

TARGET = (1.0, 0.4, 0.1)
DOMAIN = own_domain()


@launch_pytest.fixture(scope="module")
def gaze_launch() -> Any:
    return launch_talker(DOMAIN)


@pytest.fixture(scope="module")
def graph(gaze_launch: Any) -> Iterator[Any]:
    graph = Graph(DOMAIN)
    assert graph.set(overload_after=10.0, gaze_aversion=False)[0].successful
    yield graph
    graph.close()


launched = pytest.mark.launch(fixture=gaze_launch)


class Pose:
    """A frame of the recorder's form."""

    def __init__(self, message: Any) -> None:
        assert list(message.names) == list(ARKIT_NAMES)
        self.weights = np.array(message.weights, np.float32)
        self.head = np.array([message.head.x, message.head.y, message.head.z, message.head.w], np.float32)


def looks_at(graph: Graph, target: Any) -> Callable[[], bool]:
    """Return whether the five newest frames look at a target within 2 degrees."""
    return lambda: (
        len(graph.frames) > 5
        and bool((gaze_errors([Pose(each) for each in graph.frames[-5:]], target) < 2.0).all())
    )


def make_message(type_name: str) -> Any:
    assert type_name == "geometry_msgs/msg/PointStamped"
    return PointStamped


def send(graph: Graph, publisher: Any, point: Any, frame: str = "head", stamped: bool = True) -> None:
    stamp = graph.node.get_clock().now().nanoseconds if stamped else 0
    publisher.publish(gaze_message(make_message, point, stamp, frame))


def send_until(graph: Graph, publisher: Any, point: Any, frame: str, condition: Callable[[], bool]) -> bool:
    """Send a target ten times a second until a condition holds, for at most 20 s."""
    end = time.monotonic() + 20.0
    while time.monotonic() < end:
        send(graph, publisher, point, frame)
        time.sleep(0.1)
        if condition():
            return True
    return False


def open_publisher(graph: Graph, profile: Any = 10) -> Any:
    publisher = graph.node.create_publisher(PointStamped, "gaze_target", profile)
    assert wait_for(publisher.get_subscription_count), "gaze_target has no subscriber"
    time.sleep(0.5)
    return publisher


def start_frames(graph: Graph) -> None:
    """Let idle frames follow a short sound."""
    graph.reset_talker()
    graph.publish_audio(voice(0.4), graph.node.get_clock().now().nanoseconds)
    assert wait_for(lambda: len(graph.frames) > 15)


@launched
@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_frames_look_at_the_target_until_it_is_stale(graph: Graph, reliability: Any) -> None:
    start_frames(graph)
    publisher = open_publisher(graph, QoSProfile(depth=10, reliability=reliability))
    assert send_until(graph, publisher, TARGET, "head", looks_at(graph, TARGET))
    assert wait_for(lambda: not looks_at(graph, TARGET)(), 20), "a stale target was not released"
    graph.node.destroy_publisher(publisher)


@launched
def test_points_of_other_frames_go_through_tf2(graph: Graph) -> None:
    start_frames(graph)
    latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    broadcaster = graph.node.create_publisher(TFMessage, "/tf_static", latched)
    transform = TransformStamped()
    transform.header.stamp = graph.node.get_clock().now().to_msg()
    transform.header.frame_id, transform.child_frame_id = "head", "camera"
    # the camera is 0.3 m above the eyes and looks to the person's left
    transform.transform.translation.z = 0.3
    transform.transform.rotation.z = transform.transform.rotation.w = math.sqrt(0.5)
    broadcaster.publish(TFMessage(transforms=[transform]))
    publisher = open_publisher(graph)
    in_camera, in_head = (0.4, -1.0, -0.2), (1.0, 0.4, 0.1)
    assert send_until(graph, publisher, in_camera, "camera", looks_at(graph, in_head))
    # a tracked person of ROS4HRI: the origin of a frame that moves
    transforms = graph.node.create_publisher(TFMessage, "/tf", 10)
    transform.header.frame_id, transform.child_frame_id = "camera", "face_bgkxz"
    transform.transform.rotation.z, transform.transform.rotation.w = 0.0, 1.0
    transform.transform.translation = Vector3(x=-0.4, y=-1.0, z=-0.2)

    def sees_person() -> bool:
        transform.header.stamp = graph.node.get_clock().now().to_msg()
        transforms.publish(TFMessage(transforms=[transform]))
        return looks_at(graph, (1.0, -0.4, 0.1))()

    assert send_until(graph, publisher, (0.0, 0.0, 0.0), "face_bgkxz", sees_person)
    for each in (publisher, broadcaster, transforms):
        graph.node.destroy_publisher(each)


@launched
def test_what_holds_no_target_is_one_warning_and_the_frames_go_on(graph: Graph) -> None:
    start_frames(graph)
    warnings: list[str] = []
    subscription = graph.node.create_subscription(
        Log,
        "/rosout",
        lambda log: warnings.append(log.msg) if log.level >= 30 and "gaze" in log.msg else None,
        QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    )
    publisher = open_publisher(graph)
    warnings.clear()
    count = len(graph.frames)
    points = ((math.nan, 0.0, 0.0), (0.0, 0.0, 0.0), (math.inf, 1.0, 1.0), (-2.0, 0.1, 0.0), (1e-3, 0.0, 0.0))
    for _ in range(60):
        for point in points:
            send(graph, publisher, point)
            send(graph, publisher, point, "no_such_frame")
        time.sleep(0.05)
    assert wait_for(lambda: len(graph.frames) > count + 50)
    heads = np.array([[each.head.x, each.head.y, each.head.z, each.head.w] for each in graph.frames])
    assert np.isfinite(heads).all() and all(np.isfinite(each.weights).all() for each in graph.frames)
    assert 2 <= len(set(warnings)) == len(warnings) <= 4, warnings
    assert any("no_such_frame" in warning for warning in warnings)
    assert send_until(graph, publisher, TARGET, "head", looks_at(graph, TARGET))
    graph.node.destroy_publisher(publisher)
    graph.node.destroy_subscription(subscription)


@launched
def test_lookups_do_not_delay_the_frames(graph: Graph) -> None:
    start_frames(graph)
    publisher = open_publisher(graph)
    counts: list[int] = []
    for frame in ("head", "another_unknown_frame"):  # without and with lookups, on a machine that may be busy
        begin, end = len(graph.frames), time.monotonic() + 4.0
        while time.monotonic() < end:
            send(graph, publisher, TARGET, frame)
            time.sleep(0.002)
        counts.append(len(graph.frames) - begin)
    assert counts[1] > 0.7 * counts[0], counts
    graph.node.destroy_publisher(publisher)
