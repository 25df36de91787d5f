# SPDX-License-Identifier: Apache-2.0
"""The written rules on what the face does when the audio stops, comes early, comes too fast or is
interrupted."""

import numpy as np
import pytest

from streamingtalker_ros.streaming.voice_gate import MOUTH_MASK
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
def talker():
    return small_talker()


def steps(frames):
    return {after.stamp - before.stamp for before, after in zip(frames, frames[1:])}


def test_nothing_is_published_before_the_first_audio(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.run(3.0)
    assert stage.frames == [] and stage.session.state.activity == "waiting"


def test_when_audio_stops_idle_frames_go_on_at_the_frame_rate(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(1.0))
    stage.run(4.0)
    idle = [(time, frame) for time, frame in stage.frames if frame.idle]
    assert stage.session.state.activity == "idle"
    assert [frame.index for frame in stage.faces] == list(range(len(stage.faces)))  # numbers continue
    assert steps(stage.faces) == {FRAME}  # stamps are extrapolated
    assert len(stage.audio) == 25 and not any(frame.speaking for _, frame in idle)
    later = [time for time, frame in idle if time > 101.5]
    np.testing.assert_allclose(np.diff(later), 0.04, atol=1e-6)  # paced by the clock
    # what is heard at 104.0 may be published: 25 frames a second since 100, less the look-ahead
    assert abs(len(stage.faces) - 25 * (4.0 - talker.lookahead)) <= 1
    assert stage.statistics.idle_frames == len(idle)


def test_the_frames_that_close_the_mouth_have_left_within_200_ms(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(1.0))
    stage.run(1.2)
    # the gate of the mouth is shut 160 ms after the last sound: that frame must be out
    assert stage.faces[-1].stamp >= S0 + 1120 * MS


def test_idle_false_falls_silent_after_the_mouth_has_closed(talker) -> None:
    stage = SchedulerHarness(talker, idle=False)
    stage.send_realtime(voice(1.0))
    stage.run(3.0)
    assert len(stage.audio) == 25
    assert stage.faces[-1].stamp >= S0 + 1120 * MS
    assert stage.frames[-1][0] < 101.3


def test_audio_that_resumes_within_half_a_second_stays_on_the_grid(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(0.6), start=100.0)
    second = voice(0.6, seed=1)
    stage.send_realtime(second, S0 + 1010 * MS, start=101.01)  # a pause of 0.41 s by either clock
    stage.run(2.2)
    assert stage.statistics.streams == 1 and stage.statistics.late == 0
    assert steps(stage.faces) == {FRAME}
    assert [frame.index for frame in stage.faces] == list(range(len(stage.faces)))
    assert [frame.stamp for frame in stage.faces[25:40]] == [S0 + index * FRAME for index in range(25, 40)]
    whole = floats(np.concatenate([voice(0.6), np.zeros(6560, np.int16), second]))
    reference = weights(offline(talker, whole))
    np.testing.assert_allclose(weights(stage.faces)[:40, ~MOUTH_MASK], reference[:40, ~MOUTH_MASK], atol=1e-5)


def test_after_a_longer_pause_a_new_stream_begins_with_true_stamps_and_without_a_jump_of_the_face(
    talker,
) -> None:
    stage = SchedulerHarness(talker)
    second = voice(1.0, seed=1)
    begin = S0 + 3007 * MS  # off the old grid
    stage.send_realtime(voice(1.0), start=100.0)
    stage.send_realtime(second, begin, start=103.007)
    stage.run(4.5)
    first_new = next(place for place, frame in enumerate(stage.faces) if place and frame.index == 0)
    new = [frame for frame in stage.faces[first_new:] if not frame.idle]
    assert stage.statistics.streams == 2 and stage.statistics.suppressed == 0
    assert [frame.stamp for frame in new] == [begin + index * FRAME for index in range(25)]
    assert all(before.stamp < after.stamp for before, after in zip(stage.faces, stage.faces[1:]))
    reference = offline(talker, floats(second))
    np.testing.assert_allclose(weights(new)[5:], weights(reference)[5:], atol=1e-5)
    last = stage.faces[first_new - 1]
    jump = np.abs(reference[0].weights - last.weights).max()
    assert np.abs(new[0].weights - last.weights).max() <= jump / 5
    turn = 1 - abs(np.dot(reference[0].head, last.head))
    assert 1 - abs(np.dot(new[0].head, last.head)) <= turn / 4
    np.testing.assert_allclose([np.linalg.norm(frame.head) for frame in new], 1, atol=1e-6)


@pytest.mark.parametrize("lateness", [0.2, 0.35])
def test_audio_that_stays_late_is_heard_again_after_the_delay(talker, lateness) -> None:
    stage = SchedulerHarness(talker)
    pcm = voice(3.0)
    stage.send_realtime(pcm[:16000], start=100.0)
    stage.send_realtime(
        pcm[16000:], S0 + 1000 * MS, start=101.0 + lateness
    )  # from here on all of it comes later
    stage.run(4.0)
    assert stage.statistics.late > 0
    assert all(before.stamp < after.stamp for before, after in zip(stage.faces, stage.faces[1:]))
    heard = [frame.stamp for frame in stage.audio if frame.stamp >= S0 + 1800 * MS]
    assert heard == [S0 + 1800 * MS + index * FRAME for index in range(30)]


def test_faster_audio_is_paced_to_its_own_time(talker) -> None:
    stage = SchedulerHarness(talker)
    pcm = voice(4.0)
    for packet in range(40):
        stage.send(pcm[1600 * packet : 1600 * (packet + 1)], S0 + 100 * packet * MS)
    stage.run(5.0)
    assert len(stage.audio) == 100 and stage.statistics.dropped == stage.statistics.overloads == 0
    for time, frame in stage.frames:
        if not frame.idle:
            assert time == pytest.approx(100 + (frame.stamp - S0) / 1e9, abs=1e-6)
    assert steps(stage.faces) == {FRAME}
    np.testing.assert_allclose(weights(stage.audio), weights(offline(talker, floats(pcm))), atol=1e-5)


def test_pacing_none_sends_it_at_once_with_its_future_stamps(talker) -> None:
    stage = SchedulerHarness(talker, pacing="none")
    pcm = voice(4.0)
    for packet in range(40):
        stage.send(pcm[1600 * packet : 1600 * (packet + 1)], S0 + 100 * packet * MS)
    stage.run(0.05)
    assert len(stage.audio) == 98  # all but those whose look-ahead has not come
    assert [frame.stamp for frame in stage.audio] == [S0 + index * FRAME for index in range(98)]


def test_two_sentences_sent_at_once_are_spoken_one_after_the_other(talker) -> None:
    stage = SchedulerHarness(talker)
    for start in (0, 5000):  # stamped 5 s apart, sent in one moment
        for packet in range(10):
            stage.send(voice(0.1), S0 + (start + 100 * packet) * MS)
    stage.run(3.0)
    times = [time for time, frame in stage.frames if not frame.idle]
    assert len(times) == 50 and np.diff(times).min() >= 0.04 - 1e-6


def test_an_interruption_drops_the_queue_and_closes_the_mouth_within_150_ms(talker) -> None:
    stage = SchedulerHarness(talker)
    pcm = voice(4.0)
    for packet in range(4):
        stage.send(pcm[16000 * packet : 16000 * (packet + 1)], S0 + 1000 * packet * MS)
    stage.run(1.3)  # 0.8 s of the second packet wait
    heard = len(stage.frames)
    assert np.abs(stage.faces[-1].weights[MOUTH_MASK]).max() > 0  # there is a mouth to close
    stage.session.interrupt()
    stage.run(0.15)
    assert len(stage.frames) > heard and stage.session.is_at_rest and stage.session.queued_seconds == 0
    assert np.abs(stage.faces[-1].weights[MOUTH_MASK]).max() == 0
    stage.run(2.0)
    assert stage.statistics.interrupts == 1 and stage.session.queued_seconds == 0
    assert all(np.abs(frame.weights[MOUTH_MASK]).max() == 0 for time, frame in stage.frames if time > 101.45)
    assert len(stage.audio) <= heard + 3  # the rest is idle: nothing of the queue is heard
    assert steps(stage.faces) == {FRAME}
    stage.send_realtime(voice(0.4), S0 + 20_000 * MS)
    stage.run(1.0)
    assert stage.statistics.streams == 2
    assert [frame.index for frame in stage.faces if frame.stamp >= S0 + 20_000 * MS][:10] == list(range(10))


def test_an_interrupted_live_voice_goes_on_with_what_is_said_next(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(2.0))
    stage.at(101.0, stage.session.interrupt)
    stage.run(3.0)
    assert stage.statistics.streams == 2
    assert all(before.stamp < after.stamp for before, after in zip(stage.faces, stage.faces[1:]))
    assert 45 <= len(stage.audio) <= 51


def test_a_new_stream_never_repeats_a_time_that_was_published(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(1.0))
    stage.run(1.5)
    stage.session.interrupt()
    stage.run(0.5)
    published = stage.faces[-1].stamp
    behind = S0 + 1600 * MS  # what comes next is stamped 0.3 s too early
    stage.send_realtime(voice(1.0), behind)
    stage.run(1.5)
    assert published > behind and stage.statistics.suppressed == (published - behind) // FRAME + 1
    assert all(before.stamp < after.stamp for before, after in zip(stage.faces, stage.faces[1:]))
    new = [frame for frame in stage.faces if frame.stamp > published and not frame.idle]
    assert [(frame.stamp - behind) / FRAME for frame in new] == [frame.index for frame in new]
    assert new[-1].index == 24


def test_reset_forgets_everything(talker) -> None:
    stage = SchedulerHarness(talker)
    stage.send_realtime(voice(1.0))
    stage.run(1.5)
    stage.session.reset()
    count = len(stage.frames)
    stage.run(2.0)
    assert len(stage.frames) == count and stage.session.state.activity == "waiting"
    second = voice(1.0, seed=1)
    stage.send_realtime(second, S0 - 10_000 * MS)  # an earlier time, and no seam with the old face
    stage.run(1.5)
    again = [frame for frame in stage.faces[count:] if not frame.idle]
    assert [frame.stamp for frame in again] == [S0 - 10_000 * MS + index * FRAME for index in range(25)]
    np.testing.assert_allclose(weights(again), weights(offline(talker, floats(second))), atol=1e-5)
