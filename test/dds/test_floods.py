# SPDX-License-Identifier: Apache-2.0
"""Floods of messages: timers and commands keep their rate, other topics are heard, memory stays bounded."""

from __future__ import annotations

import array
import struct
import threading
import time
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.head_node import HeadNode
from streamingtalker_ros.dds.node import MAX_CONTROL_BYTES, DdsNode, matched_readers
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from streamingtalker_ros.robot_head import load_head
from support.dds_domain import own_domain
from support.dds_peer import HeadPeer, call_trigger
from support.face_motion import face_motion, shape_weights
from support.waiting import wait_for

AUDIO, STRING = "audio_common_msgs/msg/AudioDataStamped", "std_msgs/msg/String"
COMMANDS = "jaw_controller/commands"


class Flood:
    """Publishes a message as fast as it can, with a new stamp each, until `stop`; a thread of its own."""

    def __init__(
        self, domain: int, topic: str, type_name: str, message: Any, rate: float | None = None
    ) -> None:
        self.sent = 0
        self.node = DdsNode("flood", "", domain)
        self._writer = self.node.create_publisher(topic, type_name, self.node.qos(depth=100))
        self._message_class = message_types.serialized_class(type_name)
        self._data = bytes(message.serialize())
        self._rate = rate
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        assert wait_for(lambda: matched_readers(self._writer))
        self._thread.start()

    def _publish(self) -> None:
        start = time.monotonic()
        while not self._stopped.is_set():
            if self._rate is not None and self.sent >= self._rate * (time.monotonic() - start):
                time.sleep(0.0005)
                continue
            stamp = struct.pack("<iI", *divmod(time.time_ns(), 10**9))
            self._writer.write(self._message_class(self._data[:4] + stamp + self._data[12:]))
            self.sent += 1

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self.node.close()


def open_jaw() -> Any:
    return face_motion(shape_weights(jawOpen=0.5), time.time_ns())


def test_a_flood_of_face_motion_neither_slows_the_commands_nor_hides_the_newest_motion() -> None:
    domain = own_domain()
    node, peer = (
        HeadNode(load_head("jaw"), domain=domain),
        HeadPeer(domain, **{COMMANDS: "std_msgs/msg/Float64MultiArray"}),
    )
    commands = peer.received[COMMANDS]
    try:
        assert wait_for(lambda: commands)
        flood = Flood(domain, "face_motion", MOTION_TYPE, open_jaw(), 4000)
        try:
            assert wait_for(lambda: flood.sent > 4000)
            sent, start = node.commands_sent, time.monotonic()
            assert wait_for(lambda: flood.sent > 12000, 120)
            seconds = time.monotonic() - start
            # of 50 a second; every one of them may come late on a busy machine, few may be missing
            assert node.commands_sent - sent > 0.7 * 50 * seconds
            assert np.median([command.data[0] for command in commands[-50:]]) == pytest.approx(
                0.225, abs=1e-6
            )
        finally:
            flood.stop()
        assert wait_for(lambda: abs(commands[-1].data[0]) < 1e-6)
    finally:
        node.close()
        peer.close()


def test_a_flood_of_one_topic_delays_neither_timers_nor_other_topics_nor_services() -> None:
    domain, warnings = own_domain(), []
    node = DdsNode("node", "", domain, warnings.append)
    client = DdsNode("client", "", domain)
    ticks: list[float] = []
    heard: list[Any] = []

    def handle_slowly(message: Any) -> None:
        end = time.thread_time() + 0.002  # the work of a message, in Python
        while time.thread_time() < end:
            pass

    try:
        node.create_subscription("flooded", AUDIO, handle_slowly, node.qos(depth=1000))
        node.create_subscription("quiet", STRING, heard.append)
        node.create_trigger_service("~/reset", lambda: "done")
        node.create_timer(0.02, lambda: ticks.append(time.monotonic()))
        node.start()
        client.start()
        writer = client.create_publisher("quiet", STRING)
        assert wait_for(lambda: matched_readers(writer))
        message = message_types.message_class(AUDIO)()
        message.audio.data = array.array("B", bytes(640))
        flood = Flood(domain, "flooded", AUDIO, message)
        try:
            assert wait_for(lambda: warnings, 60), "more than can be handled"
            first, start = len(ticks), time.monotonic()
            for number in range(10):
                writer.write(message_types.message_class(STRING)(data=str(number)))
                time.sleep(0.2)
            assert len(ticks) - first > 0.5 * (time.monotonic() - start) / 0.02
            assert wait_for(lambda: len(heard) == 10)
            assert call_trigger(client, "/node/reset").success
        finally:
            flood.stop()
        assert len(warnings) == 1 and "/flooded" in warnings[0]
    finally:
        client.close()
        node.close()


