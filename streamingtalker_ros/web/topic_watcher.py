# SPDX-License-Identifier: Apache-2.0
"""Watch mode: subscribes to the topics of a running talker and forwards them to every session that watches.

One `TopicWatcher` joins the ROS domain with the first subscription and leaves it some seconds after the last,
in a thread of its own, so that clients who come and go cost one node at most. It subscribes to `face_motion`
and to the audio topic in either variant of audio_common_msgs. Times are message stamps, in seconds after the
first one.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, DiscoveredPublisher
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.messaging import audio_common, face_messages
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.process import FaultLog, never_raising, print_warning
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.web import protocol

if TYPE_CHECKING:
    from streamingtalker_ros.audio.clock import AudioClock

AUDIO_QUEUE_DEPTH = 1000  # messages
LINGER_S = 3.0  # in the domain, without a subscription
_STOP_TIMEOUT_S = 5.0
_ARKIT_NAMES = list(ARKIT_NAMES)


class SendText(Protocol):
    """Sends a text message with these fields to a client."""

    def __call__(self, **fields: Any) -> None:
        """Send the message."""
        ...


class TopicSubscription:
    """Subscription of one session.

    Args:
        watcher: that serves it.
        deliver: called with a list of binary messages.
        send_text: called with the fields of a text message.
        epoch: number of the client's timeline, 0..255.
    """

    def __init__(
        self,
        watcher: TopicWatcher,
        deliver: Callable[[list[bytes]], None],
        send_text: SendText,
        epoch: int,
    ) -> None:
        self.deliver = deliver
        self.send_text = send_text
        self.epoch = epoch
        self._watcher = watcher

    def close(self) -> None:
        """End the subscription."""
        self._watcher.remove(self)


class TopicWatcher:
    """Forwards face motion and audio of a running talker.

    Args:
        domain: ROS domain; None: of the environment variable ROS_DOMAIN_ID.
        namespace: of the talker.
        warn: called with a message about topics that cannot be used.
        audio_topic: name of the audio topic.

    Attributes:
        motion_count: face_motion messages received.
        packet_count: audio messages received.
    """

    def __init__(
        self,
        domain: int | None = None,
        namespace: str = "",
        warn: Callable[[str], Any] = print_warning,
        audio_topic: str = "audio",
    ) -> None:
        self.motion_count = 0
        self.packet_count = 0
        self._domain = domain
        self._namespace = namespace
        self._warn = never_raising(warn)
        self._audio_topic = audio_topic
        self._faults = FaultLog()
        self._condition = threading.Condition()  # guards what follows
        self._subscriptions: list[TopicSubscription] = []
        self._new: deque[TopicSubscription] = deque()  # not told yet whether there is a node
        self._unused_since = 0.0
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._node: DdsNode | None = None  # of the thread
        self._first_stamp: int | None = None  # ns

    @cached_property
    def is_available(self) -> bool:
        """Whether DDS is installed."""
        return importlib.util.find_spec("cyclonedds") is not None

    @property
    def is_connected(self) -> bool:
        """Whether the watcher has joined the domain."""
        return self._node is not None

    @property
    def subscription_count(self) -> int:
        """Number of open subscriptions."""
        with self._condition:
            return len(self._subscriptions)

    def open(
        self, deliver: Callable[[list[bytes]], None], send_text: SendText, epoch: int
    ) -> TopicSubscription:
        """Open a subscription; messages are delivered as soon as a talker publishes.

        Args:
            deliver: called with a list of binary messages, in the DDS thread.
            send_text: called with the fields of a text message.
            epoch: number of the client's timeline, 0..255.
        """
        subscription = TopicSubscription(self, deliver, send_text, epoch)
        with self._condition:
            self._subscriptions.append(subscription)
            self._new.append(subscription)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="topic watcher", daemon=True)
                self._thread.start()
            self._condition.notify()
        return subscription

    def remove(self, subscription: TopicSubscription) -> None:
        """End a subscription."""
        with self._condition:
            for subscriptions in (self._subscriptions, self._new):
                if subscription in subscriptions:
                    subscriptions.remove(subscription)
            if not self._subscriptions:
                self._unused_since = time.monotonic()
                self._condition.notify()

    def stop(self) -> None:
        """End all subscriptions and leave the domain."""
        with self._condition:
            self._subscriptions.clear()
            self._new.clear()
            self._stopping = True
            self._condition.notify()
            thread = self._thread
        if thread is not None:
            thread.join(_STOP_TIMEOUT_S)

    # --------------------------------------------------------------------------------------- watcher's thread

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._new and not self._stopping and (wait := self._seconds_in_domain()) != 0:
                    self._condition.wait(wait)
                if self._stopping:
                    break
                subscription = self._new.popleft() if self._new else None
            if subscription is None:
                self._disconnect()
            else:
                self._connect(subscription)
        self._disconnect()

    def _seconds_in_domain(self) -> float | None:
        """Time until the domain is left; None while it is used, or is not joined."""
        if self._node is None or self._subscriptions:
            return None
        return max(0.0, self._unused_since + LINGER_S - time.monotonic())

    def _connect(self, subscription: TopicSubscription) -> None:
        try:
            if self._node is None:
                self._node = self._subscribe()
            subscription.send_text(
                type="watching",
                topic=self._node.resolve_name("face_motion"),
                domain=self._node.domain,
                session=None,
            )
        except TalkerError as error:
            subscription.send_text(type="error", text=str(error))
        except Exception as fault:
            self._faults.log("watching the topics failed", fault)
            subscription.send_text(type="error", text="watching the topics failed on the server: see its log")

    def _disconnect(self) -> None:
        node, self._node = self._node, None
        if node is not None:
            try:
                node.close()
                self._decoder.reset()
            except Exception as fault:
                self._faults.log("leaving the ROS domain failed", fault)

    def _subscribe(self) -> DdsNode:
        node = DdsNode("web", self._namespace, self._domain, self._warn)
        self._audio_types: dict[str, Any] = {}  # audio subscriptions by message type
        self._warned: set[str] = set()
        self._decoder = AudioMessageDecoder(self._warn_once)
        self._aligner = PacketAligner(AudioFormat(), Statistics())
        self._audio_clock: AudioClock | None = None
        self._samples_out = 0  # on _audio_clock
        node.create_subscription("face_motion", face_messages.MOTION_TYPE, self._on_motion)
        node.create_subscription(
            f"{self._audio_topic}_info", audio_common.INFO_TYPE, self._decoder.on_audio_info
        )
        self._node = node
        node.on_publisher_discovered(self._on_publisher_discovered)
        node.start()
        return node

    # ------------------------------------------------------------------------------------------ node's thread

    def _on_motion(self, message: Any) -> None:
        self.motion_count += 1
        if list(message.names) == _ARKIT_NAMES:
            weights = np.array(message.weights, np.float32)
        else:
            weights = np.zeros(len(_ARKIT_NAMES), np.float32)
            for name, weight in zip(message.names, message.weights, strict=False):
                if name in INDEX:
                    weights[INDEX[name]] = weight
        if len(weights) != len(_ARKIT_NAMES):
            self._warn_once("motion", "face_motion has more names than weights: its frames are dropped")
            return
        head = np.nan_to_num([message.head.x, message.head.y, message.head.z, message.head.w])
        weights = np.clip(np.nan_to_num(weights), 0.0, 1.0)
        time = self._stamp_to_time(stamp_to_ns(message.header.stamp))
        index = message.frame % 2**32
        self._broadcast(
            lambda epoch: protocol.encode_blendshapes(epoch, index, time, weights, head, message.speaking)
        )

    def _on_publisher_discovered(self, publisher: DiscoveredPublisher) -> None:
        node = self._node
        if node is None or publisher.topic != "rt" + node.resolve_name(self._audio_topic):
            return
        for name, variant in audio_common.AUDIO_TYPES.items():
            if message_types.dds_typename(name) != publisher.type_name or name in self._audio_types:
                continue

            def on_message(message: Any, name: str = name) -> None:
                self._on_audio(message, name)

            qos = node.qos(depth=AUDIO_QUEUE_DEPTH, reliable=publisher.is_reliable)
            self._audio_types[name] = node.create_subscription(
                self._audio_topic, name, on_message, qos, variant
            )

    def _on_audio(self, message: Any, type_name: str) -> None:
        self.packet_count += 1
        packets = self._decoder.decode(message, type_name)
        for segment in (segment for packet in packets for segment in self._aligner.align(packet)):
            if segment.starts_stream or segment.clock is not self._audio_clock:
                self._audio_clock = segment.clock
                self._samples_out = 0
            time = self._stamp_to_time(segment.clock.stamp_of(self._samples_out, SAMPLE_RATE))
            self._samples_out += len(segment.pcm)
            samples = np.round(np.clip(segment.pcm, -1.0, 1.0) * 32767).astype(np.int16)
            for start in range(0, len(samples), SAMPLE_RATE):  # a long packet in messages of one second
                chunk = samples[start : start + SAMPLE_RATE]
                self._broadcast(
                    partial(protocol.encode_audio, time=time + start / SAMPLE_RATE, samples=chunk)
                )

    def _stamp_to_time(self, stamp: int) -> float:
        if self._first_stamp is None:
            self._first_stamp = stamp
        return (stamp - self._first_stamp) / NS_PER_S

    def _broadcast(self, encode: Callable[[int], bytes]) -> None:
        """Deliver a message to all sessions; `encode` gets the epoch of each."""
        with self._condition:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            try:
                subscription.deliver([encode(subscription.epoch)])
            except Exception as fault:  # in one session; the others still receive it
                self._faults.log("a frame could not be delivered to a session that watches", fault)

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(message)
