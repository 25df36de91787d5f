# SPDX-License-Identifier: Apache-2.0
"""Coded audio for tests: MP3 packets and files of a known signal, and a decoder that records rejections."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.header import set_stamp

START = 1_700_000_000_123_456_789  # ns, the stamp of a test's first sample
STAMPED = "audio_common_msgs/msg/AudioDataStamped"
UNSTAMPED = "audio_common_msgs/msg/AudioData"
LAYOUTS = {1: "mono", 2: "stereo"}


def sweep(rate: int, seconds: float = 3.0) -> npt.NDArray[np.float32]:
    """Return (n,) samples of a sweep that begins after 0.3 s, so that its place in time is unambiguous."""
    time = np.arange(round(seconds * rate)) / rate
    signal = np.sin(2 * np.pi * (200 * time + 0.1 * rate / seconds * time**2 / 2))
    return (0.4 * signal * (time > 0.3)).astype(np.float32)


def encode_mp3(
    pcm: npt.NDArray[np.float32],
    rate: int,
    channels: int = 1,
    bit_rate: int = 64000,
    average_bit_rate: bool = False,
) -> list[tuple[int, bytes]]:
    """Encode (n,) samples as GStreamer's lamemp3enc sends and stamps them: one frame per packet.

    Returns:
        [(ns after the beginning, frame)].
    """
    codec: Any = av.CodecContext.create("libmp3lame", "w")
    codec.sample_rate, codec.format, codec.layout = rate, "s16p", LAYOUTS[channels]
    codec.bit_rate, codec.options = bit_rate, {"abr": "1"} if average_bit_rate else {}
    codec.open()
    samples = np.repeat((pcm * 32767).astype(np.int16)[None], channels, axis=0)
    size, frames = codec.frame_size, []
    for start in range(0, samples.shape[1] - size + 1, size):
        chunk = np.ascontiguousarray(samples[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(chunk, "s16p", LAYOUTS[channels])
        frame.sample_rate, frame.pts = rate, start
        frames += [bytes(packet) for packet in codec.encode(frame)]
    frames += [bytes(packet) for packet in codec.encode(None)]
    return [(index * size * NS_PER_S // rate, frame) for index, frame in enumerate(frames)]


def mp3_packets(
    rate: int = SAMPLE_RATE,
    channels: int = 1,
    bit_rate: int = 64000,
    average_bit_rate: bool = False,
    seconds: float = 3.0,
) -> list[tuple[int, bytes]]:
    """Return the sweep as MP3, [(ns after the beginning, frame)]."""
    return encode_mp3(sweep(rate, seconds), rate, channels, bit_rate, average_bit_rate)


def mp3_file(rate: int = SAMPLE_RATE) -> tuple[bytes, npt.NDArray[np.float32]]:
    """Return the sweep as an MP3 file with an ID3 header and LAME's tag, and its audio by FFmpeg."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as container:
        stream: Any = container.add_stream("libmp3lame", rate=rate, layout="mono")
        stream.bit_rate = 64000
        samples = (sweep(rate) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    data = out.getvalue()
    with av.open(io.BytesIO(data)) as container:
        decoded = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
    return data, np.concatenate(decoded)


def cut_randomly(data: bytes, random: np.random.Generator, size: int) -> list[tuple[int, bytes]]:
    """Cut bytes into parts of random lengths around `size`: [(index of the first byte, part)]."""
    parts, start = [], 0
    while start < len(data):
        length = int(random.integers(1, 2 * size))
        parts.append((start, data[start : start + length]))
        start += length
    return parts


def decode_pcm(packets: Sequence[AudioPacket]) -> npt.NDArray[np.float32]:
    """Return the samples of packets of PCM, concatenated."""
    parts = []
    for packet in packets:
        assert packet.format is not None
        parts.append(PcmDecoder(packet.format).decode(packet.payload))
    return np.concatenate(parts)


def audio_info(
    coding: str, sample_format: str = "S16LE", rate: int = SAMPLE_RATE, channels: int = 1
) -> SimpleNamespace:
    """Return an AudioInfo message by its fields."""
    return SimpleNamespace(
        coding_format=coding, sample_format=sample_format, sample_rate=rate, channels=channels
    )


def stamped_message(payload: Any, stamp: int) -> SimpleNamespace:
    """Return an AudioDataStamped message by its fields."""
    header = SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0))
    set_stamp(header.stamp, stamp)
    return SimpleNamespace(header=header, audio=SimpleNamespace(data=payload))


class DecoderHarness:
    """An AudioMessageDecoder with the messages that it rejected.

    Args:
        coding: coding_format of an AudioInfo message that it receives first, or None for no such message.

    Attributes:
        decoder: the decoder.
        rejected: [(kind, reason)].
    """

    def __init__(self, coding: str | None = None) -> None:
        self.rejected: list[tuple[str, str]] = []
        self.decoder = AudioMessageDecoder(lambda kind, reason: self.rejected.append((kind, reason)))
        if coding:
            self.decoder.on_audio_info(audio_info(coding))

    def decode(
        self, payload: Any, stamp: int | None, received: int = 0, arrival: float = 0.0
    ) -> AudioPacket | None:
        """Decode one message of at most one packet; see `decode_message`."""
        packets = self.decode_message(payload, stamp, received, arrival)
        assert len(packets) <= 1
        return packets[0] if packets else None

    def decode_message(
        self, payload: Any, stamp: int | None = None, received: int = 0, arrival: float = 0.0
    ) -> list[AudioPacket]:
        """Decode one message, AudioData if `stamp` is None."""
        if stamp is None:
            return self.decoder.decode(SimpleNamespace(data=payload), UNSTAMPED, received, arrival)
        return self.decoder.decode(stamped_message(payload, stamp), STAMPED, received, arrival)

    def decode_all(self, packets: Iterable[tuple[int, bytes]], start: int = START) -> list[AudioPacket]:
        """Decode [(ns after `start`, payload)] and return the packets that come out."""
        decoded = [self.decode(data, start + ns) for ns, data in packets]
        return [packet for packet in decoded if packet is not None]
