# SPDX-License-Identifier: Apache-2.0
"""Stamps, gaps, discontinuities, duplicates and late packets, with a real talker."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.streaming import Talker
from support.backends import VARIANTS
from support.scheduler_harness import (
    FRAME,
    MS,
    S0,
    SchedulerHarness,
    floats,
    offline,
    small_talker,
    voice,
    weights,
)


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def talker(request: pytest.FixtureRequest) -> Talker:
    return small_talker(request.param)


def stamps(frames: list[Any]) -> list[int]:
    return [frame.stamp for frame in frames]


def grid(count: int, start: int = S0) -> list[int]:
    return [start + index * FRAME for index in range(count)]


def test_live_frames_equal_the_offline_pass_and_carry_the_stamps_of_their_samples(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(1.01)  # 25.25 frames: the last one is begun, so it counts
    harness.send_realtime(pcm)
    harness.run(2.0)
    reference = offline(talker, floats(pcm))
    assert len(harness.audio) == 26 == len(reference) == harness.statistics.frames
    assert stamps(harness.audio) == grid(26)
    assert [frame.index for frame in harness.faces] == list(range(len(harness.faces)))
    # generated silence completes the last frames with the same zeros as `finish`
    np.testing.assert_allclose(weights(harness.audio), weights(reference), atol=1e-5)
    assert harness.statistics.dropped == harness.statistics.rejected == 0


def test_a_frame_is_published_when_its_last_needed_sample_arrives(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(1.0)
    for time, frame in harness.frames:
        assert time == pytest.approx(100 + 0.04 * (frame.index + 1) + talker.lookahead, abs=1e-6)
        assert frame.arrival == pytest.approx(time)
    assert harness.statistics.latency.percentile(99) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_stamps_are_exact_at_other_rates(talker: Talker, rate: int) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(1.0, rate)
    harness.send_realtime(pcm, rate=rate)
    harness.run(1.6)
    assert len(harness.audio) == 25
    # each packet's stamp is rounded to the nanosecond; the frames keep to the first one's grid
    assert stamps(harness.audio) == grid(25)
    reference = offline(talker, to_16k(floats(pcm), rate))
    np.testing.assert_allclose(weights(harness.audio), weights(reference), atol=1e-5)


def test_a_stream_that_started_late_behind_another_catches_up(talker: Talker) -> None:
    """The network delays the beginning of the first stream by 0.2 s; then the sender's clock jumps, and the
    new stream waits for the end of the first."""
    harness, pcm = SchedulerHarness(talker), voice(5.0)
    for k in range(250):
        stamp = S0 + k * 20 * MS + (3600 * 1000 * MS if k >= 50 else 0)
        harness.send(pcm[320 * k : 320 * (k + 1)], stamp, 100 + max(0.02 * (k + 1), 0.2))
    harness.run(5.0)
    second = [(time, frame) for time, frame in harness.frames if frame.stamp >= S0 + 3600 * 1000 * MS]
    late = [time - (101.0 + 0.04 * (frame.index + 1) + talker.lookahead) for time, frame in second]
    assert len(late) > 90 and 0.05 < late[0] < 0.2
    assert max(late[50:]) == pytest.approx(0.0, abs=1e-6)  # two seconds later


def test_a_gap_is_filled_with_silence_on_the_same_grid(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(1.0)
    lost = slice(8000, 12800)  # 0.3 s
    harness.send_realtime(pcm[:8000], start=100.0)
    harness.send_realtime(
        pcm[12800:], S0 + 800 * MS, start=100.5
    )  # sent at once: the network was slow, not the clock
    harness.run(2.0)
    silent = floats(pcm).copy()
    silent[lost] = 0
    assert harness.statistics.gaps == 1 and harness.statistics.streams == 1
    assert stamps(harness.audio) == grid(25)
    np.testing.assert_allclose(weights(harness.audio), weights(offline(talker, silent)), atol=1e-5)


def test_a_long_gap_starts_a_new_stream_after_the_old_one_is_flushed(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    first, second = voice(0.5), voice(0.4, seed=1)
    harness.send_realtime(first, start=100.0)
    harness.send_realtime(second, S0 + 1500 * MS, start=100.5)  # 1 s is missing, yet the packets do not pause
    harness.run(1.5)
    assert (
        harness.statistics.discontinuities == 1
        and harness.statistics.streams == 2
        and harness.statistics.gaps == 0
    )
    old, new = harness.audio[:13], harness.audio[13:]
    assert [frame.index for frame in old] == list(range(13)) and stamps(old) == grid(13)
    assert [frame.index for frame in new] == list(range(10)) and stamps(new) == grid(10, S0 + 1500 * MS)
    # after the cross-fade the new stream equals a fresh one
    np.testing.assert_allclose(weights(new)[5:], weights(offline(talker, floats(second)))[5:], atol=1e-5)


def test_a_clock_that_jumps_back_starts_a_new_stream(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(0.4), start=100.0)
    harness.send_realtime(voice(0.4), S0 - 3600_000 * MS, start=100.4)
    harness.run(1.5)
    assert harness.statistics.discontinuities == 1
    assert stamps(harness.audio) == grid(10) + grid(10, S0 - 3600_000 * MS)


def test_duplicates_and_late_packets_are_dropped_and_counted_separately(talker: Talker) -> None:
    clean, messy = SchedulerHarness(talker), SchedulerHarness(talker)
    pcm = voice(1.0)
    clean.send_realtime(pcm)
    messy.send_realtime(pcm)
    for packet in (3, 20, 45):  # again, 50 ms later
        messy.send(
            pcm[320 * packet : 320 * (packet + 1)], S0 + 20 * packet * MS, 100.05 + 0.02 * (packet + 1)
        )
    messy.send(voice(0.02, seed=9), S0 + 107 * MS, 100.6)  # not processed: half a second late
    clean.run(2.0)
    messy.run(2.0)
    assert messy.statistics.duplicates == 3 and messy.statistics.late + messy.statistics.discontinuities == 1
    assert messy.statistics.streams == 1, "a straggler is no jump"
    assert stamps(messy.audio) == stamps(clean.audio)
    np.testing.assert_array_equal(weights(messy.audio), weights(clean.audio))


def test_an_overlapping_packet_is_truncated(talker: Talker) -> None:
    clean, messy = SchedulerHarness(talker), SchedulerHarness(talker)
    pcm = voice(1.0)
    clean.send_realtime(pcm)
    for packet in range(50):
        back = 20 if packet in (10, 30) else 0  # ms that are sent again
        part = pcm[320 * packet - 16 * back : 320 * (packet + 1)]
        messy.send(part, S0 + (20 * packet - back) * MS, 100.02 + 0.02 * packet)
    clean.run(2.0)
    messy.run(2.0)
    assert messy.statistics.overlaps == 2 and messy.statistics.duplicates == 0
    assert stamps(messy.audio) == stamps(clean.audio)
    np.testing.assert_array_equal(weights(messy.audio), weights(clean.audio))


def test_swapped_packets_lose_only_the_earlier_one(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(1.0)
    order = list(range(50))
    order[10], order[11] = 11, 10
    for place, packet in enumerate(order):
        harness.send(pcm[320 * packet : 320 * (packet + 1)], S0 + 20 * packet * MS, 100.02 + 0.02 * place)
    harness.run(2.0)
    # 11 arrived first: 10 is a gap that was filled, and late when it arrives
    assert (harness.statistics.gaps, harness.statistics.late, harness.statistics.streams) == (1, 1, 1)
    assert stamps(harness.audio) == grid(25)


def test_stamp_jitter_moves_no_frame_by_more_than_the_jitter(talker: Talker) -> None:
    harness, random = SchedulerHarness(talker), np.random.default_rng(3)
    pcm = voice(2.0)
    for packet in range(100):
        jitter = int(random.uniform(-3, 3) * MS) if packet else 0
        part = pcm[320 * packet : 320 * (packet + 1)]
        harness.send(part, S0 + 20 * packet * MS + jitter, 100.02 + 0.02 * packet)
    harness.run(2.5)
    assert (harness.statistics.streams, harness.statistics.gaps, harness.statistics.late) == (1, 0, 0)
    assert max(abs(a - b) for a, b in zip(stamps(harness.audio), grid(50), strict=True)) < 3 * MS
    assert len(harness.audio) == 50


def test_packets_without_stamps_are_stamped_by_their_smoothed_arrival(talker: Talker) -> None:
    harness, random = SchedulerHarness(talker), np.random.default_rng(4)
    pcm = voice(1.0)
    for packet in range(50):
        harness.send(
            pcm[320 * packet : 320 * (packet + 1)],
            None,
            100.02 + 0.02 * packet + (float(random.uniform(0, 0.015)) if packet else 0),
        )
    harness.run(2.0)
    assert harness.statistics.streams == 1 and len(harness.audio) == 25
    steps = np.diff(stamps(harness.audio))
    assert abs(steps - FRAME).max() < 1 * MS  # the jitter of 15 ms is not in the frames
    assert abs(stamps(harness.audio)[0] - S0) < 1 * MS  # arrival minus the length of the packet
