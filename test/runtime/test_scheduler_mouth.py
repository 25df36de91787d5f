# SPDX-License-Identifier: Apache-2.0
"""The default checkpoint in a session: the mouth closes after the voice, and parts before a queued one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.face.lip_measure import lip_gap_measure
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.streaming.parted_rest import REST_GAP_M
from support.scheduler_harness import S0, SchedulerHarness


def opening(frames: list[Any]) -> npt.NDArray[np.float32]:
    return np.array([np.abs(frame.weights[MOUTH_MASK]).max() for frame in frames])


def lip_gaps(frames: list[Any]) -> npt.NDArray[np.float64]:
    """Inner-lip gap of frames, metres above rest."""
    return np.array([lip_gap_measure()(frame.weights) for frame in frames])


@pytest.fixture(scope="module")
def loud(speech: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """2 s of the voice as int16, cut where it is loud, within a vowel."""
    level = np.convolve(speech[24000:32000] ** 2, np.ones(400), "same")
    cut = 24000 + int(level.argmax())
    return np.round(speech[cut - 24000 : cut] * 32767).astype(np.int16)


def test_the_mouth_is_closed_200_ms_after_the_audio_stops_and_idle_motion_continues(
    talker: Talker, loud: npt.NDArray[np.int16]
) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(loud)
    harness.run(1.5)
    assert opening(harness.faces).max() > 0.1  # the mouth moved
    harness.run(0.2)
    assert opening(harness.faces)[-1] == 0 and not harness.faces[-1].speaking
    closing = opening([frame for frame in harness.faces if frame.idle])
    assert len(closing) >= 4 and np.all(np.diff(closing) <= 0.1)  # over some frames, never opening again
    harness.run(4.0)
    rest = [frame for time, frame in harness.frames if time > 101.7]
    assert opening(rest).max() == 0 and not any(frame.speaking for frame in rest)
    assert len(rest) == pytest.approx(100, abs=3)  # at the frame rate, after a breath
    others = np.stack([frame.weights[~MOUTH_MASK] for frame in rest])
    assert others.std(axis=0).max() > 0.01  # eyes and brows continue


def test_barge_in_during_a_vowel_closes_the_mouth_within_150_ms_without_a_jump(
    talker: Talker, loud: npt.NDArray[np.int16]
) -> None:
    harness = SchedulerHarness(talker)
    for packet in range(30):  # an utterance sent at once, half of which is played
        harness.send(np.tile(loud, 2)[1600 * packet : 1600 * (packet + 1)], S0 + packet * 100_000_000)
    harness.run(1.4)
    before = opening(harness.faces)[-1]
    harness.session.interrupt()
    count = len(harness.frames)
    harness.run(0.15)
    after = opening(harness.faces[count:])
    assert before > 0.05 and after[-1] == 0
    assert len(after) >= 3 and after[0] > 0  # over some frames, not at once


def test_speech_after_a_pause_opens_the_mouth_as_in_a_first_stream(
    talker: Talker, loud: npt.NDArray[np.int16]
) -> None:
    harness, reference = SchedulerHarness(talker), SchedulerHarness(talker)
    harness.send_realtime(loud)
    harness.send_realtime(loud, S0 + 4_000_000_000, start=104.0)
    harness.run(6.0)
    reference.send_realtime(loud)
    reference.run(2.0)
    again = [frame for frame in harness.audio if frame.stamp >= S0 + 4_000_000_000]
    beyond = slice(4, 37)  # the cross-fade from the closed mouth
    np.testing.assert_allclose(opening(again)[beyond], opening(reference.audio)[beyond], atol=0.02)


@pytest.mark.parametrize("packet", [3.0, 0.02], ids=["one message", "a burst of packets"])
def test_lips_part_before_a_voice_that_is_queued_and_not_before_a_live_one(
    talker: Talker, speech: npt.NDArray[np.float32], packet: float
) -> None:
    room = 14 * np.random.default_rng(0).standard_normal(16000)  # a quiet room for 1 s, then the voice
    pcm = np.concatenate([room, speech[:32000] * 32767]).astype(np.int16)
    queued, live, off = (SchedulerHarness(talker, parted_rest=on) for on in (True, True, False))
    for harness in (queued, off):
        size = round(packet * 16000)
        for first in range(0, len(pcm), size):
            harness.send(pcm[first : first + size], S0 + first * 62_500)
    live.send_realtime(pcm)
    for harness in (queued, live, off):
        harness.run(4.0)
    before = slice(15, 31)  # the first 0.24 s of the voice are quiet
    assert lip_gaps(queued.audio)[before].max() > REST_GAP_M
    assert np.array_equal(lip_gaps(live.audio)[before], lip_gaps(off.audio)[before])
    speaking = [frame.index for frame in off.audio[40:60] if frame.speaking]
    assert np.array_equal(lip_gaps(queued.audio)[speaking], lip_gaps(off.audio)[speaking])
