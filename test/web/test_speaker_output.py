# SPDX-License-Identifier: Apache-2.0
"""Live outputs of the web server: the character follows one visitor at a time, and is counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.outputs import OutputGroup
from streamingtalker_ros.outputs.address import parse_address
from streamingtalker_ros.runtime.frames import FaceFrame
from streamingtalker_ros.web.speaker_output import RELEASE_S, SpeakerOutput
from support.scheduler_harness import floats, small_talker, voice
from support.tiny_vertex_talker import tiny_vertex_talker
from support.udp_receiver import UdpReceiver, random_motion, to_frame
from support.web_client import WebClient, running_server

PERIOD_S = 0.04


class FrameRecorder(OutputGroup):
    """Outputs that record the frames which they get."""

    def __init__(self) -> None:
        super().__init__([])
        self.frames: list[Any] = []

    def send(self, frame: Any) -> None:
        self.frames.append(frame)


class Stage:
    """A `SpeakerOutput` under a simulated clock, and visitors who send it a frame each 40 ms."""

    def __init__(self, session_name: str | None = None) -> None:
        self.recorder = FrameRecorder()
        self.now = 100.0
        self.output = SpeakerOutput(self.recorder, session_name, lambda: self.now)
        self.count = 0

    def play(self, seconds: float, speaking: dict[str, bool], names: dict[str, str] | None = None) -> str:
        """Send frames of visitors; returns the letters of those who were followed."""
        before = len(self.recorder.frames)
        for _ in range(round(seconds / PERIOD_S)):
            for visitor, is_speaking in speaking.items():
                weights = np.full(52, ord(visitor) / 1000, np.float32)
                frame = to_frame(self.count, 0, weights, np.array([0, 0, 0, 1], np.float32))
                frame = dataclasses.replace(frame, index=ord(visitor), speaking=is_speaking)
                self.output.send(visitor, (names or {}).get(visitor), frame)
            self.count += 1
            self.now += PERIOD_S
        return "".join(chr(frame.index) for frame in self.recorder.frames[before:])


def test_who_speaks_first_is_followed_until_a_second_of_silence() -> None:
    stage = Stage()
    assert set(stage.play(1.0, {"a": False, "b": False})) == {"a"}  # somebody is there: it lives
    assert set(stage.play(1.0, {"b": True, "a": False})) == {"b"}
    assert set(stage.play(3.0, {"a": True, "b": True})) == {"b"}
    followed = stage.play(3.0, {"a": True, "b": False})
    assert followed.count("b") == pytest.approx(RELEASE_S / PERIOD_S, abs=1)
    assert followed == "b" * followed.count("b") + "a" * followed.count("a")
    assert set(stage.play(5.0, {"a": False, "b": False})) == {"a"}


def test_a_visitor_who_leaves_is_followed_no_more() -> None:
    stage = Stage()
    stage.play(1.0, {"a": True, "b": True})
    stage.output.release("b")
    assert set(stage.play(0.2, {"a": True})) == {"a"}
    stage.output.release("a")
    assert set(stage.play(0.2, {"b": False})) == {"b"}


def test_a_named_session_is_followed_alone() -> None:
    stage = Stage("stage")
    assert stage.play(1.0, {"a": True}) == ""
    assert set(stage.play(1.0, {"a": True, "b": True}, {"a": "other", "b": "stage"})) == {"b"}


def test_the_face_fades_from_one_visitor_to_the_next() -> None:
    recorder, now = FrameRecorder(), [0.0]
    output = SpeakerOutput(recorder, None, lambda: now[0])
    weights, head = random_motion(2)
    for visitor in (0, 1):
        for index in range(10):
            frame: FaceFrame = to_frame(index, 0, weights[visitor], head[visitor])
            output.send(visitor, None, frame)
        now[0] += 2 * RELEASE_S
    assert len(recorder.frames) == 20
    poses = np.stack([frame.weights for frame in recorder.frames])
    np.testing.assert_array_equal(poses[:10], weights[[0] * 10])  # untouched where nothing changes
    np.testing.assert_array_equal(poses[15:], weights[[1] * 5])
    step = np.abs(np.diff(poses, axis=0)).max()
    assert step < 0.25 * np.abs(weights[0] - weights[1]).max()


def test_what_a_visitor_says_moves_the_character_of_the_receiver() -> None:
    talker = small_talker()
    with UdpReceiver() as receiver:
        url = f"livelink://127.0.0.1:{receiver.port}?rate=25"
        output = SpeakerOutput(OutputGroup.of_talker([url], talker))
        with running_server(talker, output=output) as server, WebClient(server) as client:
            client.send_audio(floats(voice(2.0)), speed=1.0)
            assert client.wait_until(lambda: client.frame_count >= 45)
            frames = [frame["weights"].max() for frame in client.frames]
        poses = np.stack([np.frombuffer(data[-244:], ">f4")[:52] for data in receiver.datagrams])
        (statistics,) = output.statistics()
        assert statistics["sent"] == len(poses) and statistics["sent"] >= 40
        assert poses.max() == pytest.approx(max(frames), abs=0.05)
        assert poses[-1].max() < 1e-6  # at rest when the server has ended


def test_outputs_are_counted_in_the_metrics() -> None:
    pytest.importorskip("prometheus_client")
    from streamingtalker_ros.web.metrics import MetricsPage

    talker = small_talker()
    with UdpReceiver() as receiver:
        output = SpeakerOutput(OutputGroup.of_talker([f"osc://127.0.0.1:{receiver.port}"], talker))
        with running_server(talker, output=output) as server, WebClient(server) as client:
            client.send(type="rest", epoch=1)
            assert client.wait_until(lambda: client.frame_count >= 10)
            text = MetricsPage(server.context).render().decode()
        name = f'output="osc://127.0.0.1:{receiver.port}",result="sent"'
        line = next(line for line in text.splitlines() if name in line)
        assert line.startswith("streamingtalker_output_poses_total") and float(line.split()[-1]) > 0


def test_a_vertex_checkpoint_has_no_outputs() -> None:
    with pytest.raises(TalkerError, match="blendshape checkpoint"):
        OutputGroup.of_talker(["osc://127.0.0.1"], tiny_vertex_talker(4))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--output", "liveling://host"], "livelink"),
        (["--output-session", "a"], "--output URL"),
        (["--output", "osc://h", "--output-session", "a b"], "letters, digits"),
        (["--allow-origin", "www.example"], "scheme, host and port"),
        (["--allow-origin", "*"], "scheme, host and port"),
    ],
)
def test_invalid_options_are_reported_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["web", "--port", "0", *arguments]) != 0
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and words in message and "Traceback" not in message


def test_addresses_name_the_receivers() -> None:
    output = SpeakerOutput(OutputGroup(["osc://127.0.0.1", "vmc://host:1"]))
    assert output.addresses == [str(parse_address(url)) for url in ("osc://127.0.0.1", "vmc://host:1")]
