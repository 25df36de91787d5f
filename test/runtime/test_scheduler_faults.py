# SPDX-License-Identifier: Apache-2.0
"""Abuse: whatever packets do, the node lives, keeps order, and says the right thing soon after the trouble ends."""

import numpy as np
import pytest

from streamingtalker_ros.runtime.transition import CROSSFADE_FRAMES
from support import fault_injection as abuse
from support.scheduler_harness import FRAME, MS, S0, SchedulerHarness, offline, small_talker, voice

# a frame of 40 ms waits for 80 ms of look-ahead; the packet that completes it is 20 ms long
LIVE = 0.14


@pytest.fixture(scope="module")
def talker():
    return small_talker()


@pytest.mark.parametrize("kind", abuse.KINDS, ids=lambda kind: kind.__name__)
def test_frames_are_right_200_ms_after_any_trouble_ends(talker, kind) -> None:
    trouble = kind(np.random.default_rng(0))
    stage = SchedulerHarness(talker)
    start = trouble.schedule(stage)
    stage.run(abuse.PACKETS * 0.02 + 0.02)
    assert stage.statistics.errors == 0 and stage.statistics.rejected == trouble.rejected
    assert len(set(stage.warnings)) <= 1  # one sentence; the core tells it once
    again = start + trouble.ends + 0.2
    late = [(at, frame) for at, frame in stage.frames if at >= again]
    # in time: no frame of audio is missing, none is older than the look-ahead asks for
    assert [after.stamp - before.stamp for (_, before), (_, after) in zip(late, late[1:])] == [FRAME] * (
        len(late) - 1
    )
    shift = late[0][1].stamp - late[0][1].index * FRAME - trouble.start if trouble.grid is not None else 0
    clock = S0 + (trouble.start - S0 if kind is abuse.clock_set else 0)
    for at, frame in late:
        spoken = (frame.stamp - clock) / 1e9 + (
            start if kind is not abuse.clock_set else start + abuse.TWO * 0.02
        )
        assert 0 < at - spoken <= LIVE + 0.02 and not frame.idle
    assert len(late) >= 25 * (abuse.PACKETS * 0.02 - trouble.ends - 0.2 - LIVE) - 2
    if trouble.grid is None:
        return
    # and right: what the model says to the audio that was heard
    assert abs(shift) <= 15 * MS
    expected = offline(talker, trouble.grid)
    for at, frame in late:
        if frame.index <= CROSSFADE_FRAMES and trouble.start != S0 or at < again + 0.1:
            continue  # what was left of the old face fades, the mouth opens again
        np.testing.assert_allclose(frame.weights, expected[frame.index].weights, atol=1e-5)
        np.testing.assert_allclose(frame.head, expected[frame.index].head, atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pacing", ["audio", "none"])
def test_random_abuse_breaks_nothing(talker, seed, pacing, seconds=8.0) -> None:
    stage = SchedulerHarness(talker, pacing=pacing, queue_seconds=5.0)
    end, stamp = abuse.at_random(stage, np.random.default_rng(seed), seconds)
    stage.run(end - stage.now)
    judge(stage)
    assert stage.statistics.frames > 4 * seconds and stage.statistics.packets > 25 * seconds


def judge(stage) -> None:
    """What holds of all that was published, and that a clean voice is heard at once."""
    assert stage.statistics.errors == 0
    for (_, before), (_, after) in zip(stage.frames, stage.frames[1:]):
        assert after.stamp > before.stamp or after.index <= before.index  # only a new stream may go back
        assert np.isfinite(after.weights).all() and np.isfinite(after.head).all()
        assert after.weights.min() >= 0 and after.weights.max() <= 1
    assert stage.session.queued_seconds < 6

    stage.run(3.0)  # whatever was queued is spoken
    count = len(stage.frames)
    again = S0 + 3600_000 * MS  # then a clean voice
    stage.send_realtime(voice(1.0), again)
    stage.run(0.2)
    first = stage.faces[count:]
    assert any(again <= frame.stamp < again + FRAME for frame in first)
    stage.run(2.0)
    heard = [frame for frame in stage.faces[count:] if again <= frame.stamp and not frame.idle]
    assert [frame.stamp for frame in heard] == [again + index * FRAME for index in range(25)]
    assert stage.statistics.errors == 0
