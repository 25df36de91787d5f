# SPDX-License-Identifier: Apache-2.0
"""MP3 packets, cut at any byte, decode to the audio of the whole file at its true time."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio import mp3
from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from support.coded_audio import (
    START,
    DecoderHarness,
    cut_randomly,
    decode_pcm,
    mp3_file,
    mp3_packets,
    sweep,
)

DELAY = mp3.LAME_DELAY_SAMPLES + mp3.DECODER_DELAY_SAMPLES
FRAME_SAMPLES = 576  # of MPEG-2, as at 16 kHz; MPEG-1 has twice as many
FILTER_FRAMES = 4  # frames that a lost one affects: the decoder's filters overlap


def lag(reference: npt.NDArray[np.float32], signal: npt.NDArray[np.float32]) -> int:
    """Return by how many samples a signal is later than the reference, by cross-correlation."""
    size = len(reference) + len(signal)
    spectrum = np.conj(np.fft.rfft(reference, size)) * np.fft.rfft(signal, size)
    return int(np.fft.irfft(spectrum).argmax())


def bytes_to_ns(count: int) -> int:
    """Return the duration of bytes of a stream of 64 kbit/s."""
    return count * 8 * NS_PER_S // 64000


@pytest.mark.parametrize(
    "rate, channels, bit_rate, average_bit_rate",
    [
        (16000, 1, 64000, False),
        (16000, 1, 128000, True),
        (44100, 2, 128000, False),
        (48000, 1, 96000, True),
        (22050, 1, 32000, False),
    ],
)
def test_frames_decode_to_the_original_signal_at_its_time(
    rate: int, channels: int, bit_rate: int, average_bit_rate: bool
) -> None:
    harness = DecoderHarness("mp3")
    packets = harness.decode_all(mp3_packets(rate, channels, bit_rate, average_bit_rate))
    assert not harness.rejected and packets[0].stamp == START
    pcm, original = decode_pcm(packets), sweep(rate)
    assert lag(original, pcm) == 0
    assert len(original) - 2 * FRAME_SAMPLES <= len(pcm) <= len(original) + 4 * FRAME_SAMPLES
    length = min(len(pcm), len(original))
    assert np.corrcoef(pcm[:length], original[:length])[0, 1] > 0.98
    samples = 0
    for packet in packets:
        assert packet.stamp is not None and abs(packet.stamp - START - samples * NS_PER_S // rate) <= 2
        samples += len(packet.payload) // (4 * channels)
    assert harness.decoder.delay == DELAY / rate


@pytest.mark.parametrize("size", [1, 40, 300, 4000])
def test_a_file_cut_at_any_byte_decodes_like_the_whole_file(size: int) -> None:
    data, reference = mp3_file()
    harness = DecoderHarness("mp3")
    parts = cut_randomly(data, np.random.default_rng(size), size)
    pcm = decode_pcm(harness.decode_all((bytes_to_ns(start), part) for start, part in parts))
    assert not harness.rejected
    length = min(len(pcm), len(reference))
    assert length >= len(reference) - 2 * FRAME_SAMPLES
    np.testing.assert_allclose(pcm[:length], reference[:length], atol=1e-6)


@pytest.mark.parametrize("size", [40, 300, 1500])
def test_payloads_without_stamps_decode_like_those_with_stamps(size: int) -> None:
    data = b"".join(frame for _, frame in mp3_packets())
    parts = [part for _, part in cut_randomly(data, np.random.default_rng(size), size)]
    stamped, unstamped = mp3.Mp3Decoder(), mp3.Mp3Decoder()
    for index, part in enumerate(parts):
        expected, actual = stamped.decode(part, START + index), unstamped.decode(part)
        assert (expected is None) == (actual is None)
        if expected is not None and actual is not None:
            assert actual.pcm == expected.pcm and actual.stamp is None


@pytest.mark.parametrize("size", [40, 300, 1500])
def test_stamps_of_payloads_cut_at_any_byte_stay_on_one_grid(size: int) -> None:
    data = b"".join(frame for _, frame in mp3_packets(seconds=10.0))
    parts = cut_randomly(data, np.random.default_rng(size), size)
    packets = DecoderHarness("mp3").decode_all((bytes_to_ns(start), part) for start, part in parts)
    expected = packets[0].stamp
    assert expected is not None and abs(expected - START) < 40_000_000
    for packet in packets:
        assert packet.stamp is not None and abs(packet.stamp - expected) < 5_000_000
        expected += len(packet.payload) // 4 * NS_PER_S // SAMPLE_RATE


def test_lost_packets_leave_all_other_audio_at_its_time() -> None:
    packets, lost = mp3_packets(), {20, 21, 40}
    complete = DecoderHarness("mp3").decode_all(packets)
    reference = decode_pcm(complete)
    decoded = DecoderHarness("mp3").decode_all(
        packet for index, packet in enumerate(packets) if index not in lost
    )
    assert len(decoded) == len(complete) - len(lost)
    for packet in decoded:
        assert packet.stamp is not None
        start = (packet.stamp - START) * SAMPLE_RATE // NS_PER_S
        frame = round((start + DELAY) / FRAME_SAMPLES)
        if not any(index < frame <= index + FILTER_FRAMES for index in lost):
            samples = np.frombuffer(packet.payload, np.float32)
            np.testing.assert_allclose(samples, reference[start : start + len(samples)], atol=1e-6)


@pytest.mark.parametrize("seconds", [60, 20, -3600])
def test_a_pause_or_a_step_back_starts_again_with_an_exact_stamp(seconds: int) -> None:
    packets, harness = mp3_packets(), DecoderHarness("mp3")
    harness.decode_all(packets)
    start = START + seconds * NS_PER_S
    decoded = harness.decode_all(packets[:20], start)
    assert decoded[0].stamp == start and len(decode_pcm(decoded)) == 20 * FRAME_SAMPLES - DELAY


def test_a_corrupt_frame_becomes_silence_of_its_length() -> None:
    packets = mp3_packets()
    ns, frame = packets[30]
    corrupt = [*packets[:30], (ns, frame[:4] + bytes(len(frame) - 4)), *packets[31:]]
    complete = decode_pcm(DecoderHarness("mp3").decode_all(packets))
    assert len(decode_pcm(DecoderHarness("mp3").decode_all(corrupt))) == len(complete)


def test_bytes_that_are_not_mp3_are_skipped() -> None:
    packets, harness = mp3_packets(), DecoderHarness("mp3")
    decoded = harness.decode_all([packets[0], (packets[1][0], b"no mp3 at all" * 40), *packets[2:]])
    assert not harness.rejected and len(decode_pcm(decoded)) > 40_000


def test_a_change_of_rate_within_a_stream_changes_the_format_and_keeps_the_time() -> None:
    packets = mp3_packets(16000)[:20]
    change = packets[-1][0] + 36_000_000
    later = [(change + ns, frame) for ns, frame in mp3_packets(44100)[:20]]
    decoded = DecoderHarness("mp3").decode_all(packets + later)
    rates = [packet.format.sample_rate for packet in decoded if packet.format is not None]
    assert set(rates) == {16000, 44100} and rates == sorted(rates)
    first_stamp = decoded[rates.index(44100)].stamp
    assert first_stamp is not None and abs(first_stamp - START - change) < 3


def test_random_pcm_is_not_detected_as_mp3() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        assert not mp3.looks_like_mp3(b"\xff\xfb" + random.bytes(638))
    assert not mp3.looks_like_mp3(b"") and not mp3.looks_like_mp3(b"\xff")


def test_a_stream_of_random_bytes_does_not_accumulate() -> None:
    decoder, random = mp3.Mp3Decoder(), np.random.default_rng(0)

    def decode(count: int) -> int:
        for index in range(count):
            decoder.decode(random.bytes(100), index)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = decode(3000)
        assert decode(3000) - before < 100_000
    finally:
        tracemalloc.stop()


def test_no_memory_behind_a_payload_is_read(tmp_path: Path) -> None:
    """In a separate process, which would crash: each payload ends at a page that cannot be read."""
    data = b"".join(frame for _, frame in mp3_packets(seconds=2.0))
    (tmp_path / "voice.mp3").write_bytes(data)
    script = """
import ctypes, mmap, sys
from streamingtalker_ros.audio.mp3 import Mp3Decoder
data, page, decoder = open(sys.argv[1], "rb").read(), mmap.PAGESIZE, Mp3Decoder()
pages = mmap.mmap(-1, 2 * page)
address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + page), ctypes.c_size_t(page), 0) == 0
for start in range(0, len(data), 100):
    part = data[start : start + 100]
    pages[page - len(part) : page] = part
    decoder.decode(memoryview(pages)[page - len(part) : page])
assert decoder.decoded > 1.5
"""
    command = [sys.executable, "-c", script, str(tmp_path / "voice.mp3")]
    assert subprocess.run(command, check=False).returncode == 0
