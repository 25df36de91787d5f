# SPDX-License-Identifier: Apache-2.0
"""The audio clock: jitter and drift are borne, losses, overlaps and jumps are noticed, time is exact."""

import numpy as np
import pytest

from streamingtalker_ros.audio.clock import AudioClock, Placement
from streamingtalker_ros.audio.constants import NS_PER_S

T0 = 1_700_000_000_123_456_789
PACKET = 320  # 20 ms at 16 kHz
STEP = 20_000_000


def running(rate=16000, packets=10, **options):
    clock = AudioClock(rate, **options)
    for k in range(packets):
        clock.assign(T0 + k * STEP, rate // 50)
    return clock, T0 + packets * STEP


def test_steady_packets_are_ok_and_time_is_exact_for_a_day() -> None:
    clock = AudioClock(44100)
    assert clock.assign(T0, 441).kind == "start"
    samples = 441
    for _ in range(2000):
        stamp = T0 + samples * NS_PER_S // 44100  # what a publisher computes, rounded its own way
        assert clock.assign(stamp, 441) == Placement("ok")
        samples += 441
    assert clock.samples == samples
    day = 24 * 3600
    assert clock.stamp_of(44100 * day) == T0 + day * NS_PER_S
    assert clock.stamp_of(25 * day * 640, 16000) == T0 + day * NS_PER_S


def test_jitter_makes_no_gap_and_hardly_moves_the_grid() -> None:
    clock = AudioClock(16000)
    rng = np.random.default_rng(3)
    kinds = {clock.assign(T0 + k * STEP + int(rng.uniform(-6e6, 6e6)), PACKET).kind for k in range(3000)}
    assert kinds == {"start", "ok"}
    assert clock.samples == 3000 * PACKET
    assert abs(clock.stamp_of(clock.samples) - (T0 + 3000 * STEP)) < 3_000_000


@pytest.mark.parametrize("ppm", [-200, 200])
def test_drift_between_two_clocks_is_followed_without_gaps(ppm) -> None:
    clock = AudioClock(16000)
    packets = 50 * 600  # ten minutes drift by 120 ms
    for k in range(packets):
        stamp = T0 + k * STEP + k * STEP * ppm // 1_000_000
        assert clock.assign(stamp, PACKET).kind in ("start", "ok")
    assert abs(clock.stamp_of(clock.samples - PACKET) - stamp) < 3_000_000


def test_stamps_of_frames_never_run_backwards_under_jitter() -> None:
    clock, previous = AudioClock(16000), 0
    rng = np.random.default_rng(4)
    for k in range(2000):
        clock.assign(T0 + k * STEP + int(rng.uniform(-7e6, 7e6)), PACKET)
        stamp = clock.stamp_of(k * PACKET)
        assert stamp > previous
        previous = stamp


@pytest.mark.parametrize("lost", [1, 3, 24])
def test_lost_packets_are_a_gap_of_their_length(lost) -> None:
    clock, next_stamp = running()
    before = clock.samples
    assert clock.assign(next_stamp + lost * STEP, PACKET) == Placement("gap", gap=lost * PACKET)
    assert clock.samples == before + (lost + 1) * PACKET
    assert clock.assign(next_stamp + (lost + 1) * STEP, PACKET) == Placement("ok")


def test_small_losses_add_up_until_they_are_noticed() -> None:
    """Two lost packets of 10 ms, each under the tolerance, become one gap of about 20 ms."""
    clock = AudioClock(16000)
    places = [clock.assign(T0 + k * STEP // 2, 160) for k in range(40) if k not in (20, 23)]
    gaps = [place.gap for place in places if place.kind == "gap"]
    assert len(gaps) == 1 and abs(gaps[0] - 320) <= 2


def test_an_overlap_is_cut_and_a_duplicate_left_out() -> None:
    clock, next_stamp = running()
    assert clock.assign(next_stamp - STEP, 2 * PACKET) == Placement("overlap", skip=PACKET)
    next_stamp += STEP
    before = clock.samples
    assert clock.assign(next_stamp - STEP, PACKET) == Placement("late", skip=PACKET)
    assert clock.samples == before
    assert clock.assign(next_stamp, PACKET) == Placement("ok")


def test_a_straggler_after_its_gap_was_filled_is_left_out() -> None:
    clock, next_stamp = running()
    assert clock.assign(next_stamp + STEP, PACKET).kind == "gap"
    assert clock.assign(next_stamp, PACKET) == Placement("late", skip=PACKET)
    assert clock.assign(next_stamp + 2 * STEP, PACKET) == Placement("ok")


@pytest.mark.parametrize("seconds", [0.5, 3600, -0.5, -86400])
def test_half_a_second_either_way_is_a_new_stream(seconds) -> None:
    clock, next_stamp = running()
    stamp = next_stamp + int(seconds * NS_PER_S)
    assert clock.assign(stamp, PACKET) == Placement("jump")
    assert clock.samples == PACKET and clock.stamp_of(0) == stamp


def test_just_under_half_a_second_is_filled() -> None:
    clock, next_stamp = running()
    assert clock.assign(next_stamp + int(0.499 * NS_PER_S), PACKET) == Placement("gap", gap=7984)


def test_silence_that_the_caller_put_in_counts() -> None:
    clock, next_stamp = running()
    clock.insert_silence(2 * PACKET)
    assert clock.assign(next_stamp + 3 * STEP, PACKET) == Placement("gap", gap=PACKET)


def test_times_of_arrival_never_lose_a_sample() -> None:
    """A voice sent twice as fast as it sounds, with ragged arrival: all of it is new audio."""
    clock = AudioClock(16000, arrival=True)
    rng = np.random.default_rng(5)
    for k in range(200):
        place = clock.assign(T0 + k * STEP // 2 + int(rng.uniform(0, 15e6)), PACKET)
        assert place.skip == 0 and place.gap == 0
    assert clock.samples == 200 * PACKET


def test_a_pause_of_arrivals_is_a_gap_or_a_new_stream() -> None:
    clock, next_stamp = running(arrival=True)
    assert clock.assign(next_stamp + int(0.1 * NS_PER_S), PACKET).kind == "ok"
    clock, next_stamp = running(arrival=True)
    assert clock.assign(next_stamp + int(0.3 * NS_PER_S), PACKET) == Placement("gap", gap=4800)
    assert clock.assign(next_stamp + 2 * NS_PER_S, PACKET).kind == "jump"


def test_no_time_before_the_first_packet_and_reset_forgets() -> None:
    clock, _ = running()
    assert clock.started
    clock.reset()
    assert not clock.started
    with pytest.raises(RuntimeError):
        clock.stamp_of(0)
    assert clock.assign(T0, PACKET).kind == "start"
