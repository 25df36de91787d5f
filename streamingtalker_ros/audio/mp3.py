# SPDX-License-Identifier: Apache-2.0
"""Decodes MP3 payloads to PCM, packet by packet: `Mp3Decoder`, on FFmpeg's decoder through `av`.

MP3 is what `audio_capture` of ros-drivers sends by default. `looks_like_mp3` distinguishes it from PCM before
any message has announced the coding.

Encoder and decoder delay the audio, by 1,105 samples with LAME, while senders stamp a packet with the time of
the audio that was encoded into it (GStreamer's lamemp3enc does; its first packet has the time of the first
sample). So the first `delay` of the output is dropped, and the rest has its true time.
"""

from __future__ import annotations

import array
import bisect
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.clock import DRIFT_TIME_CONSTANT_S
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.errors import require

# kbit/s of layer III by index 1…14, ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2, and the unofficial 2.5)
_BITRATES: Final = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# Hz by the version bits of a header: 3 is MPEG-1, 2 MPEG-2, 0 MPEG-2.5
_SAMPLE_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
LAME_DELAY_SAMPLES: Final = 576  # LAME's technical FAQ
DECODER_DELAY_SAMPLES: Final = 529
_MAX_STAMP_ERROR_FRAMES: Final = 1.5  # tolerance of stamps of packets that are not cut at frames
_STAMP_HISTORY: Final = 2048  # payloads whose stamps are retained: a frame has fewer bytes than that
_FFMPEG_PADDING_BYTES: Final = 64  # AV_INPUT_BUFFER_PADDING_SIZE


@dataclass(frozen=True)
class FrameHeader:
    """Header of an MP3 frame.

    Attributes:
        length: bytes of the frame, header included.
        samples: samples per channel.
        rate: Hz.
        channels: 1 or 2.
    """

    length: int
    samples: int
    rate: int
    channels: int


