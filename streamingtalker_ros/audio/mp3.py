# SPDX-License-Identifier: Apache-2.0
"""MP3 packets to PCM, one after another: what `audio_capture` of ros-drivers sends unless it is told otherwise.

`looks_like_mp3(payload)` tells MP3 from bare PCM before any message has told the coding; `Mp3Decoder` takes the
payloads of one voice. The decoding is FFmpeg's, through `av`.

MP3 is late: encoder and decoder hold the sound back, by 1,105 samples with LAME, while senders stamp a packet
with the time of the sound that went into it (GStreamer's lamemp3enc does; its first packet has the time of the
first sample). So the first `delay` of what comes out is left out, and the rest has its true time.
"""

import array
from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.errors import require

# kbit/s of layer III by index 1…14, ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2, and 2.5 as it is used)
_BITRATES = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_SECOND = 1_000_000_000
LAME_DELAY, DECODER_DELAY = 576, 529  # samples, LAME's technical FAQ
_LOOSE = 1.5  # frames by which the time of a packet that is cut anywhere may be wrong
_KEPT = 2048  # payloads whose stamps are remembered: a frame has fewer bytes than that
_FOLLOW = 5.0  # s; time constant of following it


@dataclass(frozen=True)
class Header:
    """Of an MP3 frame: its length in bytes, samples per channel, Hz, channels."""

    length: int
    samples: int
    rate: int
    channels: int


