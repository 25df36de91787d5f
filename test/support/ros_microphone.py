# SPDX-License-Identifier: Apache-2.0
# rclpy and its messages come with a ROS installation
# pyright: reportMissingImports=false
"""An rclpy audio source with faults: `Microphone`, and `FAULTS`, the names of its fault methods."""

from __future__ import annotations

import array
import time
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.ros import message_types
from support.ros_graph import SECOND, VARIANT, Graph, voice, wait_for

PACKET = 0.02
PLAIN, WIDE = AudioFormat(16000, 1, "s16"), AudioFormat(48000, 2, "f32")
FAULTS = (
    "loss",
    "duplicates",
    "swaps",
    "gap",
    "short_gaps",
    "format_changes",
    "broken_numbers",
    "sizes",
    "unknown_coding",
    "garbage",
    "clock_set",
    "restart",
    "barge_in",
    "talker_reset",
)


class Microphone:
    """Publishes 20-ms packets of the voice at their times; each fault takes about one second."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.node, self.random = graph, graph.node, np.random.default_rng(3)
        self.voice = voice(6.0)
        self.name = audio_common.PUBLISHED_TYPES[VARIANT]
        self.position, self.due, self.stamp = 0, time.monotonic(), time.time_ns()
        self.publisher: Any = None
        self.info: Any = None
        self.restart()

    def restart(self) -> None:
        for publisher in filter(None, (self.publisher, self.info)):
            self.node.destroy_publisher(publisher)
        self.publisher = self.node.create_publisher(
            message_types.message_class(self.name), "audio", QoSProfile(depth=100)
        )
        assert wait_for(self.publisher.get_subscription_count)
        if VARIANT == "ros-drivers":
            self.info = self.node.create_publisher(
                message_types.message_class(audio_common.INFO_TYPE), "audio_info", 10
            )
            assert wait_for(self.info.get_subscription_count)
        time.sleep(0.3)
        self.publish_info(PLAIN)
        self._skip_elapsed_time()

    def _skip_elapsed_time(self) -> None:
        """Skip the audio of the time that has passed."""
        elapsed = max(0.0, time.monotonic() - self.due)
        self.due, self.stamp = self.due + elapsed, self.stamp + round(elapsed * SECOND)

    def publish_info(self, format: AudioFormat, coding: str = "wave") -> None:
        if self.info is not None:
            info = audio_common.to_audio_info(message_types.message_class(audio_common.INFO_TYPE)(), format)
            info.coding_format = coding
            self.info.publish(info)

    def next_message(self, paced: bool = True) -> Any:
        """Wait until the next 20 ms of the voice are due, if paced; return their message."""
        self.due += PACKET
        if paced:
            time.sleep(max(0.0, self.due - time.monotonic()))
        samples = self.voice[self.position : self.position + 320]
        self.position = (self.position + 320) % (len(self.voice) - 320)
        message = audio_common.to_audio_message(
            message_types.message_class(self.name)(), self.name, samples, PLAIN, self.stamp, "mic"
        )
        self.stamp += round(PACKET * SECOND)
        return message

    def message_with_samples(self, format: AudioFormat, values: Any) -> Any:
        """Return the next message with its samples replaced by `values`, of the width of the encoding."""
        message = self.next_message()
        if VARIANT == "ros-drivers":
            message.audio.data = array.array("B", values.tobytes())
            return message
        message.audio.info.rate, message.audio.info.channels = format.sample_rate, format.channels
        message.audio.info.format = audio_common.PORTAUDIO_CODE[format.encoding]
        field = {"f32": "float32_data", "s16": "int16_data"}[format.encoding]
        message.audio.audio_data.int16_data = array.array("h")
        code = "f" if format.encoding == "f32" else "h"
        setattr(message.audio.audio_data, field, array.array(code, values.tobytes()))
        return message

    def publish_clean(self, seconds: float, paced: bool = True) -> Any:
        """Publish the voice without faults.

        Args:
            seconds: Its length.
            paced: In real time; otherwise at once, ahead of its time, so that a busy machine is never late.

        Returns:
            The stamp of its first sample, the time when its first packet may be sent, and its samples, (n,)
            int16.
        """
        first, send_time, sent = self.stamp, max(self.due + PACKET, time.monotonic()), []
        for _ in range(round(seconds / PACKET)):
            sent.append(self.voice[self.position : self.position + 320])
            self.publisher.publish(self.next_message(paced))
        return first, send_time, np.concatenate(sent)

    # -- the faults --

    def loss(self) -> None:
        for _ in range(50):
            message = self.next_message()
            if self.random.random() > 0.1:
                self.publisher.publish(message)

    def duplicates(self) -> None:
        for _ in range(50):
            message = self.next_message()
            for _ in range(1 + (self.random.random() < 0.3)):
                self.publisher.publish(message)

    def swaps(self) -> None:
        for _ in range(25):
            pair = [self.next_message(), self.next_message()]
            if self.random.random() < 0.3:
                pair.reverse()
            for message in pair:
                self.publisher.publish(message)

    def gap(self) -> None:
        for _ in range(50):
            self.next_message()

    def short_gaps(self) -> None:
        for index in range(50):
            message = self.next_message()
            if index % 10 < 7:
                self.publisher.publish(message)

    def format_changes(self) -> None:
        self.publish_info(WIDE)
        for _ in range(50):
            self.publisher.publish(
                self.message_with_samples(WIDE, self.random.normal(size=1920).astype(np.float32))
            )
        self.publish_info(PLAIN)

    def broken_numbers(self) -> None:
        format = AudioFormat(16000, 1, "f32")
        self.publish_info(format)
        for _ in range(50):
            values = self.random.normal(size=320).astype(np.float32)
            values[::3] = self.random.choice([np.nan, np.inf, -np.inf])
            self.publisher.publish(self.message_with_samples(format, values))
        self.publish_info(PLAIN)

    def sizes(self) -> None:
        for size in (0, 1, 5_000_000, 0):
            self.publisher.publish(self.message_with_samples(PLAIN, np.zeros(size, np.int16)))

    def unknown_coding(self) -> None:
        self.publish_info(PLAIN, "vorbis")
        for _ in range(15):
            message = self.next_message()
            if VARIANT == "mgonzs13":
                message.audio.info.format = 999
            self.publisher.publish(message)
        self.publish_info(PLAIN)

    def garbage(self) -> None:
        """Random bytes declared as MP3, or random samples."""
        self.publish_info(PLAIN, "mp3")
        for _ in range(50):
            noise = np.frombuffer(b"\xff\xf3" + self.random.bytes(200), np.int16)
            self.publisher.publish(self.message_with_samples(PLAIN, noise))
        self.publish_info(PLAIN)

    def clock_set(self) -> None:
        self.stamp += 3600 * SECOND
        self.publish_clean(0.5)
        self.stamp -= 3600 * SECOND

    def barge_in(self) -> None:
        self.publish_clean(0.3)
        assert self.graph.call(Trigger, "/talker/interrupt").success
        self._skip_elapsed_time()

    def talker_reset(self) -> None:
        self.publish_clean(0.3)
        assert self.graph.call(Trigger, "/talker/reset").success
        self._skip_elapsed_time()
