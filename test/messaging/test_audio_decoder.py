# SPDX-License-Identifier: Apache-2.0
"""Audio messages of any payload, PCM, WAV or MP3, announced by audio_info or not, become packets of PCM."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.audio.wav_stream import WavSegment, WavStream
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.audio_decoder import MAX_BYTES_WITHOUT_FRAME, MAX_MP3_BYTES
from streamingtalker_ros.streaming import Talker
from support.coded_audio import (
    START,
    DecoderHarness,
    audio_info,
    decode_pcm,
    encode_mp3,
    mp3_packets,
    stamped_message,
)
from support.scheduler_harness import FRAME, S0, SchedulerHarness, small_talker

DELAY = 1105  # samples, of LAME and the decoder
PACKET = bytes(640)  # 20 ms of silence


def wav_head(
    tag: int,
    channels: int,
    rate: int,
    bits: int,
    before: bytes = b"",
    data_size: int = 0xFFFFFFFF,
    extension: bytes = b"",
) -> bytes:
    """Return the header of a WAV file, written by its specification."""
    block = bits // 8 * channels
    fields = ((tag, 2), (channels, 2), (rate, 4), (rate * block, 4), (block, 2), (bits, 2))
    fmt = b"".join(value.to_bytes(length, "little") for value, length in fields) + extension
    size = len(fmt).to_bytes(4, "little")
    data = b"data" + data_size.to_bytes(4, "little")
    return b"RIFF\xff\xff\xff\xffWAVE" + before + b"fmt " + size + fmt + data


@pytest.mark.parametrize("coding", ["mp3", "MP3", None])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_decodes_to_the_original_with_stamps_less_the_codec_delay(
    coding: str | None, channels: int
) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)
    frames = encode_mp3(tone, SAMPLE_RATE, channels)
    harness = DecoderHarness(coding)
    packets = harness.decode_all(frames)
    assert not harness.rejected
    assert {packet.format for packet in packets} == {AudioFormat(SAMPLE_RATE, channels, "f32")}
    assert packets[0].stamp == START and len(packets) == len(frames) - DELAY // 576
    delay = DELAY * NS_PER_S // SAMPLE_RATE
    expected = [START + ns - delay for ns, _ in frames[2:]]
    assert [packet.stamp for packet in packets[1:]] == pytest.approx(expected, abs=1)
    decoded = decode_pcm(packets)[4000:12000]
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    assert spectrum.argmax() == round(440 * len(decoded) / SAMPLE_RATE)
    rms = np.sqrt(np.mean(decoded**2))
    assert rms == pytest.approx(0.5 / np.sqrt(2), rel=0.06)  # LAME attenuates by 5 %


def test_undeclared_mp3_is_detected_and_stays_mp3_when_it_is_cut_at_any_byte() -> None:
    packets, harness = mp3_packets(), DecoderHarness()
    decoded = harness.decode_all(packets[:10])
    rest = b"".join(frame for _, frame in packets[10:])
    decoded += harness.decode_all(
        (packets[10][0] + start * 8 * NS_PER_S // 64000, rest[start : start + 200])
        for start in range(0, len(rest), 200)
    )
    assert {packet.format.encoding for packet in decoded if packet.format is not None} == {"f32"}


def test_detected_mp3_becomes_pcm_again_when_no_frames_follow() -> None:
    harness = DecoderHarness()
    harness.decode_all(mp3_packets()[:10])
    decoded = [
        harness.decode(PACKET, START + NS_PER_S + index * 20_000_000)
        for index in range(MAX_BYTES_WITHOUT_FRAME // len(PACKET) + 5)
    ]
    assert decoded[0] is None and not harness.rejected
    assert decoded[-1] is not None and decoded[-1].payload == PACKET and decoded[-1].format is None


def test_declared_mp3_without_frames_is_rejected_until_frames_follow() -> None:
    harness = DecoderHarness("mp3")
    for index in range(2 * MAX_BYTES_WITHOUT_FRAME // len(PACKET)):
        assert harness.decode(PACKET, START + index * 20_000_000) is None
    assert len(harness.rejected) == 2 and "describes MP3" in harness.rejected[0][1]
    assert len(harness.decode_all(mp3_packets()[:10], START + 5 * NS_PER_S)) > 5


def test_invalid_or_oversized_mp3_is_rejected_and_later_frames_are_decoded() -> None:
    harness = DecoderHarness("mp3")
    assert not harness.decode_all([(1, b"no such thing" * 500), (1, b"\xff" * (MAX_MP3_BYTES + 1))], 0)
    assert harness.rejected and all(kind == "message" for kind, _ in harness.rejected)
    assert len(decode_pcm(harness.decode_all(mp3_packets()))) > 10_000


@pytest.mark.parametrize(
    "head, expected",
    [
        (wav_head(1, 1, 16000, 16), AudioFormat(16000, 1, "s16")),
        (wav_head(1, 2, 44100, 24, before=b"LIST\x03\0\0\0abc\0"), AudioFormat(44100, 2, "s24")),
        (wav_head(3, 1, 48000, 32, data_size=0), AudioFormat(48000, 1, "f32")),
        (
            wav_head(0xFFFE, 1, 22050, 16, extension=b"\x16\0\x10\0\4\0\0\0\1\0" + bytes(14)),
            AudioFormat(22050, 1, "s16"),
        ),
    ],
)
def test_a_wav_header_overrides_audio_info_for_the_samples_that_follow(
    head: bytes, expected: AudioFormat
) -> None:
    assert WavStream().accept(head + b"samples!") == [WavSegment(expected, b"samples!", True)]
    harness = DecoderHarness()
    harness.decoder.on_audio_info(audio_info("wave", "F32LE", 8000))
    packets = harness.decode_all([(0, head + bytes(24)), (NS_PER_S, bytes(24)), (2 * NS_PER_S, head)])
    assert [packet.format for packet in packets] == [expected, expected] and not harness.rejected
    assert [len(packet.payload) for packet in packets] == [24, 24]


@pytest.mark.parametrize(
    "payload", [wav_head(2, 1, 16000, 4), wav_head(1, 0, 16000, 16), b"RIFF\0\0\0\0WAVE" + bytes(40)]
)
def test_a_wav_header_that_is_not_pcm_or_damaged_is_rejected(payload: bytes) -> None:
    with pytest.raises(TalkerError):
        WavStream().accept(payload)
    harness = DecoderHarness()
    assert harness.decode(payload, START) is None
    assert [kind for kind, _ in harness.rejected] == ["container WAV"]


def test_an_unknown_coding_is_rejected_until_audio_info_describes_another() -> None:
    harness = DecoderHarness("Vorbis")
    assert not harness.decode_all([(0, PACKET), (NS_PER_S, PACKET)])
    assert {kind for kind, _ in harness.rejected} == {"info"}
    assert "format:=wave" in harness.rejected[0][1]
    harness.decoder.on_audio_info(audio_info("WAVE", "s16le"))
    packets = harness.decode_all([(0, PACKET)])
    assert [packet.format for packet in packets] == [AudioFormat(SAMPLE_RATE, 1, "s16")]


def test_typed_samples_are_never_parsed_as_a_header() -> None:
    message = stamped_message(None, START)
    message.audio = SimpleNamespace(
        info=SimpleNamespace(format=0x20, channels=1, rate=SAMPLE_RATE),
        audio_data=SimpleNamespace(uint8_data=list(b"RIFF\0\0\0\0WAVE")),
    )
    (packet,) = DecoderHarness().decoder.decode(message, "audio_common_msgs/msg/AudioStamped")
    assert packet.format == AudioFormat(SAMPLE_RATE, 1, "u8")


def run_session(
    talker: Talker, packets: list[tuple[int, bytes]], coding: str | None = "mp3", stamped: bool = True
) -> SchedulerHarness:
    """Run MP3 through the decoder and a session; each packet arrives when its audio is over."""
    session, decoder = SchedulerHarness(talker), DecoderHarness(coding)
    duration = packets[1][0] - packets[0][0]
    start, copies = session.now, dict[int, int]()
    for ns, frame in packets:
        copy = copies.get(ns, 0)
        copies[ns] = copy + 1
        late = 0.08 if copy and ns else 0.0
        at = start + (ns + duration) / NS_PER_S + 0.005 * copy + late

        def deliver(frame: bytes = frame, ns: int = ns, at: float = at) -> None:
            stamp = S0 + ns if stamped else None
            packet = decoder.decode(frame, stamp, S0 + round((at - start) * NS_PER_S), at)
            if packet is not None:
                session.session.push(packet)

        session.at(at, deliver)
    session.run(packets[-1][0] / NS_PER_S + 1.0)
    return session


@pytest.mark.parametrize("coding", ["mp3", "MP3", None])
def test_duplicated_and_late_mp3_packets_are_counted_and_change_no_frame(coding: str | None) -> None:
    packets, talker = mp3_packets(), small_talker()
    disturbed = []
    for index, packet in enumerate(packets):
        disturbed.append(packet)
        if index % 7 == 3:
            disturbed.append(packet)
        if index % 11 == 5:
            disturbed.append(packets[index - 2])
    expected, actual = run_session(talker, packets, coding), run_session(talker, disturbed, coding)
    counters = actual.statistics
    assert counters.duplicates + counters.late == len(disturbed) - len(packets)
    assert counters.gaps == counters.rejected == 0
    assert [frame.stamp for frame in actual.audio] == [frame.stamp for frame in expected.audio]
    np.testing.assert_array_equal(
        [frame.weights for frame in actual.audio], [frame.weights for frame in expected.audio]
    )


@pytest.mark.parametrize("stamped", [True, False])
def test_frames_of_mp3_carry_the_time_of_their_audio(stamped: bool) -> None:
    session = run_session(small_talker(), mp3_packets(bit_rate=128000), stamped=stamped)
    stamps = [frame.stamp for frame in session.audio]
    assert stamps == [stamps[0] + index * FRAME for index in range(len(stamps))]
    assert len(stamps) >= 74 and session.statistics.gaps == 0
    assert stamps[0] == S0 if stamped else abs(stamps[0] - S0) < 45_000_000
