# SPDX-License-Identifier: Apache-2.0
"""The talker node over DDS: a WAV becomes FaceMotion through three processes, both variants, services,
vertices."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.messaging import audio_common, face_messages
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.dds_peer import call_trigger
from support.scheduler_harness import FRAME, MS, small_talker, voice
from support.waiting import wait_for

COMMAND = [sys.executable, "-m", "streamingtalker_ros"]


@pytest.fixture(scope="module")
def talker() -> Any:
    return small_talker()


def write_wav(path: Path, seconds: float, rate: int) -> Any:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(voice(seconds, rate).tobytes())
    return str(path)


class AudioRecorder:
    """Records the audio topic, with the stamps that were sent."""

    def __init__(self, domain: int, variant: Any, name: str) -> None:
        self.packets = []
        self._dds_node = DdsNode("audio_recorder", "", domain)
        self._name = name
        self._dds_node.create_subscription(
            "audio", name, self._on_audio, self._dds_node.qos(depth=1000), variant
        )
        self._dds_node.start()

    def _on_audio(self, message: Any) -> None:
        self.packets.append(audio_common.to_packet(message, self._name))

    def close(self) -> None:
        self._dds_node.close()


@pytest.mark.parametrize(
    "variant, name, rate",
    [
        ("ros-drivers", "audio_common_msgs/msg/AudioDataStamped", 22050),
        ("mgonzs13", "audio_common_msgs/msg/AudioStamped", 48000),
    ],
)
def test_a_wav_becomes_face_motion_through_three_processes_with_the_times_of_its_samples(
    tmp_path: Path, variant: Any, name: str, rate: int
) -> None:
    domain = own_domain()
    file, stats = write_wav(tmp_path / "voice.wav", 1.2, rate), tmp_path / "stats.json"
    arguments = ["--domain", str(domain), "--param", "device=cpu", "--param", "idle_after=0.3"]
    node = subprocess.Popen(
        [*COMMAND, "talk", *arguments, "--until-idle", "0.5", "--stats", str(stats)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        with FaceMotionRecorder(domain) as recorder:
            audio_recorder = AudioRecorder(domain, variant, name)
            assert node.stdout is not None
            assert node.stdout.readline().startswith("talker ready")
            assert recorder.wait_for_publisher(10)
            played = subprocess.run(
                [*COMMAND, "play", file, "--lineage", variant, "--domain", str(domain), "--quiet"],
                stdout=subprocess.PIPE,
                text=True,
                timeout=60,
            )
            assert played.returncode == 0 and "played 1.20 s" in played.stdout
            output, _ = node.communicate(timeout=30)
            frames = list(recorder.frames)
            audio_recorder.close()
    finally:
        node.kill()
    assert node.returncode == 0
    numbers = json.loads(stats.read_text())
    summary = f"frames of audio 30, idle {numbers['idle_frames']}, dropped 0, latency p50 "
    assert output.splitlines()[-1].startswith(summary)
    assert (numbers["frames"], numbers["dropped"], numbers["rejected"], numbers["streams"]) == (30, 0, 0, 1)
    assert numbers["device"] == "cpu" and numbers["idle_frames"] > 5
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    # to the nanosecond: a frame's stamp is the first packet's plus a multiple of the frame period
    first = audio_recorder.packets[0].stamp
    assert [frame.stamp for frame in frames] == [first + index * FRAME for index in range(len(frames))]
    assert sum(len(packet.payload) for packet in audio_recorder.packets) == 2 * round(1.2 * rate)
    assert len(frames) == 30 + numbers["idle_frames"]
    assert frames[0].names == ARKIT_NAMES
    weights = np.array([frame.weights for frame in frames])
    assert weights.shape == (len(frames), 52) and weights.min() >= 0 and weights.max() <= 1
    assert weights.std(axis=0).max() > 0


def test_talk_ends_cleanly_on_a_signal_with_its_summary() -> None:
    arguments = ["talk", "--domain", str(own_domain()), "--param", "device=cpu"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    nodes = {
        number: subprocess.Popen(COMMAND + arguments, **pipes) for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number, node in nodes.items():
        assert node.stdout is not None
        assert node.stdout.readline().startswith("talker ready")
        node.send_signal(number)
        output, errors = node.communicate(timeout=20)
        assert node.returncode == 0 and errors == ""
        assert output.startswith("frames of audio 0, idle 0, dropped 0")


@pytest.mark.parametrize(
    "arguments, message_text",
    [
        (["talk", "--param", "volume=1"], "is not an assignment"),
        (["talk", "--param", "device=cpu", "--param", "model=/nowhere"], "/nowhere"),
        (["play"], "give a FILE or --microphone"),
        (["play", "/nowhere.wav"], "/nowhere.wav"),
    ],
)
def test_command_line_errors_are_one_line(arguments: Any, message_text: str) -> None:
    done = subprocess.run(
        COMMAND + arguments,
        capture_output=True,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(own_domain())},
    )
    assert done.returncode == 2 and message_text in done.stderr
    assert done.stderr.startswith("streamingtalker: error: ") and done.stderr.count("\n") == 1


class TopicRecorder:
    """Collects a topic's messages."""

    def __init__(self, domain: int, topic: str, name: str, **qos: Any) -> None:
        self.messages = []
        self.dds_node = DdsNode("topic_recorder", "", domain)
        self.dds_node.create_subscription(topic, name, self.messages.append, self.dds_node.qos(**qos))
        self.dds_node.start()