def test_a_request_of_a_client_that_never_listens_delays_nothing() -> None:
    domain, ticks, calls = own_domain(), [], []
    node, client = DdsNode("node", "", domain), DdsNode("client", "", domain)
    try:
        node.create_trigger_service("~/reset", lambda: calls.append(1) or "done")
        node.create_timer(0.02, lambda: ticks.append(1))
        node.start()
        from cyclonedds.pub import DataWriter
        from cyclonedds.topic import Topic

        request: Any = message_types.service_class("std_srvs/srv/Trigger_Request")
        topic: Any = Topic(client.participant, "rq/node/resetRequest", request)
        writer: Any = DataWriter(client.participant, topic)
        assert wait_for(lambda: matched_readers(writer))
        count = len(ticks)
        for number in range(50):
            writer.write(request(guid=1, seq=number))
            time.sleep(0.002)
        assert wait_for(lambda: calls)
        # each request would block for 0.1 s, 5 s in all
        assert wait_for(lambda: len(ticks) > count + 20, 3.0)
    finally:
        client.close()
        node.close()


@pytest.mark.parametrize("size", [MAX_CONTROL_BYTES + 1, 20_000_000])
def test_a_message_that_is_too_large_is_dropped_with_one_sentence_and_the_next_is_handled(size: int) -> None:
    domain, warnings, received = own_domain(), [], []
    node, peer = DdsNode("node", "", domain, warnings.append), HeadPeer(domain)
    try:
        subscription = node.create_subscription("face_motion", MOTION_TYPE, received.append)
        node.start()
        assert wait_for(lambda: matched_readers(peer.writer))
        large = open_jaw()
        large.header.frame_id = "x" * size
        peer.writer.write(large)
        peer.writer.write(large)
        peer.writer.write(open_jaw())
        assert wait_for(lambda: received) and list(received[0].names) == list(ARKIT_NAMES)
        assert len(warnings) == 1 and "/face_motion" in warnings[0] and str(MAX_CONTROL_BYTES) in warnings[0]
        assert subscription.dropped == 2
    finally:
        peer.close()
        node.close()


def test_a_burst_at_a_deep_subscription_is_handled_whole_and_in_order() -> None:
    domain, received = own_domain(), []
    node, sender = DdsNode("node", "", domain), DdsNode("sender", "", domain)

    def handle_slowly(message: Any) -> None:
        end = time.thread_time() + 0.0004
        while time.thread_time() < end:
            pass
        received.append(int(message.data))

    try:
        subscription = node.create_subscription("burst", STRING, handle_slowly, node.qos(depth=1000))
        node.start()
        writer = sender.create_publisher("burst", STRING, sender.qos(depth=1000))
        assert wait_for(lambda: matched_readers(writer))
        message_class = message_types.message_class(STRING)
        for number in range(2000):
            writer.write(message_class(data=str(number)))
            if number % 50 == 0:  # slower than the readers' own history of 1000 is emptied
                time.sleep(0.01)
        assert wait_for(lambda: len(received) == 2000, 60) and subscription.dropped == 0
        assert received == list(range(2000))
    finally:
        sender.close()
        node.close()


@pytest.mark.parametrize("is_reliable", [True, False])
def test_sentences_of_megabytes_in_one_message_each_arrive_whole(is_reliable: bool) -> None:
    domain, received = own_domain(), []
    node, sender = DdsNode("node", "", domain), DdsNode("sender", "", domain)
    try:
        qos = node.qos(depth=100, reliable=is_reliable)
        node.create_subscription("audio", AUDIO, received.append, qos)
        node.start()
        writer = sender.create_publisher("audio", AUDIO, qos)
        assert wait_for(lambda: matched_readers(writer))
        pcm = np.random.default_rng(1).integers(0, 256, 5_000_000, np.uint8).tobytes()
        message = message_types.message_class(AUDIO)()
        message.audio.data = array.array("B", pcm)
        for number in range(4):
            message.header.stamp.sec = number
            writer.write(message)
            if not is_reliable:  # nobody sends a lost fragment again
                assert wait_for(lambda count=number: len(received) > count)
        assert wait_for(lambda: len(received) == 4, 60)
        assert [each.header.stamp.sec for each in received] == list(range(4))
        assert all(bytes(each.audio.data) == pcm for each in received)
    finally:
        sender.close()
        node.close()
