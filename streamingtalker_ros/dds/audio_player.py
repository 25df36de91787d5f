# SPDX-License-Identifier: Apache-2.0
"""Publishes packets of audio as either variant of audio_common_msgs.

Packets carry signed 16-bit samples at the rate of the audio; the stamp of a packet is the time of its first
sample. The types are AudioDataStamped and AudioInfo (ros-drivers), or AudioStamped (mgonzs13).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import DdsNode, matched_readers
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.process import print_warning

_INFO_PERIOD_S = 1.0  # audio_info is repeated for late subscribers
_POLL_S = 0.02


class AudioPublisher:
    """Node that publishes audio.

    Args:
        rate: Samples per second.
        variant: Variant of audio_common_msgs.
        topic: Topic of the audio; its format goes to `{topic}_info` (ros-drivers).
        namespace: Namespace of the node.
        domain: ROS domain, None for that of ROS_DOMAIN_ID.
        frame_id: frame_id of the headers.
    """

    def __init__(
        self,
        rate: int,
        variant: Variant = "ros-drivers",
        topic: str = "audio",
        namespace: str = "",
        domain: int | None = None,
        frame_id: str = "microphone",
    ) -> None:
        self.format = AudioFormat(rate, 1, "s16")
        self._type_name = audio_common.PUBLISHED_TYPES[variant]
        self._frame_id = frame_id
        self._dds_node = DdsNode("audio_source", namespace, domain, print_warning)
        self._message_class = message_types.message_class(self._type_name, variant)
        # audio_capture of ros-drivers is reliable with depth 10, audio_capturer of mgonzs13 best effort with
        # depth 5: both could lose packets to a busy subscriber, so this one is reliable and deep
        qos = self._dds_node.qos(depth=1000)
        self._writer: Any = self._dds_node.create_publisher(topic, self._type_name, qos, variant)
        self._info_writer: Any = None
        if variant == "ros-drivers":
            self._info_writer = self._dds_node.create_publisher(
                f"{topic}_info", audio_common.INFO_TYPE, self._dds_node.qos(depth=1)
            )
            self._dds_node.create_timer(_INFO_PERIOD_S, self._publish_info)
        self._dds_node.start()

    def set_rate(self, rate: int) -> None:
        """Change the sample rate of the packets that follow.

        Args:
            rate: Samples per second.
        """
        if rate != self.format.sample_rate:
            self.format = AudioFormat(rate, 1, "s16")
            self._publish_info()

    def wait_for_subscriber(self, timeout: float, settling_time: float = 0.3) -> bool:
        """Wait until the audio has a subscriber.

        Args:
            timeout: s to wait at most.
            settling_time: s without a new subscriber before the wait ends.

        Returns:
            Whether there is a subscriber.
        """
        deadline = time.monotonic() + timeout
        last_count, last_change = 0, time.monotonic()
        while time.monotonic() < deadline:
            count = matched_readers(self._writer)
            has_info_reader = self._info_writer is None or matched_readers(self._info_writer) > 0
            if count != last_count:
                last_count, last_change = count, time.monotonic()
            if count and has_info_reader and time.monotonic() - last_change >= settling_time:
                break
            time.sleep(_POLL_S)
        self._publish_info()
        return last_count > 0

    def publish(self, samples: npt.NDArray[np.int16], stamp: int) -> None:
        """Publish a packet.

        Args:
            samples: (n,) int16.
            stamp: Time of the first sample in ns.
        """
        self._writer.write(
            audio_common.to_audio_message(
                self._message_class(), self._type_name, samples, self.format, stamp, self._frame_id
            )
        )

    def close(self, linger: float = 0.2) -> None:
        """Leave the graph.

        Args:
            linger: s to wait before, so that a slow subscriber receives the last packet.
        """
        time.sleep(linger)
        self._dds_node.close()
        self._writer = self._info_writer = None

    def _publish_info(self) -> None:
        if self._info_writer is not None:
            info = message_types.message_class(audio_common.INFO_TYPE)()
            self._info_writer.write(audio_common.to_audio_info(info, self.format))
