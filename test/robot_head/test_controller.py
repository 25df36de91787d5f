# SPDX-License-Identifier: Apache-2.0
"""A robot's head follows the face in time, and its commands stay within the limits for any input."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.face.rotation import euler_to_quaternion
from streamingtalker_ros.robot_head import Command, HeadController, load_head
from support.head_harness import (
    FRAME,
    MS,
    START,
    LimitCheck,
    drive_with_faults,
    make_head,
    make_jaw,
    motion_message,
    speech_with_closure,
)

TICK = 20 * MS
WIDE_LIMITS = {"min": -5, "max": 5, "max_velocity": 100, "max_acceleration": 1e5}
NARROW_LIMITS = {"min": 0.0, "max": 1.0, "max_velocity": 1.0, "max_acceleration": 10.0}


def step(controller: HeadController, now: int) -> Command:
    """Return the command of this moment, which must exist."""
    command = controller.step(now)
    assert command is not None
    return command


def play(
    controller: HeadController,
    frames: Iterable[tuple[int, dict[str, float]]],
    seconds: float,
    arrival: Callable[[int], int] = lambda stamp: stamp + 130 * MS,
    period: int = TICK,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Play frames, (stamp, shapes); return times (n,) in s after START and positions (n, J)."""
    pending = sorted(frames, key=lambda frame: arrival(frame[0]))
    times, path = [], []
    for tick in range(int(seconds * NS_PER_S / period)):
        now = START + tick * period
        while pending and arrival(pending[0][0]) <= now:
            stamp, shapes = pending.pop(0)
            controller.update(motion_message(stamp, shapes), arrival(stamp))
        times.append((now - START) / NS_PER_S)
        path.append(step(controller, now).positions)
    return np.array(times), np.array(path)


@pytest.mark.parametrize("name", ["jaw", "animatronic", "pan_tilt", "arkit"])
def test_shipped_heads_stay_within_their_limits_for_faulty_input(name: str) -> None:
    warnings: list[str] = []
    head = load_head(name)
    for seed in range(2):
        controller = HeadController(head, warnings.append)
        path, times = drive_with_faults(np.random.default_rng(seed), controller, 30)
        assert max(LimitCheck.of_head(head).worst_use(path, times)) <= 1 + 1e-6
        assert controller.rejected > 10 and np.ptp(path, axis=0).max() > 0.1 and len(path) > 500
    assert len(warnings) <= 4 * 2, "one warning per kind of problem"


def test_no_joint_moves_when_the_clock_is_set_back() -> None:
    controller = HeadController(make_jaw())
    before = np.zeros(1)
    for tick in range(50):
        now = START + tick * TICK
        controller.update(motion_message(now, {"jawOpen": 0.8}), now)
        before = step(controller, now).positions
    for seconds_back in (3600, 7200):
        now = START - seconds_back * NS_PER_S
        np.testing.assert_array_equal(step(controller, now).positions, before)


def test_after_a_pause_the_joint_is_where_braking_would_have_brought_it() -> None:
    limits = {"max": 10.0, "max_velocity": 2.0, "max_acceleration": 20.0}
    controller = HeadController(make_jaw({"from": {"jawOpen": 9.0}, **limits}, delay=0.0))
    now = START
    while True:
        controller.update(motion_message(now, names=["jawOpen"], weights=[1.0]), now)
        before = step(controller, now)
        if before.velocities[0] == 2.0:
            break
        now += TICK
        assert now < START + NS_PER_S
    after = step(controller, now + 3 * NS_PER_S)
    assert after.velocities[0] == 0
    assert after.positions[0] - before.positions[0] == pytest.approx(2.0**2 / 40)


def test_with_a_fixed_delay_the_jaw_interpolates_between_stamps() -> None:
    frames = [(START + frame * FRAME, {"jawOpen": frame / 50}) for frame in range(50)]
    controller = HeadController(make_jaw({"max_acceleration": 1e6}, delay=0.3))
    times, path = play(controller, frames, 2.2, period=7 * MS)
    due = (times > 0.4) & (times < 2.0)
    np.testing.assert_allclose(path[due, 0], (times[due] - 0.3) / 0.04 / 50, atol=0.012)  # one step behind


@pytest.mark.parametrize("servo_delay", [0.0, 0.06, 0.12])
def test_a_lead_compensates_the_delay_of_a_servo(servo_delay: float) -> None:
    controller = HeadController(
        make_jaw({"max_velocity": 40.0, "max_acceleration": 3000.0}, delay=0.4, lead=servo_delay)
    )
    times, path = play(controller, speech_with_closure(1.5), 1.6, period=10 * MS)
    audio_time = times + servo_delay - 0.4  # of the audio that is played when the servo reaches its target
    closed = audio_time[(path[:, 0] < 0.05) & (audio_time > 0.2)]
    assert len(closed) and 0.50 <= closed[0] <= 0.54 and 0.54 <= closed[-1] <= 0.60
    assert audio_time[(audio_time > 0.7) & (path[:, 0] > 0.75)][0] < 0.75


