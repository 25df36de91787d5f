# SPDX-License-Identifier: Apache-2.0
"""The default checkpoint in a session: the mouth closes when the voice stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import MOUTH_MASK
from streamingtalker_ros.streaming import Talker
from support.scheduler_harness import S0, SchedulerHarness


def opening(frames: list[Any]) -> npt.NDArray[np.float32]:
    return np.array([np.abs(frame.weights[MOUTH_MASK]).max() for frame in frames])


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
    # the mouth was closed, so that the cross-fade hardly changes it
    np.testing.assert_allclose(opening(again)[:37], opening(reference.audio)[:37], atol=0.02)
