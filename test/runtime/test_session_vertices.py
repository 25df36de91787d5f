# SPDX-License-Identifier: Apache-2.0
"""A session of a vertex talker: chunks of frames at 30 frames/s, between the samples of the audio."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.runtime.session import WEB_POLICY
from streamingtalker_ros.runtime.transition import CROSSFADE_FRAMES
from support.scheduler_harness import MS, S0, START, SchedulerHarness, floats, voice
from support.tiny_vertex_talker import tiny_vertex_talker

CHUNK = 5  # frames


@pytest.fixture(scope="module")
def talker() -> VertexTalker:
    return tiny_vertex_talker(CHUNK)


def offline(talker: VertexTalker, pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(T, V, 3) vertices of a complete clip."""
    stream = talker.open_stream(seed=0)
    return vertices([*stream.accept(pcm), *stream.finish()])


def vertices(frames: list[Any]) -> npt.NDArray[np.float32]:
    return np.stack([frame.vertices for frame in frames])


def stamp(index: int, start: int = S0) -> int:
    """Of a frame at 30 frames/s, rounded to the nanosecond."""
    return start + (index * NS_PER_S + 15) // 30


def test_live_audio_gives_the_frames_of_the_whole_clip_with_exact_stamps(talker: VertexTalker) -> None:
    harness, pcm = SchedulerHarness(talker), voice(1.01)
    harness.send_realtime(pcm)
    harness.run(3.0)
    assert [(frame.index, frame.stamp) for frame in harness.audio] == [(n, stamp(n)) for n in range(31)]
    np.testing.assert_allclose(vertices(harness.audio), offline(talker, floats(pcm)), atol=1e-5)
    assert [frame.index for frame in harness.faces] == list(range(len(harness.faces)))


def test_no_frame_of_a_chunk_leaves_before_its_time(talker: VertexTalker) -> None:
    harness = SchedulerHarness(talker)
    for packet in range(20):
        harness.send(voice(0.1), S0 + 100 * packet * MS)
    harness.run(4.0)
    times = np.array([at for at, frame in harness.frames if not frame.idle])
    assert len(times) == 60
    assert np.all(times >= START + np.arange(60) / 30 - 1e-4) and times[-1] < START + 2.0


def test_the_mesh_returns_to_rest_when_the_audio_ends(talker: VertexTalker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(3.0)
    last_audio = harness.audio[-1].index
    template = talker.template
    amplitudes = [np.abs(frame.vertices - template).max() for frame in harness.faces]
    assert amplitudes[last_audio] > 0 and harness.session.is_at_rest
    assert all(amplitude == 0 for amplitude in amplitudes[last_audio + 4 :])
    assert not any(frame.speaking for frame in harness.faces[last_audio + 1 :])


def test_barge_in_lets_the_mesh_return_to_rest(talker: VertexTalker) -> None:
    harness = SchedulerHarness(talker)
    harness.send_realtime(voice(1.0))
    harness.run(1.0)
    harness.session.interrupt()
    harness.run(0.2)
    assert harness.session.is_at_rest
    np.testing.assert_array_equal(harness.faces[-1].vertices, talker.template)


@pytest.mark.parametrize("pause", [0.0, 3.0])
def test_a_new_stream_fades_from_the_mesh_before(talker: VertexTalker, pause: float) -> None:
    harness = SchedulerHarness(talker)
    first, second = voice(0.5), voice(1.0, seed=1)
    begin = S0 + 5000 * MS
    harness.send_realtime(first)
    harness.send_realtime(second, begin, start=START + 0.5 + pause)
    harness.run(3.0 + pause)
    new = [frame for frame in harness.audio if frame.stamp >= begin]
    assert [(frame.index, frame.stamp) for frame in new] == [(n, stamp(n, begin)) for n in range(30)]
    expected = offline(talker, floats(second))
    np.testing.assert_allclose(vertices(new)[CROSSFADE_FRAMES:], expected[CROSSFADE_FRAMES:], atol=1e-5)
    last = harness.faces[harness.faces.index(new[0]) - 1].vertices
    jump, full = np.abs(new[0].vertices - last).max(), np.abs(expected[0] - last).max()
    assert jump <= full / CROSSFADE_FRAMES


def test_overload_skips_frames_and_keeps_stamps_exact(talker: VertexTalker) -> None:
    def on_accept(chunks: object) -> None:
        harness.stall(0.05)

    harness = SchedulerHarness(talker, on_accept=on_accept)
    harness.send_realtime(voice(6.0))
    harness.run(8.0)
    assert harness.statistics.overloads > 0 and harness.statistics.errors == 0
    assert all(frame.stamp == stamp(frame.index) for frame in harness.faces)
    lags = [at - START - (frame.stamp - S0) / NS_PER_S for at, frame in harness.frames if not frame.idle]
    assert max(lags) < 1.5


def test_a_browser_gets_idle_frames_of_a_vertex_talker(talker: VertexTalker) -> None:
    harness = SchedulerHarness(talker, policy=WEB_POLICY, pacing="none")
    harness.session.end_audio(epoch=3)
    harness.run(1.0)
    assert [(frame.index, frame.stamp, frame.epoch) for frame in harness.faces] == [
        (n, stamp(n, 0), 3) for n in range(len(harness.faces))
    ]
    assert len(harness.faces) >= 20 and harness.session.is_at_rest


def test_a_command_of_the_conversation_is_one_message_and_the_frames_go_on(talker: VertexTalker) -> None:
    harness, plain = SchedulerHarness(talker), SchedulerHarness(talker)
    harness.session.command(LookAt((1.0, 0.5, 0.0)), S0)
    for each in (harness, plain):
        each.send_realtime(voice(1.01))
        each.run(3.0)
    assert len(harness.warnings) == 1 and "vertex model" in harness.warnings[0]
    np.testing.assert_array_equal(vertices(harness.faces), vertices(plain.faces))
