# SPDX-License-Identifier: Apache-2.0
"""The head_driver node: limits hold for any FaceMotion; without motion the head rests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import launch_pytest
import numpy as np
import pytest
from ament_index_python.packages import get_package_prefix
from launch.actions import SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from streamingtalker_ros import ARKIT_NAMES
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.msg import FaceMotion
from streamingtalker_ros.robot_head import load_head
from streamingtalker_ros.ros import qos
from support.ros_graph import SECOND, Graph, own_domain, wait_for

DOMAIN = own_domain()
DRIVER = Path(get_package_prefix("streamingtalker_ros")) / "lib" / "streamingtalker_ros" / "head_driver"
HEADS = ("jaw", "animatronic", "pan_tilt") + (("facs",) if find_spec("hri_msgs") else ())


@launch_pytest.fixture(scope="module")
def heads_launch() -> Any:
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            *(
                Node(
                    package="streamingtalker_ros",
                    executable="head_driver",
                    namespace=head,
                    output="screen",
                    parameters=[{"head": head}],
                    remappings=[(f"/{head}/face_motion", "/face_motion")],
                )
                for head in HEADS
            ),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.fixture(scope="module")
def graph(heads_launch: Any) -> Iterator[Any]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


launched = pytest.mark.launch(fixture=heads_launch)


@pytest.fixture(scope="module")
def send(graph: Graph) -> Any:
    """send(**changes): publish a FaceMotion, by default stamped with the current time."""
    publisher = graph.node.create_publisher(FaceMotion, "face_motion", 10)
    assert wait_for(lambda: publisher.get_subscription_count() > len(HEADS), 60)  # one of them is the graph's

    def send(
        weights: Any = None,
        head: Any = (0.0, 0.0, 0.0, 1.0),
        names: Any = ARKIT_NAMES,
        stamp: int | None = None,
    ) -> None:
        message = FaceMotion(names=list(names), weights=[0.0] * 52 if weights is None else list(weights))
        stamp = time.time_ns() if stamp is None else stamp
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, SECOND)
        message.head.x, message.head.y, message.head.z, message.head.w = head
        publisher.publish(message)

    return send


def check_limits(head: Any, states: Any) -> Any:
    """JointStates never leave the positions of the head's joints, nor move faster than they may."""
    joints = {joint.name: joint for joint in head.joints}
    low, high, fastest = (
        np.array([getattr(joints[name], field) for name in states[0].name])
        for field in ("min", "max", "max_velocity")
    )
    positions = np.array([state.position for state in states])
    seconds = np.diff([stamp_to_ns(state.header.stamp) for state in states]) * 1e-9
    assert (positions >= low).all() and (positions <= high).all()
    assert (np.abs(np.diff(positions, axis=0)) <= fastest * seconds[:, None] + 1e-9).all()
    assert (np.abs([state.velocity for state in states]) <= fastest + 1e-9).all()
    return positions


@launched
def test_no_motion_drives_a_joint_beyond_its_limits(graph: Graph, send: Any) -> None:
    states = graph.subscribe(JointState, "/animatronic/head_commands", qos=qos.MOTION_SUBSCRIPTION)
    jaws = graph.subscribe(JointState, "/jaw/jaw_commands", qos=qos.MOTION_SUBSCRIPTION)
    assert wait_for(lambda: states and jaws), "commands come before any motion: the head is at rest"
    random = np.random.default_rng(5)
    for index in range(150):
        weights = random.uniform(-3, 4, 52)
        head = random.normal(size=4)
        stamp = None
        if index % 7 == 0:
            weights[random.integers(52)] = random.choice([np.nan, np.inf, -np.inf, 1e30])
        if index % 11 == 0:
            head = np.zeros(4)
        if index % 13 == 0:
            weights = weights[: random.integers(52)]
        if index % 17 == 0:
            stamp = int(random.integers(0, 2**31)) * SECOND
        send(weights, [float(value) for value in head], stamp=stamp)
        time.sleep(0.02)
    assert wait_for(lambda: len(states) > 100)
    for head, received in (("animatronic", states), ("jaw", jaws)):
        positions_seen = check_limits(load_head(head), list(received))
        assert (np.ptp(positions_seen, axis=0) > 0).any(), f"{head} moves"


@launched
def test_every_output_is_published_and_without_motion_the_head_rests(graph: Graph, send: Any) -> None:
    servo = graph.subscribe(Float64MultiArray, "/jaw/jaw_controller/commands", qos=qos.MOTION_SUBSCRIPTION)
    neck = graph.subscribe(
        JointTrajectory, "/pan_tilt/head_controller/joint_trajectory", qos=qos.MOTION_SUBSCRIPTION
    )
    opened = np.zeros(52)
    opened[ARKIT_NAMES.index("jawOpen")] = 0.6

    def targets_reached() -> Any:
        send(opened, (0.0, 0.0, float(np.sin(0.15)), float(np.cos(0.15))))
        time.sleep(0.02)
        return (
            servo
            and neck
            and abs(servo[-1].data[0] - 0.45 * 0.6) < 0.01
            and abs(abs(neck[-1].points[0].positions[0]) - 1.5 * 0.3) < 0.01
        )

    assert wait_for(targets_reached), (
        "jaw and neck go where their gains on jawOpen and the yaw of 0.3 rad lead them"
    )
    head = load_head("pan_tilt")
    assert neck[-1].joint_names == [joint.name for joint in head.joints] and len(neck[-1].points) == 1
    assert wait_for(
        lambda: abs(servo[-1].data[0]) < 1e-6 and abs(neck[-1].points[0].positions[0]) < 1e-6, 10
    ), "half a second, or one, after the last motion the head returns"


@launched
def test_action_units_for_ros4hri(graph: Graph, send: Any) -> None:
    messages = pytest.importorskip("hri_msgs.msg", reason="hri_msgs is not sourced here")
    units = graph.subscribe(
        messages.FacialActionUnits, "/facs/facial_action_units", qos=qos.MOTION_SUBSCRIPTION
    )
    smile = np.zeros(52)
    smile[ARKIT_NAMES.index("mouthSmileLeft")] = 0.8
    for _ in range(10):
        send(smile)
        time.sleep(0.04)
    assert wait_for(lambda: units and abs(max(message.intensity[12] for message in units) - 0.8) < 1e-3)
    assert units[-1].confidence[12] == 1 and units[-1].confidence[40] == 0


def test_an_invalid_head_ends_the_process_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "head.yaml"
    path.write_text("outputs: [{type: JointState, topic: joints}]\njoints: {jaw: {from: {jawOpn: 1.0}}}\n")
    result = subprocess.run(
        [DRIVER, "--ros-args", "-p", f"head:={path}"], capture_output=True, text=True, timeout=60
    )
    assert (
        result.returncode == 2
        and "did you mean 'jawOpen'?" in result.stderr
        and "Traceback" not in result.stderr
    )
