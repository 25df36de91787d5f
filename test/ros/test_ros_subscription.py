# SPDX-License-Identifier: Apache-2.0
"""A subscription that follows its publishers: each QoS is served, without warnings, losses or repetitions."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from std_msgs.msg import Float32MultiArray, MultiArrayDimension, UInt32, UInt64

from streamingtalker_ros.ros.subscription import AdaptiveSubscription
from support.ros_graph import Graph, own_domain, wait_for

DOMAIN = own_domain()
RELIABILITIES = (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
DURABILITIES = (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE)
TYPES = ["std_msgs/msg/UInt32", "std_msgs/msg/UInt64"]


class Subscriber:
    """A node with one adaptive subscription, spun in a thread."""

    def __init__(self, latched: bool) -> None:
        self.received: list[tuple[int, str]] = []
        self.unsupported: list[list[str]] = []
        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("subscriber", context=self.context)
        self.subscription = AdaptiveSubscription(
            self.node,
            "numbers",
            TYPES,
            lambda message, type_name: self.received.append((message.data, type_name)),
            1000,
            latched=latched,
            on_unsupported=lambda topic, types: self.unsupported.append(types),
        )
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self._closing = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._closing:
            self.executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._closing = True
        self._thread.join()
        self.subscription.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph(DOMAIN)
    yield graph
    graph.close()


@pytest.fixture
def subscriber(request: pytest.FixtureRequest) -> Iterator[Subscriber]:
    subscriber = Subscriber(getattr(request, "param", False))
    yield subscriber
    subscriber.close()


def create_publisher(
    graph: Graph, reliability: Any, durability: Any = DurabilityPolicy.VOLATILE, kind: Any = UInt32
) -> tuple[Any, list[Any]]:
    """Return a publisher, and the events of subscriptions that it cannot serve: rclpy would warn of each."""
    incompatible: list[Any] = []
    publisher = graph.node.create_publisher(
        kind,
        "numbers",
        QoSProfile(depth=1000, reliability=reliability, durability=durability),
        event_callbacks=PublisherEventCallbacks(incompatible_qos=incompatible.append),
    )
    return publisher, incompatible


def numbers(subscriber: Subscriber) -> list[int]:
    return [number for number, _ in subscriber.received]


@pytest.mark.parametrize("subscriber", [True], indirect=True)
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("reliability", RELIABILITIES)
def test_every_publisher_is_served_and_none_is_warned(
    graph: Graph, subscriber: Subscriber, reliability: Any, durability: Any
) -> None:
    publisher, incompatible = create_publisher(graph, reliability, durability)
    if durability == DurabilityPolicy.TRANSIENT_LOCAL:
        publisher.publish(UInt32(data=1))  # before any subscription is discovered
        assert wait_for(lambda: 1 in numbers(subscriber), 20)
    assert wait_for(publisher.get_subscription_count, 20)
    publisher.publish(UInt32(data=2))
    assert wait_for(lambda: 2 in numbers(subscriber), 20)
    assert wait_for(lambda: subscriber.subscription.is_reliable == (reliability == RELIABILITIES[0]), 20)
    assert wait_for(lambda: publisher.get_subscription_count() == 1, 20), (
        "what served the change, or the latched messages, is gone"
    )
    publisher.publish(UInt32(data=3))
    assert wait_for(lambda: 3 in numbers(subscriber), 20)
    assert not incompatible
    graph.node.destroy_publisher(publisher)


@pytest.mark.parametrize("subscriber", [True], indirect=True)
def test_a_latched_and_then_a_volatile_publisher_are_both_served(
    graph: Graph, subscriber: Subscriber
) -> None:
    latched, _ = create_publisher(graph, RELIABILITIES[0], DURABILITIES[0])
    latched.publish(UInt32(data=1))
    assert wait_for(lambda: 1 in numbers(subscriber) and subscriber.subscription.is_reliable, 20)

    def durabilities() -> list[Any]:
        ends = graph.node.get_subscriptions_info_by_topic("numbers")
        return [end.qos_profile.durability for end in ends]

    assert wait_for(lambda: durabilities() == [DurabilityPolicy.VOLATILE], 20)
    volatile, incompatible = create_publisher(graph, RELIABILITIES[0])
    assert wait_for(volatile.get_subscription_count, 20)
    volatile.publish(UInt32(data=2))
    assert wait_for(lambda: 2 in numbers(subscriber), 20)
    assert not incompatible


def test_the_subscription_is_reliable_again_after_a_best_effort_publisher(
    graph: Graph, subscriber: Subscriber
) -> None:
    for reliability in (*RELIABILITIES, *RELIABILITIES):
        publisher, _ = create_publisher(graph, reliability)
        expected = reliability == ReliabilityPolicy.RELIABLE
        assert wait_for(publisher.get_subscription_count, 20)
        assert wait_for(lambda expected=expected: subscriber.subscription.is_reliable == expected, 20)
        graph.node.destroy_publisher(publisher)
        assert wait_for(lambda: not subscriber.subscription.is_reliable, 20), "ready for any publisher"


def test_no_message_is_lost_repeated_or_reordered_while_the_qos_changes(
    graph: Graph, subscriber: Subscriber
) -> None:
    """A reliable publisher sends from the moment of its match on; a best-effort one comes and goes."""
    publisher, _ = create_publisher(graph, RELIABILITIES[0])
    assert wait_for(publisher.get_subscription_count, 20)
    counter = itertools.count(1)
    changes: list[bool] = []

    def send(seconds: float, condition: Any) -> None:
        """Send, for at least this time and until the condition holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end or not condition():
            publisher.publish(UInt32(data=next(counter)))
            changes.append(subscriber.subscription.is_reliable)
            time.sleep(0.001)
            assert time.monotonic() < end + 20

    send(0.5, lambda: subscriber.subscription.is_reliable)
    other, _ = create_publisher(graph, RELIABILITIES[1])
    send(0.5, lambda: not subscriber.subscription.is_reliable)
    graph.node.destroy_publisher(other)
    send(0.5, lambda: subscriber.subscription.is_reliable)
    sent = next(counter) - 1
    assert wait_for(lambda: sent in numbers(subscriber), 20)
    assert changes[0] is False or True in changes
    assert numbers(subscriber) == list(range(1, sent + 1))


