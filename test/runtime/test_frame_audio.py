# SPDX-License-Identifier: Apache-2.0
"""The audio of the frames is the audio that was received, each sample once, from the frame's stamp on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.session import VoiceSession
from support.scheduler_harness import S0, START, floats, small_talker, voice
from support.tiny_vertex_talker import tiny_vertex_talker

SECONDS = 1.0


class Stage:
    """A session that retains audio, in simulated time."""

    def __init__(self, talker: Any, retains_audio: bool = True) -> None:
        self.now = START
        self.frames: list[Any] = []
        self.session = VoiceSession(
            talker,
            TalkerParameters(),
            self.frames.append,
            clock=lambda: self.now,
            retains_audio=retains_audio,
        )
        self._talker = talker

    def send(self, pcm: np.ndarray, begin: float = 0.0) -> None:
        stamp = S0 + round(begin * 1e9)
        self.session.push(AudioPacket(pcm.tobytes(), AudioFormat(), stamp, self.now, stamp))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            while run_batch(self._talker, [self.session], lambda: self.now).hops:
                pass
            self.now += 0.005


@pytest.mark.parametrize("make", [small_talker, lambda: tiny_vertex_talker(4)], ids=["blendshape", "vertex"])
@pytest.mark.parametrize("packet", [0.02, 0.33, 1.0])
def test_the_audio_of_the_frames_is_that_which_was_received(make: Any, packet: float) -> None:
    stage, pcm = Stage(make()), voice(SECONDS)
    size = round(16000 * packet)
    for begin in range(0, len(pcm), size):
        stage.send(pcm[begin : begin + size], begin / 16000)
        stage.run(packet)
    stage.run(1.0)
    audible = [frame for frame in stage.frames if frame.audio is not None]
    assert audible and all(not frame.idle for frame in audible)
    received = floats(pcm)
    for frame in audible:
        first = int((frame.stamp - S0) * 16000 / 1e9 + 1e-3)  # the sample that lies at it or before
        expected = received[first : first + len(frame.audio)]
        np.testing.assert_allclose(frame.audio[: len(expected)], expected, atol=2e-4)
        assert not frame.audio[len(expected) :].any()
    assert sum(len(frame.audio) for frame in audible) >= len(pcm)
    assert [frame.index for frame in audible] == list(range(len(audible)))


def test_after_barge_in_no_frame_has_audio() -> None:
    stage, pcm = Stage(small_talker()), voice(SECONDS)
    stage.send(pcm)
    stage.run(0.4)
    count = len(stage.frames)
    stage.session.interrupt()
    stage.run(1.0)
    assert count and len(stage.frames) > count + 10
    assert all(frame.audio is not None for frame in stage.frames[:count])
    assert all(frame.audio is None for frame in stage.frames[count:])


def test_retaining_audio_changes_no_frame_and_without_it_frames_have_none() -> None:
    stages = [Stage(small_talker(), retains_audio) for retains_audio in (True, False)]
    for stage in stages:
        stage.send(voice(SECONDS))
        stage.run(2.0)
    assert all(frame.audio is None for frame in stages[1].frames)
    assert len(stages[0].frames) == len(stages[1].frames)
    for one, other in zip(stages[0].frames, stages[1].frames, strict=True):
        assert np.array_equal(one.weights, other.weights) and one.stamp == other.stamp
