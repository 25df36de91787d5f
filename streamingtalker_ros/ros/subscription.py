# SPDX-License-Identifier: Apache-2.0
"""Subscriptions that damaged messages do not disturb, and one whose type and QoS follow the publishers.

DDS connects a reliable subscription to reliable publishers only, and a latched (transient local) one to
latched publishers only; the publisher's node warns of every subscription that it cannot serve. A best-effort
volatile subscription is served by every publisher, and receives neither lost fragments again nor what was
latched before. `AdaptiveSubscription` begins with that one and changes it to what the publishers offer.

All subscriptions receive serialized messages, which are checked before the middleware deserializes them.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.ros.message_types import deserialize, message_class

MATCH_PERIOD_S: Final = 0.25  # interval at which the publishers of the topic are checked
QUIET_S: Final = 0.1  # without a message, after which a subscription that is being replaced is empty
LATCHED_TIMEOUT_S: Final = 5.0  # to receive what a publisher has latched
_LATCHED_LINGER_S: Final = 0.5  # for what other publishers have latched
_SPLICE_PERIOD_S: Final = 0.05
_EMPTY_AFTER: Final = 3  # messages of the new subscription without one of the old
_MAX_REMEMBERED: Final = 2000  # messages that both subscriptions may receive
_FLOOD_WINDOW_S: Final = 0.1
_FLOOD_MESSAGES: Final = 100  # in this time
_DRAIN_S: Final = 0.005  # of one turn


def subscribe(
    node: Node, type_name: str, topic: str, callback: Callable[[Any], object], profile: QoSProfile
) -> Any:
    """Create a subscription that drops damaged messages, with one warning.

    Args:
        node: The node.
        type_name: "package/msg/Name".
        topic: Name of the topic.
        callback: Receives each message.
        profile: Its QoS.

    Returns:
        The subscription of rclpy.
    """
    is_warned = False

    def on_data(data: bytes) -> None:
        nonlocal is_warned
        try:
            message = deserialize(type_name, data)
        except TalkerError as error:
            if not is_warned:
                is_warned = True
                node.get_logger().warning(describe_damage(topic, error))
            return
        callback(message)

    return node.create_subscription(message_class(type_name), topic, on_data, profile, raw=True)


def describe_damage(topic: str, reason: object) -> str:
    """Return the sentence about a damaged message.

    Args:
        topic: Name of the topic.
        reason: What is wrong with the message.
    """
    return f"a message on {topic} is damaged and was dropped ({reason}): check who publishes there"


@dataclass
class _Source:
    """One subscription of rclpy."""

    type_name: str
    is_reliable: bool
    handle: Any = None


class AdaptiveSubscription:
    """Subscription that every publisher can serve, reliable or best effort, latched or volatile.

    It is best effort while the topic has no publisher, or a best-effort one, and reliable while all
    publishers are. While a subscription replaces another, both exist; messages that both receive are passed
    on once, in their order. What a publisher has latched is received by a further subscription, which exists
    until it has received it.

    Args:
        node: The node.
        topic: Name of the topic.
        types: Types that are accepted; the first is subscribed to until a publisher has another.
        on_message: Receives a message and its type.
        depth: Messages that may wait.
        latched: Whether to receive what was published before, where the publisher has latched it.
        on_unsupported: Receives the topic and the types of other nodes' publishers if none is accepted, once.
        on_damaged: Receives a sentence about each message that is damaged and was dropped.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        types: Sequence[str],
        on_message: Callable[[Any, str], None],
        depth: int,
        latched: bool = False,
        on_unsupported: Callable[[str, list[str]], None] | None = None,
        on_damaged: Callable[[str], object] | None = None,
    ) -> None:
        self._node = node
        self._name = topic
        self._types = types
        self._on_message = on_message
        self._depth = depth
        self._receives_latched = latched
        self._on_unsupported = on_unsupported
        self._on_damaged = on_damaged
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)  # runs while the simulation is paused
        self._unsupported_types: set[str] = set()  # that have been reported
        self._next: _Source | None = None  # replaces the current one
        self._held: list[tuple[int, bytes]] = []  # (key, serialized message) of the next one
        self._held_in_a_row = 0  # without a message of the current one
        self._passed: collections.deque[int] = collections.deque(maxlen=_MAX_REMEMBERED)  # keys
        self._last_message_time = 0.0  # of the current one
        self._window_start, self._window_count = 0.0, 0
        self._is_flooded = False
        self._latched: Any = None  # subscription to latched messages
        self._latched_deadline = 0.0
        self._fetched: set[bytes] = set()  # publishers whose latched messages have been requested
        self._retired: list[Any] = []  # to be destroyed outside of their callbacks
        self._guard = node.create_guard_condition(self._follow_publishers)
        self._current = self._create(types[0], is_reliable=False)
        self._timer = node.create_timer(MATCH_PERIOD_S, self._follow_publishers, clock=self._steady_clock)
        self._splice_timer: Any = None

    @property
    def topic(self) -> str:
        """Name of the topic, remapped and absolute."""
        return self._current.handle.topic_name

    @property
    def is_reliable(self) -> bool:
        """Whether lost messages are received again."""
        return (self._next or self._current).is_reliable

    def close(self) -> None:
        """Destroy the subscriptions."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_guard_condition(self._guard)
        if self._splice_timer is not None:
            self._node.destroy_timer(self._splice_timer)
            self._splice_timer = None
        sources = [self._current, *([self._next] if self._next else [])]
        latched = [self._latched] if self._latched is not None else []
        for handle in (*(source.handle for source in sources), *latched, *self._retired):
            self._node.destroy_subscription(handle)
        self._next, self._latched, self._held, self._retired = None, None, [], []

    # ------------------------------------------------------------------------------- following the publishers

    def _follow_publishers(self) -> None:
        """Subscribe to the type and the reliability of the publishers, if they have changed."""
        self._destroy_retired()
        topic = self.topic
        publishers = self._node.get_publishers_info_by_topic(topic)
        types = {publisher.topic_type for publisher in publishers}
        supported = [name for name in self._types if name in types]
        self._report_unsupported({each.topic_type for each in publishers if not self._is_own(each)})
        target = self._next or self._current
        if supported:
            type_name = target.type_name if target.type_name in supported else supported[0]
        else:
            type_name = target.type_name
        matching = [publisher for publisher in publishers if publisher.topic_type == type_name]
        is_reliable = bool(matching) and all(
            publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE for publisher in matching
        )
        if (type_name, is_reliable) != (target.type_name, target.is_reliable):
            self._replace(type_name, is_reliable)
        if self._receives_latched:
            self._fetch_latched(matching)

    def _is_own(self, publisher: Any) -> bool:
        """Return whether a publisher is of this node."""
        name, namespace = self._node.get_name(), self._node.get_namespace()
        return (publisher.node_name, publisher.node_namespace) == (name, namespace)

    def _report_unsupported(self, types: set[str]) -> None:
        if self._on_unsupported is None or not types or types & set(self._types):
            return
        if types != self._unsupported_types:
            self._unsupported_types = types
            self._on_unsupported(self.topic, sorted(types))

    def _create(self, type_name: str, is_reliable: bool) -> _Source:
        source = _Source(type_name, is_reliable)
        reliability = ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT
        # set on its own, since the callback may be called as soon as the subscription exists
        source.handle = self._subscribe(
            type_name,
            QoSProfile(depth=self._depth, reliability=reliability),
            lambda data, info: self._on_message_of_executor(source, data, info),
        )
        return source

    def _subscribe(self, type_name: str, profile: QoSProfile, callback: Callable[[bytes, Any], None]) -> Any:
        def trigger(event: Any) -> None:
            """Look at the publishers now, outside of the callback; a mismatch needs no warning of rclpy."""
            self._guard.trigger()

        try:
            events = SubscriptionEventCallbacks(incompatible_qos=trigger, matched=trigger)
        except TypeError:  # ROS 2 Humble has no event for a match: the timer notices it
            events = SubscriptionEventCallbacks(incompatible_qos=trigger)
        return self._node.create_subscription(
            message_class(type_name), self._name, callback, profile, event_callbacks=events, raw=True
        )

    def _destroy_retired(self) -> None:
        retired, self._retired = self._retired, []
        for handle in retired:
            self._node.destroy_subscription(handle)

    # ------------------------------------------------------------------------------------------ replacing one

    def _replace(self, type_name: str, is_reliable: bool) -> None:
        if self._next is not None:
            self._empty_and_finish()
        self._passed.clear()
        self._held_in_a_row = 0
        self._last_message_time = time.monotonic()
        self._next = self._create(type_name, is_reliable)
        if self._splice_timer is None:
            self._splice_timer = self._node.create_timer(
                _SPLICE_PERIOD_S, self._check_replacing, clock=self._steady_clock
            )

    def _on_message_of_executor(self, source: _Source, data: bytes, info: Any) -> None:
        """Handle a message; in a flood, others that wait, too: the executor costs more than a message."""
        self._on_source(source, data, info)
        self._measure_flood()
        if not self._is_flooded or source is not self._current:
            return
        deadline = time.monotonic() + _DRAIN_S
        handle = source.handle.handle
        while self._next is None and time.monotonic() < deadline:
            with handle:
                taken = handle.take_message(source.handle.msg_type, True)
            if taken is None:
                return
            self._window_count += 1
            self._on_source(source, *taken)

    def _measure_flood(self) -> None:
        self._window_count += 1
        now = time.monotonic()
        if now - self._window_start >= _FLOOD_WINDOW_S:
            self._is_flooded = (
                self._window_count > _FLOOD_MESSAGES * (now - self._window_start) / _FLOOD_WINDOW_S
            )
            self._window_start, self._window_count = now, 0

    def _on_source(self, source: _Source, data: bytes, info: Any) -> None:
        """Pass a message on, or hold it until the subscription that is being replaced is empty."""
        key = _message_key(info)
        if source is self._next:
            if key and key in self._passed:
                self._finish_replacing()
                return
            self._held.append((key, data))
            self._held_in_a_row += 1
            # the executor takes a message of each subscription in turn
            if self._held_in_a_row >= _EMPTY_AFTER:
                self._empty_and_finish()
        elif source is self._current:
            self._last_message_time = time.monotonic()
            self._held_in_a_row = 0
            if self._next is None:
                if self._passed and key in self._passed:
                    return
                self._passed.clear()
            elif key and any(key == held for held, _ in self._held):
                self._finish_replacing()  # the old one has reached what the new one received first
                return
            else:
                self._passed.append(key)
            self._pass_on(data, source.type_name)

    def _pass_on(self, data: bytes, type_name: str) -> None:
        """Deserialize a message and pass it on; a damaged one is reported and dropped."""
        try:
            message = deserialize(type_name, data)
        except TalkerError as error:
            if self._on_damaged is not None:
                self._on_damaged(describe_damage(self.topic, error))
            return
        self._on_message(message, type_name)

    def _check_replacing(self) -> None:
        """End a replacement if the old subscription is empty."""
        if self._next is not None and time.monotonic() - self._last_message_time >= QUIET_S:
            self._empty_and_finish()

    def _empty_and_finish(self) -> None:
        """Handle what still waits in the old subscription, then end the replacement.

        The executor may have been busy since the last message.
        """
        old, handle = self._current, self._current.handle.handle
        for _ in range(self._depth):
            with handle:
                taken = handle.take_message(old.handle.msg_type, True)
            if taken is None:
                break
            self._on_source(old, *taken)
            if self._next is None:  # the old one has reached what the new one received first
                return
        self._finish_replacing()

    def _finish_replacing(self) -> None:
        assert self._next is not None
        self._retired.append(self._current.handle)
        self._current, self._next = self._next, None
        held, self._held = self._held, []
        if self._splice_timer is not None:
            self._node.destroy_timer(self._splice_timer)
            self._splice_timer = None
        self._guard.trigger()  # destroys what is retired
        for key, data in held:
            if not key or key not in self._passed:
                self._pass_on(data, self._current.type_name)

    # --------------------------------------------------------------------------------------- latched messages

    def _fetch_latched(self, publishers: Sequence[Any]) -> None:
        """Receive what publishers have latched, each once.

        The subscription does not stay, because nodes of volatile publishers would warn of it.
        """
        latched = {
            bytes(publisher.endpoint_gid): publisher.qos_profile
            for publisher in publishers
            if publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
        }
        now = time.monotonic()
        if self._latched is not None and now > self._latched_deadline:
            self._node.destroy_subscription(self._latched)
            self._latched = None
        if latched.keys() - self._fetched:
            self._latched_deadline = now + LATCHED_TIMEOUT_S
            if self._latched is None:
                is_reliable = all(
                    profile.reliability == ReliabilityPolicy.RELIABLE for profile in latched.values()
                )
                profile = QoSProfile(
                    depth=self._depth,
                    reliability=ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT,
                    durability=DurabilityPolicy.TRANSIENT_LOCAL,
                )
                type_name = (self._next or self._current).type_name
                self._latched = self._subscribe(
                    type_name, profile, lambda data, info: self._on_latched(data, type_name)
                )
        self._fetched = set(latched)

    def _on_latched(self, data: bytes, type_name: str) -> None:
        self._latched_deadline = min(self._latched_deadline, time.monotonic() + _LATCHED_LINGER_S)
        self._pass_on(data, type_name)


def _message_key(info: Any) -> int:
    """Return what identifies a message to two subscriptions, or 0 where the middleware does not say."""
    try:
        return int(info["source_timestamp"])
    except (KeyError, TypeError, ValueError):
        return 0
