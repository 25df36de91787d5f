# SPDX-License-Identifier: Apache-2.0
"""The audio that the rclpy node hears: which variant of audio_common_msgs is installed, which type the topic
carries.

`installed_variant()` names the variant that can be imported; `AudioInput` subscribes to what the topic's
publishers send and hands `AudioPacket`s to the core. Callbacks only enqueue.
"""

import importlib

from rclpy.clock import Clock, ClockType

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # ROS 2 Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.ros import qos as ros_qos

FOLLOW_EVERY = 0.25  # s between looks at who publishes

# variant -> the type that is subscribed to until a publisher shows another
_FIRST = {
    "ros-drivers": "audio_common_msgs/msg/AudioDataStamped",
    "mgonzs13": "audio_common_msgs/msg/AudioStamped",
}


def message_class(name):
    """ "package/msg/Name" -> rclpy's class of it. Raises AttributeError or ModuleNotFoundError where it is
    not built.
    """
    package, kind, short = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), short)


def installed_variant():
    """ "ros-drivers" or "mgonzs13", whichever audio_common_msgs is sourced. Raises TalkerError when neither
    is.
    """
    for variant, name in _FIRST.items():
        try:
            message_class(name)
        except (ModuleNotFoundError, AttributeError):
            continue
        return variant
    raise TalkerError(
        "no audio_common_msgs is sourced, so there is no type to hear audio with: `sudo apt install "
        "ros-$ROS_DISTRO-audio-common-msgs` (ros-drivers), or build github.com/mgonzs13/audio_common and "
        "source it"
    )


class AudioInput:
    """node: an rclpy node; variant: as `installed_variant` says; settings: TalkerParameters; core: TalkerWorker.

    A publisher that is reliable is heard reliably, one that is best effort is heard at all: the subscription is
    reliable until a best-effort publisher comes.
    """

    def __init__(self, node, variant, settings, core) -> None:
        self._node, self._variant, self._settings, self._core = node, variant, settings, core
        self._audio_decoder = AudioMessageDecoder(core.reject)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # runs where a simulation stands still
        self._name = self._audio = self._timer = None
        self._infos = []
        self._strange = set()  # types that were found and are not heard

    def open(self) -> None:
        """Subscribe."""
        self._look = self._node.create_guard_condition(self._follow)
        self._hear(_FIRST[self._variant], reliable=True)
        if self._variant == "ros-drivers":
            # what is latched is sent to those alone who ask for it, and they hear nothing that is not
            # latched, such as audio_capture's: the info is subscribed to both ways, and one of them fits
            quiet = SubscriptionEventCallbacks(incompatible_qos=lambda event: None)
            self._infos = [
                self._node.create_subscription(
                    message_class(audio_common.INFO_TYPE),
                    self._settings.audio_info_topic,
                    self._audio_decoder.on_audio_info,
                    qos,
                    event_callbacks=quiet,
                )
                for qos in (ros_qos.HEARD_INFO, ros_qos.LATCHED)
            ]
        self._timer = self._node.create_timer(FOLLOW_EVERY, self._follow, clock=self._steady)

    def close(self) -> None:
        """Hear nothing any more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_guard_condition(self._look)
        for subscription in (self._audio, *self._infos):
            self._node.destroy_subscription(subscription)
        self._audio, self._infos, self._timer = None, [], None

    def _hear(self, name, reliable) -> None:
        if self._audio is not None:
            self._node.destroy_subscription(self._audio)
        self._name, self._reliable = name, reliable
        # the middleware tells at once of a publisher that offers less; a subscription is not destroyed by its own
        # event's callback, but soon after it
        told = SubscriptionEventCallbacks(incompatible_qos=lambda event: self._look.trigger())
        self._audio = self._node.create_subscription(
            message_class(name),
            self._settings.audio_topic,
            lambda message: self._on_audio(message, name),
            ros_qos.HEARD_RELIABLY if reliable else ros_qos.HEARD_AUDIO,
            event_callbacks=told,
        )

    def _follow(self) -> None:
        """Turn to the type and the reliability that are published, if they are not those subscribed to."""
        topic = self._audio.topic_name
        publishers = self._node.get_publishers_info_by_topic(topic)
        names = {publisher.topic_type for publisher in publishers}
        if not names or names == self._strange:
            return
        heard = [name for name in sorted(names) if audio_common.AUDIO_TYPES.get(name) == self._variant]
        if heard:
            name = self._name if self._name in heard else heard[0]
            reliable = all(
                publisher.qos_profile.reliability == ros_qos.RELIABLE
                for publisher in publishers
                if publisher.topic_type == name
            )
            if name != self._name or (self._reliable and not reliable):
                self._hear(name, reliable)
            return
        self._strange = names
        known = [name for name, variant in audio_common.AUDIO_TYPES.items() if variant == self._variant]
        self._core.reject(
            "type",
            f"{topic} carries {', '.join(sorted(names))}, which is not heard with the "
            f"audio_common_msgs of {self._variant}, the one sourced here: publish "
            f"{' or '.join(known)}, or source the other variant",
        )

    def _on_audio(self, message, name) -> None:
        now = self._node.get_clock().now().nanoseconds
        packet = self._audio_decoder.decode(message, name, now, self._core.clock())
        if packet is not None:
            self._core.push(packet)
