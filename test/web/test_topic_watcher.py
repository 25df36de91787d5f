# SPDX-License-Identifier: Apache-2.0
"""Watch mode: what a running talker publishes comes to the page, its sound and its frames on one time; the domain is
left with the last page."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip("cyclonedds", reason="cyclonedds is not installed")
pytest.importorskip("torch", reason="torch is not installed")

from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds.audio_player import AudioSource
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.scheduler_harness import small_talker, voice
from support.web_client import Client, serving


@pytest.mark.parametrize("lineage, rate", [("ros-drivers", 48000), ("mgonzs13", 16000)])
def test_a_running_talker_is_watched(lineage, rate, monkeypatch) -> None:
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    domain, talker = own_domain(), small_talker()
    node = TalkerNode(TalkerParameters(device="cpu"), domain=domain, talker=talker)
    source = AudioSource(rate, lineage, domain=domain)
    try:
        with serving(small_talker(), domain=domain) as server, FaceMotionRecorder(domain) as recorder:
            with Client(server) as client:
                client.say(type="watch", epoch=5)
                assert client.text("watching")["domain"] == domain
                assert source.wait_for_subscriber(20, settle=1.0) and recorder.wait_for_publisher(20)
                time.sleep(0.3)
                samples = voice(2.0, rate)
                speaker = threading.Thread(
                    target=lambda: [
                        source.publish(part, stamp) for stamp, part in paced_packets(samples, rate)
                    ]
                )
                speaker.start()
                speaker.join()
                assert client.wait(lambda: len(client.faces) >= 48)
                assert recorder.wait(48, 10)
                frames = {frame["index"]: frame for frame in client.faces if not frame["index"] > 47}
                for message in recorder.frames[:48]:
                    if message.frame in frames:
                        np.testing.assert_allclose(
                            frames[message.frame]["weights"], message.weights, atol=1e-6
                        )
                shared = [message for message in recorder.frames[:48] if message.frame in frames]
                assert len(shared) > 40 and all(frame["epoch"] == 5 for frame in client.faces)
                times = [frames[message.frame]["time"] - message.stamp / 1e9 for message in shared]
                assert np.ptp(times) < 1e-6  # one base for all stamps
                _on_one_time(client, samples, rate, times[0], shared[0], frames)
            deadline = time.monotonic() + 10
            while server.context.watcher.is_connected and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not server.context.watcher.is_connected  # the last page has gone
    finally:
        source.close()
        node.close()


def _on_one_time(client, samples, rate, base, message, frames) -> None:
    """The sound that came lies where its stamps say: its loudness follows that of what was published."""
    begin = frames[message.frame]["time"] - message.frame / 25  # the voice's first sample
    sound = np.zeros(4 * 16000)
    for piece in client.audio:
        at = round((piece["time"] - begin) * 16000)
        part = piece["samples"][max(0, -at) :]
        at = max(0, at)
        sound[at : at + len(part)] = part[: len(sound) - at]
    loudness = np.abs(sound[:32000]).reshape(-1, 640).mean(axis=1)
    wanted = np.abs(samples.astype(float)).reshape(-1, rate // 25).mean(axis=1)
    heard = loudness > 0.2 * loudness.max()
    assert heard.mean() > 0.8
    assert np.corrcoef(loudness[heard], wanted[heard])[0, 1] > 0.9


def test_two_pages_share_one_listener_and_an_unusable_domain_is_told(monkeypatch) -> None:
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    with serving(small_talker(), domain=own_domain()) as server:
        with Client(server) as first, Client(server) as second:
            for client in (first, second):
                client.say(type="watch", epoch=1)
                client.text("watching")
            assert server.context.watcher.subscription_count == 2
            first.say(type="rest", epoch=2)  # back to an own voice
            assert first.wait(lambda: first.faces)
            assert server.context.watcher.subscription_count == 1
    with serving(small_talker(), domain=999) as server, Client(server) as client:
        client.say(type="watch", epoch=1)
        assert "999" in client.text("error")["text"]
