# SPDX-License-Identifier: Apache-2.0
"""The head controller on the wire: FaceMotion in, each kind of command out, as its controller takes it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.head_node import JOINT_STATE_TYPE, HeadNode
from streamingtalker_ros.dds.node import matched_readers
from streamingtalker_ros.robot_head import load_head, outputs
from streamingtalker_ros.robot_head.config import parse_head
from support.dds_domain import own_domain
from support.dds_peer import HeadPeer
from support.waiting import wait_for

ARRAY, TRAJECTORY, UNITS = (
    "std_msgs/msg/Float64MultiArray",
    "trajectory_msgs/msg/JointTrajectory",
    "hri_msgs/msg/FacialActionUnits",
)


def test_every_kind_of_command_reaches_its_controller() -> None:
    limits = {"min": 0.0, "max": 1.0, "max_velocity": 20.0, "max_acceleration": 500.0}
    head = parse_head(
        {
            "rate": 100.0,
            "feedback": "joint_states",
            "outputs": [
                {"type": "JointState", "topic": "states"},
                {"type": "Float64MultiArray", "topic": "commands", "joints": ["tilt"]},
                {"type": "JointTrajectory", "topic": "trajectory", "joints": ["tilt", "jaw"]},
                {"type": "FacialActionUnits", "topic": "facs"},
            ],
            "joints": {
                "jaw": {"from": {"jawOpen": 0.5}, **limits},
                "tilt": {"from": {"jawOpen": 1.0}, **limits},
            },
        },
        "test",
    )
    domain = own_domain()
    node = HeadNode(head, domain=domain)
    peer = HeadPeer(domain, states=JOINT_STATE_TYPE, commands=ARRAY, trajectory=TRAJECTORY, facs=UNITS)
    try:
        feedback = peer.dds_node.create_publisher("joint_states", JOINT_STATE_TYPE)
        assert wait_for(lambda: matched_readers(feedback) and matched_readers(peer.writer))
        assert not peer.received["states"]  # it waits for the joints' measured positions
        feedback.write(
            message_types.message_class(JOINT_STATE_TYPE)(name=["jaw", "tilt"], position=[0.2, 0.4])
        )
        assert wait_for(lambda: all(peer.received.values()))
        assert peer.received["states"][0].position == [0.2, 0.4]
        peer.publish_jaw(0.6)
        state, command, trajectory, units = (peer.received[topic][-1] for topic in peer.received)
        assert state.name == ["jaw", "tilt"]
        np.testing.assert_allclose(state.position, [0.3, 0.6], atol=1e-6)
        assert abs(state.header.stamp.sec - time.time()) < 5 and len(state.velocity) == 2
        np.testing.assert_allclose(command.data, [0.6], atol=1e-6)
        assert trajectory.joint_names == ["tilt", "jaw"] and trajectory.header.stamp.sec == 0
        point = trajectory.points[0]
        np.testing.assert_allclose(point.positions, [0.6, 0.3], atol=1e-6)
        assert point.time_from_start.nanosec == 10_000_000 and not len(point.velocities)
        assert len(units.intensity) == len(units.confidence) == 99 and units.intensity[25] == pytest.approx(
            0.6
        )
        assert node.rest() and wait_for(lambda: peer.received["states"][-1].position == [0.0, 0.0])
    finally:
        node.close()
        peer.close()
    span = peer.received["states"][-1].header.stamp.sec - peer.received["states"][0].header.stamp.sec
    assert node.commands_sent == len(peer.received["states"]) and span >= 0


def test_the_command_checks_a_head_drives_it_and_rests_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "streamingtalker_ros", "head", "--config"]
    listed = subprocess.run([*command, "pan_tilt", "--check"], capture_output=True, text=True)
    assert listed.returncode == 0 and "head_pan_joint: 1.5 head_yaw" in listed.stdout
    result = subprocess.run([*command, "pan_tit"], capture_output=True, text=True)
    assert result.returncode == 2 and "pan_tit" in result.stderr and result.stderr.count("\n") == 1
    domain = own_domain()
    peer = HeadPeer(domain, **{"jaw_controller/commands": ARRAY})
    node = subprocess.Popen([*command, "jaw", "--domain", str(domain)], stdout=subprocess.PIPE, text=True)
    try:
        assert node.stdout is not None
        assert node.stdout.readline().startswith("head jaw: 1 joints, 50 commands per second")
        commands = peer.received["jaw_controller/commands"]
        assert wait_for(lambda: commands and matched_readers(peer.writer))
        peer.publish_jaw(0.5)
        assert commands[-1].data[0] == pytest.approx(0.225, abs=1e-6)
        node.send_signal(signal.SIGINT)
        assert re.match(r"commands \d+, rejected messages 0", node.stdout.read())
        assert node.wait(10) == 0 and wait_for(lambda: commands[-1].data[0] == 0.0)
    finally:
        node.kill()
        node.communicate()
        peer.close()


def test_names_of_types_are_those_of_ros() -> None:
    assert [outputs.message_type(output) for output in load_head("animatronic").outputs] == [
        JOINT_STATE_TYPE,
        TRAJECTORY,
        ARRAY,
    ]
