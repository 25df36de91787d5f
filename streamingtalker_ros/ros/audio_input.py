# SPDX-License-Identifier: Apache-2.0
"""Audio input of the rclpy talker: detects the installed audio_common_msgs and the type of the audio topic.

`AudioInput` subscribes to the type that the topic's publishers send and pushes `AudioPacket`s into the
worker.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.ros import qos

if TYPE_CHECKING:  # the marker and head nodes, which import this module, need none of what these import
    from streamingtalker_ros.runtime.parameters import TalkerParameters
    from streamingtalker_ros.runtime.worker import TalkerWorker

MATCH_PERIOD_S: Final = 0.25  # interval at which the publishers of the audio topic are checked

DEFAULT_TYPE: Final[dict[Variant, str]] = {
    "ros-drivers": "audio_common_msgs/msg/AudioDataStamped",
    "mgonzs13": "audio_common_msgs/msg/AudioStamped",
}
"""The type that is subscribed to until a publisher announces another, by variant."""


def message_class(type_name: str) -> Any:
    """Return rclpy's class of a message type.

    Args:
        type_name: "package/msg/Name".

    Raises:
        ModuleNotFoundError: If the package is not sourced.
        AttributeError: If it has no such message.
    """
    package, kind, short = type_name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), short)


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
    """Subscriptions to the audio topic and its format.

    The subscription is reliable until a best-effort publisher appears, which would not be matched otherwise.

    Args:
        node: The node.
        variant: As `installed_variant` returns it.
        parameters: Values of the parameters.
        worker: Receives the packets.
    """

    def __init__(
        self, node: Node, variant: Variant, parameters: TalkerParameters, worker: TalkerWorker
    ) -> None:
        self._node = node
        self._variant: Variant = variant
        self._parameters = parameters
        self._worker = worker
        self._audio_decoder = AudioMessageDecoder(worker.reject)
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)  # runs while the simulation is paused
        self._type_name = DEFAULT_TYPE[variant]
        self._is_reliable = True
        self._audio: Any = None
        self._timer: Any = None
        self._match_condition: Any = None
        self._infos: list[Any] = []
        self._unsupported_types: set[str] = set()  # that have been reported

    def open(self) -> None:
        """Create the subscriptions."""
        self._match_condition = self._node.create_guard_condition(self._match_publishers)
        self._subscribe(DEFAULT_TYPE[self._variant], reliable=True)
        if self._variant == "ros-drivers":
            # Only a latched subscription receives latched messages, and it matches latched publishers only,
            # which audio_capture's is not: subscribe both ways, one of them matches.
            ignore_incompatible_qos = SubscriptionEventCallbacks(incompatible_qos=lambda event: None)
            self._infos = [
                self._node.create_subscription(
                    message_class(audio_common.INFO_TYPE),
                    self._parameters.audio_info_topic,
                    self._audio_decoder.on_audio_info,
                    profile,
                    event_callbacks=ignore_incompatible_qos,
                )
                for profile in (qos.INFO_SUBSCRIPTION, qos.LATCHED)
            ]
        self._timer = self._node.create_timer(
            MATCH_PERIOD_S, self._match_publishers, clock=self._steady_clock
        )

    def close(self) -> None:
        """Destroy the subscriptions."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_guard_condition(self._match_condition)
        for subscription in (self._audio, *self._infos):
            self._node.destroy_subscription(subscription)
        self._audio, self._infos, self._timer = None, [], None

    def _subscribe(self, type_name: str, reliable: bool) -> None:
        if self._audio is not None:
            self._node.destroy_subscription(self._audio)
        self._type_name, self._is_reliable = type_name, reliable
        # The event reports a publisher that offers less. A callback cannot destroy its subscription:
        # the guard condition does so soon after it.
        events = SubscriptionEventCallbacks(incompatible_qos=lambda event: self._match_condition.trigger())
        self._audio = self._node.create_subscription(
            message_class(type_name),
            self._parameters.audio_topic,
            lambda message: self._on_audio(message, type_name),
            qos.RELIABLE_AUDIO_SUBSCRIPTION if reliable else qos.AUDIO_SUBSCRIPTION,
            event_callbacks=events,
        )

    def _match_publishers(self) -> None:
        """Subscribe to the type and the reliability of the publishers, if they have changed."""
        topic = self._audio.topic_name
        publishers = self._node.get_publishers_info_by_topic(topic)
        types = {publisher.topic_type for publisher in publishers}
        if not types or types == self._unsupported_types:
            return
        supported = [name for name in sorted(types) if audio_common.AUDIO_TYPES.get(name) == self._variant]
        if supported:
            type_name = self._type_name if self._type_name in supported else supported[0]
            reliable = all(
                publisher.qos_profile.reliability == qos.RELIABLE
                for publisher in publishers
                if publisher.topic_type == type_name
            )
            if type_name != self._type_name or (self._is_reliable and not reliable):
                self._subscribe(type_name, reliable)
            return
        self._unsupported_types = types
        supported = [name for name, variant in audio_common.AUDIO_TYPES.items() if variant == self._variant]
        self._worker.reject(
            "type",
            f"{topic} carries {', '.join(sorted(types))}, which the sourced audio_common_msgs of "
            f"{self._variant} lacks: publish {' or '.join(supported)}, or source the other variant",
        )

    def _on_audio(self, message: Any, type_name: str) -> None:
        now = self._node.get_clock().now().nanoseconds
        for packet in self._audio_decoder.decode(message, type_name, now, self._worker.clock()):
            self._worker.push(packet)
