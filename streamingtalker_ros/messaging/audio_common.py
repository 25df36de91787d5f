# SPDX-License-Identifier: Apache-2.0
"""The two variants of audio_common_msgs: messages to `AudioPacket`s, and samples to messages.

Two packages of that name exist. ros-drivers' has AudioData, AudioDataStamped, and AudioInfo, which describes
the format. mgonzs13's has AudioStamped, whose arrays are typed and whose format is a PortAudio code. Messages
are read and written by their fields alone, so that the classes of rclpy and of `dds.message_types` serve
alike.
"""

from __future__ import annotations

import array
import time
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.config_files import describe
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging.header import set_header, stamp_to_ns

Variant = Literal["ros-drivers", "mgonzs13"]

AUDIO_TYPES: Final[dict[str, Variant]] = {
    "audio_common_msgs/msg/AudioData": "ros-drivers",
    "audio_common_msgs/msg/AudioDataStamped": "ros-drivers",
    "audio_common_msgs/msg/AudioStamped": "mgonzs13",
}
"""Message types of audio, and the variant that each belongs to."""

PUBLISHED_TYPES: Final[dict[Variant, str]] = {
    "ros-drivers": "audio_common_msgs/msg/AudioDataStamped",
    "mgonzs13": "audio_common_msgs/msg/AudioStamped",
}
"""The message type that an audio source publishes, by variant."""

INFO_TYPE: Final = "audio_common_msgs/msg/AudioInfo"

# PortAudio's sample formats (portaudio.h) -> field of the message, encoding, numpy type
_PORTAUDIO: Final = {
    0x01: ("float32_data", "f32", "<f4"),
    0x02: ("int32_data", "s32", "<i4"),
    0x08: ("int16_data", "s16", "<i2"),
    0x10: ("int8_data", "s8", "i1"),
    0x20: ("uint8_data", "u8", "u1"),
}
PORTAUDIO_CODE: Final = {encoding: code for code, (_, encoding, _) in _PORTAUDIO.items()}
# coding_format of audio_info; "wave" means PCM without a header
_PCM_CODINGS: Final = ("", "wave", "wav", "raw", "pcm")
_MP3_CODINGS: Final = ("mp3", "mpeg")


def parse_audio_info(info: Any) -> tuple[Literal["pcm", "mp3"], AudioFormat | None]:
    """Read an AudioInfo message of ros-drivers; names are compared without case.

    Args:
        info: the message.

    Returns:
        The coding, and the format of PCM; None for MP3, whose frames describe themselves.

    Raises:
        TalkerError: if the coding is unknown, the format is invalid, or MP3 cannot be decoded here.
    """
    coding = info.coding_format.strip().lower()
    if coding in _MP3_CODINGS:
        require("av", "decoding MP3 audio")
        return "mp3", None
    if coding not in _PCM_CODINGS:
        raise TalkerError(
            f"the audio is coded as {describe(info.coding_format)}, which is not known: have its sender "
            "publish wave or mp3 (audio_capture: format:=wave)"
        )
    return "pcm", AudioFormat(info.sample_rate, info.channels, info.sample_format.strip() or "s16")


def to_packet(
    message: Any,
    type_name: str,
    audio_format: AudioFormat | None = None,
    now_ns: int | None = None,
    arrival: float | None = None,
) -> AudioPacket:
    """Convert an audio message to an `AudioPacket`.

    Args:
        message: the message.
        type_name: its type, a key of AUDIO_TYPES.
        audio_format: the format that audio_info described; ros-drivers' messages do not contain it.
        now_ns: time of the node's clock, default the system's; for messages without a stamp.
        arrival: s on the clock of `time.monotonic()`, default now.

    Returns:
        The packet. Its stamp is None if the message has none, or one that was never set.

    Raises:
        TalkerError: if the message contradicts itself.
    """
    arrival = time.monotonic() if arrival is None else arrival
    received = time.time_ns() if now_ns is None else now_ns
    if type_name.endswith("AudioStamped"):
        payload, audio_format = _unpack_samples(message.audio)
        return AudioPacket(
            payload, audio_format, stamp_to_ns(message.header.stamp) or None, arrival, received
        )
    if type_name.endswith("AudioDataStamped"):
        stamp = stamp_to_ns(message.header.stamp) or None
        return AudioPacket(bytes(message.audio.data), audio_format, stamp, arrival, received)
    return AudioPacket(bytes(message.data), audio_format, None, arrival, received)


def _unpack_samples(audio: Any) -> tuple[bytes, AudioFormat]:
    """Return the little-endian bytes and the format of mgonzs13's typed samples."""
    info = audio.info
    if info.format not in _PORTAUDIO:
        raise TalkerError(
            f"PortAudio format {info.format} is not known: send 1 (float32), or 2, 8, 16 or 32 (integers)"
        )
    field, encoding, dtype = _PORTAUDIO[info.format]
    samples = np.asarray(getattr(audio.audio_data, field), dtype)
    return samples.tobytes(), AudioFormat(info.rate, info.channels, encoding)


def to_audio_message(
    message: Any,
    type_name: str,
    samples: npt.NDArray[np.int16],
    audio_format: AudioFormat,
    stamp: int,
    frame_id: str,
) -> Any:
    """Write samples into an AudioDataStamped or AudioStamped message.

    Args:
        message: an empty message of the type.
        type_name: its type, a value of PUBLISHED_TYPES.
        samples: (n · channels,) int16, interleaved.
        audio_format: rate and channels of the samples.
        stamp: ns, the time of the first sample.
        frame_id: tf frame of the microphone.

    Returns:
        The message.
    """
    set_header(message.header, stamp, frame_id)
    if type_name.endswith("AudioStamped"):
        info = message.audio.info
        info.format, info.channels = PORTAUDIO_CODE["s16"], audio_format.channels
        info.rate, info.chunk = audio_format.sample_rate, len(samples) // audio_format.channels
        message.audio.audio_data.int16_data = array.array("h", samples.astype(np.int16).tobytes())
    else:
        message.audio.data = array.array("B", samples.astype("<i2").tobytes())
    return message


def to_audio_info(message: Any, audio_format: AudioFormat) -> Any:
    """Write the format of PCM into an AudioInfo message of ros-drivers, and return the message.

    Args:
        message: An empty AudioInfo message, which is modified.
        audio_format: Sample rate, channels and encoding of the PCM.
    """
    message.channels, message.sample_rate = audio_format.channels, audio_format.sample_rate
    message.sample_format = {"s16": "S16LE"}.get(audio_format.encoding, audio_format.encoding.upper())
    message.bitrate = 8 * audio_format.frame_bytes * audio_format.sample_rate
    message.coding_format = "wave"
    return message
