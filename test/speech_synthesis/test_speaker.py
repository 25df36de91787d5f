# SPDX-License-Identifier: Apache-2.0
"""What is said is fed whole, in time, and ends at once when it is interrupted; each end is reported once."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.speech_synthesis.speaker import MAX_QUEUED, Speaker, SpeechState, SpeechStatus
from support.scheduler_harness import voice
from support.tts_command import command
from support.waiting import wait_for

RATE = 16_000
SECONDS = 1.5


@pytest.fixture
def pcm(tmp_path: Path) -> Path:
    path = tmp_path / "voice.pcm"
    path.write_bytes(voice(SECONDS).tobytes())
    return path


class Stage:
    """A speaker whose packets are collected."""

    def __init__(self, line: str) -> None:
        self.packets: list[AudioPacket] = []
        self.times: list[float] = []
        self.statuses: list[SpeechStatus] = []
        self.warnings: list[str] = []
        self.interrupts = 0
        self.speaker = Speaker(
            TtsCommand.parse(line, RATE),
            self._push,
            self._interrupt,
            25.0,
            self.statuses.append,
            self.warnings.append,
        )
        self.speaker.start()

    def _push(self, packets: Sequence[AudioPacket]) -> None:
        self.packets += packets
        self.times.append(time.time())

    def _interrupt(self) -> None:
        self.interrupts += 1

    @property
    def audio(self) -> bytes:
        return b"".join(packet.payload for packet in self.packets)

    def states(self) -> list[SpeechState]:
        """The states in their order, without repetitions."""
        found = [status.state for status in self.statuses]
        return [state for state, before in zip(found, [None, *found], strict=False) if state != before]


@pytest.fixture
def stages() -> Iterator[list[Stage]]:
    stages: list[Stage] = []
    yield stages
    for stage in stages:
        stage.speaker.close()


def _begin(stages: list[Stage], line: str) -> Stage:
    stages.append(Stage(line))
    return stages[-1]


@pytest.mark.parametrize("mode", ["pcm", "wav", "odd"])
def test_all_of_the_audio_is_fed_once_on_one_grid_of_stamps(
    mode: str, pcm: Path, stages: list[Stage]
) -> None:
    stage = _begin(stages, command(mode, pcm, RATE))
    utterance = stage.speaker.say("Hello")
    assert utterance.wait(60)
    assert utterance.status.state is SpeechState.FINISHED and not stage.warnings
    assert stage.audio == pcm.read_bytes()
    assert utterance.status.duration == utterance.status.seconds == pytest.approx(SECONDS)
    assert len({packet.publisher for packet in stage.packets}) == 1
    position = 0
    for packet in stage.packets:
        assert packet.format is not None and packet.stamp is not None and stage.packets[0].stamp is not None
        assert packet.format.sample_rate == RATE and len(packet.payload) % 2 == 0
        assert packet.stamp - stage.packets[0].stamp == pytest.approx(position / RATE * NS_PER_S, abs=2)
        position += len(packet.payload) // 2
    assert stage.states() == [
        SpeechState.QUEUED,
        SpeechState.STARTING,
        SpeechState.SPEAKING,
        SpeechState.FINISHED,
    ]


def test_audio_is_fed_before_the_command_has_ended_and_little_ahead_of_its_time(
    pcm: Path, stages: list[Stage]
) -> None:
    stage = _begin(stages, command("endless", pcm))
    utterance = stage.speaker.say("Hello")
    assert wait_for(lambda: len(stage.audio) > 2 * RATE * 2)
    for packet, arrival in zip(stage.packets, stage.times, strict=False):
        assert packet.stamp is not None and packet.stamp / NS_PER_S - arrival < 0.75
    stage.speaker.interrupt()
    assert utterance.wait(30) and utterance.status.state is SpeechState.INTERRUPTED
    assert stage.interrupts == 1
    fed = len(stage.packets)
    time.sleep(0.3)
    assert len(stage.packets) == fed and stage.states()[-1] is SpeechState.INTERRUPTED


def test_what_follows_a_pause_of_the_command_is_a_new_stream_that_is_not_late(
    pcm: Path, stages: list[Stage]
) -> None:
    pcm.write_bytes(voice(0.6).tobytes())  # in six pieces of 0.1 s, one every 0.25 s
    stage = _begin(stages, command("slow", pcm))
    assert stage.speaker.say("Hello").wait(60)
    assert stage.audio == pcm.read_bytes()
    assert len({packet.publisher for packet in stage.packets}) > 1
    for packet, arrival in zip(stage.packets, stage.times, strict=True):
        assert packet.stamp is not None and packet.stamp / NS_PER_S > arrival - 0.1


@pytest.mark.parametrize(
    "mode, reason",
    [
        ("crash", "no such voice"),
        ("killed", "signal 9"),
        ("silent", "no audio"),
        ("text", "holds text, not audio"),
    ],
)
def test_a_command_that_fails_is_reported_once_and_the_next_text_is_tried(
    mode: str, reason: str, stages: list[Stage]
) -> None:
    stage = _begin(stages, command(mode))
    for count in (1, 2):
        utterance = stage.speaker.say("Hello")
        assert utterance.wait(60) and utterance.status.state is SpeechState.FAILED
        assert reason in utterance.status.message and len(stage.warnings) == count
    assert not stage.packets


def test_texts_are_said_in_their_order_and_one_that_waits_can_be_cancelled(
    pcm: Path, stages: list[Stage]
) -> None:
    pcm.write_bytes(voice(0.3).tobytes())
    stage = _begin(stages, command("pcm", pcm))
    first, second, third = (stage.speaker.say(text) for text in ("one", "two", "three"))
    stage.speaker.cancel(second)
    assert third.wait(60) and first.status.state is third.status.state is SpeechState.FINISHED
    assert second.status.state is SpeechState.INTERRUPTED and not stage.interrupts
    assert stage.audio == 2 * pcm.read_bytes()


def test_an_interruption_drops_all_that_waits_and_later_texts_are_said(
    pcm: Path, stages: list[Stage]
) -> None:
    pcm.write_bytes(voice(0.3).tobytes())
    stage = _begin(stages, command("pcm", pcm))
    utterances = [stage.speaker.say("Hello") for _ in range(4)]
    assert stage.speaker.interrupt()
    assert all(utterance.wait(60) for utterance in utterances)
    assert {utterance.status.state for utterance in utterances} == {SpeechState.INTERRUPTED}
    later = stage.speaker.say("again")
    assert later.wait(60) and later.status.state is SpeechState.FINISHED


def test_the_number_of_texts_that_wait_is_bounded(pcm: Path, stages: list[Stage]) -> None:
    stage = _begin(stages, command("endless", pcm))
    with pytest.raises(TalkerError, match="wait already"):
        for _ in range(MAX_QUEUED + 2):
            stage.speaker.say("Hello")


@pytest.mark.parametrize("file_format", ["WAV", "OGG", "FLAC"])
def test_a_sound_file_is_said_as_a_text_is(file_format: str, stages: list[Stage]) -> None:
    data = io.BytesIO()
    soundfile.write(data, voice(0.5), RATE, format=file_format)
    stage = _begin(stages, command("silent"))
    utterance = stage.speaker.play(data.getvalue())
    assert utterance.wait(60) and utterance.status.state is SpeechState.FINISHED, utterance.status
    assert utterance.status.duration == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"{}" * 40, np.zeros(1, np.uint8).tobytes()])
def test_a_sound_that_is_none_fails_in_one_sentence(data: bytes, stages: list[Stage]) -> None:
    stage = _begin(stages, command("silent"))
    utterance = stage.speaker.play(data)
    assert utterance.wait(60) and utterance.status.state is SpeechState.FAILED
    assert utterance.status.message and len(stage.warnings) == 1


def test_closing_ends_the_command_and_what_waits(pcm: Path, stages: list[Stage]) -> None:
    stage = _begin(stages, command("endless", pcm))
    utterances = [stage.speaker.say("Hello") for _ in range(2)]
    assert wait_for(lambda: bool(stage.packets))
    stage.speaker.close()
    assert all(utterance.status.state is SpeechState.INTERRUPTED for utterance in utterances)
