# SPDX-License-Identifier: Apache-2.0
"""The two lineages of audio_common_msgs, to and from `AudioPacket`s.

Takes messages by their fields alone, so that it serves rclpy's message classes and those of `messages` alike.
ros-drivers: AudioData, AudioDataStamped, and AudioInfo, which tells the format; mgonzs13: AudioStamped, whose
arrays are typed and whose format is a PortAudio code.
"""

import array
import time

import numpy as np

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging.face_messages import fill_header

# type on the wire -> lineage
AUDIO_TYPES = {
    "audio_common_msgs/msg/AudioData": "ros-drivers",
    "audio_common_msgs/msg/AudioDataStamped": "ros-drivers",
    "audio_common_msgs/msg/AudioStamped": "mgonzs13",
}
# variant -> the type that a source of audio publishes
PUBLISHED_TYPES = {
    "ros-drivers": "audio_common_msgs/msg/AudioDataStamped",
    "mgonzs13": "audio_common_msgs/msg/AudioStamped",
}
INFO_TYPE = "audio_common_msgs/msg/AudioInfo"

# PortAudio's sample formats (portaudio.h) -> field of the message, encoding, numpy type
_PORTAUDIO = {
    0x01: ("float32_data", "f32", "<f4"),
    0x02: ("int32_data", "s32", "<i4"),
    0x08: ("int16_data", "s16", "<i2"),
    0x10: ("int8_data", "s8", "i1"),
    0x20: ("uint8_data", "u8", "u1"),
}
PORTAUDIO_CODE = {encoding: code for code, (_, encoding, _) in _PORTAUDIO.items()}
# the codings of audio_info: bare PCM (its "wave" has no head), and MP3
_PLAIN, _MP3 = ("", "wave", "wav", "raw", "pcm"), ("mp3", "mpeg")


def stamp_ns(stamp):
    """builtin_interfaces/Time -> ns, or None where it was never set."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec or None


def info_format(info):
    """AudioInfo of ros-drivers -> ("pcm", AudioFormat), or ("mp3", None): MP3 tells its format itself.

    Names compare without case. Raises TalkerError for another coding, or a bad format.
    """
    coding = info.coding_format.strip().lower()
    if coding in _MP3:
        require("av", "hearing audio that is coded as MP3")
        return "mp3", None
    if coding not in _PLAIN:
        raise TalkerError(
            f"the audio is coded as {info.coding_format!r}, which is not known: have its sender "
            "publish wave or mp3 (audio_capture: format:=wave)"
        )
    return "pcm", AudioFormat(info.sample_rate, info.channels, info.sample_format.strip() or "s16")


def packet(message, name, format=None, now_ns=None, arrival=None):
    """A message of type `name` (a key of AUDIO_TYPES) -> AudioPacket.

    format: what audio_info told, for ros-drivers. now_ns: the node's clock, default the system's, for
    messages without a stamp; arrival: seconds of the core's clock, default time.monotonic(). Raises TalkerError for a message that contradicts itself.
    """
    arrival = time.monotonic() if arrival is None else arrival
    received = time.time_ns() if now_ns is None else now_ns
    if name.endswith("AudioStamped"):
        payload, format = _typed(message.audio)
        return AudioPacket(payload, format, stamp_ns(message.header.stamp), arrival, received)
    if name.endswith("AudioDataStamped"):
        stamp = stamp_ns(message.header.stamp)
        return AudioPacket(bytes(message.audio.data), format, stamp, arrival, received)
    return AudioPacket(bytes(message.data), format, None, arrival, received)


def _typed(audio):
    info = audio.info
    if info.format not in _PORTAUDIO:
        raise TalkerError(
            f"PortAudio format {info.format} is not known: send 1 (float32), or 2, 8, 16 or 32 (integers)"
        )
    field, encoding, dtype = _PORTAUDIO[info.format]
    values = np.asarray(getattr(audio.audio_data, field), dtype)
    return values.tobytes(), AudioFormat(info.rate, info.channels, encoding)


def fill_audio(message, name, samples, format, ns, frame_id):
    """Write int16 samples, (n·channels,), taken at `ns`, into an AudioDataStamped or AudioStamped, the type
    `name`."""
    fill_header(message.header, ns, frame_id)
    if name.endswith("AudioStamped"):
        info = message.audio.info
        info.format, info.channels, info.rate = PORTAUDIO_CODE["s16"], format.channels, format.sample_rate
        info.chunk = len(samples) // format.channels
        message.audio.audio_data.int16_data = array.array("h", samples.astype(np.int16).tobytes())
    else:
        message.audio.data = array.array("B", samples.astype("<i2").tobytes())
    return message


def fill_info(message, format):
    """Write an AudioFormat into ros-drivers' AudioInfo."""
    message.channels, message.sample_rate = format.channels, format.sample_rate
    message.sample_format = {"s16": "S16LE"}.get(format.encoding, format.encoding.upper())
    message.bitrate = 8 * format.frame_bytes * format.sample_rate
    message.coding_format = "wave"
    return message
