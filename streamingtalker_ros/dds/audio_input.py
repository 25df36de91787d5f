# SPDX-License-Identifier: Apache-2.0
"""Audio input of a DDS node: subscribes to one audio topic and its format, as its publishers send them."""

from __future__ import annotations

from typing import Any

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, DiscoveredPublisher, Subscription
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_receiver import AudioReceiver, AudioSink


class AudioInput:
    """Subscriptions to an audio topic and its `audio_info`, which follow type and QoS of the publishers.

    Args:
        dds_node: The node.
        sink: Receives the packets.
        topic: Topic of the audio, relative to the node's namespace.
        info_topic: Topic of its format.
        default_format: Format of audio that nothing describes.
        preferred: Publisher that is followed whenever it sends; see `AudioReceiver`.

    Attributes:
        receiver: Decodes the messages of the followed publisher.
    """

    def __init__(
        self,
        dds_node: DdsNode,
        sink: AudioSink,
        topic: str,
        info_topic: str,
        default_format: AudioFormat,
        preferred: str | None = None,
    ) -> None:
        self._dds_node = dds_node
        self._sink = sink
        self._topic, self._info_topic = topic, info_topic
        self._subscriptions: dict[tuple[str, bool], Subscription] = {}  # by type and reliability
        self._info_subscriptions: dict[tuple[bool, bool], Subscription] = {}  # by reliability and durability
        self.receiver = AudioReceiver(
            sink,
            dds_node.resolve_name(topic),
            default_format,
            preferred,
            dds_node.node_name,
            self._is_publisher_present,
        )

    def open(self) -> None:
        """Subscribe to the format; audio is subscribed to when its publishers are discovered."""
        self._subscribe_info(reliable=True, latched=False)

    def on_publisher_discovered(self, publisher: DiscoveredPublisher) -> None:
        """Subscribe to the type of a publisher of audio, and with the QoS of one that offers another.

        A best-effort subscription alone would lose messages of reliable publishers, and a latched one would
        receive nothing from volatile ones.

        Args:
            publisher: A publisher of any topic.
        """
        topic = publisher.topic
        if topic == "rt" + self._dds_node.resolve_name(self._info_topic):
            if publisher.type_name == message_types.dds_typename(audio_common.INFO_TYPE):
                self._subscribe_info(publisher.is_reliable, publisher.is_latched)
            return
        if topic != "rt" + self._dds_node.resolve_name(self._topic):
            return
        for name, variant in audio_common.AUDIO_TYPES.items():
            if message_types.dds_typename(name) == publisher.type_name:
                self._subscribe_audio(name, variant, reliable=True)
                if not publisher.is_reliable:
                    self._subscribe_audio(name, variant, reliable=False)
                return
        self._sink.reject(
            "type",
            f"the publisher of {topic[2:]} sends {publisher.type_name}: send AudioData or "
            "AudioDataStamped (ros-drivers), or AudioStamped (mgonzs13)",
        )

    def _subscribe_audio(self, name: str, variant: audio_common.Variant, reliable: bool) -> None:
        if (name, reliable) not in self._subscriptions:
            self._subscriptions[name, reliable] = self._dds_node.create_subscription(
                self._topic,
                name,
                lambda message: self._on_audio(message, name, reliable),
                self._dds_node.qos(depth=1000, reliable=reliable),
                variant,
            )

    def _subscribe_info(self, reliable: bool, latched: bool) -> None:
        """Subscribe to the audio's format; messages that two subscriptions receive are the same."""
        if (reliable, latched) not in self._info_subscriptions:
            self._info_subscriptions[reliable, latched] = self._dds_node.create_subscription(
                self._info_topic,
                audio_common.INFO_TYPE,
                lambda message: self._on_audio_info(message, self._info_subscriptions[reliable, latched]),
                self._dds_node.qos(reliable=reliable, latched=latched),
            )

    def _on_audio_info(self, message: Any, subscription: Subscription) -> None:
        publisher = self._dds_node.publisher_id(subscription, message)
        self.receiver.on_audio_info(message, publisher)

    def _on_audio(self, message: Any, type_name: str, reliable: bool) -> None:
        subscription = self._subscriptions[type_name, reliable]
        if not reliable and self._dds_node.is_publisher_reliable(subscription, message):
            return  # the reliable subscription receives it, too
        publisher = self._dds_node.publisher_id(subscription, message)
        self.receiver.on_audio(message, type_name, publisher)

    def _is_publisher_present(self, publisher: str) -> bool:
        return any(
            self._dds_node.is_publisher_present(subscription, publisher)
            for subscription in self._subscriptions.values()
        )
