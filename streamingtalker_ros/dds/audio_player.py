# SPDX-License-Identifier: Apache-2.0
"""The audio source: a file or the microphone, published in real time as either lineage of audio_common_msgs.

Packets carry signed 16-bit samples at the file's own rate; a packet's stamp is the time of its first sample:
the start in wall time plus samples / rate. ros-drivers: AudioDataStamped and AudioInfo; mgonzs13:
AudioStamped.
"""

import queue
import time

import numpy as np

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.payload import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import Wire, readers
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.process import warn

_SECOND = 1_000_000_000
TYPES = {
    "ros-drivers": "audio_common_msgs/msg/AudioDataStamped",
    "mgonzs13": "audio_common_msgs/msg/AudioStamped",
}


class AudioSource:
    """A node that publishes audio. lineage: a key of TYPES; rate: Hz; topic: of the audio, `audio_info`
    beside it."""

    def __init__(
        self, rate, lineage="ros-drivers", topic="audio", namespace="", domain=None, frame_id="microphone"
    ) -> None:
        self.format = AudioFormat(rate, 1, "s16")
        self._name, self._frame_id = TYPES[lineage], frame_id
        self._wire = Wire("audio_source", namespace, domain, warn)
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
                audio_common.fill_info(message_types.message_class(audio_common.INFO_TYPE)(), self.format)
            )

    def publish(self, samples, stamp) -> None:
        """samples: (n,) int16, taken at `stamp` (ns)."""
        self._writer.write(
            audio_common.fill_audio(self._made(), self._name, samples, self.format, stamp, self._frame_id)
        )

    def close(self, linger=0.2) -> None:
        """Leave, `linger` seconds after the last packet so that a slow subscriber gets it."""
        time.sleep(linger)
        self._wire.close()
        self._writer = self._info = None


def load(path):
    """A file -> ((n,) int16 mono, its rate in Hz). Raises TalkerError as read_audio does."""
    pcm, rate = read_audio(path)
    return np.round(np.clip(pcm, -1.0, 1.0 - 2.0**-15) * 32768).astype(np.int16), rate


def blocks(samples, rate, packet=0.02, pace=1.0):
    """Cut samples, (n,) int16 at `rate` Hz, into packets of `packet` seconds (the last may be shorter) and
    yield each (stamp in ns, samples) when its last sample would have been heard, as a microphone sends it.

    pace: 1.0 for real time, n for n times faster, 0 for all at once; the stamps are those of real time.
    """
    size = max(1, round(packet * rate))
    start, start_ns = time.monotonic(), time.time_ns()
    for first in range(0, len(samples), size):
        part = samples[first : first + size]
        wait = start + (first + len(part)) / rate / pace - time.monotonic() if pace else 0.0
        if wait > 0:
            time.sleep(wait)
        yield start_ns + (first * _SECOND + rate // 2) // rate, part


def microphone(rate, packet=0.02, seconds=None, device=None):
    """Yield (stamp in ns, (n,) int16) packets of the microphone until `seconds` have passed (None: without
    end).

    Stamps count samples from the first block's arrival, so that they carry the sound card's clock and no
    jitter. Raises TalkerError when there is no microphone.
    """
    sounddevice = require("sounddevice", "the microphone")
    heard = queue.Queue()
    size = max(1, round(packet * rate))
    sent, start = 0, None
    try:
        with sounddevice.RawInputStream(
            samplerate=rate,
            channels=1,
            dtype="int16",
            blocksize=size,
            device=device,
            callback=lambda data, *_: heard.put((bytes(data), time.time_ns())),
        ):
            while seconds is None or sent < seconds * rate:
                data, now = heard.get()
                block = np.frombuffer(data, np.int16)
                start = now - len(block) * _SECOND // rate if start is None else start
                yield start + sent * _SECOND // rate, block
                sent += len(block)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise TalkerError(
            f"the microphone cannot be opened ({error}): check that one is plugged in, or play a file"
        ) from None
