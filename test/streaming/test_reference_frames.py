# SPDX-License-Identifier: Apache-2.0
"""The shipped model gives the frames that were recorded of it; changes of the code must not change them.

`test/data/reference_frames.npz` holds for each case of `CASES` the weights, head and voice activity (T, 57)
of the first two seconds of the package's sample voice. Record them again only after the shipped weights or
the rules of `streaming/` have changed on purpose: `python test/streaming/test_reference_frames.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Talker
from support.backends import VARIANTS, Variant

REFERENCE = Path(__file__).parents[1] / "data" / "reference_frames.npz"
SAMPLES = 32000
TOLERANCE = 1e-3  # rounding differs between processors, and errors accumulate
MAX_INT8_DIFFERENCE = 5e-3  # mean over all weights
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "seed": {"seed": 7},
    "style": {"style": "facegood", "seed": 2},
    "guidance": {"guidance": 2.5, "seed": 3, "style": "grid_s1"},
    "steps": {"steps": 8, "seed": 4},
    "context": {"context_frames": 5, "eye_motion": False, "seed": 5},
    "controls": {
        "mouth_expressiveness": 1.4,
        "face_expressiveness": 0.5,
        "expression": {"mouthSmileLeft": 0.4, "browInnerUp": 0.3},
        "seed": 11,
    },
}


def generate(
    talker: Talker, pcm: npt.NDArray[np.float32], options: dict[str, Any]
) -> npt.NDArray[np.float32]:
    """Return weights, head and voice activity of all frames of some audio, (T, 57)."""
    stream = talker.open_stream(**options)
    frames = stream.accept(pcm) + stream.finish()
    rows = [np.concatenate((frame.weights, frame.head, [frame.speaking])) for frame in frames]
    return np.array(rows, np.float32)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_frames_equal_the_recorded_ones(
    variant_talkers: dict[Variant, Talker], speech: npt.NDArray[np.float32], case: str, variant: Variant
) -> None:
    expected = np.load(REFERENCE)[case]
    frames = generate(variant_talkers[variant], speech[:SAMPLES], CASES[case])
    assert frames.shape == expected.shape == (50, 57)
    if variant.precision == "float32":
        np.testing.assert_allclose(frames, expected, atol=TOLERANCE)
    else:
        assert np.abs(frames - expected).mean() < MAX_INT8_DIFFERENCE


if __name__ == "__main__":
    from streamingtalker_ros.audio.files import read_audio
    from streamingtalker_ros.audio.resample import to_16k
    from streamingtalker_ros.resources import DEMO_AUDIO

    voice = to_16k(*read_audio(DEMO_AUDIO))[:SAMPLES].astype(np.float32)
    recorded: Any = {
        name: generate(Talker.load(backend="torch"), voice, options) for name, options in CASES.items()
    }
    np.savez_compressed(REFERENCE, **recorded)
