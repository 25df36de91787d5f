# SPDX-License-Identifier: Apache-2.0
"""Subscription of a DDS node that follows the types and the reliability of the publishers of its topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, DiscoveredPublisher, Subscription
from streamingtalker_ros.runtime.frames import WarningCallback


class AdaptiveSubscription:
    """Subscription that every publisher can serve, reliable or best effort.

    Args:
        node: The node.
        topic: Name of the topic, relative or absolute.
        types: Types that are accepted; the first is subscribed to from the beginning.
        on_message: Receives a message and its type.
        warn: Receives once that a publisher sends another type.
        depth: Messages that may wait.
    """

    def __init__(
        self,
        node: DdsNode,
        topic: str,
        types: Sequence[str],
        on_message: Callable[[Any, str], object],
        warn: WarningCallback,
        depth: int = 10,
    ) -> None:
        self._node, self._topic, self._types = node, topic, types
        self._on_message, self._warn, self._depth = on_message, warn, depth
        self._subscriptions: dict[tuple[str, bool], Subscription] = {}  # by type and reliability
        self._subscribe(types[0], is_reliable=True)

    def on_publisher_discovered(self, publisher: DiscoveredPublisher) -> None:
        """Subscribe to the type and with the reliability of a publisher, if it is one of the topic.

        A best-effort subscription alone would lose messages of reliable publishers.

        Args:
            publisher: That was discovered.
        """
        name = self._node.resolve_name(self._topic)
        if publisher.topic != "rt" + name:
            return
        for type_name in self._types:
            if publisher.type_name == message_types.dds_typename(type_name):
                self._subscribe(type_name, is_reliable=True)
                if not publisher.is_reliable:
                    self._subscribe(type_name, is_reliable=False)
                return
        self._warn(
            f"{self._topic}_type",
            f"the publisher of {name} sends {publisher.type_name}: send {self._types[0]}",
        )

    def _subscribe(self, type_name: str, is_reliable: bool) -> None:
        key = type_name, is_reliable
        if key in self._subscriptions:
            return

        def receive(message: Any) -> None:
            if is_reliable or not self._node.is_publisher_reliable(self._subscriptions[key], message):
                self._on_message(message, type_name)  # else the reliable subscription receives it, too

        self._subscriptions[key] = self._node.create_subscription(
            self._topic, type_name, receive, self._node.qos(depth=self._depth, reliable=is_reliable)
        )
