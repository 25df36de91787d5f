# SPDX-License-Identifier: Apache-2.0
"""Poses of an output are the interpolated frames, numbered without a gap, at most one frame later."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import FRAME_RATE, NS_PER_S
from streamingtalker_ros.face.interpolation import resample_motion
from streamingtalker_ros.outputs.timeline import DAY_S, MAX_PENDING_FRAMES, OutputTimeline, Pose
from support.udp_receiver import PERIOD_NS, random_motion

PERIOD = 1 / FRAME_RATE
NOON = 43_200.0  # s after midnight
STAMP = 1_700_000_000_123_456_789  # ns
TICK = 0.001  # s, of the simulated clock

Arrival = tuple[float, int, npt.NDArray[np.float32], npt.NDArray[np.float32]]  # clock, stamp, weights, head


def simulate(
    arrivals: Iterable[Arrival],
    until: float,
    rate: int = 60,
    time_of_day: float = NOON,
    asleep: tuple[float, float] = (0.0, 0.0),
) -> tuple[list[Pose], list[float], OutputTimeline]:
    """Poses, the times at which they are sent on a clock that starts at 0, and the timeline."""
    timeline = OutputTimeline(rate, FRAME_RATE, time_of_day, 0.0)
    poses, times = list[Pose](), list[float]()
    pending = sorted(arrivals, key=lambda arrival: arrival[0])
    for step in range(round(until / TICK)):
        now = step * TICK
        if asleep[0] < now < asleep[1]:
            continue
        while pending and pending[0][0] <= now:
            arrival, stamp, weights, head = pending.pop(0)
            assert timeline.add(stamp, arrival, weights, head)
        for pose in timeline.take(now):
            poses.append(pose)
            times.append(now)
    return poses, times, timeline


def stream(
    count: int, start: float = 0.1, stamp: int = STAMP, jitter: float = 0.0, seed: int = 0
) -> list[Arrival]:
    """Frames that arrive in real time, each up to `jitter` late."""
    weights, head = random_motion(count, seed)
    late = np.random.default_rng(seed).uniform(0, jitter, count)
    late[0] = 0.0
    arrivals = np.maximum.accumulate(start + np.arange(count) * PERIOD + late)  # in order
    return [(float(arrivals[n]), stamp + n * PERIOD_NS, weights[n], head[n]) for n in range(count)]


def assert_is_continuous(poses: list[Pose]) -> None:
    assert np.array_equal(np.diff([pose.number for pose in poses]), np.ones(len(poses) - 1))


def assert_is_resampled(poses: list[Pose], frames: list[Arrival], rate: int) -> int:
    """The poses are the frames, resampled from the first one; return how many that are."""
    times = np.arange(len(frames)) * PERIOD
    weights, head, _ = resample_motion(
        np.stack([frame[2] for frame in frames]), np.stack([frame[3] for frame in frames]), times, rate
    )
    assert len(poses) >= len(weights)
    np.testing.assert_allclose([pose.weights for pose in poses[: len(weights)]], weights, atol=1e-6)
    dots = np.abs((np.array([pose.head for pose in poses[: len(weights)]]) * head).sum(axis=1))
    assert dots.min() > 1 - 1e-9
    return len(weights)


@pytest.mark.parametrize("rate", [1, 24, 25, 30, 60, 90, 120, 240])
def test_poses_are_the_interpolated_frames_at_any_rate(rate: int) -> None:
    frames = stream(75)
    poses, _, _ = simulate(frames, 3.6, rate)
    assert_is_resampled(poses, frames, rate)
    assert_is_continuous(poses)


def test_late_frames_change_when_poses_are_sent_and_not_what_they_are() -> None:
    frames = stream(250, jitter=0.08)
    poses, _, _ = simulate(frames, 11.0)
    assert_is_resampled(poses, frames, 60)
    assert_is_continuous(poses)


def test_a_pose_is_sent_at_most_one_frame_after_its_frame_was_published() -> None:
    frames = stream(250, jitter=0.005)
    poses, times, _ = simulate(frames, 11.0, 25)  # a pose for each frame
    delays = np.array(times[:250]) - [frame[0] for frame in frames]
    assert delays.max() <= PERIOD + 2 * TICK
    assert len(poses) >= 250


def test_a_first_frame_that_is_late_delays_the_others_for_half_a_second_at_most() -> None:
    frames = stream(100)
    frames[0] = (frames[0][0] + 0.035, *frames[0][1:])
    _, times, _ = simulate(frames, 4.5, 25)
    delays = np.array(times[:100]) - [frame[0] for frame in frames]
    assert delays[15:].max() <= PERIOD + 2 * TICK


def test_frames_that_become_late_for_good_are_shown_evenly_again_after_a_moment() -> None:
    """As those of the idle face are, after the end of the audio."""
    frames = [
        (arrival + (0.1 if n >= 50 else 0.0), stamp, weights, head)
        for n, (arrival, stamp, weights, head) in enumerate(stream(150))
    ]
    poses, times, _ = simulate(frames, 6.5)
    assert_is_resampled(poses, frames, 60)
    intervals = np.diff(times[: 60 * 149 // 25])
    assert np.abs(intervals[150:] - 1 / 60).max() < 3 * TICK  # all but half a second around the change


def test_speech_after_an_idle_face_is_shown_one_frame_after_it_is_published() -> None:
    idle = [(arrival + 0.1, stamp, weights, head) for arrival, stamp, weights, head in stream(50)]
    start = idle[-1][0] + 0.04
    speech = stream(50, start, STAMP + round((start - 0.1) * NS_PER_S), seed=1)  # not late
    poses, times, _ = simulate([*idle, *speech], start + 2.5, 25)
    weights = np.array([pose.weights for pose in poses])
    for arrival, _, frame, _ in speech[1:-1]:
        nearest = int(np.abs(weights - frame).max(axis=1).argmin())
        assert times[nearest] - arrival <= 2 * PERIOD + 2 * TICK  # the poses lie between the frames


def test_the_number_of_a_pose_is_its_time_of_day_and_starts_again_after_midnight() -> None:
    frames = stream(100, start=0.5)
    noon, _, _ = simulate(frames, 5.0)
    assert noon[0].number == NOON * 60 + 30
    night, _, _ = simulate(frames, 5.0, time_of_day=DAY_S - 2.0)
    numbers = [pose.number for pose in night]
    assert numbers[0] == DAY_S * 60 - 90 and numbers[90] == 0
    assert_is_resampled(night, frames, 60)


@pytest.mark.parametrize("pause", [0.3, 0.49, 2.0, 61.3])
@pytest.mark.parametrize("jump", [0, -(10**12), 10**15, -STAMP])
def test_numbers_go_on_over_a_pause_and_a_reset_and_the_next_stream_is_whole(pause: float, jump: int) -> None:
    first = stream(50)
    start = 0.1 + 50 * PERIOD + pause
    second = stream(50, start, STAMP + round((start - 0.1) * NS_PER_S) + jump, seed=1)
    poses, times, _ = simulate([*first, *second], start + 2.5)
    assert_is_continuous(poses)
    assert_is_resampled(poses, first, 60)
    held = [pose for pose, time in zip(poses, times, strict=True) if 2.4 < time < start]
    assert all(np.allclose(pose.weights, first[-1][2]) for pose in held)
    # the second stream is interpolated as exactly, at whatever phase
    weights = np.stack([frame[2] for frame in second]).astype(np.float64)
    last = [pose for pose, time in zip(poses, times, strict=True) if start + 0.15 < time < start + 1.9]
    for pose in last:
        errors = []
        for a, b in pairwise(weights):
            part = np.clip(((pose.weights - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
            errors.append(np.abs(a + part * (b - a) - pose.weights).max())
        assert min(errors) < 1e-6


def test_frames_generated_ahead_of_time_are_shown_in_real_time() -> None:
    weights, head = random_motion(500)
    frames = [(0.1 + 0.001 * n, STAMP + n * PERIOD_NS, weights[n], head[n]) for n in range(500)]
    poses, times, _ = simulate(frames, 20.5)
    assert_is_resampled(poses, frames, 60)
    assert abs((times[1190] - times[0]) - 1190 / 60) < 0.01


def test_too_many_frames_ahead_of_time_are_dropped() -> None:
    timeline = OutputTimeline(60, FRAME_RATE, NOON, 0.0)
    weights, head = random_motion(1)
    accepted = [
        timeline.add(STAMP + n * PERIOD_NS, 0.0, weights[0], head[0]) for n in range(MAX_PENDING_FRAMES + 10)
    ]
    assert sum(accepted) == MAX_PENDING_FRAMES and not any(accepted[-10:])


def test_nothing_is_sent_before_the_first_frame() -> None:
    timeline = OutputTimeline(60, FRAME_RATE, NOON, 0.0)
    assert timeline.next_due() is None and timeline.take(100.0) == []
    timeline.close()
    assert timeline.is_finished and timeline.is_drained


@pytest.mark.parametrize("wait", [0.0, 0.02, 0.1, 3.0])
def test_a_closed_output_shows_its_last_frames_and_ends_at_rest_in_time(wait: float) -> None:
    frames = stream(50)
    poses, _, timeline = simulate(frames, 0.1 + 49 * PERIOD + 2 * TICK + wait)
    now = 0.1 + 49 * PERIOD + 2 * TICK + wait
    timeline.close()
    while not timeline.is_finished:
        now += TICK
        poses += timeline.take(now)
    assert now <= 0.1 + 50 * PERIOD + wait + 5 * PERIOD
    assert_is_continuous(poses)
    assert_is_resampled(poses, frames, 60)
    assert not poses[-1].weights.any() and np.array_equal(poses[-1].head, [0, 0, 0, 1])
    sizes = [float(pose.weights.sum()) for pose in poses[-10:]]
    assert sizes == sorted(sizes, reverse=True)


def test_an_output_that_is_closed_amid_frames_generated_ahead_ends_at_rest_within_a_second() -> None:
    weights, head = random_motion(500)
    frames = [(0.1, STAMP + n * PERIOD_NS, weights[n], head[n]) for n in range(500)]
    poses, _, timeline = simulate(frames, 2.0)
    timeline.close()
    now = 2.0
    while not timeline.is_finished:
        now += TICK
        poses += timeline.take(now)
    assert now < 3.0 and not poses[-1].weights.any()


def test_a_suspended_process_sends_no_flood_of_poses_when_it_goes_on() -> None:
    _, _, timeline = simulate(stream(50), 2.0)
    timeline.take(2.3)
    assert len(timeline.take(10_000.0)) <= 60 * 2


@pytest.mark.parametrize("seconds", [0.35, 1.5, 3.0])
def test_a_stall_of_the_process_delays_only_its_own_time(seconds: float) -> None:
    """Frames that the stall held back arrive one every 5 ms, until the talker has caught up."""
    woken = 10.0 + seconds
    frames: list[Arrival] = []
    for number, (arrival, stamp, weights, head) in enumerate(stream(1000)):
        late = woken + 0.005 * (number - 247)
        frames.append((max(arrival, late) if arrival > 10.0 else arrival, stamp, weights, head))
    poses, times, _ = simulate(frames, until=39.0, asleep=(10.0, woken))
    assert_is_continuous(poses)
    delay = np.array(times) - np.array([pose.number for pose in poses]) / 60
    is_before, is_long_after = np.array(times) < 9.0, np.array(times) > 20.0
    assert delay[is_long_after].max() <= delay[is_before].max() + PERIOD
