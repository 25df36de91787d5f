# SPDX-License-Identifier: Apache-2.0
"""The face_markers node: what RViz gets, and when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import launch_pytest
import numpy as np
import pytest
from launch.actions import SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceMotion
from streamingtalker_ros.ros import qos
from support.ros_graph import SECOND, Graph, own_domain, wait_for

DOMAIN = own_domain()
STAMP = 1_700_000_000_040_000_000
TURNED = (0.0, 0.0, float(np.sin(0.1)), float(np.cos(0.1)))


@launch_pytest.fixture(scope="module")
def markers_launch() -> Any:
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            Node(
                package="streamingtalker_ros", executable="face_markers", name="face_markers", output="screen"
            ),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.fixture(scope="module")
def graph(markers_launch: Any) -> Iterator[Any]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


launched = pytest.mark.launch(fixture=markers_launch)


def motion(stamp: int, jaw: Any = 0.0) -> Any:
    message = FaceMotion(names=list(ARKIT_NAMES), weights=[0.0] * 52)
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, SECOND)
    message.header.frame_id = "head"
    message.weights[ARKIT_NAMES.index("jawOpen")] = jaw
    message.head.x, message.head.y, message.head.z, message.head.w = TURNED
    return message


def corners(marker: Any) -> Any:
    return np.array([(point.x, point.y, point.z) for point in marker.points])


@launched
def test_the_face_is_a_list_of_triangles_that_moves_with_the_motion(graph: Graph) -> None:
    publisher = graph.node.create_publisher(FaceMotion, "face_motion", 10)
    assert wait_for(lambda: publisher.get_subscription_count() > 1, 60)  # one of them is the graph's
    turns = graph.subscribe(TFMessage, "/tf", qos=qos.TRANSFORMS_PUBLISHER)
    received = graph.subscribe(Marker, "face_markers", qos=qos.MARKERS_PUBLISHER)
    assert wait_for(lambda: {marker.id for marker in received} == {0, 1}), (
        "the face at rest is sent before any motion"
    )
    rest = default_rig()
    assert sum(len(marker.points) for marker in received[:2]) == 3 * len(rest.triangles)
    for marker in received[:2]:
        assert (
            marker.type == Marker.TRIANGLE_LIST and marker.ns == "face" and marker.header.frame_id == "face"
        )
        assert len(marker.colors) == len(marker.points) and marker.action == Marker.ADD
        low, high = corners(marker).min(0), corners(marker).max(0)
        assert (low >= rest.vertices.min(0) - 1e-5).all() and (high <= rest.vertices.max(0) + 1e-5).all()
    closed = next(corners(marker) for marker in received if marker.id == 0)
    for index in range(12):
        publisher.publish(motion(STAMP + index * 40_000_000, jaw=1.0))
        assert wait_for(lambda index=index: len(turns) > index)
    opened = wait_for(
        lambda: next(
            (
                marker
                for marker in reversed(received)
                if stamp_to_ns(marker.header.stamp) >= STAMP and marker.id == 0
            ),
            None,
        )
    )
    displacement = corners(opened) - closed
    assert displacement[:, 2].min() < -0.008 and np.abs(displacement).max() < 0.04, (
        "the chin goes down, nothing flies away"
    )
    turn = turns[0].transforms[0]
    assert (turn.header.frame_id, turn.child_frame_id, stamp_to_ns(turn.header.stamp)) == (
        "head",
        "face",
        STAMP,
    )
    np.testing.assert_allclose([turn.transform.rotation.z, turn.transform.rotation.w], TURNED[2:], atol=1e-6)


@launched
def test_markers_are_sent_to_subscribers_only(graph: Graph) -> None:
    """Without a subscriber no markers are sent; a new subscriber receives both."""
    for subscription in list(graph.node.subscriptions):
        if subscription.topic_name == "/face_markers":
            graph.node.destroy_subscription(subscription)
    assert wait_for(lambda: not graph.node.get_subscriptions_info_by_topic("/face_markers"))
    late_markers = graph.subscribe(Marker, "face_markers", qos=qos.MARKERS_PUBLISHER)
    assert wait_for(lambda: len(late_markers) >= 2), "a late subscriber receives both"
    assert {marker.id for marker in late_markers[:2]} == {0, 1}
