# SPDX-License-Identifier: Apache-2.0
"""The wire between processes: round trips, services, latched topics, the graph; real Cyclone DDS, a domain
per test."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, domain_id, matched_readers
from streamingtalker_ros.dds.recorder import FaceMotionRecorder
from streamingtalker_ros.errors import TalkerError
from support.dds_domain import own_domain
from support.dds_peer import call_trigger, graph_entries
from support.waiting import wait_for

MOTION, MODEL = "streamingtalker_ros/msg/FaceMotion", "streamingtalker_ros/msg/FaceModel"
_SENDER = """
import array, sys, time
from streamingtalker_ros.dds import message_types as messages
from streamingtalker_ros.dds.node import DdsNode, matched_readers
node = DdsNode("sender", "", int(sys.argv[1]))
writer = node.create_publisher("face_motion", "streamingtalker_ros/msg/FaceMotion", node.qos(depth=50))
node.start()
while not matched_readers(writer):
    time.sleep(0.01)
message_class = messages.message_class("streamingtalker_ros/msg/FaceMotion")
for index in range(50):
    message = message_class(frame=index, names=["jawOpen", "mouthClose"], speaking=index % 2 == 0,
                            weights=array.array("f", [index / 50, 0.1]))
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, index * 1000 + 1
    message.header.frame_id = "head"
    message.head.w = 1.0
    writer.write(message)
