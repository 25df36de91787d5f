# SPDX-License-Identifier: Apache-2.0
"""Mistakes of senders over DDS: all audio is spoken, log and diagnostics name the mistake."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.diagnostics import WARN
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.scheduler_harness import small_talker, voice
from support.sender_mistakes import sent_packets
from support.waiting import wait_for

SECONDS, RATE = 1.2, 16000


@pytest.fixture(scope="module")
def talker() -> Any:
    return small_talker()


class Sender:
    """A node that publishes audio with any stamps."""

    def __init__(
        self, domain: int, variant: Any = "ros-drivers", name: str = "sender", info: bool = True
    ) -> None:
        self._type_name = audio_common.PUBLISHED_TYPES[variant]
        self._message_class = message_types.message_class(self._type_name, variant)
        self.node = DdsNode(name, "", domain)
        self._writer: Any = self.node.create_publisher(
            "audio", self._type_name, self.node.qos(depth=1000), variant
        )
        self._info_writer: Any = None
        if info and variant == "ros-drivers":
            self._info_writer = self.node.create_publisher("audio_info", audio_common.INFO_TYPE)
        self.node.start()
        assert wait_for(lambda: matched_readers(self._writer))

    def announce(self, audio_format: AudioFormat) -> None:
        assert wait_for(lambda: matched_readers(self._info_writer))
        info = message_types.message_class(audio_common.INFO_TYPE)()
        self._info_writer.write(audio_common.to_audio_info(info, audio_format))

    def publish(self, samples: Any, stamp: int, frame_id: str = "") -> None:
        self._writer.write(
            audio_common.to_audio_message(
                self._message_class(), self._type_name, samples, AudioFormat(), stamp, frame_id
            )
        )

    def play(self, mistake: str, delivery: str) -> None:
        pcm, start = voice(SECONDS), time.time_ns()
        for sent in sent_packets(mistake, delivery, SECONDS):
            time.sleep(max(0.0, sent.at - (time.time_ns() - start) / 1e9) if delivery == "live" else 0.0)
            stamp = 0 if sent.stamp is None else start + sent.stamp
            if mistake == "sending time":
                stamp = time.time_ns()
            self.publish(pcm[round(sent.begin * RATE) : round(sent.end * RATE)], stamp)

    def close(self) -> None:
        self._writer = self._info_writer = None  # a writer is in the graph as long as it is referenced
        self.node.close()


class Room:
    """A talker node and its diagnostics in a domain of their own."""

    def __init__(self, talker: Any, domain: int | None = None, **parameters: Any) -> None:
        self.domain, self.warnings = domain or own_domain(), []
        self.node = TalkerNode(
            TalkerParameters(overload_after=10.0, **parameters),  # a busy machine skips no frame
            "",
            self.domain,
            talker=talker,
            warn=self.warnings.append,
        )
        self.reports: list[Any] = []
        self._listener = DdsNode("listener", "", self.domain)
        self._listener.create_subscription(
            "/diagnostics",
            "diagnostic_msgs/msg/DiagnosticArray",
            lambda message: self.reports.append(message.status[0]),
        )
        self._listener.start()

    def warned(self, text: str) -> bool:
        return any(status.level == WARN and text in status.message for status in self.reports)

    def close(self) -> None:
        self.node.close()
        self._listener.close()


@pytest.mark.parametrize("variant", ["ros-drivers", "mgonzs13"])
@pytest.mark.parametrize(
    "mistake, delivery, named",
    [
        ("shared", "burst", "packets share one stamp"),
        ("sending time", "burst", "stamps are sending times"),
        ("shared", "live", "packets share one stamp"),
        ("zero", "burst", None),
        ("none", "one message", None),
    ],
)
def test_all_audio_is_spoken_and_the_mistake_is_named(
    talker: Any, variant: Any, mistake: str, delivery: str, named: str | None
) -> None:
    room = Room(talker)
    sender = Sender(room.domain, variant)
    sender.play(mistake, delivery)
    assert wait_for(lambda: room.node.worker.statistics()["idle_frames"] > 5)
    statistics = room.node.worker.statistics()
    assert statistics["frames"] == SECONDS * 25 and statistics["streams"] == 1
    assert statistics["duplicates"] == statistics["late"] == statistics["rejected"] == 0
    if named is None:
        assert room.warnings == []
    else:
        assert len(room.warnings) == 1 and room.warnings[0].startswith(named)
        assert wait_for(lambda: room.warned(named))
    sender.close()
    room.close()


def test_a_wrong_rate_in_audio_info_is_named(talker: Any) -> None:
    room = Room(talker)
    sender = Sender(room.domain)
    sender.announce(AudioFormat(48000, 1, "s16"))
    time.sleep(0.2)  # another topic: the audio may overtake it
    sender.play("none", "live")
    message = "audio_info says 48000 Hz but the stamps fit 16000"
    assert wait_for(lambda: room.warned(message))
    assert wait_for(lambda: room.node.worker.statistics()["idle_frames"] > 5)
    assert [text.startswith(message) for text in room.warnings] == [True]
    assert abs(room.node.worker.statistics()["frames"] - SECONDS * 25) <= 3
    sender.close()
    room.close()


def test_two_publishers_are_named_at_once_and_one_is_followed(talker: Any) -> None:
    room = Room(talker)
    microphone, speech = Sender(room.domain, name="microphone"), Sender(room.domain, name="tts")
    pcm = voice(SECONDS)
    for index, (stamp, block) in enumerate(paced_packets(pcm, RATE, 0.02)):
        microphone.publish(block, stamp)
        if index >= 25:
            speech.publish(np.zeros_like(block), stamp)
    assert wait_for(lambda: room.warned("two publishers on /audio: /microphone and /tts")), room.warnings
    assert len(room.warnings) == 1 and "/microphone is followed until" in room.warnings[0]
    assert wait_for(lambda: room.node.worker.statistics()["other_publishers"] == SECONDS * 50 - 25)
    assert wait_for(lambda: room.node.worker.statistics()["frames"] == SECONDS * 25)
    # the first has left: the other one is followed without a wait
    microphone.close()
    time.sleep(0.2)
    before = room.node.worker.statistics()["packets"]
    speech.play("none", "live")
    assert wait_for(lambda: room.node.worker.statistics()["packets"] == before + SECONDS * 50)
    assert room.node.worker.statistics()["other_publishers"] == SECONDS * 50 - 25
    speech.close()
    room.close()


def test_the_named_publisher_is_followed_by_its_node_name(talker: Any) -> None:
    room = Room(talker, audio_publisher="tts")
    microphone, speech = Sender(room.domain, name="microphone"), Sender(room.domain, name="tts")
    pcm = voice(SECONDS)
    with FaceMotionRecorder(room.domain) as recorder:
        assert recorder.wait_for_publisher(10)
        for index, (stamp, block) in enumerate(paced_packets(pcm, RATE, 0.02)):
            microphone.publish(block, stamp)
            if index >= 25:
                speech.publish(block, stamp)
        assert wait_for(lambda: room.warned("/tts is followed whenever it sends")), room.warnings
    # from the takeover on, the microphone is not followed
    assert wait_for(lambda: room.node.worker.statistics()["other_publishers"] >= SECONDS * 50 - 30)
    for node in (microphone, speech):
        node.close()
    room.close()


def test_after_a_best_effort_publisher_reliable_ones_are_still_received_reliably(talker: Any) -> None:
    room, name = Room(talker), audio_common.PUBLISHED_TYPES["ros-drivers"]
    unreliable = DdsNode("unreliable", "", room.domain)
    writer = unreliable.create_publisher("audio", name, unreliable.qos(depth=5, reliable=False))
    assert wait_for(lambda: matched_readers(writer))
    unreliable.close()
    sender = DdsNode("sender", "", room.domain)
    writer = sender.create_publisher("audio", name, sender.qos(depth=1000))
    assert wait_for(lambda: matched_readers(writer) == 2)
    # fragments of such a message are lost on a best-effort connection now and then; none arrives twice
    for number in range(20):
        message = message_types.message_class(name)()
        audio_common.to_audio_message(
            message, name, voice(2.0, seed=number), AudioFormat(), 1 + number * 2_000_000_000, ""
        )
        writer.write(message)
    assert wait_for(lambda: room.node.worker.statistics()["packets"] == 20)
    time.sleep(0.3)
    assert room.node.worker.statistics()["packets"] == 20
    sender.close()
    room.close()


@pytest.mark.parametrize("reliable, latched", [(True, True), (False, False), (True, False)])
def test_the_format_is_received_with_any_qos_and_before_the_talker_starts_if_latched(
    talker: Any, reliable: bool, latched: bool
) -> None:
    domain = own_domain()
    announcer = DdsNode("announcer", "", domain)
    writer = announcer.create_publisher(
        "audio_info", audio_common.INFO_TYPE, announcer.qos(depth=1, reliable=reliable, latched=latched)
    )
    info = message_types.message_class(audio_common.INFO_TYPE)()
    audio_common.to_audio_info(info, AudioFormat(8000, 1, "s16"))
    if latched:
        writer.write(info)
    room = Room(talker, domain=domain)
    if not latched:
        assert wait_for(lambda: matched_readers(writer))
        writer.write(info)
    sender = Sender(domain, info=False)
    time.sleep(0.3)  # another topic: the audio may overtake it
    sender.publish(voice(SECONDS)[::2], time.time_ns())
    assert wait_for(lambda: room.node.worker.statistics()["idle_frames"] > 5)
    assert room.node.worker.statistics()["frames"] == SECONDS * 25 and room.warnings == []
    for node in (sender, announcer, room):
        node.close()
