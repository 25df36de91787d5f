# SPDX-License-Identifier: Apache-2.0
"""The audio source: packets of audio, published as either lineage of audio_common_msgs.

Packets carry signed 16-bit samples at the file's own rate; a packet's stamp is the time of its first sample. ros-drivers: AudioDataStamped and AudioInfo; mgonzs13:
AudioStamped.
"""

import time

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import Wire, readers
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.process import print_warning


class AudioSource:
    """A node that publishes audio. lineage: a key of audio_common.PUBLISHED_TYPES; rate: Hz; topic: of the audio, `audio_info`
    beside it."""

    def __init__(
        self, rate, lineage="ros-drivers", topic="audio", namespace="", domain=None, frame_id="microphone"
    ) -> None:
        self.format = AudioFormat(rate, 1, "s16")
        self._name, self._frame_id = audio_common.PUBLISHED_TYPES[lineage], frame_id
        self._wire = Wire("audio_source", namespace, domain, print_warning)
        self._made = message_types.message_class(self._name, lineage)
        # ros-drivers' audio_capture is reliable, depth 10; mgonzs13's audio_capturer best effort, depth 5:
        # both could lose packets to a busy subscriber, so that this one is reliable and deep for either
        self._writer = self._wire.audio_publisher(topic, self._name, lineage, self._wire.qos(depth=1000))
        self._info = None
        if lineage == "ros-drivers":
            self._info = self._wire.publisher(
                f"{topic}_info", audio_common.INFO_TYPE, self._wire.qos(depth=1)
            )
            self._wire.every(1.0, self._tell_format)  # for those who come later
        self._wire.start()

    def wait_for_subscriber(self, timeout, settle=0.3):
        """Wait until somebody listens, and `settle` seconds more for others who have just discovered this
        node.

        Returns whether somebody listens, after at most `timeout` seconds.
        """
        deadline, last, since = time.monotonic() + timeout, 0, time.monotonic()
        while time.monotonic() < deadline:
            count = readers(self._writer)
            told = self._info is None or readers(self._info)
            if count != last:
                last, since = count, time.monotonic()
            if count and told and time.monotonic() - since >= settle:
                break
            time.sleep(0.02)
        self._tell_format()
        return last > 0

    def _tell_format(self) -> None:
        if self._info is not None:
            self._info.write(
                audio_common.to_audio_info(message_types.message_class(audio_common.INFO_TYPE)(), self.format)
            )

    def publish(self, samples, stamp) -> None:
        """samples: (n,) int16, taken at `stamp` (ns)."""
        self._writer.write(
            audio_common.to_audio_message(
                self._made(), self._name, samples, self.format, stamp, self._frame_id
            )
        )

    def close(self, linger=0.2) -> None:
        """Leave, `linger` seconds after the last packet so that a slow subscriber gets it."""
        time.sleep(linger)
        self._wire.close()
        self._writer = self._info = None
