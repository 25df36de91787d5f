# SPDX-License-Identifier: Apache-2.0
"""Messages of both variants of audio_common_msgs convert to packets and back, by their fields alone."""

from __future__ import annotations

import array
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.header import set_header

STAMP = 1_700_000_000_000_000_001
FORMAT = AudioFormat(22050, 1, "s16")


@pytest.mark.parametrize("variant", audio_common.PUBLISHED_TYPES)
def test_published_samples_are_received_unchanged(variant: audio_common.Variant) -> None:
    type_name = audio_common.PUBLISHED_TYPES[variant]
    samples = np.array([0, 1, -1, 32767, -32768], np.int16)
    message_class = message_types.message_class(type_name, variant)
    message = audio_common.to_audio_message(message_class(), type_name, samples, FORMAT, STAMP, "microphone")
    received = message_class.deserialize(message.serialize())
    packet = audio_common.to_packet(received, type_name, FORMAT)
    assert packet.stamp == STAMP and packet.format == FORMAT
    np.testing.assert_array_equal(PcmDecoder(FORMAT).decode(packet.payload), samples / 32768)


@pytest.mark.parametrize(
    "code, field, dtype, encoding",
    [
        (1, "float32_data", "f4", "f32"),
        (2, "int32_data", "i4", "s32"),
        (8, "int16_data", "i2", "s16"),
        (16, "int8_data", "i1", "s8"),
        (32, "uint8_data", "u1", "u8"),
    ],
)
def test_every_portaudio_format_is_converted(code: int, field: str, dtype: str, encoding: str) -> None:
    message = message_types.message_class("audio_common_msgs/msg/AudioStamped", "mgonzs13")()
    samples = np.array([1, 0, 1, 1], dtype)
    setattr(message.audio.audio_data, field, samples.tolist())
    message.audio.info.format, message.audio.info.rate, message.audio.info.channels = code, 48000, 2
    packet = audio_common.to_packet(message, "audio_common_msgs/msg/AudioStamped")
    assert packet.format == AudioFormat(48000, 2, encoding) and packet.payload == samples.tobytes()
    assert packet.stamp is None, "a stamp of zero was never set"


def test_an_unknown_portaudio_format_is_rejected() -> None:
    message = message_types.message_class("audio_common_msgs/msg/AudioStamped", "mgonzs13")()
    message.audio.info.format = 4  # packed 24 bits: the message has no field for them
    with pytest.raises(TalkerError, match="PortAudio format 4"):
        audio_common.to_packet(message, "audio_common_msgs/msg/AudioStamped")


def test_audio_info_is_parsed_without_regard_to_case() -> None:
    info = audio_common.to_audio_info(message_types.message_class(audio_common.INFO_TYPE)(), FORMAT)
    assert audio_common.parse_audio_info(info) == ("pcm", FORMAT) and info.bitrate == 22050 * 16
    info.coding_format, info.sample_format = "WAVE", "s16le"
    assert audio_common.parse_audio_info(info) == ("pcm", FORMAT)
    info.coding_format = "Ogg"
    with pytest.raises(TalkerError, match="coded as 'Ogg', which is not known: have its sender publish wave"):
        audio_common.parse_audio_info(info)


def test_a_message_without_header_has_its_time_of_arrival() -> None:
    message = SimpleNamespace(data=[1, 0])
    packet = audio_common.to_packet(message, "audio_common_msgs/msg/AudioData", None, now_ns=STAMP)
    assert (packet.stamp, packet.received, packet.payload, packet.format) == (None, STAMP, b"\1\0", None)


@pytest.mark.parametrize(
    "type_name, variant",
    [
        ("audio_common_msgs/msg/AudioData", "ros-drivers"),
        ("audio_common_msgs/msg/AudioDataStamped", "ros-drivers"),
        ("audio_common_msgs/msg/AudioStamped", "mgonzs13"),
        ("audio_common_msgs/msg/AudioData", "mgonzs13"),
    ],
)
@pytest.mark.parametrize("frame_id", ["", "a", "mic", "microphone"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_fast_reader_of_audio_equals_the_generic_one(
    type_name: str, variant: audio_common.Variant, frame_id: str, count: int
) -> None:
    message_class = message_types.message_class(type_name, variant)
    message, values = message_class(), np.arange(1, count + 1)
    if hasattr(message, "header"):
        set_header(message.header, STAMP, frame_id)
    data = getattr(message, "audio", message)
    data = getattr(data, "audio_data", data)
    for field in data.__annotations__:
        setattr(data, field, values.tolist())
    if type_name.endswith("AudioStamped"):
        message.audio.info.format, message.audio.info.channels, message.audio.info.rate = 8, -2, 48000
    serialized = message.serialize()
    generic = message_class.__idl__.deserialize(serialized)
    assert to_plain(message_class.deserialize(serialized)) == to_plain(generic) == to_plain(message)
    truncated = serialized[:-1] if count or variant == "ros-drivers" else serialized[:-4]
    with pytest.raises(Exception):  # noqa: B017 the two readers raise different types
        message_class.deserialize(truncated)


def to_plain(message: Any) -> Any:
    """Return a message as dicts and lists."""
    if hasattr(message, "__annotations__"):
        return {field: to_plain(getattr(message, field)) for field in message.__annotations__}
    return list(message) if hasattr(message, "__len__") and not isinstance(message, str) else message


def test_a_packet_of_10_mb_is_read_in_less_than_150_ms() -> None:
    message_class = message_types.message_class("audio_common_msgs/msg/AudioDataStamped")
    message = message_class()
    message.audio.data = array.array("B", bytes(1000))
    serialized = bytearray(message.serialize())
    serialized[-1004:-1000] = (10_000_000).to_bytes(4, "little")
    large = bytes(serialized[:-1000]) + bytes(10_000_000)
    start = time.perf_counter()
    packet = audio_common.to_packet(
        message_class.deserialize(large), "audio_common_msgs/msg/AudioDataStamped"
    )
    assert len(packet.payload) == 10_000_000
    assert time.perf_counter() - start < 0.15  # the generic reader takes 0.3 s
