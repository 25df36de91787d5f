# SPDX-License-Identifier: Apache-2.0
"""Of several publishers one is followed: their audio is never mixed, and the log names both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_receiver import AudioReceiver
from streamingtalker_ros.streaming import Talker
from support.scheduler_harness import MS, S0, START, SchedulerHarness, floats, offline, small_talker, voice
from support.scheduler_harness import weights as stack_weights

TYPE = "audio_common_msgs/msg/AudioDataStamped"
MICROPHONE, SPEECH = "0a" * 16, "0b" * 16  # GUIDs
START_OF_SPEECH = S0 + 10**9
NAMES = {MICROPHONE: "/robot/microphone", SPEECH: "/robot/tts"}


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


class HarnessSink:
    """The session of a harness, as a worker offers it."""

    def __init__(self, harness: SchedulerHarness) -> None:
        self._session = harness.session
        self._harness = harness
        self.push = self._session.push
        self.reject = self._session.reject
        self.interrupt = self._session.interrupt
        self.report_sender_fault = self._session.sender_faults.report
        self.sender_faults = self._session.sender_faults.active

    @property
    def queued_seconds(self) -> float:
        return self._session.queued_seconds

    def count_other_publisher(self) -> None:
        self._harness.statistics.other_publishers += 1


class Topic:
    """An audio topic with several publishers, received under a simulated clock."""

    def __init__(self, talker: Talker, preferred: str | None = "", is_known: bool = True) -> None:
        self.harness = SchedulerHarness(talker)
        self.present = set(NAMES)
        self.receiver = AudioReceiver(
            HarnessSink(self.harness),
            "/audio",
            AudioFormat(),
            preferred,
            (lambda publisher: NAMES.get(publisher, "")) if is_known else (lambda publisher: ""),
            lambda publisher: publisher in self.present,
        )

    def send(
        self,
        publisher: str,
        pcm: npt.NDArray[np.int16],
        begin: float = 0.0,
        is_live: bool = True,
        frame_id: str = "",
        packet: float = 0.02,
    ) -> None:
        size = round(16000 * packet)
        for first in range(0, len(pcm), size):
            message = audio_common.to_audio_message(
                message_types.message_class(TYPE)(),
                TYPE,
                pcm[first : first + size],
                AudioFormat(),
                S0 + round((begin + first / 16000) * 1e9),
                frame_id,
            )
            at = START + begin + (packet + first / 16000 if is_live else 0.0)
            self.harness.at(at, self._delivery(message, publisher, at))

    def _delivery(self, message: Any, publisher: str, at: float) -> Callable[[], None]:
        now = S0 + round((at - START) * 1e9)
        return lambda: self.receiver.on_audio(message, TYPE, publisher, now, at)

    def say(self, pcm: npt.NDArray[np.int16], begin: float) -> None:
        """The node itself speaks: its audio is there at once, with the stamps of its time."""

        def feed() -> None:
            stamp = S0 + round(begin * 1e9)
            self.receiver.on_speech(
                [AudioPacket(pcm.tobytes(), AudioFormat(), stamp, START + begin, stamp, "say 1.0")]
            )

        self.harness.at(START + begin, feed)


def assert_spoken(frames: list[Any], talker: Talker, pcm: npt.NDArray[np.int16]) -> None:
    expected = stack_weights(offline(talker, floats(pcm)))
    assert len(frames) == len(expected)
    np.testing.assert_allclose(stack_weights(frames)[5:], expected[5:], atol=1e-5)  # behind the cross-fade


def test_of_two_publishers_at_once_the_first_is_followed(talker: Talker) -> None:
    topic, first, second = Topic(talker), voice(3.0), voice(1.0, seed=1)
    topic.send(MICROPHONE, first)
    topic.send(SPEECH, second, 1.0)
    topic.harness.run(5.0)
    assert_spoken(topic.harness.audio, talker, first)
    assert topic.harness.statistics.other_publishers == 50
    assert topic.harness.warnings == [
        "two publishers on /audio: /robot/microphone and /robot/tts: /robot/microphone is followed until it "
        "falls silent; stop one, or name the one to follow by the parameter audio_publisher"
    ]


def test_no_parameter_is_advised_for_a_topic_that_has_none(talker: Talker) -> None:
    topic = Topic(talker, None)
    topic.send(MICROPHONE, voice(1.0))
    topic.send(SPEECH, voice(1.0, seed=1))
    topic.harness.run(2.0)
    (warning,) = topic.harness.warnings
    assert warning.endswith("until it falls silent; stop one")


def test_the_other_publisher_is_followed_when_the_first_has_fallen_silent(talker: Talker) -> None:
    topic, first, second = Topic(talker), voice(1.0), voice(1.0, seed=1)
    topic.send(MICROPHONE, first)
    topic.send(SPEECH, second, 2.0)
    topic.harness.run(5.0)
    assert_spoken(topic.harness.audio[:25], talker, first)
    assert_spoken(topic.harness.audio[25:], talker, second)
    assert topic.harness.warnings == [] and topic.harness.statistics.streams == 2


def test_messages_that_cannot_be_used_hide_no_voice(talker: Talker) -> None:
    """Of a damaged or hostile sender, before and beside the voice."""
    topic, pcm = Topic(talker), voice(1.0)
    for index in range(100):
        at = START + 0.01 * index
        message = message_types.message_class(TYPE)()  # without data
        topic.harness.at(
            at, lambda message=message, at=at: topic.receiver.on_audio(message, TYPE, SPEECH, S0, at)
        )
    topic.send(MICROPHONE, pcm, 0.3)
    topic.harness.run(3.0)
    assert_spoken(topic.harness.audio, talker, pcm)


def test_a_sentence_that_is_still_played_is_not_silence(talker: Talker) -> None:
    topic, sentence = Topic(talker), voice(4.0)
    topic.send(SPEECH, sentence, is_live=False)
    topic.send(MICROPHONE, voice(2.0, seed=1), 1.0)
    topic.harness.run(6.0)
    assert_spoken(topic.harness.audio, talker, sentence)


@pytest.mark.parametrize("preferred", ["tts", "/robot/tts", SPEECH, "speech_frame"])
def test_the_named_publisher_takes_over_at_once(talker: Talker, preferred: str) -> None:
    topic, sentence = Topic(talker, preferred), voice(1.0, seed=1)
    topic.send(MICROPHONE, voice(4.0), frame_id="microphone_frame")
    topic.send(SPEECH, sentence, 1.0, is_live=False, frame_id="speech_frame")
    topic.harness.run(2.0)
    begin = S0 + 1000 * MS
    frames = [frame for frame in topic.harness.audio if frame.stamp >= begin]
    assert frames[-1].stamp <= begin + 1000 * MS
    expected = stack_weights(offline(talker, floats(sentence)))
    np.testing.assert_allclose(
        stack_weights(frames)[8:20], expected[len(expected) - len(frames) :][8:20], atol=1e-5
    )
    assert len(topic.harness.warnings) == 1 and "/robot/tts is followed" in topic.harness.warnings[0]
    topic.harness.run(4.0)
    assert any(frame.stamp > S0 + 3000 * MS for frame in topic.harness.audio)  # the microphone again


def test_a_publisher_that_restarts_continues_its_voice(talker: Talker) -> None:
    topic, pcm = Topic(talker), voice(2.0)
    topic.send(MICROPHONE, pcm[:16000])
    topic.harness.at(START + 1.0, lambda: topic.present.discard(MICROPHONE))
    topic.send(SPEECH, pcm[16000:], 1.0)
    topic.harness.run(4.0)
    assert_spoken(topic.harness.audio, talker, pcm)
    assert topic.harness.statistics.streams == 1 and topic.harness.warnings == []


def test_without_identifiers_frame_ids_tell_publishers_apart(talker: Talker) -> None:
    topic, first = Topic(talker, is_known=False), voice(2.0)
    topic.present.update(("left", "right"))
    topic.send("", first, frame_id="left")
    topic.send("", voice(2.0, seed=1), frame_id="right")
    topic.harness.run(4.0)
    assert_spoken(topic.harness.audio, talker, first)
    assert topic.harness.warnings[0].startswith("two publishers on /audio: left and right: left is followed")


def test_each_publisher_is_read_in_the_format_that_its_own_node_announces(talker: Talker) -> None:
    topic, first, second = Topic(talker), voice(1.0), voice(1.0, seed=1)
    info = message_types.message_class(audio_common.INFO_TYPE)

    def announce(publisher: str, audio_format: AudioFormat) -> None:
        topic.receiver.on_audio_info(audio_common.to_audio_info(info(), audio_format), publisher)

    announce(MICROPHONE, AudioFormat(16000, 1, "s16"))
    announce(SPEECH, AudioFormat(48000, 2, "f32"))
    topic.send(MICROPHONE, first)
    topic.harness.at(START + 0.5, lambda: announce(SPEECH, AudioFormat(16000, 1, "s16")))
    topic.harness.at(START + 1.5, lambda: announce(MICROPHONE, AudioFormat(48000, 2, "f32")))
    topic.send(SPEECH, second, 2.0)
    topic.harness.run(4.0)
    assert_spoken(topic.harness.audio[:25], talker, first)
    assert_spoken(topic.harness.audio[25:], talker, second)


def test_two_publishers_of_one_node_are_not_mixed_either(talker: Talker) -> None:
    topic, pcm = Topic(talker), voice(2.0)
    other = MICROPHONE[:-2] + "ff"
    topic.present.add(other)
    topic.send(MICROPHONE, pcm)
    topic.send(other, voice(1.0, seed=1), 0.5)
    topic.harness.run(4.0)
    assert_spoken(topic.harness.audio, talker, pcm)
    assert topic.harness.statistics.other_publishers == 50 and len(topic.harness.warnings) == 1


def test_a_node_that_goes_on_with_another_publisher_loses_nothing(talker: Talker) -> None:
    topic, pcm = Topic(talker), voice(2.0)
    other = MICROPHONE[:-2] + "ff"
    topic.present.add(other)
    topic.send(MICROPHONE, pcm[:16000])
    topic.send(other, pcm[16000 + 800 :], 1.05)
    topic.harness.run(4.0)
    assert len(topic.harness.audio) == 50 and topic.harness.statistics.streams == 1
    assert topic.harness.statistics.other_publishers == 0 and topic.harness.warnings == []


def test_publishers_that_nothing_tells_apart_are_named_when_their_audio_is_faulty(talker: Talker) -> None:
    topic = Topic(talker, is_known=False)
    topic.present.add("")
    topic.send("", voice(1.0))
    topic.harness.run(0.5)
    topic.receiver.report_indistinct(["/tts", "/microphone"])
    assert topic.harness.warnings == []  # they may take turns
    topic.send("", voice(1.0, seed=1), 0.5)
    topic.harness.run(1.5)
    topic.receiver.report_indistinct(["/tts", "/microphone"])
    assert topic.harness.warnings[-1].startswith(
        "two publishers on /audio: /microphone and /tts: nothing tells"
    )


def test_what_the_node_says_interrupts_a_publisher_which_is_followed_again_afterwards(talker: Talker) -> None:
    topic, microphone, speech = Topic(talker, preferred="/robot/microphone"), voice(4.0), voice(1.0, seed=1)
    topic.send(MICROPHONE, microphone)
    topic.say(speech, 1.0)
    topic.harness.run(6.0)
    said = [frame for frame in topic.harness.audio if START_OF_SPEECH <= frame.stamp < START_OF_SPEECH + 1e9]
    assert_spoken(said, talker, speech)
    assert topic.harness.statistics.interrupts == 1 and topic.harness.statistics.streams == 3
    assert topic.harness.audio[-1].stamp > START_OF_SPEECH + 2.5e9  # the microphone, after a pause
    assert len(topic.harness.warnings) == 1 and "speech of this node" in topic.harness.warnings[0]


def test_nobody_interrupts_what_the_node_says(talker: Talker) -> None:
    topic, microphone, speech = Topic(talker, preferred="/robot/microphone"), voice(1.0), voice(2.0, seed=1)
    topic.say(speech, 0.0)
    topic.send(MICROPHONE, microphone, 0.5)
    topic.harness.run(4.0)
    assert_spoken(topic.harness.audio, talker, speech)
    assert topic.harness.statistics.other_publishers == 50 and not topic.harness.statistics.interrupts
