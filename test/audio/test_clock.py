# SPDX-License-Identifier: Apache-2.0
"""The audio clock tolerates jitter and drift, detects gaps, overlaps and jumps; stamps are exact."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.audio.clock import AudioClock, Placement
from streamingtalker_ros.audio.constants import NS_PER_S

START = 1_700_000_000_123_456_789
PACKET = 320  # 20 ms at 16 kHz
STEP = 20_000_000  # ns


def running_clock(rate: int = 16000, packets: int = 10, arrival: bool = False) -> tuple[AudioClock, int]:
    """Return a clock after some packets, and the stamp of the next one."""
    clock = AudioClock(rate, arrival=arrival)
    for k in range(packets):
        clock.assign(START + k * STEP, rate // 50)
    return clock, START + packets * STEP


def test_regular_packets_are_ok_and_stamps_exact_for_a_day() -> None:
    clock = AudioClock(44100)
    assert clock.assign(START, 441).kind == "start"
    samples = 441
    for _ in range(2000):
        stamp = START + samples * NS_PER_S // 44100  # as a publisher computes it, rounded down
        assert clock.assign(stamp, 441) == Placement("ok")
        samples += 441
    assert clock.samples == samples
    day = 24 * 3600
    assert clock.stamp_of(44100 * day) == START + day * NS_PER_S
    assert clock.stamp_of(25 * day * 640, 16000) == START + day * NS_PER_S


def test_jitter_causes_no_gap_and_moves_the_grid_by_less_than_3_ms() -> None:
    clock = AudioClock(16000)
    rng = np.random.default_rng(3)
    kinds = {clock.assign(START + k * STEP + int(rng.uniform(-6e6, 6e6)), PACKET).kind for k in range(3000)}
    assert kinds == {"start", "ok"}
    assert clock.samples == 3000 * PACKET
    assert abs(clock.stamp_of(clock.samples) - (START + 3000 * STEP)) < 3_000_000


@pytest.mark.parametrize("ppm", [-200, 200])
def test_drift_between_two_clocks_is_followed_without_gaps(ppm: int) -> None:
    clock = AudioClock(16000)
    packets = 50 * 600  # ten minutes drift by 120 ms
    stamp = START
    for k in range(packets):
        stamp = START + k * STEP + k * STEP * ppm // 1_000_000
        assert clock.assign(stamp, PACKET).kind in ("start", "ok")
    assert abs(clock.stamp_of(clock.samples - PACKET) - stamp) < 3_000_000


def test_stamps_increase_monotonically_under_jitter() -> None:
    clock, previous = AudioClock(16000), 0
    rng = np.random.default_rng(4)
    for k in range(2000):
        clock.assign(START + k * STEP + int(rng.uniform(-7e6, 7e6)), PACKET)
        stamp = clock.stamp_of(k * PACKET)
        assert stamp > previous
        previous = stamp


@pytest.mark.parametrize("lost", [1, 3, 24])
def test_lost_packets_are_a_gap_of_their_length(lost: int) -> None:
    clock, next_stamp = running_clock()
    before = clock.samples
    assert clock.assign(next_stamp + lost * STEP, PACKET) == Placement("gap", gap=lost * PACKET)
    assert clock.samples == before + (lost + 1) * PACKET
    assert clock.assign(next_stamp + (lost + 1) * STEP, PACKET) == Placement("ok")


def test_small_losses_add_up_until_they_exceed_the_tolerance() -> None:
    """Two lost packets of 10 ms, each under the tolerance, become one gap of about 20 ms."""
    clock = AudioClock(16000)
    placements = [clock.assign(START + k * STEP // 2, 160) for k in range(40) if k not in (20, 23)]
    gaps = [placement.gap for placement in placements if placement.kind == "gap"]
    assert len(gaps) == 1 and abs(gaps[0] - 320) <= 2


def test_an_overlap_is_skipped_and_a_duplicate_dropped() -> None:
    clock, next_stamp = running_clock()
    assert clock.assign(next_stamp - STEP, 2 * PACKET) == Placement("overlap", skip=PACKET)
    next_stamp += STEP
    before = clock.samples
    assert clock.assign(next_stamp - STEP, PACKET) == Placement("late", skip=PACKET)
    assert clock.samples == before
    assert clock.assign(next_stamp, PACKET) == Placement("ok")


def test_a_late_packet_is_dropped_after_its_gap_was_filled() -> None:
    clock, next_stamp = running_clock()
    assert clock.assign(next_stamp + STEP, PACKET).kind == "gap"
    assert clock.assign(next_stamp, PACKET) == Placement("late", skip=PACKET)
    assert clock.assign(next_stamp + 2 * STEP, PACKET) == Placement("ok")


@pytest.mark.parametrize("seconds", [0.5, 3600, -0.5, -86400])
def test_a_discontinuity_of_half_a_second_either_way_is_a_new_stream(seconds: float) -> None:
    clock, next_stamp = running_clock()
    stamp = next_stamp + int(seconds * NS_PER_S)
    assert clock.assign(stamp, PACKET) == Placement("jump")
    assert clock.samples == PACKET and clock.stamp_of(0) == stamp


def test_a_gap_just_under_half_a_second_is_filled() -> None:
    clock, next_stamp = running_clock()
    assert clock.assign(next_stamp + int(0.499 * NS_PER_S), PACKET) == Placement("gap", gap=7984)


def test_inserted_silence_advances_the_grid() -> None:
    clock, next_stamp = running_clock()
    clock.insert_silence(2 * PACKET)
    assert clock.assign(next_stamp + 3 * STEP, PACKET) == Placement("gap", gap=PACKET)


def test_with_times_of_arrival_no_sample_is_lost() -> None:
    """Audio sent at twice real time with jitter: all of it is new."""
    clock = AudioClock(16000, arrival=True)
    rng = np.random.default_rng(5)
    for k in range(200):
        placement = clock.assign(START + k * STEP // 2 + int(rng.uniform(0, 15e6)), PACKET)
        assert placement.skip == 0 and placement.gap == 0
    assert clock.samples == 200 * PACKET


def test_with_times_of_arrival_a_pause_is_a_gap_or_a_new_stream() -> None:
    clock, next_stamp = running_clock(arrival=True)
    assert clock.assign(next_stamp + int(0.1 * NS_PER_S), PACKET).kind == "ok"
    clock, next_stamp = running_clock(arrival=True)
    assert clock.assign(next_stamp + int(0.3 * NS_PER_S), PACKET) == Placement("gap", gap=4800)
    assert clock.assign(next_stamp + 2 * NS_PER_S, PACKET).kind == "jump"


def test_there_are_no_stamps_before_the_first_packet_nor_after_reset() -> None:
    clock, _ = running_clock()
    assert clock.started
    clock.reset()
    assert not clock.started
    with pytest.raises(RuntimeError):
        clock.stamp_of(0)
    assert clock.assign(START, PACKET).kind == "start"
