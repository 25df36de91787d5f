# SPDX-License-Identifier: Apache-2.0
"""The node without ROS says texts: the lips move with the first audio, and the sound is in step with them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.scheduler_harness import floats, small_talker, voice
from support.tts_command import command
from support.waiting import wait_for

MAX_START_S = 0.15  # from the first audio to the first motion of the lips


class Graph:
    """A node that says texts, and a peer that listens to it."""

    def __init__(self, line: str, **parameters: Any) -> None:
        domain = own_domain()
        self.warnings: list[str] = []
        values = TalkerParameters(tts_command=line, tts_rate=16_000, overload_after=10.0, **parameters)
        self.node = TalkerNode(values, "", domain, small_talker(), self.warnings.append)
        self.peer = DdsNode("peer", "", domain)
        self.frames: list[Any] = []
        self.frame_times: list[float] = []
        self.sounds: list[Any] = []
        self.statuses: list[Any] = []
        self.status_times: list[float] = []
        self.diagnostics: list[Any] = []
        deep = self.peer.qos(depth=1000)
        self.peer.create_subscription("face_motion", MOTION_TYPE, self._on_motion, deep)
        self.peer.create_subscription(
            "audio_synced", "audio_common_msgs/msg/AudioDataStamped", self.sounds.append, deep
        )
        self.peer.create_subscription(
            "say_state", "streamingtalker_ros/msg/SpeechStatus", self._on_status, deep
        )
        self.peer.create_subscription(
            "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", self.diagnostics.append
        )
        self._writer = self.peer.create_publisher("say", "std_msgs/msg/String")
        self.peer.start()
        assert wait_for(lambda: self._writer.get_matched_subscriptions() and self.diagnostics)

    def _on_motion(self, message: Any) -> None:
        self.frames.append(message)
        self.frame_times.append(time.monotonic())

    def _on_status(self, message: Any) -> None:
        self.statuses.append(message)
        self.status_times.append(time.monotonic())

    def say(self, text: str) -> None:
        self._writer.write(message_types.message_class("std_msgs/msg/String")(data=text))

    def has_ended(self) -> bool:
        return bool(self.statuses) and self.statuses[-1].state in ("finished", "interrupted", "failed")

    def close(self) -> None:
        self.node.close()
        self.peer.close()


@pytest.fixture
def pcm(tmp_path: Path) -> Path:
    path = tmp_path / "voice.pcm"
    path.write_bytes(voice(2.0).tobytes())
    return path


@pytest.fixture
def graphs() -> Iterator[list[Graph]]:
    graphs: list[Graph] = []
    yield graphs
    for graph in graphs:
        graph.close()


def test_the_lips_move_with_the_first_audio_and_the_sound_is_that_of_the_frames(
    pcm: Path, graphs: list[Graph]
) -> None:
    graph = Graph(command("pcm", pcm))
    graphs.append(graph)
    graph.say("Hello")
    assert wait_for(graph.has_ended) and graph.statuses[-1].state == "finished"
    speaking = next(k for k, status in enumerate(graph.statuses) if status.state == "speaking")
    assert graph.frame_times[0] - graph.status_times[speaking] < 10 * MAX_START_S  # a busy machine's share
    by_stamp = {stamp_to_ns(message.header.stamp): message for message in graph.frames}
    sound = np.concatenate([np.frombuffer(bytes(message.audio.data), "<i2") for message in graph.sounds])
    assert np.array_equal(sound, voice(2.0))
    for index, message in enumerate(graph.sounds):
        assert by_stamp[stamp_to_ns(message.header.stamp)].frame == index
    assert graph.statuses[-1].duration == pytest.approx(2.0)
    values = {item.key: item.value for item in graph.diagnostics[-1].status[0].values}
    assert wait_for(
        lambda: "audio_synced_delay_ms" in {item.key for item in graph.diagnostics[-1].status[0].values}
    ), values
    assert graph.node.worker.statistics()["errors"] == 0 and not graph.warnings


def test_the_motion_of_a_text_is_that_of_its_audio(pcm: Path, graphs: list[Graph]) -> None:
    graph = Graph(command("wav", pcm, 16_000), idle=False)
    graphs.append(graph)
    graph.say("Hello")
    assert wait_for(graph.has_ended)
    talker = small_talker()
    expected = talker.open_stream(0).accept(floats(voice(2.0)))
    assert wait_for(lambda: len(graph.frames) >= len(expected))
    for message, frame in zip(graph.frames, expected, strict=False):
        np.testing.assert_allclose(message.weights, frame.weights, atol=1e-5)


def test_barge_in_ends_the_command_the_sound_and_what_waits(pcm: Path, graphs: list[Graph]) -> None:
    graph = Graph(command("endless", pcm))
    graphs.append(graph)
    graph.say("Hello")
    graph.say("never heard")
    assert wait_for(lambda: len(graph.sounds) > 10)
    graph.node.speech.interrupt()
    graph.node.worker.interrupt()
    assert wait_for(
        lambda: {status.id for status in graph.statuses if status.state == "interrupted"} == {"1", "2"}
    )
    count = len(graph.sounds)
    time.sleep(0.5)
    assert len(graph.sounds) <= count + 2
    assert wait_for(lambda: not graph.frames[-1].speaking)


def test_texts_that_cannot_be_said_are_reported_once_and_harm_nothing(graphs: list[Graph]) -> None:
    graph = Graph(command("crash"))
    graphs.append(graph)
    for _ in range(3):
        graph.say("")
        graph.say("Hello")
    assert wait_for(lambda: sum(status.state == "failed" for status in graph.statuses) == 3)
    assert len(graph.warnings) == 2, graph.warnings
    assert all(status.message for status in graph.statuses if status.state == "failed")


def test_a_node_whose_voice_is_not_installed_does_not_start() -> None:
    with pytest.raises(TalkerError, match="is not installed"):
        TalkerNode(TalkerParameters(tts_command="no-such-voice"), "", own_domain(), small_talker())
