# SPDX-License-Identifier: Apache-2.0
"""The `play` executable: every sample of the file arrives, stamped in step, in the variant that is
sourced."""

from __future__ import annotations

from typing import Any

import launch_pytest
import numpy as np
import pytest
import soundfile
from launch.actions import SetEnvironmentVariable
from launch.launch_description import LaunchDescription
from launch_ros.actions import Node

from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.ros import message_types
from streamingtalker_ros.ros import qos as ros_qos
from support.ros_graph import SECOND, VARIANT, Graph, own_domain, voice, wait_for

DOMAIN = own_domain()
RATE = 32000


@launch_pytest.fixture(scope="module")
def player_launch(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    soundfile.write(path, voice(1.0, RATE), RATE)
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(DOMAIN)),
            Node(package="streamingtalker_ros", executable="play", arguments=[str(path)]),
            launch_pytest.actions.ReadyToTest(),
        ]
    )


@pytest.mark.launch(fixture=player_launch)
def test_every_sample_arrives_at_its_time(player_launch: Any) -> None:
    name = audio_common.PUBLISHED_TYPES[VARIANT]
    graph = Graph(DOMAIN)
    infos = []
    if VARIANT == "ros-drivers":
        infos = graph.subscribe(
            message_types.message_class(audio_common.INFO_TYPE), "audio_info", qos=ros_qos.LATCHED
        )
    received = graph.subscribe(message_types.message_class(name), "audio")
    assert wait_for(lambda: len(received) == 50), f"{len(received)} of 50 packets"
    format = audio_common.parse_audio_info(infos[0])[1] if infos else None
    graph.close()
    packets = [audio_common.to_packet(message, name, format) for message in received]
    formats = {packet.format for packet in packets}
    assert {each.sample_rate for each in formats if each} == {RATE}
    assert packets[0].format is not None and None not in formats
    decoder = PcmDecoder(packets[0].format)
    samples = np.concatenate([decoder.decode(packet.payload) for packet in packets])
    np.testing.assert_array_equal(samples, voice(1.0, RATE) / np.float32(32768))
    stamps = np.array([packet.stamp for packet in packets])
    np.testing.assert_allclose(np.diff(stamps), SECOND // 50, atol=1)
