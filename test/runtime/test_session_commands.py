# SPDX-License-Identifier: Apache-2.0
"""Stamped commands of the conversation in a session: effect by stamp, kept in the next stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.streaming import Talker
from support.gaze import gaze_errors
from support.scheduler_harness import FRAME, MS, S0, START, SchedulerHarness, small_talker, voice

TARGET = (1.0, 0.5, 0.0)


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


def poses(frames: list[Any]) -> npt.NDArray[np.float32]:
    """(T, 56) weights and head."""
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


def first_difference(frames: list[Any], others: list[Any]) -> int:
    """Index of the first frame that differs."""
    count = min(len(frames), len(others))
    return int(np.argmax((poses(frames[:count]) != poses(others[:count])).any(axis=1)))


def run(talker: Talker, packet: float = 0.02, **parameters: Any) -> SchedulerHarness:
    harness = SchedulerHarness(talker, **parameters)
    harness.send_realtime(voice(2.0), packet=packet)
    return harness


@pytest.mark.parametrize("packet", [0.02, 0.1, 2.0])
@pytest.mark.parametrize("offset_ms", [800, 801, 839, 840])
def test_a_command_takes_effect_at_the_first_frame_not_earlier_than_its_stamp(
    talker: Talker, packet: float, offset_ms: int
) -> None:
    plain, commanded = run(talker, packet), run(talker, packet)
    stamp = S0 + offset_ms * MS
    commanded.at(START + offset_ms / 1000, lambda: commanded.session.command(LookAt(TARGET), stamp))
    for harness in (plain, commanded):
        harness.run(3.5)
    frames = commanded.faces
    first = first_difference(frames, plain.faces)
    assert frames[first].stamp == S0 + -(-offset_ms * MS // FRAME) * FRAME
    np.testing.assert_array_equal(poses(frames[:first]), poses(plain.faces[:first]))


def test_a_command_that_is_late_takes_effect_at_the_next_frame(talker: Talker) -> None:
    plain, commanded = run(talker), run(talker)
    commanded.at(START + 1.5, lambda: commanded.session.command(LookAt(TARGET), S0 + 100 * MS))
    for harness in (plain, commanded):
        harness.run(3.0)
    first = first_difference(commanded.faces, plain.faces)
    published = [time for time, _ in commanded.frames]
    assert published[first] >= START + 1.5 > published[first - 2]


def test_the_order_of_arrival_changes_nothing(talker: Talker) -> None:
    results = []
    stamps = (400, 800, 1200)
    for order in ((0, 1, 2), (2, 0, 1)):
        harness = run(talker)
        for n in order:
            harness.session.command(LookAt((1.0, 0.4 * n - 0.4, 0.0)), S0 + stamps[n] * MS)
        harness.run(3.0)
        results.append(poses(harness.faces))
    np.testing.assert_array_equal(results[0], results[1])


def test_the_gaze_is_held_in_idle_time_and_the_next_stream_and_cleared_by_reset(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.session.command(LookAt(TARGET), S0)
    harness.run(4.0)
    harness.send_realtime(voice(1.0), S0 + 4_000 * MS)
    harness.run(2.0)
    assert harness.statistics.streams == 2
    errors = gaze_errors(harness.faces, TARGET).max(axis=1)
    assert (errors[30:] < 4.0).all() and (errors[30:] < 2.0).mean() > 0.95  # streams cross-fade linearly
    count = len(harness.faces)
    harness.session.reset()
    harness.send_realtime(voice(1.0), S0 + 10_000 * MS)
    harness.run(3.0)
    assert (gaze_errors(harness.faces[count:], TARGET) > 5.0).all()


def test_a_target_without_news_is_released_by_the_time_of_the_frames(talker: Talker) -> None:
    harness = run(talker)
    harness.session.command(LookAt(TARGET, timeout_s=1.0), S0 + 200 * MS)
    harness.run(4.0)
    errors = gaze_errors(harness.faces, TARGET).max(axis=1)
    assert (errors[20:30] < 2.0).all() and (errors[45:] > 5.0).all()


def test_what_cannot_be_done_is_one_message_and_the_frames_go_on(talker: Talker) -> None:
    harness = run(talker)
    harness.session.command(LookAt((-1.0, 0.0, 0.0)), S0)
    harness.session.command(LookAt((-2.0, 0.0, 0.0)), S0 + 400 * MS)
    harness.run(3.0)
    assert len(harness.audio) == 50
    assert all("behind" in warning for warning in harness.warnings) and len(harness.warnings) == 2


def test_a_person_who_walks_by_is_looked_at_where_they_are_when_the_frame_is_shown(talker: Talker) -> None:
    """The stamps are those of a camera, 20 times a second; frames are shown 120 ms after their own stamps."""

    def person(seconds: float) -> tuple[float, float, float]:
        return 1.5, 1.2 * (seconds - 1.0), 0.1

    harness = run(talker)
    for n in range(40):
        harness.session.command(LookAt(person(n / 20)), S0 + n * 50 * MS)
    harness.run(3.0)
    shown = [(frame, (frame.stamp - S0) / 1e9 + 0.12) for frame in harness.faces]
    errors = [gaze_errors([frame], person(time)).max() for frame, time in shown if 0.5 < time < 1.5]
    assert len(errors) > 20 and max(errors) < 2.0
