# SPDX-License-Identifier: Apache-2.0
"""Fuzz targets of audio: sound files, the same payloads as messages, and a session behind them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
import soundfile

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.file_decoder import decode_blocks
from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.packet import MAX_CHANNELS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioFormat
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.statistics import Statistics
from support.coded_audio import STAMPED, UNSTAMPED, audio_info, decode_pcm, mp3_packets, stamped_message
from support.fuzzing import Consume, FuzzTarget, mutate_bytes
from support.scheduler_harness import SchedulerHarness, small_talker

TYPED: Final = "audio_common_msgs/msg/AudioStamped"
_SECONDS: Final = 0.2
VOICE: Final = (
    0.4 * np.sin(np.arange(round(_SECONDS * SAMPLE_RATE)) * 0.11 + 0.3 * np.sin(np.arange(3200) * 0.01))
).astype(np.float32)
_WAV_HEADER_BYTES: Final = 44
MAX_MESSAGE_BYTES: Final = 100_000_000  # that a message of these sizes may be decoded to
_CODINGS: Final = ("wave", "mp3", "", "raw", "opus", "x" * 300, "WAVE\x00", "mpeg")
_SAMPLE_FORMATS: Final = ("S16LE", "F32LE", "S24LE", "u8", "", "S16BE", "F64LE", "\x00")
_NUMBERS: Final = (
    0,
    1,
    2,
    8,
    64,
    65,
    255,
    8000,
    16000,
    44100,
    48000,
    192000,
    192001,
    2**31 - 1,
    2**32 - 1,
    -1,
)


def encode(container: str, subtype: str = "PCM_16", endian: str = "FILE", channels: int = 1) -> bytes:
    """Return the voice as a file of libsndfile."""
    file = io.BytesIO()
    samples = np.repeat(VOICE[:, None], channels, axis=1)
    soundfile.write(file, samples, SAMPLE_RATE, format=container, subtype=subtype, endian=endian)
    return file.getvalue()


WAV: Final = encode("WAV")
PCM: Final = WAV[_WAV_HEADER_BYTES:]


def encode_by_ffmpeg(container: str, codec: str, rate: int = SAMPLE_RATE) -> bytes:
    """Return the voice as a file of FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = 64000
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.codec_context.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(VOICE[None], "fltp", "mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return file.getvalue()


def _tagged(data: bytes) -> bytes:
    return b"ID3\4\0\0\0\0\x02\0" + bytes(256) + data


def _listed(data: bytes) -> bytes:
    """Return a WAV file with chunks before and behind its samples."""
    chunk = b"LIST" + (14).to_bytes(4, "little") + b"INFOICMT\2\0\0\0hi"
    return data[:12] + chunk + data[12:] + chunk


_FORMATS: Final[dict[str, Callable[[], list[bytes]]]] = {
    "WAV": lambda: [
        *(encode("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "FLOAT", "PCM_U8", "ULAW", "DOUBLE")),
        *(encode("WAVEX", "PCM_32", channels=2), encode("WAV", endian="BIG"), encode("RF64")),
        *(_listed(encode("WAV")), encode("WAV") + encode("WAV", "PCM_24"), encode("WAV", "MS_ADPCM")),
    ],
    "Ogg": lambda: [encode("OGG", "OPUS"), encode("OGG", "VORBIS"), encode("OGG", "VORBIS") * 2],
    "MP3": lambda: [
        *(encode("MP3", "MPEG_LAYER_III"), _tagged(encode("MP3", "MPEG_LAYER_III"))),
        *(b"".join(frame for _, frame in mp3_packets(rate, seconds=_SECONDS)) for rate in (16000, 44100)),
    ],
    "FLAC": lambda: [encode("FLAC"), encode("FLAC", "PCM_24", channels=2), encode_by_ffmpeg("ogg", "flac")],
    "WebM and MP4": lambda: [
        *(encode_by_ffmpeg("webm", "libopus", 48000), encode_by_ffmpeg("matroska", "pcm_s16le")),
        *(encode_by_ffmpeg("mp4", "aac"), encode_by_ffmpeg("adts", "aac"), encode_by_ffmpeg("mp4", "flac")),
    ],
    "AU and AIFF": lambda: [
        *(encode("AU"), encode("AU", "ULAW"), encode("AIFF"), encode("AIFF", "FLOAT"), encode("CAF")),
        *(encode("W64"), encode("NIST"), encode("VOC"), encode("AIFF", channels=2), encode("CAF", "ALAC_16")),
    ],
    "other": lambda: [
        *(PCM, b'{"detail": "quota exceeded", "status": 429} ' * 20, b"<!DOCTYPE html><html></html>" * 9),
        *(bytes(3000), encode_by_ffmpeg("asf", "wmav2", 44100), encode_by_ffmpeg("avi", "pcm_s16le")),
    ],
}


@cache
def seeds(kind: str) -> list[bytes]:
    """Return well-formed files of a kind, a key of `_FORMATS`."""
    return _FORMATS[kind]()


def check_samples(samples: npt.NDArray[np.float32], rate: int) -> None:
    """Assert the laws of decoded audio."""
    assert samples.ndim == 1 and samples.dtype == np.float32 and len(samples)
    assert np.isfinite(samples).all() and 1_000 <= rate <= 768_000


def _open_files(folder: Path) -> Consume:
    path = folder / "audio.wav"

    def consume(data: bytes, random: np.random.Generator) -> None:
        path.write_bytes(data)
        try:
            for block, rate in decode_blocks(str(path), "the file"):
                assert block.ndim == 2 and block.dtype == np.float32 and len(block)
                assert 1_000 <= rate <= 768_000
        except TalkerError as error:
            assert len(str(error).splitlines()) == 1
        check_samples(*read_audio(path))

    return consume


class _Receiver:
    """A decoder and an aligner, as the node has them, and the laws of what comes out."""

    def __init__(self) -> None:
        self.rejected: list[str] = []
        self.decoder = AudioMessageDecoder(lambda kind, reason: self.rejected.append(reason))
        self.aligner = PacketAligner(AudioFormat(), Statistics())

    def accept(self, message: Any, type_name: str) -> bytes:
        """Decode and align a message; return the payloads of its packets."""
        payloads: list[bytes] = []
        for packet in self.decoder.decode(message, type_name):
            audio_format = packet.format
            payloads.append(bytes(packet.payload))
            assert len(packet.payload) < MAX_MESSAGE_BYTES
            if audio_format is not None:
                assert 1 <= audio_format.channels <= MAX_CHANNELS
                assert MIN_SAMPLE_RATE <= audio_format.sample_rate <= MAX_SAMPLE_RATE
            if not packet.payload:
                continue
            try:
                segments = self.aligner.align(packet)
            except TalkerError as error:
                self.rejected.append(str(error))
                continue
            for segment in segments:
                assert np.isfinite(segment.pcm).all() and np.abs(segment.pcm).max(initial=0.0) < 8.0
        return b"".join(payloads)


def random_info(random: np.random.Generator) -> SimpleNamespace:
    """Return an AudioInfo message by its fields, often a wrong one."""
    coding = _CODINGS[int(random.integers(len(_CODINGS)))] if random.random() < 0.5 else "wave"
    sample_format = _SAMPLE_FORMATS[int(random.integers(len(_SAMPLE_FORMATS)))]
    rate, channels = (int(_NUMBERS[int(random.integers(len(_NUMBERS)))]) for _ in range(2))
    return audio_info(coding, sample_format, rate, channels % 256)


def random_stamp(random: np.random.Generator, expected: int) -> int:
    """Return a stamp in ns: mostly near the expected one, else any."""
    kind = random.random()
    if kind < 0.7:
        return expected
    if kind < 0.9:
        return max(0, expected + int(random.normal(0, 0.3) * NS_PER_S))
    return int(
        (0, 1, NS_PER_S * (2**31 - 1) + 999_999_999, -NS_PER_S, expected - 10**15)[int(random.integers(5))]
    )


def random_messages(
    data: bytes, random: np.random.Generator, stamped: bool
) -> list[tuple[SimpleNamespace, str]]:
    """Cut a payload into messages of one type with stamps of some kind: [(message, type name)]."""
    size = int((30, 200, 960, 4096, 10**9)[int(random.integers(5))])
    messages, stamp, start = list[tuple[SimpleNamespace, str]](), 1_700_000_000 * NS_PER_S, 0
    while start < len(data) and len(messages) < 300:
        length = max(1, int(size * random.uniform(0.2, 1.8)))
        payload = data[start : start + length]
        if stamped:
            messages.append((stamped_message(payload, random_stamp(random, stamp)), STAMPED))
        else:
            messages.append((SimpleNamespace(data=payload), UNSTAMPED))
        stamp, start = stamp + len(payload) * NS_PER_S // 32_000, start + length
    return messages


def typed_message(data: bytes, random: np.random.Generator) -> SimpleNamespace:
    """Return a message of mgonzs13's package: any format, and samples in fields that need not fit it."""
    fields: dict[str, Any] = {}
    dtypes = {
        "float32_data": "<f4",
        "int32_data": "<i4",
        "int16_data": "<i2",
        "int8_data": "i1",
        "uint8_data": "u1",
    }
    for name, dtype in dtypes.items():
        is_filled = random.random() < 0.6
        usable = len(data) - len(data) % np.dtype(dtype).itemsize
        fields[name] = np.frombuffer(data[:usable], dtype) if is_filled else []
    number = lambda: int(_NUMBERS[int(random.integers(len(_NUMBERS)))])  # noqa: E731
    info = SimpleNamespace(
        format=int((1, 2, 8, 16, 32, 0, 4, 7, -1)[int(random.integers(9))]),
        channels=number() if random.random() < 0.3 else 1,
        rate=number() if random.random() < 0.3 else 16000,
        chunk=number(),
    )
    header = stamped_message(b"", random_stamp(random, 1_700_000_000 * NS_PER_S)).header
    return SimpleNamespace(
        header=header, audio=SimpleNamespace(audio_data=SimpleNamespace(**fields), info=info)
    )


def _check_rejections(rejected: Sequence[str]) -> None:
    for reason in rejected:
        assert reason and len(reason.splitlines()) == 1 and len(reason) < 700, reason[:1000]


def _open_messages(folder: Path) -> Consume:
    def consume(data: bytes, random: np.random.Generator) -> None:
        receiver, stamped = _Receiver(), random.random() < 0.7
        if random.random() < 0.5:
            receiver.decoder.on_audio_info(random_info(random))
        for message, type_name in random_messages(data, random, stamped):
            receiver.accept(message, type_name)
            if random.random() < 0.02:
                receiver.decoder.on_audio_info(random_info(random))
        if random.random() < 0.1:
            receiver.accept(typed_message(data[:4000], random), TYPED)
        _check_rejections(receiver.rejected)
        # whatever the messages were: of two whole files that follow, the second is heard
        heard = b""
        for _ in range(2):
            heard = receiver.accept(SimpleNamespace(data=WAV), UNSTAMPED)
        receiver.decoder.reset()
        assert heard == PCM, f"{len(heard)} bytes of a file behind the damaged messages are heard"

    return consume


def _check_good(kind: str) -> None:
    for data in seeds(kind):
        receiver = _Receiver()
        packets = receiver.decoder.decode(SimpleNamespace(data=data), UNSTAMPED)
        receiver.decoder.reset()
        if kind != "other":
            assert packets and len(decode_pcm(packets)) > 1500 and not receiver.rejected


def _open_session(folder: Path) -> Consume:
    talker = small_talker()

    def consume(data: bytes, random: np.random.Generator) -> None:
        harness = SchedulerHarness(talker, pacing="none", queue_seconds=2.0)
        decoder = AudioMessageDecoder(harness.session.reject)
        if random.random() < 0.5:
            decoder.on_audio_info(random_info(random))
        messages = random_messages(data, random, random.random() < 0.7)[:40]
        for message, type_name in messages:
            for packet in decoder.decode(message, type_name, 0, harness.now):
                harness.session.push(packet)
            if random.random() < 0.2:
                harness.run(0.1)
            event = random.random()
            if event < 0.02:
                (harness.session.interrupt, harness.session.reset, harness.session.end_audio)[
                    int(random.integers(3))
                ]()
        harness.run(0.3)
        harness.session.reset()
        decoder.reset()
        harness.run(0.1)
        assert harness.statistics.errors == 0, harness.warnings
        _check_rejections(harness.warnings)
        for frame in harness.faces:
            assert np.isfinite(frame.weights).all() and np.isfinite(frame.head).all()
            assert frame.weights.min() >= 0 and frame.weights.max() <= 1

    return consume


def _crc_table() -> list[int]:
    """Return the table of Ogg's CRC-32 (RFC 3533): polynomial 0x04C11DB7, most significant bit first."""
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


_CRC_TABLE: Final = _crc_table()
_OGG_PAGE_HEADER: Final = 27  # bytes, before the table of segments


def repair_ogg(data: bytes) -> bytes:
    """Return Ogg pages with right checksums, so that their damaged content is decoded."""
    pages = bytearray(data)
    start = pages.find(b"OggS")
    while start >= 0 and start + _OGG_PAGE_HEADER <= len(pages):
        segments = pages[start + _OGG_PAGE_HEADER - 1]
        sizes = pages[start + _OGG_PAGE_HEADER : start + _OGG_PAGE_HEADER + segments]
        end = start + _OGG_PAGE_HEADER + segments + sum(sizes)
        pages[start + 22 : start + 26] = bytes(4)
        checksum = 0
        for byte in pages[start:end]:
            checksum = (checksum << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[checksum >> 24 ^ byte]
        pages[start + 22 : start + 26] = checksum.to_bytes(4, "little")
        start = pages.find(b"OggS", start + 4)
    return bytes(pages)


def mutate_audio(data: bytes, all_seeds: Sequence[bytes], random: np.random.Generator) -> bytes:
    """Damage a sound file; of Ogg, mostly below its checksums."""
    damaged = mutate_bytes(data, all_seeds, random)
    return repair_ogg(damaged) if damaged[:4] == b"OggS" and random.random() < 0.7 else damaged


def file_target(kind: str) -> FuzzTarget:
    """Return the target of sound files of a kind."""
    return FuzzTarget(f"{kind} files", partial(seeds, kind), _open_files, mutate_audio, lambda: None)


def message_target(kind: str) -> FuzzTarget:
    """Return the target of messages whose payloads are of a kind."""
    return FuzzTarget(
        f"{kind} messages", partial(seeds, kind), _open_messages, mutate_audio, partial(_check_good, kind)
    )


def _all_seeds() -> list[bytes]:
    return [data for kind in _FORMATS for data in seeds(kind)]


TARGETS: Final = (
    *(file_target(kind) for kind in _FORMATS),
    *(message_target(kind) for kind in _FORMATS),
    FuzzTarget("audio sessions", _all_seeds, _open_session, mutate_audio, lambda: None),
)
