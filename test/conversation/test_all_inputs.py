# SPDX-License-Identifier: Apache-2.0
"""Laws of one stream with every input at once: gaze, emotion, gesture, partner's voice and its own voice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker
from streamingtalker_ros.audio.constants import HOP_LENGTH, SAMPLE_RATE

FRAMES = 100


@pytest.fixture(scope="module")
def voices(speech: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Four seconds of the face's voice, silent in the middle, and of the partner's."""
    own, partner = speech[: FRAMES * HOP_LENGTH].copy(), speech[: FRAMES * HOP_LENGTH][::-1].copy()
    own[SAMPLE_RATE : 3 * SAMPLE_RATE] = 0.0
    partner[: SAMPLE_RATE // 2] = 0.0
    return own, partner


def converse(
    stream: Stream, voices: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], chunk: int
) -> npt.NDArray[np.float32]:
    """(T, 56) weights and head of a conversation whose inputs change each second, with audio in chunks."""
    own, partner = voices
    frames = []
    second = SAMPLE_RATE
    for n in range(len(own) // second):
        stream.look_at((1.5, 0.6 * (-1) ** n, 0.1 * n), aversion=True)
        stream.express(("happy", "angry", "sad", "surprised")[n], 0.9, decay_s=1.5)
        stream.gesture(("nod", "tilt", "shake", "lean")[n])
        stream.hear_partner(partner[n * second : (n + 1) * second])
        piece = own[n * second : (n + 1) * second]
        frames += [f for i in range(0, second, chunk) for f in stream.accept(piece[i : i + chunk])]
    frames += stream.finish()
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


@pytest.mark.parametrize("chunk", [160, 1601])
def test_all_inputs_at_once_give_equal_frames_chunked_and_whole_and_twice(
    talker: Talker, voices: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], chunk: int
) -> None:
    whole = converse(talker.open_stream(seed=3), voices, SAMPLE_RATE)
    stream = talker.open_stream(seed=3)
    chunked = converse(stream, voices, chunk)
    np.testing.assert_allclose(chunked, whole, atol=1e-5)
    stream.reset(seed=3)
    np.testing.assert_array_equal(converse(stream, voices, chunk), chunked)
    assert np.isfinite(whole).all() and len(whole) == FRAMES
