# SPDX-License-Identifier: Apache-2.0
"""Live outputs and visemes of the lifecycle node are the motion of its topic."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import launch_pytest
import numpy as np
import pytest
from launch.launch_description import LaunchDescription
from lifecycle_msgs.msg import Transition

from streamingtalker_ros.face.visemes import OCULUS_VISEMES, VisemeEstimator
from streamingtalker_ros.msg import FaceMotion, Visemes
from streamingtalker_ros.ros import qos
from support.ros_graph import Graph, own_domain, voice, wait_for
from support.ros_launch import launch_talker, parameter_file
from support.udp_receiver import UdpReceiver, unused_port

DOMAIN = own_domain()
START = 1_700_000_000_000_000_000
PORT = unused_port()


@launch_pytest.fixture(scope="module")
def talker_launch() -> Iterator[LaunchDescription]:
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"livelink://127.0.0.1:{PORT}?rate=25"]
        yield launch_talker(DOMAIN, params_file=parameter_file(Path(folder), device="cpu", outputs=outputs))


@pytest.mark.launch(fixture=talker_launch)
def test_a_receiver_and_the_topics_get_the_same_motion(talker_launch: LaunchDescription) -> None:
    graph = Graph(DOMAIN)
    with UdpReceiver(PORT) as receiver:
        try:
            assert wait_for(lambda: graph.state() == "active", 60)
            assert graph.set(overload_after=10.0)[0].successful
            frames = graph.subscribe(FaceMotion, "face_motion", qos=qos.MOTION_PUBLISHER)
            visemes = graph.subscribe(Visemes, "visemes", qos=qos.MOTION_PUBLISHER)
            graph.publish_audio(voice(1.0), START)
            assert wait_for(lambda: len(frames) >= 25 and len(visemes) >= 20, 60)
            graph.change(Transition.TRANSITION_DEACTIVATE)
            assert wait_for(lambda: graph.state() == "inactive", 60)
            assert wait_for(lambda: len(receiver.datagrams) >= 25, 60)
        finally:
            graph.close()
    sent = np.array([np.frombuffer(datagram[-244:], ">f4")[:52] for datagram in receiver.datagrams])
    for message in frames[:20]:  # a pose is a frame at this rate
        assert np.abs(sent - np.array(message.weights)).max(axis=1).min() < 1e-6
    assert not sent[-1].any()  # the face is at rest when the node is inactive
    by_frame = {message.frame: message for message in frames}
    compared = 0
    for message in visemes:
        motion = by_frame.get(message.frame)
        if motion is None or motion.header.stamp != message.header.stamp:
            continue
        compared += 1
        assert tuple(message.names) == OCULUS_VISEMES and message.speaking == motion.speaking
        expected = VisemeEstimator().estimate(np.array(motion.weights, np.float32))
        np.testing.assert_allclose(message.weights, expected, atol=1e-5)
    assert compared > 10
