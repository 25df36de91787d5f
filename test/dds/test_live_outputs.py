# SPDX-License-Identifier: Apache-2.0
"""Live outputs and visemes of the node without ROS are the motion of its topic, at the receiver's rate."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.visemes import OCULUS_VISEMES, VisemeEstimator
from streamingtalker_ros.messaging.face_messages import VISEMES_TYPE
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.scheduler_harness import small_talker, voice
from support.tiny_vertex_talker import tiny_vertex_talker
from support.udp_receiver import UdpReceiver, unused_port
from support.waiting import wait_for

COMMAND = [sys.executable, "-m", "streamingtalker_ros"]


def test_a_receiver_and_the_topics_get_the_same_motion_of_speech_and_of_the_idle_face() -> None:
    domain, warnings = own_domain(), list[str]()
    visemes: list[Any] = []
    peer = DdsNode("peer", "", domain)
    peer.create_subscription("visemes", VISEMES_TYPE, visemes.append, peer.qos(depth=1000))
    peer.start()
    with UdpReceiver() as receiver, FaceMotionRecorder(domain) as motion:
        urls = (f"livelink://127.0.0.1:{receiver.port}", f"osc://127.0.0.1:{unused_port()}")
        node = TalkerNode(
            TalkerParameters(outputs=urls, overload_after=10.0),
            "",
            domain,
            talker=small_talker(),
            warn=warnings.append,
        )
        source = AudioPublisher(16000, domain=domain)
        assert motion.wait_for_publisher(10) and source.wait_for_subscriber(10)
        for stamp, block in paced_packets(voice(1.0), 16000):
            source.publish(block, stamp)
        assert motion.wait(50, 30)  # one second of speech, one of the idle face
        assert wait_for(lambda: len(visemes) >= 40)
        node.close()
        source.close()
        assert wait_for(lambda: len(receiver.datagrams) >= node.outputs.outputs[0].statistics()["sent"])
        frames = list(motion.frames)
    peer.close()
    values = np.array([np.frombuffer(datagram[-244:], ">f4")[:52] for datagram in receiver.datagrams])
    numbers = [int.from_bytes(datagram[-261:-257], "big") for datagram in receiver.datagrams]
    assert np.array_equal(np.diff(numbers), np.ones(len(numbers) - 1))
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    weights = np.array([frame.weights for frame in frames]).astype(np.float64)
    steps = np.diff(weights, axis=0)
    lengths = np.maximum((steps**2).sum(axis=1), 1e-30)
    np.testing.assert_allclose(values[0], weights[0], atol=1e-6)
    # each pose lies between two frames, in their order; a busy machine may have held one for a moment
    last = 0
    for value in values[: len(values) // 2]:
        part = np.clip(((value - weights[:-1]) * steps).sum(axis=1) / lengths, 0, 1)
        errors = np.abs(weights[:-1] + part[:, None] * steps - value).max(axis=1)
        found = last + int((errors[last:] < 1e-6).argmax())
        assert errors[found] < 1e-6
        last = found
    assert last > 10
    assert not values[-1].any()
    # the second output has no receiver, which costs the first one nothing
    assert len(warnings) == 1 and "nothing receives at osc://" in warnings[0]
    assert node.worker.statistics()["errors"] == 0
    by_number = {frame.frame: frame for frame in frames}
    for message in visemes:
        frame = by_number.get(message.frame)
        if frame is not None:
            assert tuple(message.names) == OCULUS_VISEMES and message.speaking == frame.speaking
            assert stamp_to_ns(message.header.stamp) == frame.stamp
            assert message.header.frame_id == frame.frame_id
            np.testing.assert_allclose(message.weights, VisemeEstimator().estimate(frame.weights), atol=1e-5)


def test_a_vertex_checkpoint_is_rejected_with_the_cure_before_the_node_joins() -> None:
    with pytest.raises(TalkerError, match="choose a blendshape checkpoint, or no output"):
        TalkerNode(
            TalkerParameters(outputs=("osc://127.0.0.1",)), "", own_domain(), talker=tiny_vertex_talker(4)
        )


@pytest.mark.parametrize(
    "arguments",
    [["--output", "osc://127.0.0.1", "--output", "livelnk://host"], ["--param", "outputs=livelnk://host"]],
)
def test_a_bad_address_ends_the_command_at_once_in_one_sentence(arguments: list[str]) -> None:
    done = subprocess.run(
        [*COMMAND, "talk", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(own_domain())},
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "did you mean livelink://HOST[:11111]?" in done.stderr
