# SPDX-License-Identifier: Apache-2.0
"""Both lineages of audio_common_msgs to packets and back, by fields alone."""

import array
import time
from types import SimpleNamespace

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.audio.sources import paced_packets
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging import audio_common
from streamingtalker_ros.messaging.header import set_header

STAMP = 1_700_000_000_000_000_001
FORMAT = AudioFormat(22050, 1, "s16")


@pytest.mark.parametrize("lineage", audio_common.PUBLISHED_TYPES)
def test_what_the_source_sends_is_what_the_node_hears(lineage) -> None:
    name = audio_common.PUBLISHED_TYPES[lineage]
    samples = np.array([0, 1, -1, 32767, -32768], np.int16)
    made = message_types.message_class(name, lineage)
    message = audio_common.to_audio_message(made(), name, samples, FORMAT, STAMP, "microphone")
    message = type(message).deserialize(message.serialize())
    packet = audio_common.to_packet(message, name, FORMAT)
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
def test_every_portaudio_format_is_understood(code, field, dtype, encoding) -> None:
    message = message_types.message_class("audio_common_msgs/msg/AudioStamped", "mgonzs13")()
    values = np.array([1, 0, 1, 1], dtype)
    setattr(message.audio.audio_data, field, values.tolist())
    message.audio.info.format, message.audio.info.rate, message.audio.info.channels = code, 48000, 2
    packet = audio_common.to_packet(message, "audio_common_msgs/msg/AudioStamped")
    assert packet.format == AudioFormat(48000, 2, encoding) and packet.payload == values.tobytes()
    assert packet.stamp is None  # a stamp of zero was never set


def test_a_format_that_portaudio_does_not_know_is_refused() -> None:
    message = message_types.message_class("audio_common_msgs/msg/AudioStamped", "mgonzs13")()
    message.audio.info.format = 4  # packed 24 bits: the message has no field for it
    with pytest.raises(TalkerError, match="PortAudio format 4"):
        audio_common.to_packet(message, "audio_common_msgs/msg/AudioStamped")


def test_audio_info_tells_the_format_without_regard_to_case() -> None:
    info = audio_common.to_audio_info(message_types.message_class(audio_common.INFO_TYPE)(), FORMAT)
    assert audio_common.parse_audio_info(info) == ("pcm", FORMAT) and info.bitrate == 22050 * 16
    info.coding_format, info.sample_format = "WAVE", "s16le"
    assert audio_common.parse_audio_info(info) == ("pcm", FORMAT)
    info.coding_format = "Ogg"
    with pytest.raises(TalkerError, match="coded as 'Ogg', which is not known: have its sender publish wave"):
        audio_common.parse_audio_info(info)


def test_a_bare_message_has_the_time_of_its_arrival() -> None:
    message = SimpleNamespace(data=[1, 0])
    packet = audio_common.to_packet(message, "audio_common_msgs/msg/AudioData", None, now_ns=STAMP)
    assert (packet.stamp, packet.received, packet.payload, packet.format) == (None, STAMP, b"\1\0", None)


def test_blocks_hold_all_samples_and_their_exact_times() -> None:
    samples = np.arange(1000, dtype=np.int16)
    blocks = list(paced_packets(samples, 22050, 0.01, speed=0))
    np.testing.assert_array_equal(np.concatenate([part for _, part in blocks]), samples)
    first = blocks[0][0]
    exact = [round(place * 220 * 1e9 / 22050) for place in range(len(blocks))]
    assert [stamp - first for stamp, _ in blocks] == exact


@pytest.mark.parametrize(
    "name, lineage",
    [
        ("audio_common_msgs/msg/AudioData", "ros-drivers"),
        ("audio_common_msgs/msg/AudioDataStamped", "ros-drivers"),
        ("audio_common_msgs/msg/AudioStamped", "mgonzs13"),
        ("audio_common_msgs/msg/AudioData", "mgonzs13"),
    ],
)
@pytest.mark.parametrize("frame_id", ["", "a", "mic", "microphone"])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_quick_reader_of_audio_reads_what_the_generic_one_reads(name, lineage, frame_id, count) -> None:
    made = message_types.message_class(name, lineage)
    message, values = made(), np.arange(1, count + 1)
    if hasattr(message, "header"):
        set_header(message.header, STAMP, frame_id)
    data = getattr(message, "audio", message)
    data = getattr(data, "audio_data", data)
    for field in data.__annotations__:
        setattr(data, field, values.tolist())
    if name.endswith("AudioStamped"):
        message.audio.info.format, message.audio.info.channels, message.audio.info.rate = 8, -2, 48000
    blob = message.serialize()
    assert plain(made.deserialize(blob)) == plain(made.__idl__.deserialize(blob)) == plain(message)
    with pytest.raises(Exception):
        made.deserialize(blob[:-1] if count or lineage == "ros-drivers" else blob[:-4])


def plain(message):
    """A message as dicts and lists."""
    if hasattr(message, "__annotations__"):
        return {field: plain(getattr(message, field)) for field in message.__annotations__}
    return list(message) if hasattr(message, "__len__") and not isinstance(message, str) else message


def test_a_packet_of_10_mb_is_read_at_once() -> None:
    made = message_types.message_class("audio_common_msgs/msg/AudioDataStamped")
    message = made()
    message.audio.data = array.array("B", bytes(1000))
    blob = bytearray(message.serialize())
    blob[-1004:-1000] = (10_000_000).to_bytes(4, "little")
    blob = bytes(blob[:-1000]) + bytes(10_000_000)
    start = time.perf_counter()
    assert (
        len(audio_common.to_packet(made.deserialize(blob), "audio_common_msgs/msg/AudioDataStamped").payload)
        == 10_000_000
    )
    assert time.perf_counter() - start < 0.15  # 0.3 s by the generic reader on an idle machine
