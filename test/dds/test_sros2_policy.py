# SPDX-License-Identifier: Apache-2.0
"""config/sros2_policy.xml allows each node the topics and services that it uses, and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)

from streamingtalker_ros.dds.audio_player import AudioPublisher
from streamingtalker_ros.dds.head_node import HeadNode
from streamingtalker_ros.dds.markers_node import FaceMarkersNode
from streamingtalker_ros.dds.node import DdsNode
from streamingtalker_ros.dds.talker_node import TalkerNode
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.audio_common import PUBLISHED_TYPES
from streamingtalker_ros.messaging.face_messages import MODEL_TYPE
from streamingtalker_ros.robot_head import load_head
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.dds_domain import own_domain
from support.scheduler_harness import small_talker
from support.sros2_policy import action_names, read_policy
from support.tts_command import command
from support.waiting import wait_for

ROS_ONLY_TOPICS = {
    "/clock",
    "/rosout",
    "/parameter_events",
    "/talker/transition_event",
    *action_names({"/tts_engine/tts"}),
}
ROS_ONLY_SUBSCRIPTIONS = ROS_ONLY_TOPICS | {"/tf", "/tf_static"}
DDS_SERVICES = {
    "/talker/reset",
    "/talker/interrupt",
    "/talker/set_expression",
    "/talker/clear_expression",
    "/talker/gesture",
    *action_names({"/say"}),
}


def talker(domain: int) -> TalkerNode:
    parameters = TalkerParameters(publish_vertices=True, tts_command=command("silent"))
    return TalkerNode(parameters, domain=domain, talker=small_talker())


def head(domain: int) -> HeadNode:
    return HeadNode(replace(load_head("jaw"), feedback="joint_states"), domain=domain)


NODES: dict[str, Callable[[int], Any]] = {
    "talker": talker,
    "head_driver": head,
    "face_markers": lambda domain: FaceMarkersNode(domain=domain),
    "audio_source": lambda domain: AudioPublisher(16000, domain=domain),
}


@contextlib.contextmanager
def sender_of_everything(domain: int) -> Iterator[DdsNode]:
    """A peer whose publishers cause nodes to subscribe: of both audios, and of a vertex talker's model."""
    peer = DdsNode("peer", "", domain)
    for topic in ("audio", "partner_audio"):
        peer.create_publisher(topic, PUBLISHED_TYPES["ros-drivers"])
    writer = peer.create_publisher("face_model", MODEL_TYPE, peer.qos(depth=1, latched=True))
    from streamingtalker_ros.dds import message_types

    writer.write(
        message_types.message_class(MODEL_TYPE)(vertices=[0.1 * k for k in range(9)], triangles=[0, 1, 2])
    )
    peer.start()
    try:
        yield peer
    finally:
        peer.close()


def endpoints(reader: Any, own: set[Any], found: dict[Any, str]) -> set[str]:
    """Return the topics of the endpoints of other participants that were discovered so far."""
    for endpoint in reader.take(500):
        if endpoint.sample_info.valid_data and endpoint.participant_key not in own:
            found[endpoint.key] = endpoint.topic_name
    return set(found.values())


def split(names: set[str], prefix: str, suffix: str = "") -> set[str]:
    found = {name for name in names if name.startswith(prefix) and name.endswith(suffix)}
    return {name[len(prefix) : len(name) - len(suffix)] for name in found}


@pytest.mark.parametrize("name", NODES)
def test_policy_lists_the_topics_and_services_of_the_node(name: str) -> None:
    domain, allowed = own_domain(), read_policy()[name]
    with sender_of_everything(domain) as peer:
        readers = [
            BuiltinDataReader(peer.participant, kind)
            for kind in (BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription)
        ]
        own, found = {peer.participant.guid}, [dict[Any, str](), dict[Any, str]()]
        node = NODES[name](domain)
        try:
            published = allowed.publish - ROS_ONLY_TOPICS
            subscribed = allowed.subscribe - ROS_ONLY_SUBSCRIPTIONS
            services = allowed.reply & DDS_SERVICES

            def names() -> list[set[str]]:
                return [endpoints(reader, own, each) for reader, each in zip(readers, found, strict=True)]

            def is_complete() -> bool:
                writers, listeners = names()
                return split(writers, "rt") >= published and split(listeners, "rt") >= subscribed

            wait_for(is_complete, 20)
            writers, listeners = names()
            assert split(writers, "rt") == published
            assert split(listeners, "rt") == subscribed
            assert split(writers, "rr", "Reply") == services == split(listeners, "rq", "Request")
        finally:
            node.close()


def test_a_node_without_security_does_not_join_a_graph_that_enforces_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warnings: list[str] = []
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    DdsNode("permissive", "", own_domain(), warnings.append).close()
    assert len(warnings) == 1 and "no DDS security" in warnings[0]
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    with pytest.raises(TalkerError, match="no DDS security"):
        DdsNode("enforced", "", own_domain(), warnings.append)