def parse_header(data: bytes) -> FrameHeader | None:
    """Return the header of the MP3 (layer III) frame that `data` begins with, None if there is none."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    bitrate_index, rate_index = data[2] >> 4, data[2] >> 2 & 3
    if version not in _SAMPLE_RATES or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    is_mpeg1 = version == 3
    bits_per_second = 1000 * _BITRATES[1 if is_mpeg1 else 2][bitrate_index - 1]
    rate = _SAMPLE_RATES[version][rate_index]
    length = (144 if is_mpeg1 else 72) * bits_per_second // rate + (data[2] >> 1 & 1)
    return FrameHeader(length, 1152 if is_mpeg1 else 576, rate, 1 if data[3] >> 6 == 3 else 2)


def begins_mp3(payload: bytes) -> bool:
    """Return whether a payload begins with two MP3 frames of one kind, wherever it is cut behind them."""
    first = parse_header(payload[:4])
    if first is None:
        return False
    second = parse_header(payload[first.length : first.length + 4])
    return (
        second is not None
        and (second.rate, second.channels, second.samples) == (first.rate, first.channels, first.samples)
        and payload[1] == payload[first.length + 1]
    )


def id3_size(payload: bytes) -> int:
    """Return the bytes of the ID3v2 tag that a payload begins with, 0 if there is none (id3.org, ID3v2.4)."""
    if payload[:3] != b"ID3" or len(payload) < 10 or any(byte & 0x80 for byte in payload[6:10]):
        return 0
    size = 0
    for byte in payload[6:10]:
        size = size << 7 | byte
    return 10 + size + (10 if payload[5] & 0x10 else 0)


def looks_like_mp3(payload: bytes) -> bool:
    """Return whether a payload consists of whole MP3 frames; PCM does by chance once in a billion packets."""
    return parse_frames(payload) is not None


def parse_frames(payload: bytes) -> tuple[int, FrameHeader] | None:
    """Measure a payload of whole MP3 frames.

    Returns:
        Samples per channel, and the header of the first frame; None if the payload is anything else.
    """
    offset = samples = 0
    first: FrameHeader | None = None
    while offset < len(payload):
        header = parse_header(payload[offset : offset + 4])
        if header is None:
            return None
        offset, samples, first = offset + header.length, samples + header.samples, first or header
    return (samples, first) if first and offset == len(payload) else None


def lame_delay(frame: bytes) -> int | None:
    """Return the encoder delay in samples that LAME's tag declares, 0 if it declares none.

    The tag is the first frame of many files and contains no audio. Returns None if `frame` is not such a tag.
    """
    offset = max(frame[:44].find(b"Xing"), frame[:44].find(b"Info"))
    if offset < 4:
        return None
    flags = int.from_bytes(frame[offset + 4 : offset + 8], "big")
    optional_fields = sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
    offset += 8 + optional_fields + 21
    return int.from_bytes(frame[offset : offset + 3], "big") >> 12


def _find_frame(data: bytes) -> tuple[bytes, int, FrameHeader | None]:
    """Find the frame that `data` ends with.

    Returns:
        The frame, the number of other bytes before it, and its header, None if there is no frame.
    """
    offset = data.find(0xFF)
    while offset >= 0:
        header = parse_header(data[offset : offset + 4])
        if header is not None and header.length == len(data) - offset:
            return data[offset:], offset, header
        offset = data.find(0xFF, offset + 1)
    return data, 0, None


def _pad_memory(payload: bytes) -> memoryview | bytes:
    """Return the same bytes, followed in memory by padding.

    FFmpeg's parsers (`av_parser_parse2`) read up to AV_INPUT_BUFFER_PADDING_SIZE bytes beyond their input; a
    process crashes if that memory is not mapped.
    """
    return memoryview(bytes(payload) + bytes(_FFMPEG_PADDING_BYTES))[: len(payload)] if payload else b""


def _duration_ns(byte_count: int, header: FrameHeader) -> int:
    """Return the duration of `byte_count` bytes at the bit rate of a frame."""
    return byte_count * header.samples * NS_PER_S // (header.length * header.rate)


@dataclass(frozen=True)
class DecodedAudio:
    """Decoded audio.

    Attributes:
        pcm: bytes of interleaved float32 samples.
        rate: Hz.
        channels: interleaved channels.
        stamp: ns, time of the first sample, or None if the payloads had no stamps.
    """

    pcm: bytes
    rate: int
    channels: int
    stamp: int | None


class Mp3Decoder:
    """Decodes the consecutive MP3 payloads of one audio stream, cut at any byte.

    Attributes:
        delay: seconds by which the audio is later than its payload's stamp; 0 before the first frame.
        decoded: seconds of audio decoded so far, including what was dropped.

    Raises:
        TalkerError: if `av` is not installed.
    """

    def __init__(self) -> None:
        self._av = require("av", "MP3 audio")
        self.decoded = 0.0
        self.reset()

    def reset(self) -> None:
        """Discard the incomplete frame and the state of the filters."""
        self._codec: Any = self._av.CodecContext.create("mp3float", "r")
        self._bytes_received = self._bytes_parsed = 0
        # (index of the first byte of a payload, its stamp), the newest last
        self._payload_starts: list[tuple[int, int | None]] = [(0, None)]
        self._layout: tuple[int, int] | None = None  # (rate, channels) of the frames so far
        self._origin: tuple[int, int] | None = None  # (ns, index): the time of an output sample
        self._samples_out = 0
        self._delay_samples = self._samples_to_drop = LAME_DELAY_SAMPLES + DECODER_DELAY_SAMPLES
        self.delay = 0.0

    def decode(self, payload: bytes, stamp: int | None = None) -> DecodedAudio | None:
        """Decode one payload.

        Frames that cannot be decoded become silence of their length; bytes that are not MP3 are skipped.

        Args:
            payload: bytes of MP3.
            stamp: ns, time of the audio that begins in the payload, if known.

        Returns:
            The decoded audio, or None if the payload completes no frame.
        """
        self._payload_starts.append((self._bytes_received, stamp))
        del self._payload_starts[:-_STAMP_HISTORY]
        self._bytes_received += len(payload)
        pcm = array.array("f")
        first: tuple[int, int, FrameHeader] | None = None  # first byte, dropped samples and header of a frame
        for packet in self._codec.parse(_pad_memory(payload)):
            frame_start, self._bytes_parsed = self._bytes_parsed, self._bytes_parsed + packet.size
            frame, skipped_bytes, header = _find_frame(bytes(packet))
            if header is None:
                continue
            frame_start += skipped_bytes
            if self._layout is None and (encoder_delay := lame_delay(frame)) is not None:
                self._delay_samples = (encoder_delay or LAME_DELAY_SAMPLES) + DECODER_DELAY_SAMPLES
                self._samples_to_drop = self._delay_samples
                continue
            if self._layout not in (None, (header.rate, header.channels)):
                self._restart()
                pcm, first = array.array("f"), None
            self._layout = header.rate, header.channels
            self.delay = self._delay_samples / header.rate
            self.decoded += header.samples / header.rate
            samples = self._decode_frame(frame, header)
            payload_start, payload_stamp = self._payload_at(frame_start)
            if self._origin is None and payload_stamp is not None:
                self._origin = payload_stamp + _duration_ns(frame_start - payload_start, header), 0
            dropped = min(self._samples_to_drop, header.samples)
            self._samples_to_drop -= dropped
            first = (frame_start, dropped, header) if not pcm or first is None else first
            pcm.frombytes(np.ascontiguousarray(samples[dropped:]).tobytes())
        if not pcm or first is None or self._layout is None:
            return None
        rate, channels = self._layout
        output_stamp = self._stamp_of_output(*first)
        self._samples_out += len(pcm) // channels
        return DecodedAudio(pcm.tobytes(), rate, channels, output_stamp)

    def _restart(self) -> None:
        """Start a new output grid, because the rate or the channels changed."""
        self._origin, self._samples_out, self._samples_to_drop = None, 0, self._delay_samples

    def _decode_frame(self, frame: bytes, header: FrameHeader) -> npt.NDArray[np.float32]:
        """Return the samples of a frame, (n, channels) float32."""
        try:
            frames = self._codec.decode(self._av.Packet(frame))
        except self._av.error.FFmpegError:
            frames = []
        for decoded in frames:
            samples = decoded.to_ndarray().T
            if samples.shape == (header.samples, header.channels):
                return samples
        return np.zeros((header.samples, header.channels), np.float32)

    def _payload_at(self, byte: int) -> tuple[int, int | None]:
        """Return the index of the first byte and the stamp of the payload that contains a byte."""
        index = bisect.bisect_right(self._payload_starts, byte, key=lambda payload: payload[0]) - 1
        return self._payload_starts[max(index, 0)]

    def _stamp_of_output(self, frame_start: int, dropped: int, header: FrameHeader) -> int | None:
        """Return the time in ns of the first sample of the output.

        Args:
            frame_start: index of the first byte of the frame that the output begins with.
            dropped: samples dropped from the start of that frame.
            header: its header.
        """
        payload_start, payload_stamp = self._payload_at(frame_start)
        if payload_stamp is None or self._origin is None:
            return None
        stamped = payload_stamp - (self._delay_samples - dropped) * NS_PER_S // header.rate
        origin_ns, origin_index = self._origin
        if self._samples_out == 0:
            return origin_ns
        counted = origin_ns + (self._samples_out - origin_index) * NS_PER_S // header.rate
        offset = _duration_ns(frame_start - payload_start, header)
        if not offset:
            return stamped  # the payload begins with this frame, so its stamp is exact
        stamped += offset
        error = stamped - counted
        if abs(error) > _MAX_STAMP_ERROR_FRAMES * header.samples * NS_PER_S / header.rate:
            self._origin = stamped, self._samples_out
            return stamped
        follow = min(1.0, header.samples / (header.rate * DRIFT_TIME_CONSTANT_S))
        self._origin = origin_ns + int(error * follow), origin_index
        return counted
