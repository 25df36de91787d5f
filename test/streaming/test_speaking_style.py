# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.livelink import write_livelink_csv
from streamingtalker_ros.face.mouth_measures import MEASURES, default_mouth_measures
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.streaming.speaking_style import add_style_example, measure_amplitude

APERTURE, WIDTH = MEASURES.index("aperture"), MEASURES.index("width")


@pytest.fixture
def own_talker(talker: Talker) -> Talker:
    """The default model with styles of its own."""
    return Talker(talker.backend)


def speak(talker: Talker, speech: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    stream = talker.open_stream()
    return np.stack([frame.weights for frame in [*stream.accept(speech), *stream.finish()]])


def scaled(weights: npt.NDArray[np.float32], factor: float) -> npt.NDArray[np.float32]:
    measures = default_mouth_measures()
    rest = measures(np.zeros(52))
    return np.stack([measures.fit(row, rest + factor * (measures(row) - rest)) for row in weights])


def test_rest_around_speech_does_not_change_its_amplitude(
    own_talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    weights = speak(own_talker, speech[:64_000])
    rest = np.zeros((100, 52), np.float32)
    alone = measure_amplitude([weights], 25.0)
    np.testing.assert_allclose(measure_amplitude([np.concatenate((rest, weights, rest))], 25.0), alone, 0.1)
    np.testing.assert_allclose(measure_amplitude([weights[::2]], 12.5), alone, 0.15)


@pytest.mark.parametrize("factor", [0.6, 1.4])
def test_the_mouth_moves_as_far_as_in_the_example(
    own_talker: Talker, speech: npt.NDArray[np.float32], tmp_path: Path, factor: float
) -> None:
    """And lips that meet without the style meet with it."""
    talker = own_talker
    plain = speak(talker, speech[:64_000])
    example = tmp_path / "someone.csv"
    write_livelink_csv(example, scaled(plain, factor), np.tile([0.0, 0, 0, 1], (len(plain), 1)), 25.0)
    add_style_example(talker, example)
    assert talker.styles[0] == "someone"
    styled = speak(talker, speech[:64_000])
    measures = default_mouth_measures()
    before, after = measures(plain), measures(styled)
    moved = after.std(0) / before.std(0)
    assert (moved < 0.85).all() if factor < 1 else (moved[[APERTURE, WIDTH]] > 1.1).all(), moved
    closed = before[:, APERTURE] < 0.01
    assert (after[closed, APERTURE] < 0.02).all()
    stream = talker.open_stream(style="neutral")
    neutral = [frame.weights for frame in stream.accept(speech[:64_000])]
    np.testing.assert_array_equal(neutral, plain[: len(neutral)])


def test_a_file_without_speech_is_refused_with_its_name(own_talker: Talker, tmp_path: Path) -> None:
    still = tmp_path / "still.csv"
    write_livelink_csv(still, np.zeros((100, 52), np.float32), np.tile([0.0, 0, 0, 1], (100, 1)), 25.0)
    with pytest.raises(TalkerError, match=r"still\.csv.*moves for less"):
        add_style_example(own_talker, still)
    assert "still" not in own_talker.styles
