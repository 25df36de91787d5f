# SPDX-License-Identifier: Apache-2.0
"""Peers of the nodes without ROS: a Trigger client, a reader of the ROS graph, the peer of a robot head."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cyclonedds.pub import DataWriter
from cyclonedds.qos import Policy, Qos
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, matched_readers, matched_writers
from streamingtalker_ros.messaging.face_messages import MOTION_TYPE
from support.face_motion import face_motion, shape_weights
from support.waiting import wait_for

CLIENT_GUID, SEQUENCE_NUMBER = 77, 5
_SECOND_NS = 1_000_000_000


def open_reader(node: DdsNode, topic: str, message_class: Any, latched: bool = False) -> DataReader[Any]:
    """Return a reliable reader of a DDS topic, by its name on the wire."""
    qos = Qos(
        Policy.History.KeepLast(10),
        Policy.Reliability.Reliable(_SECOND_NS),
        Policy.Durability.TransientLocal if latched else Policy.Durability.Volatile,
    )
    return DataReader(node.participant, Topic(node.participant, topic, message_class), qos=qos)


def call_trigger(node: DdsNode, service: str) -> Any:
    """Call a std_srvs/srv/Trigger service as a client of rmw_cyclonedds does; see `call_service`."""
    return call_service(node, service, "std_srvs/srv/Trigger")


def call_service(node: DdsNode, service: str, type_name: str, **fields: Any) -> Any:
    """Call a service as a client of rmw_cyclonedds does.

    Args:
        node: Any node of the domain.
        service: Name of the service.
        type_name: Its type.
        fields: Of the request.

    Returns:
        The response, with the guid and the sequence number of the request.
    """
    name = node.resolve_name(service)
    request_class: Any = message_types.service_class(f"{type_name}_Request")
    qos = Qos(Policy.History.KeepLast(10), Policy.Reliability.Reliable(_SECOND_NS))
    topic: Any = Topic(node.participant, f"rq{name}Request", request_class)
    writer: Any = DataWriter(node.participant, topic, qos=qos)
    reader = open_reader(node, f"rr{name}Reply", message_types.service_class(f"{type_name}_Response"))
    assert wait_for(lambda: matched_readers(writer) and matched_writers(reader))
    writer.write(request_class(guid=CLIENT_GUID, seq=SEQUENCE_NUMBER, **fields))
    responses: list[Any] = []

    def has_response() -> bool:
        responses.extend(sample for sample in reader.take(10) if sample.sample_info.valid_data)
        return bool(responses)

    assert wait_for(has_response), f"{service} did not answer"
    return responses[0]


def graph_entries(node: DdsNode) -> Callable[[DdsNode], list[Any]]:
    """Return a function that returns the NodeEntitiesInfo messages received so far from another node.

    Args:
        node: The node that receives them.
    """
    info_class = message_types.message_class("rmw_dds_common/msg/ParticipantEntitiesInfo")
    reader = open_reader(node, "ros_discovery_info", info_class, latched=True)
    received: list[Any] = []

    def entries(other: DdsNode) -> list[Any]:
        received.extend(sample for sample in reader.take(64) if sample.sample_info.valid_data)
        guid = list(other.participant.guid.bytes)
        return [info.node_entities_info_seq[0] for info in received if list(info.gid.data) == guid]

    return entries


class HeadPeer:
    """Subscribes to topics of a domain and publishes FaceMotion.

    Args:
        domain: ROS domain.
        topics: Type of each topic.

    Attributes:
        received: Messages of each topic.
    """

    def __init__(self, domain: int, **topics: str) -> None:
        self.received: dict[str, list[Any]] = {topic: [] for topic in topics}
        self.dds_node = DdsNode("peer", "", domain)
        for topic, type_name in topics.items():
            self.dds_node.create_subscription(
                topic, type_name, self.received[topic].append, self.dds_node.qos(depth=1000)
            )
        self.writer = self.dds_node.create_publisher("face_motion", MOTION_TYPE)
        self.dds_node.start()

    def publish_jaw(self, weight: float, seconds: float = 0.6) -> None:
        """Publish frames with this weight of jawOpen for some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.writer.write(face_motion(shape_weights(jawOpen=weight), time.time_ns()))
            time.sleep(0.04)

    def open_jaw(self, topic: str) -> bool:
        """Publish an open jaw until the newest command of a topic opens it; return whether one did."""

        def is_open() -> bool:
            self.publish_jaw(1.0, 0.04)
            return bool(self.received[topic]) and self.received[topic][-1].data[0] > 0.2

        return wait_for(is_open)

    def close(self) -> None:
        """Leave the graph."""
        self.dds_node.close()
