# SPDX-License-Identifier: Apache-2.0
"""Laws of head gestures: amplitude, count and end as commanded, within limits; beats follow the voice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker, TalkerError
from streamingtalker_ros.conversation.commands import GESTURE_NAMES, MAX_GESTURE_AMPLITUDE_DEG, Gesture
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Modulation
from streamingtalker_ros.conversation.gestures import GESTURES, MAX_HEAD_ANGLES_DEG, Axis, GestureController
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.model.protocol import BlendshapeFrame

RATE = 25.0
REST = np.zeros(52, np.float32)


def angles_deg(
    commands: Iterable[Gesture], frames: int = 200, head_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> npt.NDArray[np.float64]:
    """(frames, 3) roll, pitch and yaw of a still head that makes gestures."""
    controller = GestureController()
    for command in commands:
        controller.start(command)
    result = []
    for n in range(frames):
        pose = FramePose(REST.copy(), np.radians(head_deg).astype(np.float32))
        if controller.is_active:
            hop = np.zeros(640, np.float32)
            controller.step(FrameContext(n, RATE, 0, False, hop, Modulation()), pose)
        result.append(np.degrees(pose.rotation))
    assert not controller.is_active
    return np.array(result)


def peaks(values: npt.NDArray[np.float64], height: float) -> int:
    """Number of local maxima above a height."""
    inner = values[1:-1]
    return int(((inner > values[:-2]) & (inner >= values[2:]) & (inner > height)).sum())


def head_euler_deg(frames: Iterable[BlendshapeFrame]) -> npt.NDArray[np.float64]:
    """(T, 3) yaw, pitch and roll."""
    return np.degrees(quaternion_to_euler(np.stack([frame.head for frame in frames])))


def run(stream: Stream, pieces: Iterable[np.ndarray]) -> list[BlendshapeFrame]:
    """All frames of audio."""
    return [frame for piece in pieces for frame in stream.accept(piece)] + stream.finish()


@pytest.mark.parametrize("name", GESTURE_NAMES)
@pytest.mark.parametrize("amplitude", [4.0, 12.0, -12.0])
@pytest.mark.parametrize("count", [1, 3])
def test_a_gesture_turns_its_axis_by_its_amplitude_and_ends_where_it_began(
    name: str, amplitude: float, count: int
) -> None:
    angles = angles_deg([Gesture(name, amplitude, count)], 400)
    axis = GESTURES[name].axis
    assert not np.delete(angles, axis, axis=1).any()
    course = angles[:, axis]
    swing = np.ptp(course)
    if name == "tilt" and count > 1:  # to both sides
        swing /= 2.0
    assert swing == pytest.approx(abs(amplitude), rel=0.25)
    assert course[np.abs(course) > 0.3 * abs(amplitude)][0] * amplitude > 0  # the sign is the side
    assert course[0] == pytest.approx(0.0, abs=0.15 * abs(amplitude)) and course[-1] == 0.0
    if name != "tilt":
        assert peaks(np.sign(amplitude) * course, 0.15 * abs(amplitude)) == count


def test_gestures_of_one_axis_follow_each_other_and_those_of_two_go_together() -> None:
    one = angles_deg([Gesture("nod", 10.0, 1)])[:, Axis.PITCH]
    two = angles_deg([Gesture("nod", 10.0, 1), Gesture("nod", 10.0, 1)])[:, Axis.PITCH]
    assert two.max() == pytest.approx(one.max()) and peaks(two, 5.0) == 2
    both = angles_deg([Gesture("nod", 10.0, 1), Gesture("tilt", 10.0, 1)])
    assert both[5, Axis.PITCH] > 1.0 and both[10, Axis.ROLL] > 1.0


def test_a_flood_of_gestures_is_bounded() -> None:
    controller = GestureController()
    for _ in range(10_000):
        controller.start(Gesture("nod", 30.0, 10))
    pose = FramePose(REST.copy(), np.zeros(3, np.float32))
    frames = 0
    while controller.is_active:
        controller.step(FrameContext(frames, RATE, 0, False, np.zeros(640, np.float32), Modulation()), pose)
        pose.rotation[:] = 0.0
        frames += 1
    assert frames < 8 * 10 * RATE * 1.0 + 50


@pytest.mark.parametrize("head_deg", [(0.0, 0.0, 0.0), (15.0, 20.0, 30.0), (-40.0, 40.0, -60.0)])
def test_the_sum_with_the_heads_own_motion_is_limited(head_deg: tuple[float, float, float]) -> None:
    limit = MAX_GESTURE_AMPLITUDE_DEG
    for sign in (1.0, -1.0):
        commands = [Gesture(name, sign * limit, 2) for name in ("nod", "shake", "tilt")]
        angles = angles_deg(commands, 300, head_deg)
        for axis, largest in MAX_HEAD_ANGLES_DEG.items():
            allowed = max(largest, abs(head_deg[axis]))
            assert np.abs(angles[:, axis]).max() <= allowed + 1e-4


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("wave",), "choose one of nod"),
        ((3,), "unknown gesture"),
        (("nod", 31.0), "amplitude"),
        (("nod", float("nan")), "amplitude"),
        (("nod", 10.0, 0), "count"),
        (("nod", 10.0, 1.5), "whole number"),
        (("nod", 10.0, 10**400), "count"),
    ],
)
def test_an_invalid_gesture_is_one_sentence(values: tuple[Any, ...], words: str) -> None:
    with pytest.raises(TalkerError, match=words):
        Gesture(*values)


def test_a_gesture_in_a_stream_leaves_earlier_and_later_frames_as_they_were(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    plain = run(talker.open_stream(3), [speech])
    stream = talker.open_stream(3)
    frames = stream.accept(speech[:16_000])
    first = len(frames)
    stream.gesture("nod", 12.0, 2)
    frames += run(stream, [speech[16_000:]])
    difference = head_euler_deg(frames)[:, 1] - head_euler_deg(plain)[:, 1]
    assert not difference[:first].any() and not difference[first + 40 :].any()
    assert difference.max() == pytest.approx(12.0, abs=1.5)


def test_without_liveliness_every_bit_stays_and_with_it_chunked_equals_whole(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    def motion(pieces: Iterable[np.ndarray], **controls: Any) -> npt.NDArray[np.float32]:
        frames = run(talker.open_stream(3, **controls), pieces)
        return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])

    plain = motion([speech])
    np.testing.assert_array_equal(motion([speech], liveliness=0.0), plain)
    whole = motion([speech], liveliness=1.0)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(speech), 30))
    np.testing.assert_allclose(motion(np.split(speech, cuts), liveliness=1.0), whole, atol=1e-5)
    mouth = slice(14, 41)
    np.testing.assert_array_equal(whole[:, mouth], plain[:, mouth])  # beats move brows, eyes and head alone


def test_lively_heads_move_as_people_do_and_calm_ones_less(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    """5 to 15 degrees peak to peak within two seconds of lively talk."""

    def swing(liveliness: float) -> float:
        pitch = head_euler_deg(run(talker.open_stream(3, liveliness=liveliness), [speech]))[:, 1]
        window = round(2 * RATE)
        return float(np.median([np.ptp(pitch[n : n + window]) for n in range(0, len(pitch) - window, 5)]))

    calm, middle, lively = swing(0.0), swing(0.5), swing(1.0)
    assert calm < middle < lively and 5.0 <= lively <= 15.0


def test_a_lively_head_is_still_in_silence_and_in_noise(talker: Talker) -> None:
    for level in (0.0, 0.003, 0.05):
        pcm = level * np.random.default_rng(2).standard_normal(4 * 16_000).astype(np.float32)
        plain = head_euler_deg(talker.open_stream(3).accept(pcm))
        lively = head_euler_deg(talker.open_stream(3, liveliness=1.0).accept(pcm))
        assert (np.abs(lively - plain).max(axis=0) <= (5.0, 3.0, 2.5)).all()  # posture at most, no nod


def test_brows_that_go_with_the_voice_are_raised_a_little_unequally(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    sides = [INDEX["browOuterUpLeft"], INDEX["browOuterUpRight"]]
    plain, lively = (
        np.stack([frame.weights[sides] for frame in run(talker.open_stream(3, liveliness=value), [speech])])
        for value in (0.0, 1.0)
    )
    left, right = (lively - plain).T
    is_raised = np.minimum(left, right) > 0.1
    ratio = left[is_raised] / right[is_raised]
    assert is_raised.sum() > 5 and (ratio > 0.7).all() and (ratio < 1.4).all()
    assert np.abs(ratio - 1.0).max() > 0.02
