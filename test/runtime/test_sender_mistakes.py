# SPDX-License-Identifier: Apache-2.0
"""No mistake of a sender loses audio silently: it is spoken, and one log message names the mistake."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.runtime.packet_aligner import PacketAligner
from streamingtalker_ros.runtime.sender_faults import ACTIVE_S
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.streaming import Talker
from support.scheduler_harness import (
    FORMAT,
    FRAME,
    MS,
    S0,
    START,
    SchedulerHarness,
    floats,
    offline,
    small_talker,
    voice,
    weights,
)
from support.sender_mistakes import DELIVERIES, MISTAKES, sent_packets

SECONDS = 2.0
RATE = 16000
NAMED = {
    "shared": "packets share one stamp",
    "sending time": "stamps are sending times",
    "jittering": "stamps jitter",
    "jumping": "stamps jump forth and back by 1000 ms",
    "missing": "stamps are missing from some packets",
}
# stamps that say what they should when a sentence is one message, or that fit a microphone's packets
HARMLESS = {("sending time", "live")} | {(name, "one message") for name in MISTAKES}


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


def send_voice(
    harness: SchedulerHarness,
    mistake: str = "none",
    delivery: str = "live",
    pcm: npt.NDArray[np.int16] | None = None,
    audio_format: AudioFormat = FORMAT,
    encode: Callable[[npt.NDArray[np.int16]], bytes] = lambda samples: samples.tobytes(),
    packet: float = 0.02,
    begin: float | None = None,
) -> npt.NDArray[np.int16]:
    """Schedule a voice; returns its samples at 16 kHz."""
    pcm = voice(SECONDS) if pcm is None else pcm
    begin = harness.now if begin is None else begin
    origin = S0 + round((begin - START) * 1e9)
    for sent in sent_packets(mistake, delivery, len(pcm) / RATE, packet):
        samples = pcm[round(sent.begin * RATE) : round(sent.end * RATE)]
        stamp = None if sent.stamp is None else origin + sent.stamp
        harness.send(None, stamp, begin + sent.at, audio_format, encode(samples))
    return pcm


def fully_spoken(frames: list[Any], talker: Talker, pcm: npt.NDArray[np.int16]) -> bool:
    """Whether the frames are those of the offline pass over the voice."""
    expected = offline(talker, floats(pcm))
    return len(frames) == len(expected) and np.allclose(weights(frames), weights(expected), atol=1e-5)


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_frame_is_spoken_and_the_mistake_is_named_once(
    talker: Talker, mistake: str, delivery: str
) -> None:
    harness = SchedulerHarness(talker)
    pcm = send_voice(harness, mistake, delivery)
    harness.run(2 * SECONDS)
    named = NAMED.get(mistake) if (mistake, delivery) not in HARMLESS else None
    assert len(harness.warnings) == (named is not None)
    assert named is None or harness.warnings[0].startswith(named)
    count = round(SECONDS * 25)
    if mistake in ("jittering", "jumping") and named:  # a gap, or a new stream, before the mistake shows
        assert count <= len(harness.audio) <= count + 2
        assert harness.statistics.streams <= 3 and harness.statistics.gaps <= 2
    else:
        assert fully_spoken(harness.audio, talker, pcm)
        assert harness.statistics.streams == 1 and harness.statistics.gaps == 0
    assert all(before.stamp != after.stamp for before, after in pairwise(harness.faces))


@pytest.mark.parametrize("mistake", ["shared", "sending time", "zero", "missing"])
def test_frames_of_a_burst_are_stamped_by_the_count_of_samples(talker: Talker, mistake: str) -> None:
    harness = SchedulerHarness(talker)
    send_voice(harness, mistake, "burst")
    harness.run(2 * SECONDS)
    steps = {after.stamp - before.stamp for before, after in pairwise(harness.audio)}
    assert max(abs(step - FRAME) for step in steps) < 3 * MS
    if mistake != "zero":
        assert steps == {FRAME} and abs(harness.audio[0].stamp - S0) < 1 * MS


@pytest.mark.parametrize("packet", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("mistake", ["shared", "sending time"])
def test_long_packets_with_such_stamps_are_spoken_too(talker: Talker, mistake: str, packet: float) -> None:
    harness = SchedulerHarness(talker)
    pcm = send_voice(harness, mistake, "burst", packet=packet)
    harness.run(2 * SECONDS)
    assert fully_spoken(harness.audio, talker, pcm)
    assert len(harness.warnings) == 1 and harness.warnings[0].startswith(NAMED[mistake])


@pytest.mark.parametrize("mistake", ["shared", "sending time"])
def test_each_sentence_of_such_a_sender_is_spoken_at_its_time(talker: Talker, mistake: str) -> None:
    harness, sentences = SchedulerHarness(talker), [voice(1.0, seed=seed) for seed in range(3)]
    for number, sentence in enumerate(sentences):
        send_voice(harness, mistake, "burst", sentence, begin=START + 3.0 * number)
    harness.run(10.0)
    assert harness.statistics.streams == 3 and len(harness.audio) == 75
    for number, sentence in enumerate(sentences):
        frames = harness.audio[25 * number : 25 * (number + 1)]
        assert abs(frames[0].stamp - S0 - 3_000_000_000 * number) < 1 * MS
        np.testing.assert_allclose(
            weights(frames)[5:], weights(offline(talker, floats(sentence)))[5:], atol=1e-5
        )
    assert len(harness.warnings) == 1


def test_a_duplicate_is_a_packet_with_the_same_stamp_and_the_same_bytes(talker: Talker) -> None:
    harness, pcm = SchedulerHarness(talker), voice(1.0)
    for number in range(50):
        for _ in range(2):
            samples = pcm[320 * number : 320 * (number + 1)]
            harness.send(samples, S0 + 20 * number * MS, START + 0.02 * (number + 1))
    harness.run(2.0)
    assert harness.statistics.duplicates == 50 and harness.warnings == []
    assert fully_spoken(harness.audio, talker, pcm)


def test_digital_silence_with_a_shared_stamp_is_no_duplicate(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = np.concatenate([np.zeros(8000, np.int16), voice(1.0), np.zeros(4800, np.int16), voice(0.5)])
    send_voice(harness, "shared", "burst", pcm)
    harness.run(4.0)
    assert harness.statistics.duplicates <= 2  # before it shows that stamps are shared
    assert abs(len(harness.audio) - len(pcm) / 640) <= 2


def test_a_sender_that_mends_its_stamps_is_trusted_again(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    send_voice(harness, "jittering", "live")
    harness.send_realtime(voice(5.0, seed=5), S0 + 3_000 * MS, START + 3.0)
    # then 60 ms are lost, which only the stamps show
    harness.send_realtime(voice(1.9, seed=6), S0 + 8_060 * MS, START + 8.06)
    harness.run(8.0)
    gaps = harness.statistics.gaps
    harness.run(3.0)
    assert harness.statistics.gaps == gaps + 1
    assert 0 <= S0 + 9_960 * MS - harness.audio[-1].stamp <= FRAME


@pytest.mark.parametrize("packet", [0.02, 0.064])
@pytest.mark.parametrize("step_ms", [-20, -40])
@pytest.mark.parametrize("delivery", ["live", "burst"])
def test_a_clock_that_is_set_back_once_is_no_mistake_of_the_sender(
    talker: Talker, step_ms: int, packet: float, delivery: str
) -> None:
    harness, pcm = SchedulerHarness(talker), voice(4.0)
    for number, sent in enumerate(sent_packets("none", delivery, 4.0, packet)):
        assert sent.stamp is not None
        stamp = S0 + sent.stamp + (step_ms * MS if sent.begin >= 1.5 else 0)
        samples = pcm[round(sent.begin * RATE) : round(sent.end * RATE)]
        harness.send(samples, stamp, START + sent.at + 1e-6 * number)
    harness.run(5.0)
    assert harness.warnings == []
    assert len(harness.audio) >= 98 and harness.statistics.streams == 1
    assert harness.statistics.gaps == harness.statistics.late == 0
    expected = weights(offline(talker, floats(pcm)))[:50]  # before the stamps are used again
    np.testing.assert_allclose(weights(harness.audio[:50]), expected, atol=1e-5)


def test_a_clock_that_is_set_back_again_and_again_is_named(talker: Talker) -> None:
    harness, pcm = SchedulerHarness(talker), voice(4.0)
    for sent in sent_packets("none", "live", 4.0):
        assert sent.stamp is not None
        stamp = S0 + sent.stamp - (50 * MS if int(sent.begin / 0.3) % 2 else 0)
        harness.send(pcm[round(sent.begin * RATE) : round(sent.end * RATE)], stamp, START + sent.at)
    harness.run(5.0)
    assert len(harness.warnings) == 1 and re.match(
        "stamps (jump forth and back|jitter) by 50 ms", harness.warnings[0]
    )


def test_one_late_packet_of_a_sender_with_good_stamps_is_dropped(talker: Talker) -> None:
    harness, pcm = SchedulerHarness(talker), voice(3.0)
    harness.send_realtime(pcm)
    harness.send(voice(0.02, seed=9), S0 + 1107 * MS, START + 1.601)
    harness.run(4.0)
    assert harness.statistics.late == 1 and fully_spoken(harness.audio, talker, pcm)


@pytest.mark.parametrize("delivery", ["live", "burst"])
@pytest.mark.parametrize("mistake", ["none", "zero", "shared", "sending time"])
def test_packets_that_lack_a_byte_shift_nothing(talker: Talker, mistake: str, delivery: str) -> None:
    """Every seventh packet is one byte short."""
    count = 0

    def encode(samples: npt.NDArray[np.int16]) -> bytes:
        nonlocal count
        count += 1
        return samples.tobytes()[: -1 if count % 7 == 0 else None]

    harness = SchedulerHarness(talker)
    pcm = send_voice(harness, mistake, delivery, encode=encode)
    harness.run(2 * SECONDS)
    assert len(harness.audio) == round(25 * SECONDS) and harness.statistics.streams == 1
    assert harness.statistics.late == harness.statistics.gaps == harness.statistics.duplicates == 0
    # a lost sample is no noise: the level of the mouth stays that of the voice
    difference = np.abs(weights(harness.audio) - weights(offline(talker, floats(pcm))))
    assert float(np.median(difference.max(axis=1))) < 0.1


FLOATS = AudioFormat(RATE, 1, "f32")
WRONG_FORMATS: dict[str, tuple[AudioFormat, Callable[[npt.NDArray[np.int16]], bytes], str]] = {
    "rate too high": (
        AudioFormat(48000, 1, "s16"),
        lambda samples: samples.tobytes(),
        "audio_info says 48000 Hz but the stamps fit 16000",
    ),
    "rate too low": (
        FORMAT,
        lambda samples: np.repeat(samples, 3).tobytes(),
        "audio_info says 16000 Hz but the stamps fit 48000",
    ),
    "half the rate": (
        AudioFormat(8000, 1, "s16"),
        lambda samples: samples.tobytes(),
        "audio_info says 8000 Hz but the stamps fit 16000",
    ),
    "another rate of recorders": (
        AudioFormat(44100, 1, "s16"),
        lambda samples: np.repeat(samples, 3).tobytes(),
        "audio_info says 44100 Hz but the stamps fit 48000",
    ),
    "floats called integers": (
        FORMAT,
        lambda samples: floats(samples).tobytes(),
        "audio_info says s16 but the samples are f32",
    ),
    "integers called floats": (
        FLOATS,
        lambda samples: samples.tobytes(),
        "audio_info says f32 but the samples are s16",
    ),
    "stereo called mono": (
        FORMAT,
        lambda samples: np.repeat(samples, 2).tobytes(),
        "audio_info says 1 channel but the samples are 2 channels",
    ),
}


@pytest.mark.parametrize("name", WRONG_FORMATS)
def test_a_format_that_contradicts_the_audio_is_named_and_corrected(talker: Talker, name: str) -> None:
    audio_format, encode, message = WRONG_FORMATS[name]
    harness = SchedulerHarness(talker)
    pcm = send_voice(harness, audio_format=audio_format, encode=encode, pcm=voice(8.0))
    harness.run(12.0)
    assert [text.startswith(message) for text in harness.warnings] == [True]
    assert harness.session.sender_faults.active() == harness.warnings
    # the last four seconds are spoken as they are
    end = S0 + 8_000 * MS
    frames = [frame for frame in harness.audio if end - 4_000 * MS <= frame.stamp < end]
    assert 99 <= len(frames) <= 101
    assert 195 <= len(harness.audio) <= 240
    if "called" in name and "stereo" not in name:  # the first packet shows it
        assert fully_spoken(harness.audio, talker, pcm)


def test_a_wrong_format_that_only_the_parameters_state_is_not_blamed_on_audio_info() -> None:
    warnings: list[str] = []
    aligner = PacketAligner(FORMAT, Statistics(), lambda kind, text: warnings.append(text))
    payload = floats(voice(0.5)).tobytes()
    aligner.align(AudioPacket(payload, None, S0, START))
    assert warnings[0].startswith("the talker's parameters say s16 but the samples are f32")
    assert warnings[0].endswith("correct sample_rate, sample_format or channels")


def test_unstamped_audio_that_is_slower_than_its_rate_is_named(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    send_voice(harness, "zero", audio_format=AudioFormat(48000, 1, "s16"), pcm=voice(6.0))
    harness.run(8.0)
    assert [text.partition(":")[0] for text in harness.warnings] == [
        "audio_info says 48000 Hz but the arrival of the audio fits 16000"
    ]


def test_a_microphone_on_a_busy_machine_has_stamps_of_sending_times(talker: Talker) -> None:
    """Some packets are sent late, with the time of sending."""
    harness, pcm = SchedulerHarness(talker), voice(6.0)
    for number in range(300):
        delay = 0.03 if number % 20 == 5 else 0.0
        at = START + 0.02 * (number + 1) + delay
        harness.send(pcm[320 * number : 320 * (number + 1)], S0 + round((at - START) * 1e9), at)
    harness.run(8.0)
    assert [text.partition(":")[0] for text in harness.warnings] == [NAMED["sending time"]]
    assert 150 <= len(harness.audio) <= 151 and harness.statistics.streams == 1


@pytest.mark.parametrize("packet", [0.02, 0.04])
def test_windows_that_overlap_are_no_wrong_format(talker: Talker, packet: float) -> None:
    """Each packet repeats the second half of the one before."""
    harness, pcm, size = SchedulerHarness(talker), voice(4.0), round(packet * RATE)
    for first in range(0, len(pcm) - 2 * size, size):
        harness.send(pcm[first : first + 2 * size], S0 + first * MS // 16, START + first / RATE + 2 * packet)
    harness.run(5.0)
    assert harness.warnings == [] and harness.statistics.streams == 1
    assert fully_spoken(harness.audio, talker, pcm[: len(pcm) - len(pcm) % size - size])


def test_a_fault_is_present_for_a_while_after_it_occurred(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    send_voice(harness, "shared", "burst")
    harness.run(1.0)
    assert [text.partition(":")[0] for text in harness.session.sender_faults.active()] == [NAMED["shared"]]
    harness.run(ACTIVE_S - 5.0)
    assert harness.session.sender_faults.active() and len(harness.warnings) == 1
    harness.run(10.0)
    assert harness.session.sender_faults.active() == []
