# SPDX-License-Identifier: Apache-2.0
"""Arrays of audio are validated and converted without surprises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.pcm import as_mono_float32, to_int16
from streamingtalker_ros.errors import TalkerError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_become_float32_and_nonfinite_samples_silence(dtype: type[np.floating]) -> None:
    pcm = as_mono_float32(np.array([0.5, np.nan, np.inf, -np.inf, -1.5], dtype))
    assert pcm.dtype == np.float32 and pcm.tolist() == [0.5, 0, 0, 0, -1.5]


@pytest.mark.parametrize("pcm", [np.zeros((2, 3)), np.zeros(3, np.int16), 0.5])
def test_other_shapes_and_types_are_rejected(pcm: Any) -> None:
    with pytest.raises(TalkerError, match="pass"):
        as_mono_float32(pcm)


def test_int16_rounds_and_clips() -> None:
    pcm = np.array([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 1.6 / 32768], np.float32)
    assert to_int16(pcm).tolist() == [-32768, -32768, 0, 16384, 32767, 32767, 2]
