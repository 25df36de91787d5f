# SPDX-License-Identifier: Apache-2.0
"""Laws of the gaze: eyes and head point at the target, eyes lead, limits hold, the gaze returns."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker, TalkerError
from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Modulation
from streamingtalker_ros.conversation.gaze import GazeController, reach_problem
from streamingtalker_ros.conversation.gaze_geometry import EYES_M, PIVOT_M, Vector, eye_angles, gaze_rays
from streamingtalker_ros.conversation.neck import NeckLimits
from streamingtalker_ros.conversation.saccade import Saccade, saccade_duration
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rotation import quaternion_to_euler, rotation_vector_to_quaternion
from streamingtalker_ros.model.protocol import BlendshapeFrame
from support.gaze import gaze_errors, mean_direction

RATE = 25.0
STEADY = 25  # frames after which the gaze is steady
MAX_ERROR_DEG = 2.0
TARGETS = [
    (1.0, 0.0, 0.0),
    (0.3, 0.05, 0.05),
    (0.25, -0.1, 0.0),
    (1.0, 1.5, 0.0),
    (2.0, -2.0, -0.6),
    (0.5, 0.1, -0.3),
    (3.0, 1.0, 1.0),
    (1000.0, -300.0, 50.0),
]
OTHERS = [i for name, i in INDEX.items() if not name.startswith(("eyeLook", "eyeBlink", "eyeWide"))]


class Frame:
    """One frame of a controller that runs without a network."""

    def __init__(self, pose: FramePose) -> None:
        self.weights = pose.weights
        self.head = rotation_vector_to_quaternion(pose.rotation)


def run_alone(
    gaze: GazeController,
    frames: int,
    start: int = 0,
    speaking: bool = False,
    thinking: bool = False,
    rate: float = RATE,
    seed: int = 1,
) -> list[Frame]:
    """Frames of a face that is otherwise still."""
    result = []
    for index in range(start, start + frames):
        pose = FramePose(np.zeros(52, np.float32), np.zeros(3, np.float32))
        modulation = Modulation(is_thinking=thinking)
        context = FrameContext(index, rate, seed, speaking, np.zeros(640, np.float32), modulation)
        if gaze.is_active or thinking:
            gaze.step(context, pose)
        result.append(Frame(pose))
    return result


def audio(speech: npt.NDArray[np.float32], speaking: bool) -> npt.NDArray[np.float32]:
    return speech[: 3 * 16_000] if speaking else np.zeros(3 * 16_000, np.float32)


def test_eyes_and_pivot_are_those_of_the_default_face() -> None:
    rig = default_rig()
    centers = [rig.vertices[slice(*rig.parts[f"eye_{side}"])] for side in ("left", "right")]
    between = np.array([0.0582, 0.0, 0.0])
    for points, eye in zip(centers, EYES_M, strict=True):
        assert abs(points[:, 1].mean() - eye[1]) < 1e-4 and abs(points[:, 2].mean() - eye[2]) < 1e-4
    np.testing.assert_allclose(rig.pivot - between, PIVOT_M, atol=1e-6)


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_the_eyes_of_the_default_face_turn_as_the_weights_say(side: str) -> None:
    rig, eye = default_rig(), ("Left", "Right").index(side)
    first, last = rig.parts[f"eye_{side.lower()}"]
    center = np.add(EYES_M[eye], (0.0582, 0.0, 0.0))
    rest = rig.vertices[first:last] - center
    for name in (f"eyeLook{direction}{side}" for direction in ("Up", "Down", "In", "Out")):
        weights = np.zeros(52, np.float32)
        weights[INDEX[name]] = 1.0
        u, _, v = np.linalg.svd(rest.T @ (rest + rig.deltas[INDEX[name], first:last]))
        yaw, pitch = eye_angles(weights)[eye]
        expected = (math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch))
        np.testing.assert_allclose((u @ v).T @ (1.0, 0.0, 0.0), expected, atol=0.005)


@pytest.mark.parametrize("expressiveness", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("speaking", [False, True], ids=["silent", "speaking"])
def test_both_eyes_point_at_a_target_within_2_degrees(
    talker: Talker, speech: npt.NDArray[np.float32], expressiveness: float, speaking: bool
) -> None:
    streams = [talker.open_stream(seed=3, face_expressiveness=expressiveness) for _ in TARGETS]
    for stream, target in zip(streams, TARGETS, strict=True):
        stream.look_at(target)
    accepted = talker.accept(streams, [audio(speech, speaking)] * len(streams))
    for frames, target in zip(accepted, TARGETS, strict=True):
        assert gaze_errors(frames, target)[STEADY:].max() < MAX_ERROR_DEG, target


def walk(speed: float, distance: float) -> Callable[[float], Vector]:
    """A person who walks by from right to left."""
    return lambda t: (distance, speed * (t - 2.0), 0.1)


def sine(frequency: float, amplitude: float) -> Callable[[float], Vector]:
    """A person 1.5 m away who sways."""
    return lambda t: (1.5, amplitude * math.sin(2.0 * math.pi * frequency * t), -0.2)


def circle(frequency: float) -> Callable[[float], Vector]:
    """A hand 1.5 m away that turns in a circle of 0.8 m."""
    return lambda t: (
        1.5,
        0.4 * math.cos(2.0 * math.pi * frequency * t),
        0.4 * math.sin(2.0 * math.pi * frequency * t),
    )


PATHS = {
    "walk 1 m/s at 1 m": walk(1.0, 1.0),
    "walk 1.5 m/s at 1 m": walk(1.5, 1.0),
    "walk 1.5 m/s at 2 m": walk(1.5, 2.0),
    "sine 0.2 Hz": sine(0.2, 0.5),
    "sine 0.5 Hz": sine(0.5, 0.5),
    "circle 0.3 Hz": circle(0.3),
    "circle 0.5 Hz": circle(0.5),
}


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_both_eyes_stay_within_2_degrees_of_a_target_that_moves(
    talker: Talker, speech: npt.NDArray[np.float32], interval: int
) -> None:
    """Positions come with every first to third frame; between them it is predicted."""
    streams = {path: talker.open_stream(seed=3) for path in PATHS}
    errors: dict[str, list[float]] = {path: [] for path in PATHS}
    for n in range(100):
        for path, stream in streams.items() if n % interval == 0 else ():
            stream.look_at(PATHS[path](n / RATE))
        chunk = speech[n * 640 : (n + 1) * 640]
        accepted = talker.accept([*streams.values()], [chunk] * len(streams))
        for path, frames in zip(PATHS, accepted, strict=True):
            first = n - len(frames) + 1
            errors[path] += [gaze_errors([frame], PATHS[path](first / RATE)).max() for frame in frames]
    assert max(max(each[STEADY:]) for each in errors.values()) < MAX_ERROR_DEG, errors


def test_a_target_that_jumps_or_whose_tracker_is_noisy_is_not_predicted() -> None:
    rng = np.random.default_rng(0)
    gaze, errors = GazeController(), []
    for n in range(200):
        place = (1.5, 0.4 * (-1) ** (n // 50), 0.0)
        gaze.look_at(LookAt(tuple(np.add(place, rng.normal(0.0, 0.005, 3)))))
        (frame,) = run_alone(gaze, 1, n)
        errors.append(gaze_errors([frame], place).max() if n % 50 >= STEADY else 0.0)
    assert max(errors) < MAX_ERROR_DEG


def test_a_target_that_is_lost_while_it_moves_is_looked_at_where_it_was_last() -> None:
    gaze, path = GazeController(), walk(1.0, 1.5)
    for n in range(50):
        gaze.look_at(LookAt(path(n / RATE)))
        run_alone(gaze, 1, n)
    assert gaze_errors(run_alone(gaze, 60, 50), path(49 / RATE))[40:].max() < MAX_ERROR_DEG


def test_saccades_to_a_target_that_moves_are_on_the_main_sequence() -> None:
    """Beyond the 100 degrees per second of pursuit, sampled 500 times a second."""
    rate, gaze, angles = 500.0, GazeController(), []
    for n in range(1500):
        angle = math.radians(25.0 * math.sin(2.0 * math.pi * 0.7 * n / rate))
        if n % 40 == 0:
            gaze.look_at(LookAt((1e5 * math.cos(angle), 1e5 * math.sin(angle), 0.0)))
        x, y, _ = mean_direction(run_alone(gaze, 1, n, rate=rate)[0])
        angles.append(math.degrees(math.atan2(y, x)))
    speed = np.abs(np.diff(angles)) * rate
    edges = np.flatnonzero(np.diff(np.concatenate(([0], speed > 130.0, [0]))))
    saccades = [(speed[i:j].sum() / rate, speed[i:j].max()) for i, j in edges.reshape(-1, 2)]
    assert len(saccades) >= 2
    for amplitude, peak in saccades:
        seconds = saccade_duration(amplitude + 1.0)
        assert peak <= 100.0 + 1.65 * (amplitude + 1.0) / seconds


def test_the_eyes_lead_and_counter_rotate_while_the_head_follows() -> None:
    gaze, target = GazeController(), (1.0, 1.2, 0.0)
    gaze.look_at(LookAt(target))
    frames = run_alone(gaze, 50)
    yaws = np.degrees([quaternion_to_euler(frame.head)[0] for frame in frames])
    eyes = np.degrees([np.mean([yaw for yaw, _ in eye_angles(frame.weights)]) for frame in frames])
    assert abs(yaws[0]) < 1e-3 and eyes[0] > 2.0  # the eyes move in a frame in which the head rests
    assert eyes.argmax() < 10 and eyes.max() > eyes[-1] + 3.0  # they overshoot their place and turn back
    assert (np.diff(yaws) > -1e-6).all() and 25.0 < yaws[-1] < 40.0
    on_target = int(np.argmax(gaze_errors(frames, target).max(axis=1) < MAX_ERROR_DEG))
    assert abs(yaws[on_target] - yaws[-1]) > 1.0  # on the target while the head still turns
    assert (gaze_errors(frames[on_target:], target) < MAX_ERROR_DEG).all()


def test_up_to_10_degrees_the_head_does_not_move() -> None:
    for yaw, pitch in ((9.0, 0.0), (-9.0, 5.0), (0.0, 9.0)):
        gaze = GazeController()
        y, z = math.tan(math.radians(yaw)), math.tan(math.radians(pitch)) / math.cos(math.radians(yaw))
        gaze.look_at(LookAt((2.0, 2.0 * y, 2.0 * z)))
        np.testing.assert_allclose(run_alone(gaze, 30)[-1].head, [0.0, 0.0, 0.0, 1.0], atol=1e-6)


@pytest.mark.parametrize("rate", [25.0, 60.0])
def test_frames_are_samples_of_the_saccade(rate: float) -> None:
    for degrees in (3.0, 6.0, 9.0):
        gaze = GazeController()
        angle = math.radians(degrees)
        gaze.look_at(LookAt((1e5 * math.cos(angle), 1e5 * math.sin(angle), 0.0)))
        frames = run_alone(gaze, 4, rate=rate)
        saccade = Saccade((0.0, 0.0), (angle, 0.0), angle)
        for n, frame in enumerate(frames):
            x, y, _ = mean_direction(frame)
            expected = saccade.position((n + 0.5) / rate)[0]
            assert math.degrees(abs(math.atan2(y, x) - expected)) < 0.05


def test_the_eyes_converge_on_near_targets() -> None:
    angles = []
    for distance in (0.2, 0.5, 5.0):
        gaze = GazeController()
        gaze.look_at(LookAt((distance, 0.0, 0.0)))
        (left, _), (right, _) = eye_angles(run_alone(gaze, 50)[-1].weights)
        angles.append(math.degrees(right - left))
        assert angles[-1] == pytest.approx(2.0 * math.degrees(math.atan2(0.0325, distance)), abs=0.2)
    assert angles[0] > angles[1] > angles[2] > 0.0


def test_the_lids_follow_vertical_gaze() -> None:
    blink, wide = INDEX["eyeBlinkLeft"], INDEX["eyeWideLeft"]
    weights = {}
    for height in (-0.5, 0.0, 0.5):
        gaze = GazeController()
        gaze.look_at(LookAt((1.0, 0.0, height)))
        weights[height] = run_alone(gaze, 50)[-1].weights
    assert weights[-0.5][blink] > 0.05 > weights[0.0][blink] and weights[0.5][wide] > 0.05
    assert weights[-0.5][blink] < 0.5  # which would be a blink


def test_large_shifts_bring_blinks_and_small_ones_do_not() -> None:
    counts = []
    for degrees in (8.0, 45.0):
        count = 0
        for seed in range(40):
            gaze = GazeController()
            angle = math.radians(degrees)
            gaze.look_at(LookAt((math.cos(angle), math.sin(angle), 0.0)))
            pose = FramePose(np.zeros(52, np.float32), np.zeros(3, np.float32))
            context = FrameContext(0, RATE, seed, False, np.zeros(640, np.float32), Modulation())
            gaze.step(context, pose)
            count += context.modulation.blink_requested
        counts.append(count)
    assert counts[0] == 0 and counts[1] >= 35


def test_a_blink_goes_with_a_large_shift_of_a_stream(talker: Talker) -> None:
    silence, closures = np.zeros(25 * 640, np.float32), []
    for target in (None, (0.5, 1.0, 0.0)):
        stream = talker.open_stream(seed=3)
        stream.accept(silence)
        stream.look_at(target)
        frames = stream.accept(silence)
        closures.append(max(float(frame.weights[INDEX["eyeBlinkLeft"]]) for frame in frames[:8]))
    assert closures[0] < 0.5 < closures[1]


def test_small_eye_movements_go_on_around_the_target(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    stream = talker.open_stream(seed=3)
    stream.look_at((1.0, 0.1, 0.0))
    frames = stream.accept(speech[: 3 * 16_000])[STEADY:]
    errors = gaze_errors(frames, (1.0, 0.1, 0.0)).max(axis=1)
    assert errors.max() - errors.min() > 0.1 and errors.max() < MAX_ERROR_DEG


def test_released_the_gaze_returns_and_no_bit_differs_from_then_on(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    plain = talker.open_stream(seed=3).accept(speech)
    stream = talker.open_stream(seed=3, eye_motion=True)
    frames: list[BlendshapeFrame] = []
    for n in range(len(speech) // 640):
        if n == 10:
            stream.look_at((1.0, 0.15, 0.0))
        if n == 30:
            stream.look_at(None)
        frames += stream.accept(speech[n * 640 : (n + 1) * 640])
    differs = [
        bool((a.weights != b.weights).any() or (a.head != b.head).any())
        for a, b in zip(frames, plain, strict=True)
    ]
    assert not any(differs[:8]) and all(differs[8:28])  # the look-ahead is two frames
    assert not stream.conversation.is_active
    assert differs[28:].count(True) < 40 and not any(differs[-20:])


def test_a_target_without_news_is_released() -> None:
    gaze = GazeController()
    gaze.look_at(LookAt((1.0, 1.0, 0.0), timeout_s=2.0))
    frames = run_alone(gaze, 200)
    assert (gaze_errors(frames[STEADY:50], (1.0, 1.0, 0.0)) < MAX_ERROR_DEG).all()
    assert not gaze.is_active
    np.testing.assert_array_equal(frames[-1].weights, 0.0)
    np.testing.assert_array_equal(frames[-1].head, [0.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize("chunk", [333, 640, 3000])
def test_chunked_equals_whole_with_commands_at_given_frames(
    talker: Talker, speech: npt.NDArray[np.float32], chunk: int
) -> None:
    commands = {20: (1.0, 0.5, 0.0), 45: (1.0, -1.0, 0.2), 70: None}
    results = []
    for size in (10**9, chunk):
        stream = talker.open_stream(seed=7)
        frames: list[BlendshapeFrame] = []
        bounds = [0, *(640 * n for n in commands), len(speech)]
        for first, last in itertools.pairwise(bounds):
            if first // 640 in commands:
                stream.look_at(commands[first // 640], aversion=True)
            for start in range(first, last, size):
                frames += stream.accept(speech[start : min(start + size, last)])
        results.append(np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames]))
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)


def test_reset_clears_the_gaze_unless_the_conversation_goes_on(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    pcm = speech[:32_000]
    plain = talker.open_stream(seed=7).accept(pcm)
    stream = talker.open_stream(seed=7)
    stream.look_at((1.0, 1.0, 0.0))
    stream.accept(pcm)
    stream.reset(keep_conversation=True)
    assert (gaze_errors(stream.accept(pcm), (1.0, 1.0, 0.0)) < MAX_ERROR_DEG).all()  # from frame 0 on
    stream.reset()
    for frame, expected in zip(stream.accept(pcm), plain, strict=True):
        np.testing.assert_array_equal(frame.weights, expected.weights)
        np.testing.assert_array_equal(frame.head, expected.head)


@pytest.mark.parametrize(
    "point",
    [
        (0.0, 0.0, 0.0),
        (math.nan, 0.0, 0.0),
        (1.0, math.inf, 0.0),
        (1e300, 0.0, 0.0),
        (1.0, 0.0),
        (1.0, 0.0, 0.0, 0.0),
        "abc",
        ("x", "y", "z"),
        3,
        [[1.0], [2.0], [3.0]],
        (10**400, 0, 0),
        object(),
    ],
    ids=lambda point: type(point).__name__,
)
def test_what_is_no_point_is_rejected_and_nothing_changes(talker: Talker, point: object) -> None:
    stream = talker.open_stream()
    stream.look_at((1.0, 0.5, 0.0))
    with pytest.raises(TalkerError, match="gaze target"):
        stream.look_at(point)  # pyright: ignore[reportArgumentType]
    frames = stream.accept(np.zeros(32_000, np.float32))
    assert (gaze_errors(frames[STEADY:], (1.0, 0.5, 0.0)) < MAX_ERROR_DEG).all()


def test_a_target_behind_releases_the_gaze_until_it_comes_back() -> None:
    for point in ((-1.0, 0.3, 0.0), (-1.0, -0.3, 0.1), (0.01, 0.0, 1.0), (-5.0, 0.0, 0.0)):
        gaze = GazeController()
        gaze.look_at(LookAt(point))
        frames = run_alone(gaze, 60)
        np.testing.assert_allclose(frames[-1].head, [0.0, 0.0, 0.0, 1.0], atol=1e-6)
        assert frames[-1].weights.max() < 1e-6 and reach_problem(point) is not None
        gaze.look_at(LookAt((1.0, 0.2, 0.0)))
        frames = run_alone(gaze, 60)
        assert (gaze_errors(frames[STEADY:], (1.0, 0.2, 0.0)) < MAX_ERROR_DEG).all()
    assert reach_problem((1.0, 0.2, 0.0)) is None and reach_problem((0.001, 0.0, 0.0)) is not None


@pytest.mark.parametrize(
    "limits",
    [
        NeckLimits(),
        NeckLimits((-0.3, 0.2), (-0.1, 0.15), (-0.05, 0.05), 1.0, 4.0),
        NeckLimits((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), 0.1, 0.1),
    ],
    ids=["person", "small robot", "fixed neck"],
)
def test_no_limit_is_exceeded_by_any_of_10000_targets(limits: NeckLimits) -> None:
    gaze, rng = GazeController(), np.random.default_rng(0)
    gaze.limits = limits
    head = rng.normal(0.0, 0.15, 3)
    for n in range(10_000):
        if n % int(rng.integers(1, 30)) == 0:
            head = rng.normal(0.0, 0.15, 3)
        direction = rng.standard_normal(3)
        point = direction / np.linalg.norm(direction) * 10.0 ** rng.uniform(-4.0, 4.0)
        gaze.look_at(LookAt(tuple(point) if rng.random() < 0.97 else None, aversion=bool(n % 2)))
        weights = rng.random(52).astype(np.float32) ** 4
        pose = FramePose(weights.copy(), head.astype(np.float32))
        modulation = Modulation(is_thinking=n % 1000 > 900)
        gaze.step(FrameContext(n, RATE, 0, n % 300 > 150, np.zeros(640, np.float32), modulation), pose)
        assert np.isfinite(pose.weights).all() and np.isfinite(pose.rotation).all()
        assert pose.weights.min() >= 0.0 and pose.weights.max() <= 1.0
        if gaze.is_active:
            angles = quaternion_to_euler(rotation_vector_to_quaternion(pose.rotation))
            for angle, (low, high) in zip(angles, (limits.yaw, limits.pitch, limits.roll), strict=True):
                assert low - 1e-5 <= angle <= high + 1e-5
        assert (pose.weights[OTHERS] == weights[OTHERS]).all()


def test_the_head_keeps_its_speed_limit() -> None:
    limits = NeckLimits(max_velocity=0.8, max_acceleration=4.0)
    gaze = GazeController()
    gaze.limits = limits
    yaws = []
    for n, y in enumerate((3.0, -3.0, 3.0, 0.0)):
        gaze.look_at(LookAt((1.0, y, 0.0)))
        yaws += [quaternion_to_euler(frame.head)[0] for frame in run_alone(gaze, 60, 60 * n)]
    speed = np.diff(yaws) * RATE
    assert 0.5 < np.abs(speed).max() <= limits.max_velocity + 1e-4
    assert (np.abs(yaws) < limits.yaw[1]).all()


def test_the_gaze_is_averted_at_the_start_of_a_turn_and_returns_at_its_end() -> None:
    target, looks_away, returns = (1.5, 0.0, 0.0), 0, 0
    for seed in range(20):
        gaze = GazeController()
        gaze.look_at(LookAt(target, aversion=True))
        silent = run_alone(gaze, 50, seed=seed)
        turn = run_alone(gaze, 100, 50, speaking=True, seed=seed)
        after = run_alone(gaze, 50, 150, seed=seed)
        assert (gaze_errors(silent[STEADY:], target) < MAX_ERROR_DEG).all()
        looks_away += bool((gaze_errors(turn[5:15], target) > 5.0).all())
        returns += bool((gaze_errors(after[20:40], target) < MAX_ERROR_DEG).all())
    assert looks_away == 20 and returns == 20


def test_without_aversion_the_gaze_holds_through_a_turn() -> None:
    gaze, target = GazeController(), (1.5, 0.3, 0.0)
    gaze.look_at(LookAt(target))
    run_alone(gaze, 50)
    assert (gaze_errors(run_alone(gaze, 500, 50, speaking=True), target) < MAX_ERROR_DEG).all()


def test_in_conversation_aversions_have_the_lengths_and_gaps_of_people() -> None:
    target = (1.5, 0.0, 0.0)
    for speaking, length, gap in ((True, 1.96, 4.75), (False, 1.14, 7.21)):
        gaze = GazeController()
        gaze.look_at(LookAt(target, aversion=True))
        run_alone(gaze, 100, 1, speaking=speaking)
        away = gaze_errors(run_alone(gaze, 7500, 101, speaking=speaking), target).min(axis=1) > 4.0
        edges = np.flatnonzero(np.diff(away.astype(int)))
        lengths = np.diff(edges)[0 if not away[0] else 1 :: 2] / RATE
        assert np.mean(lengths) == pytest.approx(length, abs=0.25)
        assert len(lengths) == pytest.approx(300.0 / (length + gap), rel=0.25)


def test_thinking_averts_the_gaze_with_and_without_a_target() -> None:
    for target in ((1.5, 0.0, 0.0), None):
        gaze = GazeController()
        gaze.look_at(LookAt(target))
        frames = run_alone(gaze, 250, thinking=True)
        away = gaze_errors(frames, (1.5, 0.0, 0.0)).min(axis=1) > 4.0
        assert away[5:40].all() or away[10:].mean() > 0.6
        after = run_alone(gaze, 100, 250)
        if target is None:
            assert not gaze.is_active
        else:
            assert (gaze_errors(after[STEADY:], target) < MAX_ERROR_DEG).all()


def test_the_gaze_costs_less_than_a_tenth_of_a_frame(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    stream = talker.open_stream(seed=1)
    stream.accept(speech[:16_000])
    begin = time.thread_time()
    frames = len(stream.accept(speech[16_000:48_000]))
    frame_cost = (time.thread_time() - begin) / frames
    gaze = GazeController()
    gaze.look_at(LookAt((1.0, 1.0, 0.2), aversion=True))
    run_alone(gaze, 10)
    begin = time.thread_time()
    run_alone(gaze, 500, 10, speaking=True)
    assert (time.thread_time() - begin) / 500 < 0.1 * frame_cost


def rays_of(frames: Sequence[BlendshapeFrame]) -> npt.NDArray[np.float64]:
    return np.stack([gaze_rays(frame.weights, frame.head)[1] for frame in frames])


def test_the_mouth_does_not_change(talker: Talker, speech: npt.NDArray[np.float32]) -> None:
    def run(stream: Stream, target: tuple[float, float, float] | None) -> list[BlendshapeFrame]:
        stream.look_at(target)
        return stream.accept(speech[:32_000])

    plain, looking = run(talker.open_stream(seed=2), None), run(talker.open_stream(seed=2), (1.0, 1.0, -0.3))
    for a, b in zip(plain, looking, strict=True):
        np.testing.assert_array_equal(a.weights[OTHERS], b.weights[OTHERS])
    assert np.abs(rays_of(plain) - rays_of(looking)).max() > 0.3