sys.stdin.read()
node.close()
"""


def test_messages_cross_from_one_process_to_another_unchanged() -> None:
    domain = own_domain()
    with FaceMotionRecorder(domain=domain) as recorder:
        sender = subprocess.Popen([sys.executable, "-c", _SENDER, str(domain)], stdin=subprocess.PIPE)
        try:
            assert recorder.wait(50, 60)
        finally:
            sender.communicate(timeout=30)
    assert sender.returncode == 0
    frames = recorder.frames
    assert [frame.frame for frame in frames] == list(range(50))
    expected = [1_700_000_000_000_000_001 + index * 1000 for index in range(50)]
    assert [frame.stamp for frame in frames] == expected
    np.testing.assert_array_equal(
        [frame.weights for frame in frames], np.array([[index / 50, 0.1] for index in range(50)], np.float32)
    )
    assert frames[0].names == ("jawOpen", "mouthClose") and frames[0].frame_id == "head"
    assert [frame.speaking for frame in frames] == [index % 2 == 0 for index in range(50)]
    assert frames[0].head.tolist() == [0, 0, 0, 1]


def test_a_closed_node_has_left_the_graph_whoever_still_refers_to_it() -> None:
    domain = own_domain()
    with FaceMotionRecorder(domain=domain) as recorder:
        node = DdsNode("sender", "", domain)
        writer = node.create_publisher("face_motion", MOTION)
        subscription = node.create_subscription("face_motion", MOTION, lambda message: None)
        node.start()
        assert recorder.wait_for_publisher(10)
        node.close()
        assert wait_for(lambda: not recorder.wait_for_publisher(0.0))
        assert writer is not None and subscription is not None


def test_a_latched_message_reaches_late_subscribers() -> None:
    domain = own_domain()
    early, late, received = DdsNode("early", "", domain), DdsNode("late", "robot", domain), []
    writer = early.create_publisher("/robot/face_model", MODEL, early.qos(depth=1, latched=True))
    writer.write(message_types.message_class(MODEL)(name="head", triangles=[0, 1, 2]))
    time.sleep(0.1)
    late.create_subscription("face_model", MODEL, received.append, late.qos(depth=1, latched=True))
    late.start()
    assert (
        wait_for(lambda: received) and received[0].name == "head" and list(received[0].triangles) == [0, 1, 2]
    )
    late.close()
    early.close()


def test_readers_are_counted_while_they_join_and_leave() -> None:
    """The binding sometimes raises IndexError; the node must not."""
    domain = own_domain()
    node, other, counts = DdsNode("talker", "", domain), DdsNode("subscriptions", "", domain), set()
    writer = node.create_publisher("motion", MODEL, node.qos(depth=1))
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            counts.add(matched_readers(writer))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        for _ in range(10):
            subscriptions = [
                other.create_subscription("motion", MODEL, print, other.qos(depth=1)) for _ in range(20)
            ]
            assert wait_for(lambda: 20 in counts)
            for subscription in subscriptions:
                other.destroy_subscription(subscription)
            del subscription, subscriptions
            counts.clear()
            assert wait_for(lambda: 0 in counts)
    finally:
        is_counting = counting.is_alive()
        stop.set()
        counting.join()
        other.close()
        node.close()
    assert is_counting


def test_a_trigger_service_responds_to_its_client() -> None:
    domain = own_domain()
    server, client, calls = DdsNode("talker", "ns", domain), DdsNode("client", "", domain), []

    def failing_service() -> NoReturn:
        raise ValueError("not now")

    server.create_trigger_service("~/reset", lambda: calls.append(1) or "done")
    server.create_trigger_service("~/interrupt", failing_service)
    server.start()
    client.start()
    reply = call_trigger(client, "/ns/talker/reset")
    assert (reply.guid, reply.seq, reply.success, reply.message) == (77, 5, True, "done") and calls == [1]
    reply = call_trigger(client, "/ns/talker/interrupt")
    assert (reply.success, reply.message) == (False, "not now")
    client.close()
    server.close()


def test_the_graph_shows_the_node_and_its_endpoints() -> None:
    domain = own_domain()
    node, watcher = DdsNode("talker", "robot", domain), DdsNode("watcher", "", domain)
    entries = graph_entries(watcher)
    try:
        writer = node.create_publisher("face_motion", MOTION)
        subscription = node.create_subscription("audio", "audio_common_msgs/msg/AudioDataStamped", print)
        assert wait_for(lambda: entries(node) and entries(node)[-1].reader_gid_seq)
        info = entries(node)[-1]
        assert (info.node_namespace, info.node_name) == ("/robot", "talker")
        assert [list(gid.data) for gid in info.writer_gid_seq] == [list(writer.guid.bytes)]
        assert len(info.reader_gid_seq) == 1
        node.destroy_subscription(subscription)
        assert wait_for(lambda: not entries(node)[-1].reader_gid_seq)
    finally:
        node.close()
        watcher.close()


def test_endpoints_carry_their_type_hash() -> None:
    domain = own_domain()
    from cyclonedds.qos import Policy

    node = DdsNode("talker", "", domain)
    writer = node.create_publisher("face_motion", MOTION)
    data = writer.get_qos()[Policy.Userdata].data
    assert bytes(data) == f"typehash={message_types.type_hash(MOTION)};".encode()
    node.close()


def test_names_resolve_as_in_ros() -> None:
    domain = own_domain()
    node = DdsNode("talker", "/robot/", domain)
    resolved = [node.resolve_name(name) for name in ("audio", "/audio", "~/reset")]
    assert resolved == ["/robot/audio", "/audio", "/robot/talker/reset"]
    node.close()
    node = DdsNode("talker", "", domain)
    assert [node.resolve_name(name) for name in ("audio", "~/reset")] == ["/audio", "/talker/reset"]
    node.close()


@pytest.mark.parametrize("name", ["", "a b", "a//b", "a/", "1a", "é", "a\n", "a-b", "a" * 300, "/", "~~"])
def test_a_name_that_ros_does_not_accept_is_refused_in_one_sentence(name: str) -> None:
    domain = own_domain()
    node = DdsNode("talker", "robot", domain)
    try:
        for create in (
            lambda: node.create_publisher(name, MOTION),
            lambda: node.create_subscription(name, MOTION, print),
            lambda: node.create_trigger_service(name, lambda: ""),
        ):
            with pytest.raises(TalkerError, match="no name of a ROS topic") as error:
                create()
            assert len(str(error.value)) < 250 and "\n" not in str(error.value)
        node.create_publisher("face_motion", MOTION)  # works on
    finally:
        node.close()
    if name.strip("/"):
        with pytest.raises(TalkerError, match=r"no ROS namespace|no name of a ROS topic"):
            DdsNode("talker", f"{name} ", domain)


def test_the_domain_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert domain_id() == 42 and domain_id(7) == 7
    monkeypatch.setenv("ROS_DOMAIN_ID", "many")
    with pytest.raises(TalkerError, match="'many' is no ROS domain"):
        domain_id()
    monkeypatch.delenv("ROS_DOMAIN_ID")
    assert domain_id() == 0


def test_cyclonedds_uri_is_honoured(tmp_path: Path) -> None:
    domain = own_domain()
    log = tmp_path / "trace.log"
    script = (
        f"from streamingtalker_ros.dds.node import DdsNode\nnode = DdsNode('x', '', {domain})\nnode.close()\n"
    )
    uri = (
        "<CycloneDDS><Domain><Tracing><Verbosity>config</Verbosity>"
        f"<OutputFile>{log}</OutputFile></Tracing></Domain></CycloneDDS>"
    )
    for value, expected in ((uri, "ParticipantIndex"), (None, None)):
        log.unlink(missing_ok=True)
        env = {name: text for name, text in os.environ.items() if name != "CYCLONEDDS_URI"}
        if value:
            env["CYCLONEDDS_URI"] = value
        subprocess.run([sys.executable, "-c", script], check=True, env=env)
        assert (expected in log.read_text()) if expected else not log.exists()


@pytest.mark.parametrize(
    "user, delay", [("", "5 ms"), ("<Internal><NackDelay>7 ms</NackDelay></Internal>", "7 ms")]
)
def test_lost_fragments_are_requested_within_5_ms_unless_the_user_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, delay: str
) -> None:
    log = tmp_path / "trace.log"
    tracing = f"<Tracing><Verbosity>config</Verbosity><OutputFile>{log}</OutputFile></Tracing>"
    monkeypatch.setenv("CYCLONEDDS_URI", f"<CycloneDDS><Domain>{tracing}{user}</Domain></CycloneDDS>")
    for script in (
        f"from streamingtalker_ros.dds.node import DdsNode\nDdsNode('x', '', {own_domain()}).close()\n",
        "import os\nfrom cyclonedds.domain import Domain\n"
        "from streamingtalker_ros.messaging import cyclonedds_config\n"
        # as rmw_cyclonedds reads it
        "cyclonedds_config.set_receive_buffer()\ncyclonedds_config.set_receive_buffer()\n"
        f"Domain({own_domain()}, os.environ['CYCLONEDDS_URI'])\n",
    ):
        log.unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", script], check=True)
        assert f"Internal/NackDelay/#text: {delay} " in log.read_text()


def test_a_failing_callback_warns_and_the_others_continue() -> None:
    domain = own_domain()
    warnings, ticks, broken = [], [], threading.Event()
    node = DdsNode("talker", "", domain, warnings.append)

    def failing_timer() -> NoReturn:
        broken.set()
        raise ValueError("strange message")

    node.create_timer(0.02, failing_timer)
    node.create_timer(0.02, lambda: ticks.append(1))
    node.start()
    assert broken.wait(5) and wait_for(lambda: len(ticks) > 5)
    assert "strange message" in warnings[0]
    node.close()


def test_messages_of_different_topics_arrive_in_the_order_of_publication() -> None:
    domain, received = own_domain(), []
    subscriber, sender = DdsNode("subscriber", "", domain), DdsNode("sender", "", domain)
    string_class = message_types.message_class("std_msgs/msg/String")
    try:
        senders = {}
        for topic in ("first", "second", "third"):
            subscriber.create_subscription(
                topic, "std_msgs/msg/String", lambda message: received.append(message.data)
            )
            senders[topic] = sender.create_publisher(topic, "std_msgs/msg/String")
        sender.start()
        assert wait_for(lambda: all(matched_readers(writer) for writer in senders.values()))
        expected = []
        for number in range(9):
            topic = ("third", "first", "second")[number * number % 3]
            senders[topic].write(string_class(data=f"{topic} {number}"))
            expected.append(f"{topic} {number}")
            time.sleep(0.002)
        time.sleep(0.1)
        subscriber.start()  # all messages are queued already
        assert wait_for(lambda: len(received) == 9) and received == expected
    finally:
        sender.close()
        subscriber.close()
