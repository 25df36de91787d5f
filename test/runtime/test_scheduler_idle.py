# SPDX-License-Identifier: Apache-2.0
"""What is published when the audio stops, arrives early or too fast, or is interrupted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.streaming import Talker
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


@pytest.fixture(scope="module")
def talker() -> Talker:
    return small_talker()


def steps(frames: list[Any]) -> set[int]:
    return {after.stamp - before.stamp for before, after in pairwise(frames)}


def test_nothing_is_published_before_the_first_audio(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.run(3.0)
    assert harness.frames == [] and harness.session.state.activity == "waiting"


def test_after_the_audio_idle_frames_follow_at_the_frame_rate(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(4.0)
    idle = [(time, frame) for time, frame in harness.frames if frame.idle]
    assert harness.session.state.activity == "idle"
    assert [frame.index for frame in harness.faces] == list(range(len(harness.faces)))  # numbers continue
    assert steps(harness.faces) == {FRAME}  # stamps are extrapolated
    assert len(harness.audio) == 25 and not any(frame.speaking for _, frame in idle)
    later = [time for time, frame in idle if time > 101.5]
    np.testing.assert_allclose(np.diff(later), 0.04, atol=1e-6)  # paced by the clock
    # frames played by 104.0 may be published: 25 frames a second since 100, less the look-ahead
    assert abs(len(harness.faces) - 25 * (4.0 - talker.lookahead)) <= 1
    assert harness.statistics.idle_frames == len(idle)


def test_the_mouth_is_closed_within_200_ms(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(1.2)
    # the gate of the mouth is shut 160 ms after the last sound: that frame must be out
    assert harness.faces[-1].stamp >= S0 + 1120 * MS


def test_without_idle_nothing_is_published_after_the_mouth_has_closed(talker: Talker) -> None:
    harness = SchedulerHarness(talker, idle=False)
    harness.send_realtime(voice(1.0))
    harness.run(3.0)
    assert len(harness.audio) == 25
    assert harness.faces[-1].stamp >= S0 + 1120 * MS
    assert harness.frames[-1][0] < 101.3


def test_audio_that_resumes_within_half_a_second_continues_the_stream(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(0.6), start=100.0)
    second = voice(0.6, seed=1)
    harness.send_realtime(second, S0 + 1010 * MS, start=101.01)  # a pause of 0.41 s by either clock
    harness.run(2.2)
    assert harness.statistics.streams == 1 and harness.statistics.late == 0
    assert steps(harness.faces) == {FRAME}
    assert [frame.index for frame in harness.faces] == list(range(len(harness.faces)))
    assert [frame.stamp for frame in harness.faces[25:40]] == [S0 + index * FRAME for index in range(25, 40)]
    full_audio = floats(np.concatenate([voice(0.6), np.zeros(6560, np.int16), second]))
    reference = weights(offline(talker, full_audio))
    np.testing.assert_allclose(
        weights(harness.faces)[:40, ~MOUTH_MASK], reference[:40, ~MOUTH_MASK], atol=1e-5
    )


def test_after_a_long_pause_a_new_stream_starts_with_exact_stamps_and_a_cross_fade(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    second = voice(1.0, seed=1)
    begin = S0 + 3007 * MS  # off the old grid
    harness.send_realtime(voice(1.0), start=100.0)
    harness.send_realtime(second, begin, start=103.007)
    harness.run(4.5)
    first_new = next(place for place, frame in enumerate(harness.faces) if place and frame.index == 0)
    new = [frame for frame in harness.faces[first_new:] if not frame.idle]
    assert harness.statistics.streams == 2 and harness.statistics.suppressed == 0
    assert [frame.stamp for frame in new] == [begin + index * FRAME for index in range(25)]
    assert all(before.stamp < after.stamp for before, after in pairwise(harness.faces))
    reference = offline(talker, floats(second))
    np.testing.assert_allclose(weights(new)[5:], weights(reference)[5:], atol=1e-5)
    last = harness.faces[first_new - 1]
    jump = np.abs(reference[0].weights - last.weights).max()
    assert np.abs(new[0].weights - last.weights).max() <= jump / 5
    turn = 1 - abs(np.dot(reference[0].head, last.head))
    assert 1 - abs(np.dot(new[0].head, last.head)) <= turn / 4
    np.testing.assert_allclose([np.linalg.norm(frame.head) for frame in new], 1, atol=1e-6)


@pytest.mark.parametrize("lateness", [0.2, 0.35])
def test_audio_that_stays_late_is_processed_again_after_the_delay(talker: Talker, lateness: float) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(3.0)
    harness.send_realtime(pcm[:16000], start=100.0)
    harness.send_realtime(
        pcm[16000:], S0 + 1000 * MS, start=101.0 + lateness
    )  # all later packets are delayed
    harness.run(4.0)
    assert harness.statistics.late > 0
    assert all(before.stamp < after.stamp for before, after in pairwise(harness.faces))
    stamps = [frame.stamp for frame in harness.audio if frame.stamp >= S0 + 1800 * MS]
    assert stamps == [S0 + 1800 * MS + index * FRAME for index in range(30)]


def test_audio_faster_than_real_time_is_paced(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(4.0)
    for packet in range(40):
        harness.send(pcm[1600 * packet : 1600 * (packet + 1)], S0 + 100 * packet * MS)
    harness.run(5.0)
    assert len(harness.audio) == 100 and harness.statistics.dropped == harness.statistics.overloads == 0
    for time, frame in harness.frames:
        if not frame.idle:
            assert time == pytest.approx(100 + (frame.stamp - S0) / 1e9, abs=1e-6)
    assert steps(harness.faces) == {FRAME}
    np.testing.assert_allclose(weights(harness.audio), weights(offline(talker, floats(pcm))), atol=1e-5)


def test_without_pacing_frames_are_published_at_once_with_future_stamps(talker: Talker) -> None:
    harness = SchedulerHarness(talker, pacing="none")
    pcm = voice(4.0)
    for packet in range(40):
        harness.send(pcm[1600 * packet : 1600 * (packet + 1)], S0 + 100 * packet * MS)
    harness.run(0.05)
    assert len(harness.audio) == 98  # all but the frames whose look-ahead is incomplete
    assert [frame.stamp for frame in harness.audio] == [S0 + index * FRAME for index in range(98)]


def test_two_sentences_sent_at_once_are_played_one_after_the_other(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    for start in (0, 5000):  # stamped 5 s apart, sent in one moment
        for packet in range(10):
            harness.send(voice(0.1), S0 + (start + 100 * packet) * MS)
    harness.run(3.0)
    times = [time for time, frame in harness.frames if not frame.idle]
    assert len(times) == 50 and np.diff(times).min() >= 0.04 - 1e-6


def test_barge_in_drops_the_queue_and_closes_the_mouth_within_150_ms(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    pcm = voice(4.0)
    for packet in range(4):
        harness.send(pcm[16000 * packet : 16000 * (packet + 1)], S0 + 1000 * packet * MS)
    harness.run(1.3)  # 0.8 s of the second packet wait
    frame_count = len(harness.frames)
    assert np.abs(harness.faces[-1].weights[MOUTH_MASK]).max() > 0  # there is a mouth to close
    harness.session.interrupt()
    harness.run(0.15)
    assert (
        len(harness.frames) > frame_count
        and harness.session.is_at_rest
        and harness.session.queued_seconds == 0
    )
    assert np.abs(harness.faces[-1].weights[MOUTH_MASK]).max() == 0
    harness.run(2.0)
    assert harness.statistics.interrupts == 1 and harness.session.queued_seconds == 0
    assert all(
        np.abs(frame.weights[MOUTH_MASK]).max() == 0 for time, frame in harness.frames if time > 101.45
    )
    assert len(harness.audio) <= frame_count + 3  # the rest is idle: the queued audio was dropped
    assert steps(harness.faces) == {FRAME}
    harness.send_realtime(voice(0.4), S0 + 20_000 * MS)
    harness.run(1.0)
    assert harness.statistics.streams == 2
    assert [frame.index for frame in harness.faces if frame.stamp >= S0 + 20_000 * MS][:10] == list(range(10))


def test_live_audio_after_barge_in_starts_a_new_stream(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(2.0))
    harness.at(101.0, harness.session.interrupt)
    harness.run(3.0)
    assert harness.statistics.streams == 2
    assert all(before.stamp < after.stamp for before, after in pairwise(harness.faces))
    assert 45 <= len(harness.audio) <= 51


def test_a_new_stream_never_repeats_a_published_time(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(1.5)
    harness.session.interrupt()
    harness.run(0.5)
    published = harness.faces[-1].stamp
    behind = S0 + 1600 * MS  # the next packets are stamped 0.3 s too early
    harness.send_realtime(voice(1.0), behind)
    harness.run(1.5)
    assert published > behind and harness.statistics.suppressed == (published - behind) // FRAME + 1
    assert all(before.stamp < after.stamp for before, after in pairwise(harness.faces))
    new = [frame for frame in harness.faces if frame.stamp > published and not frame.idle]
    assert [(frame.stamp - behind) / FRAME for frame in new] == [frame.index for frame in new]
    assert new[-1].index == 24


def test_reset_returns_to_the_initial_state(talker: Talker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(1.5)
    harness.session.reset()
    count = len(harness.frames)
    harness.run(2.0)
    assert len(harness.frames) == count and harness.session.state.activity == "waiting"
    second = voice(1.0, seed=1)
    harness.send_realtime(second, S0 - 10_000 * MS)  # an earlier time, and no cross-fade from the old face
    harness.run(1.5)
    again = [frame for frame in harness.faces[count:] if not frame.idle]
    assert [frame.stamp for frame in again] == [S0 - 10_000 * MS + index * FRAME for index in range(25)]
    np.testing.assert_allclose(weights(again), weights(offline(talker, floats(second))), atol=1e-5)
