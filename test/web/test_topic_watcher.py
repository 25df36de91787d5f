# SPDX-License-Identifier: Apache-2.0
"""Watch mode: a running talker's messages reach the page, audio and frames on one timeline."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import FRAME_RATE, HOP_LENGTH, NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.web import topic_watcher
from support.dds_domain import own_domain
from support.scheduler_harness import small_talker, voice
from support.waiting import wait_for
from support.web_client import WebClient, running_server


@pytest.fixture(autouse=True)
def localhost_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    monkeypatch.setattr(topic_watcher, "LINGER_S", 0.2)


@pytest.mark.parametrize(("variant", "rate"), [("ros-drivers", 48000), ("mgonzs13", 16000)])
def test_motion_and_audio_of_a_talker_are_forwarded(variant: Variant, rate: int) -> None:
    domain = own_domain()
    node = TalkerNode(TalkerParameters(device="cpu"), domain=domain, talker=small_talker())
    source = AudioPublisher(rate, variant, domain=domain)
    try:
        with running_server(small_talker(), domain=domain) as server:
            with FaceMotionRecorder(domain) as recorder, WebClient(server) as client:
                client.send(type="watch", epoch=5)
                assert client.wait_for_text("watching")["domain"] == domain
                assert source.wait_for_subscriber(20, settling_time=1.0) and recorder.wait_for_publisher(20)
                time.sleep(0.3)
                samples = voice(2.0, rate)
                for stamp, packet in paced_packets(samples, rate):
                    source.publish(packet, stamp)
                assert client.wait_until(lambda: len(client.frames) >= 48)
                assert recorder.wait(48, 10)
                received = {frame["index"]: frame for frame in client.frames if frame["index"] <= 47}
                published = [message for message in recorder.frames[:48] if message.frame in received]
                assert len(published) > 40 and all(frame["epoch"] == 5 for frame in client.frames)
                for message in published:
                    weights = received[message.frame]["weights"]
                    np.testing.assert_allclose(weights, message.weights, atol=1e-6)
                times = [received[message.frame]["time"] for message in published]
                stamps = [message.stamp / NS_PER_S for message in published]
                assert np.ptp(np.subtract(times, stamps)) < 1e-6
                start = times[0] - published[0].frame / FRAME_RATE
                assert_audio_at_its_time(client.audio, samples, rate, start)
            assert wait_for(lambda: not server.context.watcher.is_connected, 10)
    finally:
        source.close()
        node.close()


def assert_audio_at_its_time(
    messages: list[dict[str, Any]], samples: npt.NDArray[np.int16], rate: int, start: float
) -> None:
    """The loudness of the received audio follows that of the published samples from `start` seconds on."""
    received = np.zeros(4 * SAMPLE_RATE)
    for message in messages:
        position = round((message["time"] - start) * SAMPLE_RATE)
        chunk = message["samples"][max(0, -position) :]
        position = max(0, position)
        received[position : position + len(chunk)] = chunk[: len(received) - position]
    loudness = np.abs(received[: 2 * SAMPLE_RATE]).reshape(-1, HOP_LENGTH).mean(axis=1)
    expected = np.abs(samples.astype(float)).reshape(-1, round(rate / FRAME_RATE)).mean(axis=1)
    audible = loudness > 0.2 * loudness.max()
    assert audible.mean() > 0.8
    assert np.corrcoef(loudness[audible], expected[audible])[0, 1] > 0.9


def test_sessions_share_one_node_and_leave_it_for_their_own_stream() -> None:
    with (
        running_server(small_talker(), domain=own_domain()) as server,
        WebClient(server) as first,
        WebClient(server) as second,
    ):
        for client in (first, second):
            client.send(type="watch", epoch=1)
            client.wait_for_text("watching")
        assert server.context.watcher.subscription_count == 2
        first.send(type="rest", epoch=2)
        assert first.wait_until(lambda: first.frames)
        assert server.context.watcher.subscription_count == 1


def test_an_invalid_domain_is_reported() -> None:
    with running_server(small_talker(), domain=999) as server, WebClient(server) as client:
        client.send(type="watch", epoch=1)
        assert "999" in client.wait_for_text("error")["text"]
