# SPDX-License-Identifier: Apache-2.0
"""The node without ROS says texts: the lips move with the first audio, and the sound is in step with them."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.action_server import GoalState
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.audio_common import INFO_TYPE
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.messaging.speech_messages import SAY_ACTION, TEXT_TYPE
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.dds_peer import call_service
from support.scheduler_harness import floats, small_talker, voice
from support.tts_command import command
from support.waiting import wait_for

SECONDS = 1.0  # of a text


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
        self.end_time = 0.0  # of the newest status
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
        self.end_time = time.monotonic()

    def say(self, text: str) -> None:
        self._writer.write(message_types.message_class("std_msgs/msg/String")(data=text))

    def send_goal(self, identifier: bytes | None = None, **fields: Any) -> Any:
        """Send a goal of the action; return its number, None if it was not accepted."""
        number = message_types.message_class("unique_identifier_msgs/msg/UUID")(
            uuid=identifier or uuid.uuid4().bytes
        )
        goal = message_types.message_class(f"{SAY_ACTION}_Goal")(**fields)
        response = self._call_action("send_goal", f"{SAY_ACTION}_SendGoal", goal_id=number, goal=goal)
        return number if response.accepted else None

    def cancel(self, number: Any) -> Any:
        """Cancel a goal; return the response."""
        info = message_types.message_class("action_msgs/msg/GoalInfo")(goal_id=number)
        return self._call_action("cancel_goal", "action_msgs/srv/CancelGoal", goal_info=info)

    def result(self, number: Any) -> Any:
        """Wait for the end of a goal; return the response."""
        return self._call_action("get_result", f"{SAY_ACTION}_GetResult", goal_id=number)

    def _call_action(self, service: str, type_name: str, **fields: Any) -> Any:
        return call_service(self.peer, f"/say/_action/{service}", type_name, **fields)

    def has_ended(self) -> bool:
        return bool(self.statuses) and self.statuses[-1].state in ("finished", "interrupted", "failed")

    def close(self) -> None:
        self.node.close()
        self.peer.close()


def wav_file(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds), 16_000, format="WAV")
    return file.getvalue()


@pytest.fixture
def pcm(tmp_path: Path) -> Path:
    path = tmp_path / "voice.pcm"
    path.write_bytes(voice(SECONDS).tobytes())
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
    formats: list[Any] = []
    latched = graph.peer.qos(depth=1, latched=True)
    graph.peer.create_subscription("audio_synced_info", INFO_TYPE, formats.append, latched)
    graph.say("Hello")
    assert wait_for(graph.has_ended) and graph.statuses[-1].state == "finished"
    assert "speaking" in {status.state for status in graph.statuses}
    assert graph.frame_times[0] < graph.end_time
    by_stamp = {stamp_to_ns(message.header.stamp): message for message in graph.frames}
    sound = np.concatenate([np.frombuffer(bytes(message.audio.data), "<i2") for message in graph.sounds])
    assert np.array_equal(sound, voice(SECONDS))
    assert (formats[0].sample_rate, formats[0].channels, formats[0].sample_format) == (16_000, 1, "S16LE")
    for index, message in enumerate(graph.sounds):
        assert by_stamp[stamp_to_ns(message.header.stamp)].frame == index
    assert graph.statuses[-1].duration == pytest.approx(SECONDS)
    values = {item.key: item.value for item in graph.diagnostics[-1].status[0].values}
    assert wait_for(
        lambda: "audio_synced_delay_ms" in {item.key for item in graph.diagnostics[-1].status[0].values}
    ), values
    assert graph.node.worker.statistics()["errors"] == 0 and not graph.warnings


def test_a_best_effort_publisher_is_heard_and_one_of_another_type_named(
    pcm: Path, graphs: list[Graph]
) -> None:
    graph = Graph(command("pcm", pcm))
    graphs.append(graph)
    best_effort = graph.peer.create_publisher("say", TEXT_TYPE, graph.peer.qos(reliable=False))
    assert wait_for(lambda: matched_readers(best_effort))
    best_effort.write(message_types.message_class(TEXT_TYPE)(data="Hello"))
    assert wait_for(graph.has_ended) and graph.statuses[-1].state == "finished"
    graph.say("Hello")  # reliable: said once, though two subscriptions receive it
    assert wait_for(lambda: graph.statuses[-1].state == "finished" and graph.statuses[-1].id == "2")
    other = graph.peer.create_publisher("say", "geometry_msgs/msg/PointStamped")
    assert wait_for(lambda: any(f"send {TEXT_TYPE}" in text for text in graph.warnings))
    assert {status.id for status in graph.statuses} == {"1", "2"}
    del other


def test_the_motion_of_a_text_is_that_of_its_audio(pcm: Path, graphs: list[Graph]) -> None:
    graph = Graph(command("wav", pcm, 16_000), idle=False)
    graphs.append(graph)
    graph.say("Hello")
    assert wait_for(graph.has_ended)
    talker = small_talker()
    expected = talker.open_stream(0).accept(floats(voice(SECONDS)))
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


def test_the_action_says_texts_and_sound_files_with_feedback(pcm: Path, graphs: list[Graph]) -> None:
    graph = Graph(command("pcm", pcm))
    graphs.append(graph)
    feedback: list[Any] = []
    graph.peer.create_subscription(
        "say/_action/feedback", f"{SAY_ACTION}_FeedbackMessage", feedback.append, graph.peer.qos(depth=1000)
    )
    states: list[Any] = []
    graph.peer.create_subscription(
        "say/_action/status",
        "action_msgs/msg/GoalStatusArray",
        states.append,
        graph.peer.qos(depth=100, latched=True),
    )
    text = graph.send_goal(text="Hello")
    sound = graph.send_goal(audio=wav_file(0.6))
    for number, seconds in ((text, SECONDS), (sound, 0.6)):
        response = graph.result(number)
        assert response.status == GoalState.SUCCEEDED and response.result.outcome == "finished"
        assert response.result.duration == pytest.approx(seconds)
        times = [each.feedback.time for each in feedback if each.goal_id == number]
        assert times == sorted(times) and times[-1] > 0.5 * seconds
    assert {each.feedback.state for each in feedback} == {"queued", "starting", "speaking"}
    heard = np.concatenate([np.frombuffer(bytes(message.audio.data), "<i2") for message in graph.sounds])
    assert np.array_equal(heard, np.concatenate([voice(SECONDS), voice(0.6)]))
    assert wait_for(lambda: [each.status for each in states[-1].status_list] == [GoalState.SUCCEEDED] * 2)


def test_to_cancel_a_goal_is_barge_in_and_the_next_goal_is_said(pcm: Path, graphs: list[Graph]) -> None:
    graph = Graph(command("endless", pcm))
    graphs.append(graph)
    first, second = graph.send_goal(text="one"), graph.send_goal(audio=wav_file(0.6))
    assert wait_for(lambda: len(graph.sounds) > 10)
    response = graph.cancel(first)
    assert response.return_code == 0 and [each.goal_id for each in response.goals_canceling] == [first]
    response = graph.result(first)
    assert response.status == GoalState.CANCELED and response.result.outcome == "interrupted"
    assert graph.result(second).status == GoalState.SUCCEEDED
    third, fourth = graph.send_goal(text="three"), graph.send_goal(text="four")
    everything = message_types.message_class("unique_identifier_msgs/msg/UUID")()
    assert len(graph.cancel(everything).goals_canceling) == 2
    assert [graph.result(number).status for number in (third, fourth)] == [GoalState.CANCELED] * 2


def test_goals_that_cannot_be_said_or_do_not_exist_get_an_answer(pcm: Path, graphs: list[Graph]) -> None:
    graph = Graph(command("silent"))
    graphs.append(graph)
    number = graph.send_goal(bytes(range(16)), text="")
    response = graph.result(number)
    assert response.status == GoalState.ABORTED and "nothing to say" in response.result.message
    assert graph.send_goal(bytes(range(16)), text="again") is None  # the number is taken
    assert graph.cancel(number).return_code == 3  # it has ended
    unknown = message_types.message_class("unique_identifier_msgs/msg/UUID")(uuid=bytes([9] * 16))
    assert graph.cancel(unknown).return_code == 2
    assert graph.result(unknown).status == GoalState.UNKNOWN
    for _ in range(150):  # more than are remembered
        graph.send_goal(text="")
    assert graph.result(number).status == GoalState.UNKNOWN and not graph.warnings


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