def header_of(data):
    """Header of the MP3 frame that begins `data`, or None where none of layer III stands there."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    bitrate, rate = data[2] >> 4, data[2] >> 2 & 3
    if version not in _RATES or layer != 1 or bitrate in (0, 15) or rate == 3:
        return None
    mpeg1 = version == 3
    per_second, rate = 1000 * _BITRATES[1 if mpeg1 else 2][bitrate - 1], _RATES[version][rate]
    length = (144 if mpeg1 else 72) * per_second // rate + (data[2] >> 1 & 1)
    return Header(length, 1152 if mpeg1 else 576, rate, 1 if data[3] >> 6 == 3 else 2)


def looks_like_mp3(payload):
    """Whether a payload is a row of whole MP3 frames. By chance PCM is so about once in a billion packets."""
    return duration(payload) is not None


def duration(payload):
    """(samples per channel, Header of the first) of a row of whole MP3 frames, or None where it is none."""
    at, samples, first = 0, 0, None
    while at < len(payload):
        header = header_of(payload[at : at + 4])
        if header is None:
            return None
        at, samples, first = at + header.length, samples + header.samples, first or header
    return (samples, first) if first and at == len(payload) else None


def tag_delay(frame):
    """Samples that LAME's tag says the encoder holds back, if `frame` is such a tag (the first frame of many
    files, which holds no sound; 0 if the tag does not say), else None."""
    place = max(frame[:44].find(b"Xing"), frame[:44].find(b"Info"))
    if place < 4:
        return None
    flags = int.from_bytes(frame[place + 4 : place + 8], "big")
    place += 8 + sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit) + 21
    return int.from_bytes(frame[place : place + 3], "big") >> 12


def _frame_of(data):
    """Bytes that end with a frame -> (the frame, how many bytes of something else come before, its Header), with
    None for the last where no frame is."""
    at = data.find(0xFF)
    while at >= 0:
        header = header_of(data[at : at + 4])
        if header is not None and header.length == len(data) - at:
            return data[at:], at, header
        at = data.find(0xFF, at + 1)
    return data, 0, None


def _padded(payload):
    """The same bytes, with memory behind them: FFmpeg's parsers copy up to AV_INPUT_BUFFER_PADDING_SIZE bytes beyond what
    they are given (`av_parser_parse2`), and a process dies where that is not mapped."""
    return memoryview(bytes(payload) + bytes(64))[: len(payload)] if payload else b""


@dataclass(frozen=True)
class Decoded:
    """pcm: interleaved float32 as bytes; rate: Hz; stamp: ns of its first sample, or None."""

    pcm: bytes
    rate: int
    channels: int
    stamp: int


class Mp3Decoder:
    """One voice's decoder. Raises TalkerError where `av` is not installed.

    `delay`: seconds by which the sound comes later than its packet's stamp would let expect, 0 before any;
    `decoded`: seconds of sound ever, with what was left out.
    """

    def __init__(self) -> None:
        self._av = require("av", "MP3 audio")
        self.decoded = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget the bytes and the filters' memory of what came before."""
        self._codec = self._av.CodecContext.create("mp3float", "r")
        self._fed = self._parsed = 0  # bytes so far
        self._starts = [(0, None)]  # (byte at which a payload begins, its stamp), the latest last
        self._kind = None  # (rate, channels)
        self._origin = None  # (ns, samples): when which sample was, counted from the first given
        self._given = 0  # samples given so far
        self._late = self._skip = LAME_DELAY + DECODER_DELAY
        self.delay = 0.0

    def decode(self, payload, stamp=None):
        """bytes, and the time in ns of the sound that begins in them -> Decoded, or None when no sound is
        whole yet.

        Frames that cannot be decoded become silence of their length, bytes that are no MP3 are passed over.
        """
        self._starts.append((self._fed, stamp))
        del self._starts[:-_KEPT]
        self._fed += len(payload)
        pcm, first = array.array("f"), None
        for packet in self._codec.parse(_padded(payload)):
            begun, self._parsed = self._parsed, self._parsed + packet.size
            frame, junk, header = _frame_of(bytes(packet))
            if header is None:
                continue
            begun += junk
            if self._kind is None and (tagged := tag_delay(frame)) is not None:
                self._late = self._skip = (tagged or LAME_DELAY) + DECODER_DELAY
                continue
            if self._kind not in (None, (header.rate, header.channels)):
                self._restart(header)
                pcm, first = array.array("f"), None
            self._kind = header.rate, header.channels
            self.delay = self._late / header.rate
            self.decoded += header.samples / header.rate
            sound = self._sound(frame, header)
            if self._origin is None and self._stamp_at(begun) is not None:
                self._origin = self._stamp_at(begun) + self._inside(begun, header), 0
            cut = min(self._skip, header.samples)
            self._skip -= cut
            first = (begun, cut, header) if not pcm else first
            pcm.frombytes(np.ascontiguousarray(sound[cut:]).tobytes())
        if not pcm:
            return None
        rate, channels = self._kind
        when = self._when(*first)
        self._given += len(pcm) // channels
        return Decoded(pcm.tobytes(), rate, channels, when)

    def _restart(self, header) -> None:
        """The sound has another rate or other channels from here on."""
        self._origin, self._given, self._skip = None, 0, self._late

    def _sound(self, frame, header):
        """A frame's samples, (n, channels) float32."""
        try:
            frames = self._codec.decode(self._av.Packet(frame))
        except self._av.error.FFmpegError:
            frames = []
        for frame in frames:
            sound = frame.to_ndarray().T
            if sound.shape == (header.samples, header.channels):
                return sound
        return np.zeros((header.samples, header.channels), np.float32)

    def _stamp_at(self, byte):
        """The stamp of the payload that holds a byte."""
        index = max(place for place, (start, _) in enumerate(self._starts) if start <= byte)
        self._starts = self._starts[index:]
        return self._starts[0][1]

    def _inside(self, byte, header):
        """ns by which a frame at this byte is later than its payload's beginning, by the frame's own rate."""
        return (byte - self._starts[0][0]) * header.samples * _SECOND // (header.length * header.rate)

    def _when(self, begun, cut, header):
        """ns of the first sample that is given now: of the frame at byte `begun`, without its first `cut`."""
        stamp = self._stamp_at(begun)
        if stamp is None or self._origin is None:
            return None
        said = stamp - (self._late - cut) * _SECOND // header.rate
        if self._given == 0:
            return self._origin[0]
        counted = self._origin[0] + (self._given - self._origin[1]) * _SECOND // header.rate
        inside = self._inside(begun, header)
        if not inside:
            return said  # whole frames: their times are exact
        said += inside
        error = said - counted
        if abs(error) > _LOOSE * header.samples * _SECOND / header.rate:
            self._origin = said, self._given
            return said
        self._origin = (
            self._origin[0] + int(error * min(1.0, header.samples / (header.rate * _FOLLOW))),
            self._origin[1],
        )
        return counted