def test_the_node_publishes_face_model_face_vertices_and_diagnostics(talker: Any) -> None:
    domain = own_domain()
    settings = TalkerParameters(publish_vertices=True, frame_id="robot_head")
    node = TalkerNode(settings, "", domain, talker=talker, warn=lambda text: None)
    rig = default_rig()
    model = TopicRecorder(domain, "face_model", face_messages.MODEL_TYPE, depth=1, latched=True)
    vertices = TopicRecorder(domain, "face_vertices", face_messages.VERTICES_TYPE, reliable=False)
    health = TopicRecorder(domain, "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
    source = AudioPublisher(16000, domain=domain)
    with FaceMotionRecorder(domain) as motion:
        assert motion.wait_for_publisher(10) and source.wait_for_subscriber(10)
        for stamp, block in paced_packets(voice(0.5), 16000):
            source.publish(block, stamp)
        assert motion.wait(12, 10)
        assert wait_for(lambda: model.messages and len(vertices.messages) > 5 and health.messages)
        frames = {frame.frame: frame for frame in motion.frames}
    node.close()
    source.close()
    at_rest = model.messages[0]
    np.testing.assert_array_equal(np.reshape(at_rest.vertices, (-1, 3)), rig.vertices)
    np.testing.assert_array_equal(np.reshape(at_rest.triangles, (-1, 3)), rig.triangles)
    assert tuple(at_rest.shape_names) == ARKIT_NAMES and at_rest.frame_rate == 25
    for surface in vertices.messages[:5]:
        if surface.frame in frames:
            expected = rig.offsets(frames[surface.frame].weights)
            np.testing.assert_allclose(np.reshape(surface.offsets, (-1, 3)), expected, atol=1e-6)
            assert surface.header.frame_id == "robot_head"
    status = health.messages[-1].status[0]
    values = {item.key: item.value for item in status.values}
    assert status.level == 0 and values["device"] == "cpu" and float(values["latency_p99_ms"]) >= 0


def test_interrupt_and_reset_services_respond_during_speech(talker: Any) -> None:
    domain = own_domain()
    node = TalkerNode(TalkerParameters(), "", domain, talker=talker, warn=lambda text: None)
    client, source = DdsNode("client", "", domain), AudioPublisher(16000, "mgonzs13", domain=domain)
    client.start()
    with FaceMotionRecorder(domain) as motion:
        assert motion.wait_for_publisher(10) and source.wait_for_subscriber(10)
        for stamp, block in paced_packets(voice(5.0), 16000, 0.1, speed=0):  # 5 s, unpaced
            source.publish(block, stamp)
        assert motion.wait(10, 10)
        reply = call_trigger(client, "/talker/interrupt")
        assert reply.success and node.worker.close_mouth() and node.worker.queued_seconds == 0
        assert wait_for(lambda: node.worker.state == "idle")
        assert node.worker.statistics()["frames"] < 5 * 25
        assert call_trigger(client, "/talker/reset").success
        assert wait_for(lambda: node.worker.state == "waiting")
    client.close()
    node.close()
    source.close()


def test_an_audio_source_that_returns_is_received_again(talker: Any) -> None:
    domain = own_domain()
    node = TalkerNode(TalkerParameters(), "", domain, talker=talker, warn=lambda text: None)
    with FaceMotionRecorder(domain) as motion:
        for variant in ("ros-drivers", "mgonzs13", "ros-drivers"):
            before = node.worker.statistics()["frames"]
            source = AudioPublisher(16000, variant, domain=domain)
            assert source.wait_for_subscriber(10)
            for stamp, block in paced_packets(voice(0.4), 16000, speed=0):  # a stall would begin a stream
                source.publish(block, stamp)
            assert wait_for(lambda before=before: node.worker.statistics()["frames"] >= before + 10)
            source.close()
            time.sleep(0.6)
        stamps = [frame.stamp for frame in motion.frames]
    node.close()
    assert node.worker.statistics()["streams"] == 3
    assert stamps == sorted(set(stamps))


def test_undecodable_messages_are_counted_and_warned_about_once(talker: Any) -> None:
    domain, warnings, name = own_domain(), [], "audio_common_msgs/msg/AudioStamped"
    node = TalkerNode(TalkerParameters(), "", domain, talker=talker, warn=warnings.append)
    sender = DdsNode("sender", "", domain)
    writer = sender.create_publisher("audio", name, sender.qos(depth=100), "mgonzs13")
    assert wait_for(lambda: matched_readers(writer))
    for _ in range(20):
        message = audio_common.to_audio_message(
            message_types.message_class(name, "mgonzs13")(),
            name,
            voice(0.02),
            AudioFormat(),
            5 * MS,
            "microphone",
        )
        message.audio.info.format = 99
        writer.write(message)
    assert wait_for(lambda: node.worker.statistics()["rejected"] == 20)
    assert len(warnings) == 1 and "PortAudio format 99" in warnings[0]
    node.close()
    sender.close()


def test_best_effort_and_reliable_publishers_are_both_received(talker: Any) -> None:
    domain = own_domain()
    name = "audio_common_msgs/msg/AudioStamped"
    node = TalkerNode(TalkerParameters(), "", domain, talker=talker, warn=print)
    sender, message_class = DdsNode("sender", "", domain), message_types.message_class(name, "mgonzs13")
    for reliable in (True, False, True):  # the second one changes the subscription
        writer = sender.create_publisher("audio", name, sender.qos(depth=5, reliable=reliable), "mgonzs13")
        assert wait_for(lambda writer=writer: matched_readers(writer))
        before = node.worker.statistics()["packets"]
        for stamp, block in paced_packets(voice(0.2), 16000):
            writer.write(
                audio_common.to_audio_message(message_class(), name, block, AudioFormat(), stamp, "")
            )
        assert wait_for(lambda before=before: node.worker.statistics()["packets"] == before + 10)
    node.close()
    sender.close()