def test_without_a_lead_a_slow_servo_closes_late() -> None:
    controller = HeadController(make_jaw({"max_velocity": 40.0, "max_acceleration": 3000.0}, delay=0.4))
    times, path = play(controller, speech_with_closure(1.5), 1.6, period=10 * MS)
    audio_time = times + 0.12 - 0.4
    assert audio_time[(path[:, 0] < 0.05) & (audio_time > 0.2)][0] > 0.62


def test_an_estimated_delay_absorbs_jitter_of_arrival() -> None:
    random = np.random.default_rng(0)
    stamps = [START + frame * FRAME for frame in range(60)]
    arrivals = {stamp: stamp + int(random.uniform(0.13, 0.16) * NS_PER_S) for stamp in stamps}
    frames = [(stamp, {"jawOpen": frame / 60}) for frame, stamp in enumerate(stamps)]
    times, path = play(HeadController(make_jaw()), frames, 2.4, arrival=arrivals.__getitem__)
    lag = (times - path[:, 0] * 60 * 0.04)[30:]
    assert lag.min() > 0.12 and lag.max() < 0.24
    assert np.diff(path[40:, 0]).min() > 0, "the motion never stands still"


def test_motion_sent_ahead_of_its_time_is_played_at_its_time() -> None:
    """With `pacing: none` a complete utterance arrives at once, with its future stamps."""
    frames = [(START + frame * FRAME, {"jawOpen": 0.8 if frame >= 50 else 0.2}) for frame in range(100)]
    times, path = play(HeadController(make_jaw()), frames, 4.8, arrival=lambda stamp: START)
    assert abs(path[(times > 0.5) & (times < 1.9), 0] - 0.2).max() < 0.02
    assert abs(path[(times > 2.2) & (times < 3.9), 0] - 0.8).max() < 0.02
    assert path[-1, 0] == 0.0, "at rest half a second after the end"


def test_an_interruption_discards_motion_sent_ahead() -> None:
    controller = HeadController(make_jaw())
    for frame in range(100):
        controller.update(motion_message(START + frame * FRAME, {"jawOpen": 0.9}), START)
    for tick in range(25):
        controller.step(START + tick * TICK)
    for frame in range(12, 16):  # from half a second on the mouth is closed
        controller.update(motion_message(START + frame * FRAME, {"jawOpen": 0.0}), START + 500 * MS)
    path = [step(controller, START + tick * TICK).positions for tick in range(25, 45)]
    assert path[-1][0] == 0.0


def test_frames_over_a_minute_ahead_are_rejected_with_one_warning() -> None:
    warnings: list[str] = []
    controller = HeadController(make_jaw(), warnings.append)
    for frame in range(10):
        stamp = START + 3600 * NS_PER_S + frame * FRAME
        controller.update(motion_message(stamp, {"jawOpen": 1.0}), START + frame * FRAME)
    assert controller.rejected == 10 and len(warnings) == 1 and "clock" in warnings[0]
    assert step(controller, START + NS_PER_S).state == "resting"


def test_joints_go_to_rest_within_their_limits_when_motion_stops_and_follow_again_when_it_returns() -> None:
    limits = {"min": 0.0, "max": 1.0, "rest": 0.3, "max_velocity": 2.0, "max_acceleration": 30.0}
    controller = HeadController(make_head({"a": {"from": {"jawOpen": 1.0}, **limits}}, timeout=0.5))
    frames = [(START + frame * FRAME, {"jawOpen": 0.9}) for frame in [*range(50), *range(100, 150)]]
    times, path = play(controller, frames, 8.0)
    assert path[0, 0] == 0.3
    assert (path[(times > 1.5) & (times < 2.4), 0] == 0.9).all()
    stale_at = 49 * 0.04 + 0.13 + 0.5
    assert path[np.argmax(times > stale_at - 0.05), 0] == 0.9
    assert path[np.argmax(times > stale_at + 1.0), 0] == 0.3
    assert path[np.argmax(times > 5.5), 0] == 0.9 and path[-1, 0] == 0.3
    assert max(LimitCheck(0.0, 1.0, 2.0, 30.0).worst_use(path, times)) <= 1 + 1e-6


