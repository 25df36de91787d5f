# SPDX-License-Identifier: Apache-2.0
"""Audio input of the rclpy talker: detects the installed audio_common_msgs and the type of the audio topic.

`AudioInput` subscribes to the type that the topic's publishers send and pushes `AudioPacket`s into the
worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from rclpy.node import Node

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.messaging.audio_receiver import AudioReceiver, AudioSink
from streamingtalker_ros.ros import qos
from streamingtalker_ros.ros.message_types import message_class
from streamingtalker_ros.ros.subscription import AdaptiveSubscription

_COUNT_PERIOD_S: Final = 1.0  # interval at which the publishers of the topic are counted

DEFAULT_TYPE: Final[dict[Variant, str]] = {
    "ros-drivers": "audio_common_msgs/msg/AudioDataStamped",
    "mgonzs13": "audio_common_msgs/msg/AudioStamped",
}
"""The type that is subscribed to until a publisher announces another, by variant."""


def installed_variant() -> Variant:
    """Return which audio_common_msgs is sourced.

    Raises:
        TalkerError: If neither is.
    """
    for variant, type_name in DEFAULT_TYPE.items():
        try:
            message_class(type_name)
        except (ModuleNotFoundError, AttributeError):
            continue
        return variant
    raise TalkerError(
        "no audio_common_msgs is sourced, which the audio topic needs: `sudo apt install "
        "ros-$ROS_DISTRO-audio-common-msgs` (ros-drivers), or build github.com/mgonzs13/audio_common and "
        "source it"
    )


class AudioInput:
    """Subscriptions to an audio topic and its format, which follow type and QoS of the publishers.

    Args:
        node: The node.
        variant: As `installed_variant` returns it.
        sink: Receives the packets.
        clock: Gives the time of arrival.
        topic: Topic of the audio, relative to the node's namespace.
        info_topic: Topic of its format.
        default_format: Format of audio that nothing describes.
        preferred: Publisher that is followed whenever it sends; see `AudioReceiver`.
    """

    def __init__(
        self,
        node: Node,
        variant: Variant,
        sink: AudioSink,
        clock: Callable[[], float],
        topic: str,
        info_topic: str,
        default_format: AudioFormat,
        preferred: str | None = None,
    ) -> None:
        self._node = node
        self._variant: Variant = variant
        self._sink = sink
        self._clock = clock
        self._topic, self._info_topic = topic, info_topic
        self._audio_receiver = AudioReceiver(sink, node.resolve_topic_name(topic), default_format, preferred)
        self._next_count_time = 0.0  # s, when the publishers are counted next
        self._subscriptions: list[AdaptiveSubscription] = []

    def open(self) -> None:
        """Create the subscriptions."""
        others = [name for name, variant in audio_common.AUDIO_TYPES.items() if variant == self._variant]
        default = DEFAULT_TYPE[self._variant]
        types = [default, *(name for name in others if name != default)]
        if self._variant == "ros-drivers":
            self._subscriptions.append(
                AdaptiveSubscription(
                    self._node,
                    self._info_topic,
                    [audio_common.INFO_TYPE],
                    lambda message, type_name: self._audio_receiver.on_audio_info(message),
                    qos.INFO_DEPTH,
                    latched=True,
                    on_damaged=self._reject_damaged,
                )
            )
        self._subscriptions.append(
            AdaptiveSubscription(
                self._node,
                self._topic,
                types,
                self._on_audio,
                qos.AUDIO_DEPTH,
                on_unsupported=lambda topic, found: self._reject_types(topic, found, types),
                on_damaged=self._reject_damaged,
            )
        )

    def on_speech(self, packets: Sequence[AudioPacket]) -> None:
        """Queue audio of the node's own speech, which is followed at once.

        Args:
            packets: The packets.
        """
        self._audio_receiver.on_speech(packets)

    def reset(self) -> None:
        """Forget the file that messages continue."""
        self._audio_receiver.reset()

    def close(self) -> None:
        """Destroy the subscriptions."""
        self._audio_receiver.reset()
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []

    def _reject_types(self, topic: str, found: list[str], supported: list[str]) -> None:
        self._sink.reject(
            "type",
            f"{topic} carries {', '.join(found)}, which the sourced audio_common_msgs of "
            f"{self._variant} lacks: publish {' or '.join(supported)}, or source the other variant",
        )

    def _reject_damaged(self, text: str) -> None:
        self._sink.reject("damaged", text)

    def _on_audio(self, message: Any, type_name: str) -> None:
        now = self._node.get_clock().now().nanoseconds
        self._audio_receiver.on_audio(message, type_name, "", now, self._clock())
        if time.monotonic() >= self._next_count_time:
            self._next_count_time = time.monotonic() + _COUNT_PERIOD_S
            topic = self._node.resolve_topic_name(self._topic)
            publishers = self._node.get_publishers_info_by_topic(topic)
            # rclpy does not tell which of them sent a message
            self._audio_receiver.report_indistinct(
                [f"{each.node_namespace.rstrip('/')}/{each.node_name}" for each in publishers]
            )
