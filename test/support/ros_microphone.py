# SPDX-License-Identifier: Apache-2.0
# rclpy and its messages come with a ROS installation
# pyright: reportMissingImports=false
"""A microphone on rclpy that misbehaves: `Microphone`, and `FAULTS`, the names of what it can do wrong."""

from __future__ import annotations

import array
import time
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.ros import audio_input
from support.ros_graph import SECOND, VARIANT, Graph, until, voice

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
    "afresh",
)


class Microphone:
    """Publishes 20-ms packets of the voice at their times; each fault takes about one second."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.node, self.random = graph, graph.node, np.random.default_rng(3)
        self.voice = voice(6.0)
        self.name = audio_common.PUBLISHED_TYPES[VARIANT]
        self.place, self.due, self.stamp = 0, time.monotonic(), time.time_ns()
        self.publisher: Any = None
        self.info: Any = None
        self.restart()

    def restart(self) -> None:
        for publisher in filter(None, (self.publisher, self.info)):
            self.node.destroy_publisher(publisher)
        self.publisher = self.node.create_publisher(
            audio_input.message_class(self.name), "audio", QoSProfile(depth=100)
        )
        assert until(self.publisher.get_subscription_count)
        if VARIANT == "ros-drivers":
            self.info = self.node.create_publisher(
                audio_input.message_class(audio_common.INFO_TYPE), "audio_info", 10
            )
            assert until(self.info.get_subscription_count)
        time.sleep(0.3)
        self.tell(PLAIN)
        self._be_now()

    def _be_now(self) -> None:
        """Leave out what was said meanwhile."""
        lost = max(0.0, time.monotonic() - self.due)
        self.due, self.stamp = self.due + lost, self.stamp + round(lost * SECOND)

    def tell(self, format: AudioFormat, coding: str = "wave") -> None:
        if self.info is not None:
            info = audio_common.to_audio_info(audio_input.message_class(audio_common.INFO_TYPE)(), format)
            info.coding_format = coding
            self.info.publish(info)

    def next(self) -> Any:
        """A message with the next 20 ms of the voice, at its time."""
        self.due += PACKET
        time.sleep(max(0.0, self.due - time.monotonic()))
        part = self.voice[self.place : self.place + 320]
        self.place = (self.place + 320) % (len(self.voice) - 320)
        message = audio_common.to_audio_message(
            audio_input.message_class(self.name)(), self.name, part, PLAIN, self.stamp, "mic"
        )
        self.stamp += round(PACKET * SECOND)
        return message

    def filled(self, format: AudioFormat, values: Any) -> Any:
        """The next message with other samples in it: numpy values, of the width of the format's encoding."""
        message = self.next()
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

    def speak(self, seconds: float) -> Any:
        """Publish the voice without faults.

        Returns:
            The stamp of its first sample, the time when its first packet may be sent, and its samples, (n,)
            int16.
        """
        first, at, said = self.stamp, max(self.due + PACKET, time.monotonic()), []
        for _ in range(round(seconds / PACKET)):
            said.append(self.voice[self.place : self.place + 320])
            self.publisher.publish(self.next())
        return first, at, np.concatenate(said)

    # -- the faults --

    def loss(self) -> None:
        for _ in range(50):
            message = self.next()
            if self.random.random() > 0.1:
                self.publisher.publish(message)

    def duplicates(self) -> None:
        for _ in range(50):
            message = self.next()
            for _ in range(1 + (self.random.random() < 0.3)):
                self.publisher.publish(message)

    def swaps(self) -> None:
        for _ in range(25):
            pair = [self.next(), self.next()]
            if self.random.random() < 0.3:
                pair.reverse()
            for message in pair:
                self.publisher.publish(message)

    def gap(self) -> None:
        for _ in range(50):
            self.next()

    def short_gaps(self) -> None:
        for index in range(50):
            message = self.next()
            if index % 10 < 7:
                self.publisher.publish(message)

    def format_changes(self) -> None:
        self.tell(WIDE)
        for _ in range(50):
            self.publisher.publish(self.filled(WIDE, self.random.normal(size=1920).astype(np.float32)))
        self.tell(PLAIN)

    def broken_numbers(self) -> None:
        format = AudioFormat(16000, 1, "f32")
        self.tell(format)
        for _ in range(50):
            values = self.random.normal(size=320).astype(np.float32)
            values[::3] = self.random.choice([np.nan, np.inf, -np.inf])
            self.publisher.publish(self.filled(format, values))
        self.tell(PLAIN)

    def sizes(self) -> None:
        for size in (0, 1, 5_000_000, 0):
            self.publisher.publish(self.filled(PLAIN, np.zeros(size, np.int16)))

    def unknown_coding(self) -> None:
        self.tell(PLAIN, "vorbis")
        for _ in range(15):
            message = self.next()
            if VARIANT == "mgonzs13":
                message.audio.info.format = 999
            self.publisher.publish(message)
        self.tell(PLAIN)

    def garbage(self) -> None:
        """Random bytes that call themselves MP3, or random samples."""
        self.tell(PLAIN, "mp3")
        for _ in range(50):
            noise = np.frombuffer(b"\xff\xf3" + self.random.bytes(200), np.int16)
            self.publisher.publish(self.filled(PLAIN, noise))
        self.tell(PLAIN)

    def clock_set(self) -> None:
        self.stamp += 3600 * SECOND
        self.speak(0.5)
        self.stamp -= 3600 * SECOND

    def barge_in(self) -> None:
        self.speak(0.3)
        assert self.graph.call(Trigger, "/talker/interrupt").success
        self._be_now()

    def afresh(self) -> None:
        self.speak(0.3)
        assert self.graph.call(Trigger, "/talker/reset").success
        self._be_now()
