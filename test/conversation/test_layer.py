# SPDX-License-Identifier: Apache-2.0
"""Laws of the conversation layer: unused it changes no bit, chunked equals whole, reset clears it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Purpose
from streamingtalker_ros.model.protocol import BlendshapeFrame


class RandomNod:
    """A part whose motion depends on everything that it may use."""

    def __init__(self) -> None:
        self.is_active = True
        self.frames = 0

    def step(self, context: FrameContext, pose: FramePose) -> None:
        self.frames += 1
        pose.rotation[1] += 0.1 * context.draw_uniform(Purpose.GESTURES, 1)[0] + np.abs(context.hop).max()
        pose.weights[0] = 0.001 * self.frames

    def reset(self) -> None:
        self.frames = 0


@pytest.fixture(scope="module")
def pcm(speech: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Two seconds of a voice."""
    return speech[: 2 * 16_000]


def as_array(frames: Sequence[BlendshapeFrame]) -> npt.NDArray[np.float32]:
    """(T, 56) weights and head of frames."""
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


def run(stream: Stream, pcm: npt.NDArray[np.float32], chunk: int) -> npt.NDArray[np.float32]:
    """Frames of audio that arrives in chunks."""
    frames = [frame for i in range(0, len(pcm), chunk) for frame in stream.accept(pcm[i : i + chunk])]
    return as_array(frames + stream.finish())


def test_a_part_that_is_not_active_changes_no_bit(talker: Talker, pcm: npt.NDArray[np.float32]) -> None:
    expected = run(talker.open_stream(seed=1), pcm, len(pcm))
    stream, nod = talker.open_stream(seed=1), RandomNod()
    vars(stream.conversation)["gestures"] = nod
    nod.is_active = False
    np.testing.assert_array_equal(run(stream, pcm, len(pcm)), expected)
    nod.is_active = True
    stream.reset()
    assert (run(stream, pcm, len(pcm)) != expected).any()


@pytest.mark.parametrize("chunk", [160, 640, 1601])
def test_chunked_equals_whole(talker: Talker, pcm: npt.NDArray[np.float32], chunk: int) -> None:
    results = []
    for size in (len(pcm), chunk):
        stream = talker.open_stream(seed=1)
        vars(stream.conversation)["gestures"] = RandomNod()
        results.append(run(stream, pcm, size))
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)


def test_reset_clears_the_layer_unless_the_conversation_goes_on(
    talker: Talker, pcm: npt.NDArray[np.float32]
) -> None:
    stream, nod = talker.open_stream(seed=1), RandomNod()
    vars(stream.conversation)["gestures"] = nod
    first = run(stream, pcm, len(pcm))
    stream.reset(keep_conversation=True)
    assert nod.frames == len(first)
    stream.reset()
    assert nod.frames == 0
    np.testing.assert_array_equal(run(stream, pcm, len(pcm)), first)
