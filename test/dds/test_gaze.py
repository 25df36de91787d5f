# SPDX-License-Identifier: Apache-2.0
"""The topic gaze_target over DDS: the published frames look at it, whoever sends it and whatever it holds."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.message_types import message_class
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.gaze import gaze_errors
from support.gaze_messages import gaze_message
from support.scheduler_harness import voice
from support.waiting import wait_for

TARGET = (1.0, 0.5, 0.1)


class Setup:
    """A talker with idle frames, a recorder of its motion and a publisher of gaze targets.

    Args:
        talker: The model.
        reliable: Of the publisher.
        parameters: Of the node.
    """

    def __init__(self, talker: Talker, reliable: bool = True, **parameters: Any) -> None:
        self.warnings: list[str] = []
        domain = own_domain()
        self.node = TalkerNode(
            TalkerParameters(gaze_aversion=False, **parameters),
            domain=domain,
            talker=talker,
            warn=self.warnings.append,
        )
        self.recorder = FaceMotionRecorder(domain)
        self.peer = DdsNode("peer", "", domain)
        self.writer = self.peer.create_publisher("gaze_target", GAZE_TYPE, self.peer.qos(reliable=reliable))
        self.peer.start()
        assert self.recorder.wait_for_publisher(10)
        assert wait_for(lambda: matched_readers(self.writer))
        # a short sound, whose end is followed by idle frames
        audio = AudioPublisher(16_000, domain=domain)
        assert audio.wait_for_subscriber(10)
        for stamp, block in paced_packets(voice(0.4), 16_000, 0.02, 1):
            audio.publish(block, stamp)
        audio.close()
        assert self.recorder.wait(10, 20)

    def send(self, point: Any, frame: str = "", stamp: int | None = None) -> None:
        stamp = time.time_ns() if stamp is None else stamp
        self.writer.write(gaze_message(message_class, point, stamp, frame))

    def errors(self, target: Any = TARGET) -> Any:
        """Errors in degrees of the newest frames."""
        return gaze_errors(self.recorder.frames[-5:], target)

    def close(self) -> None:
        self.node.close()
        self.recorder.close()
        self.peer.close()


@pytest.fixture
def setup(talker: Talker) -> Iterator[Setup]:
    setup = Setup(talker)
    yield setup
    setup.close()


@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "best effort"])
def test_frames_look_at_the_target_until_it_is_stale(talker: Talker, reliable: bool) -> None:
    setup = Setup(talker, reliable, gaze_timeout=2.0)
    try:
        setup.send(TARGET, "head")
        assert wait_for(lambda: (setup.errors() < 2.0).all(), 10)
        assert wait_for(lambda: (setup.errors() > 5.0).all(), 20), "a stale target was not released"
        setup.send(TARGET, stamp=0)  # never set: at once
        assert wait_for(lambda: (setup.errors() < 2.0).all(), 10)
        assert setup.warnings == []
    finally:
        setup.close()


def test_a_moving_target_is_followed(setup: Setup) -> None:
    errors, stop = [], time.monotonic() + 4.0
    for n in itertools.count():
        if time.monotonic() > stop:
            break
        angle = 0.6 * math.sin(0.04 * n)
        target = (2.0 * math.cos(angle), 2.0 * math.sin(angle), 0.2)
        setup.send(target)
        time.sleep(0.04)
        if n > 40:
            errors.append(setup.errors(target)[-1].max())
    assert np.median(errors) < 6.0  # of them 3 to 5 degrees are the 80 ms of the look-ahead and the transport


def test_messages_that_hold_no_target_cost_one_warning_each_kind(setup: Setup) -> None:
    setup.send(TARGET)
    assert wait_for(lambda: (setup.errors() < 2.0).all(), 10)
    count = len(setup.recorder.frames)
    for n in range(300):
        for point in ((math.nan, 0, 0), (0, 0, 0), (math.inf, 1, 1), (-2.0, 0.1, 0.0), (1e-3, 0.0, 0.0)):
            setup.send(point, "nowhere" if n % 2 else "")
        time.sleep(0.001)
    assert wait_for(lambda: len(setup.recorder.frames) > count + 50, 20)  # the frames go on
    for frame in setup.recorder.frames:
        assert np.isfinite(frame.weights).all() and np.isfinite(frame.head).all()
    assert setup.warnings and len(setup.warnings) == len(set(setup.warnings)) <= 4
    setup.send(TARGET)
    assert wait_for(lambda: (setup.errors() < 2.0).all(), 10)


def test_another_type_on_the_topic_is_named(talker: Talker) -> None:
    setup = Setup(talker)
    try:
        other = setup.peer.create_publisher("gaze_target", "std_msgs/msg/String")
        assert wait_for(lambda: any("PointStamped" in warning for warning in setup.warnings), 10)
        del other
    finally:
        setup.close()


def test_the_neck_of_a_robot_limits_the_head(talker: Talker) -> None:
    setup = Setup(talker, gaze_head="jaw")  # which has no neck
    try:
        for _ in range(40):
            setup.send((1.0, 0.3, 0.0))
            time.sleep(0.03)
        assert wait_for(lambda: (setup.errors((1.0, 0.3, 0.0)) < 2.0).all(), 10)
        for frame in setup.recorder.frames[-5:]:
            np.testing.assert_allclose(frame.head, [0.0, 0.0, 0.0, 1.0], atol=1e-5)
    finally:
        setup.close()