def test_begin_rest_ignores_further_motion() -> None:
    controller = HeadController(make_jaw())
    for tick in range(60):
        now = START + tick * TICK
        controller.update(motion_message(now, {"jawOpen": 0.8}), now)
        controller.step(now)
        if tick == 30:
            assert not controller.at_rest
            controller.begin_rest()
    assert controller.at_rest


def test_commands_start_from_the_reported_joint_positions() -> None:
    warnings: list[str] = []
    head = make_head(
        {"a": {"from": {}, **NARROW_LIMITS}, "b": {"from": {}, **NARROW_LIMITS}}, feedback="joint_states"
    )
    controller = HeadController(head, warnings.append)
    assert controller.step(START) is None
    controller.set_joint_state(["b", "other"], [0.8, 3.0])
    assert controller.step(START + TICK) is None
    controller.set_joint_state(["a", "b"], [7.0, 0.8])  # beyond its limit: clipped to it
    np.testing.assert_array_equal(step(controller, START + 2 * TICK).positions, [1.0, 0.8])
    controller.set_joint_state(["a"], [0.0])  # ignored after the first command
    after = step(controller, START + 3 * TICK).positions
    assert (after > [0.98, 0.78]).all() and (after < [1.0, 0.8]).all()


def test_without_joint_positions_commands_start_at_rest_after_a_warning() -> None:
    warnings: list[str] = []
    head = make_head(
        {"a": {"from": {}, **NARROW_LIMITS}, "b": {"from": {}, **NARROW_LIMITS}}, feedback="joint_states"
    )
    controller = HeadController(head, warnings.append)
    commands = [controller.step(START + tick * TICK) for tick in range(120)]
    assert commands[0] is None and commands[-1] is not None
    assert len(warnings) == 1 and "a, b" in warnings[0]


def test_targets_are_offset_plus_gains_times_shapes_and_head_angles() -> None:
    head = make_head(
        {
            "lips": {"from": {"jawOpen": 2.0, "mouthClose": -1.0}, "offset": 0.1, **WIDE_LIMITS},
            "yaw": {"from": {"head_yaw": 1.0}, **WIDE_LIMITS},
            "pitch": {"from": {"head_pitch": -2.0}, **WIDE_LIMITS},
            "voice": {"from": {"speaking": 1.0, "head_roll": 1.0}, **WIDE_LIMITS},
        }
    )
    controller = HeadController(head)
    rotation = euler_to_quaternion([0.3, 0.1, -0.05])
    for tick in range(40):
        now = START + tick * TICK
        controller.update(motion_message(now, {"jawOpen": 0.5, "mouthClose": 0.25}, head=rotation), now)
        controller.step(now)
    command = step(controller, START + 40 * TICK)
    np.testing.assert_allclose(command.positions, [0.1 + 1.0 - 0.25, 0.3, -0.2, 0.95], atol=1e-9)
    assert command.state == "following" and (command.velocities == 0).all()


def test_smoothing_is_a_low_pass_filter_of_its_time_constant() -> None:
    joint = {"smoothing": 0.2, "max_velocity": 1000, "max_acceleration": 1e6}
    frames = [(START + frame * FRAME, {"jawOpen": 0.5}) for frame in range(50)]
    controller = HeadController(make_jaw(joint, delay=0.0))
    times, path = play(controller, frames, 1.0, arrival=lambda stamp: stamp, period=10 * MS)
    np.testing.assert_allclose(path[:, 0], 0.5 * (1 - np.exp(-times / 0.2)), atol=0.005)


def test_the_dead_band_ignores_small_changes_but_reaches_every_end() -> None:
    frames = [(START + frame * FRAME, {"jawOpen": 0.5 + 0.04 * (-1) ** frame}) for frame in range(50)]
    frames.append((START + 2 * NS_PER_S, {}))
    controller = HeadController(make_jaw({"deadband": 0.1}, delay=0.0))
    _, path = play(controller, frames, 2.4, arrival=lambda stamp: stamp)
    assert np.ptp(path[10:95, 0]) == 0 and path[-1, 0] == 0.0


def test_shapes_are_matched_by_name_and_missing_ones_reported_once() -> None:
    warnings: list[str] = []
    controller = HeadController(make_jaw(), warnings.append)
    for tick in range(30):
        now = START + tick * TICK
        controller.update(motion_message(now, names=["mouthClose", "jawOpen"], weights=[0.1, 0.6]), now)
        controller.step(now)
    assert step(controller, START + 30 * TICK).positions[0] == pytest.approx(0.6) and not warnings
    for tick in range(31, 60):
        now = START + tick * TICK
        controller.update(motion_message(now, names=["mouthClose"], weights=[0.1]), now)
        controller.step(now)
    assert step(controller, START + 60 * TICK).positions[0] == 0.0
    assert warnings == ["the motion has no jawOpen: using 0"]
