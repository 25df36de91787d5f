# SPDX-License-Identifier: Apache-2.0
"""A payload's own signature decides: it is decoded, or rejected by name, and never played as PCM."""

from __future__ import annotations

import io
import threading
from itertools import pairwise
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from support.coded_audio import START, DecoderHarness, audio_info, decode_pcm
from support.waiting import wait_for

VOICE = np.sin(np.arange(2 * SAMPLE_RATE) * 0.1).astype(np.float32) * np.linspace(
    0.1, 0.5, 2 * SAMPLE_RATE, dtype=np.float32
)
PCM = (VOICE * 32767).astype("<i2").tobytes()


def encode(container: str, subtype: str = "PCM_16", endian: str = "FILE") -> bytes:
    """Return the voice as a sound file."""
    file = io.BytesIO()
    soundfile.write(file, VOICE, SAMPLE_RATE, format=container, subtype=subtype, endian=endian)
    return file.getvalue()


def encode_webm() -> bytes:
    """Return the voice as WebM with Opus."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as container:
        stream = container.add_stream("libopus", rate=48000, layout="mono")
        resampler = av.AudioResampler("flt", "mono", 48000, 960)
        frame = av.AudioFrame.from_ndarray(VOICE[None], "fltp", "mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()


def cut(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into pieces."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def receive(payloads: list[bytes], coding: str | None = None) -> tuple[list[AudioPacket], DecoderHarness]:
    """Decode unstamped messages."""
    harness = DecoderHarness(coding)
    return [packet for payload in payloads for packet in harness.decode_message(payload)], harness


def assert_is_the_voice(packets: list[AudioPacket]) -> None:
    """Assert that packets hold the voice, in spite of a lossy coding and its delay."""
    assert packets and packets[0].format is not None
    pcm: npt.NDArray[np.float32] = to_16k(decode_pcm(packets), packets[0].format.sample_rate)
    assert abs(len(pcm) - len(VOICE)) < 2000
    count = min(len(pcm), len(VOICE))
    shifts = range(0, 1300, 4)
    correlations = [np.corrcoef(pcm[s:count], VOICE[: count - s])[0, 1] for s in shifts]
    assert max(correlations) > 0.95


STREAMED = {
    "Ogg Opus": lambda: encode("OGG", "OPUS"),
    "Ogg Vorbis": lambda: encode("OGG", "VORBIS"),
    "WebM": encode_webm,
    "WAV": lambda: encode("WAV"),
    "RIFX": lambda: encode("WAV", endian="BIG"),
    "RF64": lambda: encode("RF64"),
    "µ-law": lambda: encode("WAV", "ULAW"),
    "AU": lambda: encode("AU"),
    "AIFF": lambda: encode("AIFF"),
    "Wave64": lambda: encode("W64"),
    "MP3 with ID3": lambda: b"ID3\4\0\0\0\0\x02\0" + bytes(256) + encode("MP3", "MPEG_LAYER_III"),
    "MP3": lambda: encode("MP3", "MPEG_LAYER_III"),
}


@pytest.mark.parametrize("coding", [None, "wave"])
@pytest.mark.parametrize("size", [700, 4096, 1_000_000])
@pytest.mark.parametrize("kind", STREAMED)
def test_files_in_pieces_or_whole_are_decoded(kind: str, size: int, coding: str | None) -> None:
    packets, harness = receive(cut(STREAMED[kind](), size), coding)
    assert not harness.rejected
    assert_is_the_voice(packets)


@pytest.mark.parametrize("container, subtype", [("FLAC", "PCM_16"), ("CAF", "PCM_16"), ("WAV", "MS_ADPCM")])
def test_files_that_need_all_bytes_are_decoded_whole_and_rejected_in_pieces(
    container: str, subtype: str
) -> None:
    data = encode(container, subtype)
    packets, harness = receive([data])
    assert not harness.rejected
    assert_is_the_voice(packets)
    packets, harness = receive(cut(data, 900))
    assert not packets and container in harness.rejected[0][1]


@pytest.mark.parametrize(
    "payload, word",
    [
        (b'{"detail": "quota exceeded", "status": 429} ' * 50, "JSON"),
        (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "HTML"),
        (b"event: error\ndata: the voice is not available at present\n\n", "text"),
        ("Das Guthaben ist aufgebraucht: bitte prüfen Sie Ihr Konto.".encode(), "text"),
        (b"UklGRiQAAABXQVZFZm10IBAAAAABAAEA" * 30, "base64"),
        (b"MThd\0\0\0\6\0\1\0\2\1\xe0" + bytes(200), "MIDI"),
        (b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(3000), "PNG"),
        (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel" + np.random.default_rng(0).bytes(3000), "ASF"),
        (b"OggS\0\2" + np.random.default_rng(0).bytes(3000), "Ogg"),
    ],
)
@pytest.mark.parametrize("size", [960, 1_000_000])
def test_what_cannot_be_decoded_is_named_and_the_pcm_behind_it_is_heard(
    payload: bytes, word: str, size: int
) -> None:
    packets, harness = receive([*cut(payload, size), *cut(PCM, 640)])
    assert word == "Ogg" or word in harness.rejected[0][1]
    heard = b"".join(packet.payload for packet in packets)
    assert PCM.endswith(heard) and len(heard) > len(PCM) - 2000


def test_pcm_is_never_held_for_a_signature() -> None:
    random = np.random.default_rng(2)
    for data in (PCM, random.bytes(20_000), bytes(5000), b"\x40" * 5000):
        cuts = [0, *np.sort(random.integers(0, len(data), 500)).tolist(), len(data)]
        packets, harness = receive([data[start:end] for start, end in pairwise(cuts) if end > start])
        assert b"".join(packet.payload for packet in packets) == data and not harness.rejected


@pytest.mark.parametrize("encoding, offset", [("u8", 0.0), ("u8", -0.3), ("s8", 0.3), ("s8", 0.6)])
@pytest.mark.parametrize("size", [32, 80, 160, 640, 4096])
@pytest.mark.parametrize("is_announced", [True, False])
def test_pcm_of_8_bits_with_an_offset_is_no_text(
    encoding: Literal["u8", "s8"], offset: float, size: int, is_announced: bool
) -> None:
    voice = np.clip(0.2 * VOICE / np.abs(VOICE).max() + offset, -1, 1)
    data = np.round(voice * 127).astype(np.int8)
    payload = data.tobytes() if encoding == "s8" else (data.astype(np.int16) + 128).astype(np.uint8).tobytes()
    harness = DecoderHarness()
    if is_announced:
        harness.decoder.on_audio_info(audio_info("wave", encoding))
    else:
        harness.decoder = AudioMessageDecoder(
            lambda kind, reason: harness.rejected.append((kind, reason)), AudioFormat(16000, 1, encoding)
        )
    packets = [packet for part in cut(payload, size) for packet in harness.decode_message(part)]
    assert not harness.rejected and b"".join(packet.payload for packet in packets) == payload
    assert not harness.decode_message(b'{"detail": "quota exceeded", "status": 429} ' * 5)
    assert "JSON" in harness.rejected[0][1]
    assert harness.decode_message(payload[:4096])


def test_a_message_of_several_formats_gives_packets_with_their_own_stamps() -> None:
    file = io.BytesIO()
    soundfile.write(file, VOICE, 24000, format="WAV", subtype="PCM_24")
    harness = DecoderHarness()
    packets = harness.decode_message(encode("WAV") + file.getvalue(), START)
    assert [packet.format.sample_rate for packet in packets if packet.format] == [16000, 24000]
    assert [packet.stamp for packet in packets] == [START, START + 2 * NS_PER_S]


def test_repeated_audio_info_does_not_end_a_file_in_pieces() -> None:
    harness, packets = DecoderHarness("wave"), list[AudioPacket]()
    for piece in cut(encode("OGG", "VORBIS"), 500):
        packets += harness.decode_message(piece)
        harness.decoder.on_audio_info(audio_info("wave"))
    assert_is_the_voice(packets)


def test_a_reset_forgets_the_file_that_messages_continue() -> None:
    noise = np.random.default_rng(1).bytes(3200)  # does not resemble audio, which would end a file
    for file in (encode("FLAC"), encode("OGG", "VORBIS"), b"ID3\4\0\0\x0f\x7f\x7f\x7f", b"RI"):
        harness, threads = DecoderHarness(), set(threading.enumerate())
        harness.decode_message(file[:2000])
        harness.decoder.reset()
        heard = b"".join(packet.payload for packet in harness.decode_message(noise))
        assert heard == noise
        assert wait_for(lambda before=threads: set(threading.enumerate()) <= before)


def test_audio_behind_an_id3_tag_of_a_wrong_size_is_heard() -> None:
    for audio in (PCM, encode("WAV")):
        packets, _ = receive([b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(500), *cut(audio, 6400)])
        heard = b"".join(packet.payload for packet in packets)
        assert heard == PCM if audio is PCM else heard == audio[44:]


@pytest.mark.parametrize("channels", [2, 8, 16])
def test_files_of_many_channels_are_decoded_in_pieces(channels: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.repeat(VOICE[:, None], channels, axis=1), SAMPLE_RATE, format="AIFF")
    packets, harness = receive(cut(file.getvalue(), 5000))
    assert not harness.rejected
    assert {packet.format.channels for packet in packets if packet.format} == {channels}
    assert_is_the_voice(packets)
