# SPDX-License-Identifier: Apache-2.0
"""The partner's audio over DDS: the face attends to it, says who speaks, and may be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.conversation.layer import PARTNER_POINT_M
from streamingtalker_ros.conversation.turn_taking import DialogueState
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.messaging.dialogue_messages import DIALOGUE_TOPIC, DIALOGUE_TYPE
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.bag_harness import network
from support.dds_domain import own_domain
from support.gaze import gaze_errors
from support.two_party import RATE, read_voice, to_level
from support.waiting import wait_for

SETTLING_NS = 800_000_000
Samples = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def talker() -> Talker:
    """A fast network, which detects a voice in any audio of the face."""
    return Talker(network(), "cpu")


@pytest.fixture(scope="module")
def voice(voice_path: Path) -> Samples:
    """Four seconds of a voice."""
    return (32767 * to_level(read_voice(voice_path)[: 4 * RATE], -22.0)).astype(np.int16)


class Setup:
    """A talker, a recorder of its motion and a peer that reads who speaks, from before the first word on."""

    def __init__(self, talker: Talker, **parameters: Any) -> None:
        self.warnings: list[str] = []
        self.domain = own_domain()
        self.node = TalkerNode(
            TalkerParameters(overload_after=10.0, **parameters),  # a busy machine skips no frame
            domain=self.domain,
            talker=talker,
            warn=self.warnings.append,
        )
        self.recorder = FaceMotionRecorder(self.domain)
        self.peer = DdsNode("peer", "", self.domain)
        self.dialogue: list[Any] = []
        self._subscription = self.peer.create_subscription(
            DIALOGUE_TOPIC, DIALOGUE_TYPE, self.dialogue.append, self.peer.qos(depth=100, latched=True)
        )
        self.peer.start()
        assert self.recorder.wait_for_publisher(10)
        assert wait_for(lambda: self.states == [DialogueState.IDLE], 20)  # latched

    @property
    def states(self) -> list[DialogueState]:
        return [DialogueState(message.state) for message in self.dialogue]

    def wait_for_end(self, *states: DialogueState) -> bool:
        """Wait until all of some states were there, and nobody speaks any more."""
        return wait_for(lambda: {*states} <= {*self.states} and self.states[-1] is DialogueState.IDLE, 60)

    def send(
        self, topic: str, samples: Samples, variant: Variant = "ros-drivers", rate: int = RATE, **pace: Any
    ) -> None:
        """Publish a voice, by default in real time."""
        publisher = AudioPublisher(rate, variant, topic, domain=self.domain)
        assert publisher.wait_for_subscriber(10)
        for stamp, block in paced_packets(samples, rate, **pace):
            publisher.publish(block, stamp)
        publisher.close()

    def close(self) -> None:
        self.node.close()
        self.recorder.close()
        self.peer.close()


@contextmanager
def running(talker: Talker, **parameters: Any) -> Iterator[Setup]:
    setup = Setup(talker, **parameters)
    try:
        yield setup
    finally:
        setup.close()


@pytest.mark.parametrize(
    ("variant", "rate"), [("ros-drivers", 8_000), ("mgonzs13", 16_000)], ids=["ros-drivers", "mgonzs13"]
)
def test_the_face_attends_to_a_partner_and_says_so(
    talker: Talker, voice: Samples, variant: Variant, rate: int
) -> None:
    with running(talker) as setup:
        setup.send("partner_audio", voice[:: RATE // rate], variant, rate)
        assert setup.wait_for_end(DialogueState.LISTENING)
        assert set(setup.states) == {DialogueState.IDLE, DialogueState.LISTENING}
        frames = setup.recorder.frames
        weights = np.array([frame.weights for frame in frames])
        assert len(frames) > 10 and not any(frame.speaking for frame in frames)
        assert not weights[:, MOUTH_MASK].any()
        begin = next(m for m in setup.dialogue if m.state == DialogueState.LISTENING).header.stamp
        attending = [frame for frame in frames if frame.stamp > stamp_to_ns(begin) + SETTLING_NS][:50]
        assert np.median(gaze_errors(attending, PARTNER_POINT_M)) < 3.0  # aversions are shorter
        counters = setup.node.worker.statistics()
        assert counters["partner_packets"] == len(voice) / RATE / 0.02 and not counters["partner_rejected"]
        assert setup.warnings == []


@pytest.mark.parametrize("interrupts", [False, True])
def test_a_partner_who_speaks_into_a_sentence_may_interrupt_it(
    talker: Talker, voice: Samples, interrupts: bool
) -> None:
    with running(talker, interrupt_on_partner=interrupts) as setup:
        sentence = voice[::-1]  # no words of the partner, so that it is no echo
        sender = threading.Thread(
            target=setup.send, args=("audio", sentence), kwargs={"packet_seconds": 1.0, "speed": 0.0}
        )
        sender.start()
        setup.send("partner_audio", voice)
        sender.join()
        assert setup.wait_for_end(DialogueState.SPEAKING, DialogueState.OVERLAP)
        assert [message.interrupted for message in setup.dialogue].count(True) == interrupts
        assert setup.node.worker.statistics()["interrupts"] == interrupts
        assert setup.warnings == []


def test_what_is_no_audio_is_named_with_its_topic(talker: Talker) -> None:
    with running(talker) as setup:
        setup.peer.create_publisher("partner_audio", "std_msgs/msg/String")
        assert wait_for(lambda: any("partner_audio" in text for text in setup.warnings), 20)
        assert len(setup.warnings) == 1 and "String" in setup.warnings[0]