def test_messages_of_a_publisher_that_has_gone_are_still_received(
    graph: Graph, subscriber: Subscriber
) -> None:
    publisher, _ = create_publisher(graph, RELIABILITIES[0])
    assert wait_for(lambda: subscriber.subscription.is_reliable, 20)
    assert wait_for(lambda: publisher.get_subscription_count() == 1, 20)
    for number in range(500):
        publisher.publish(UInt32(data=number))
    assert publisher.wait_for_all_acked(Duration(seconds=20))
    graph.node.destroy_publisher(publisher)
    assert wait_for(lambda: not subscriber.subscription.is_reliable, 20)
    assert wait_for(lambda: numbers(subscriber) == list(range(500)), 20)


def test_a_flood_is_received_completely_and_in_order(graph: Graph, subscriber: Subscriber) -> None:
    """As many as the depth of the subscription, many times over."""
    publisher, _ = create_publisher(graph, RELIABILITIES[0])
    assert wait_for(lambda: subscriber.subscription.is_reliable, 20)
    assert wait_for(lambda: publisher.get_subscription_count() == 1, 20)
    for burst in range(10):
        for number in range(500 * burst, 500 * (burst + 1)):
            publisher.publish(UInt32(data=number))
        assert wait_for(lambda burst=burst: len(subscriber.received) >= 500 * (burst + 1), 20)
    assert numbers(subscriber) == list(range(5000))


def test_the_type_follows_the_publisher_and_an_unknown_one_is_reported_once(
    graph: Graph, subscriber: Subscriber
) -> None:
    from std_msgs.msg import String

    for kind, type_name in ((UInt64, TYPES[1]), (UInt32, TYPES[0])):
        publisher, _ = create_publisher(graph, RELIABILITIES[0], kind=kind)
        assert wait_for(publisher.get_subscription_count, 20)

        def received(publisher: Any = publisher, kind: Any = kind, type_name: str = type_name) -> bool:
            publisher.publish(kind(data=7))
            return (7, type_name) in subscriber.received

        assert wait_for(received, 20)
        graph.node.destroy_publisher(publisher)
    assert subscriber.unsupported == []
    graph.node.create_publisher(String, "numbers", 1)
    assert wait_for(lambda: subscriber.unsupported, 20)
    time.sleep(0.6)
    assert subscriber.unsupported == [["std_msgs/msg/String"]]


def test_damaged_messages_cost_neither_time_nor_lines_of_the_log_and_the_next_one_is_received(
    graph: Graph, capfd: pytest.CaptureFixture[str]
) -> None:
    received: list[Any] = []
    damaged: list[str] = []
    seconds: list[float] = []
    whole = Float32MultiArray(data=[0.5] * 20)
    whole.layout.dim = [MultiArrayDimension(label="x" * 30)]
    data = serialize_message(whole)
    variants = [data[:-30], data[:4] + b"\xff\xff\xff\x7f" + data[8:], data[:8] + b"\xff" * 4 + data[12:]]
    variants.append(data.replace((20).to_bytes(4, "little"), b"\xff\xff\xff\x3f"))
    assert len(set(variants)) == 4
    node = graph.node
    subscription = AdaptiveSubscription(
        node,
        "damaged",
        ["std_msgs/msg/Float32MultiArray"],
        lambda message, type_name: received.append(message),
        1000,
        on_damaged=lambda text: (damaged.append(text), seconds.append(time.thread_time())),
    )
    publisher = node.create_publisher(Float32MultiArray, "damaged", 1000)
    assert wait_for(publisher.get_subscription_count) and wait_for(lambda: subscription.is_reliable)
    for number in range(200):
        publisher.publish(variants[number % 4])
    publisher.publish(data)
    assert wait_for(lambda: received and len(damaged) == 200)
    assert received[0] == whole and len(set(damaged)) <= 3
    assert all(text.startswith("a message on /damaged is damaged and was dropped (") for text in damaged)
    assert seconds[-1] - seconds[0] < 2.0, "of the executor's thread"
    assert not capfd.readouterr().err
    node.destroy_publisher(publisher)
