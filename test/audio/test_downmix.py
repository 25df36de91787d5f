# SPDX-License-Identifier: Apache-2.0
"""The downmix is the mean of the channels, except where they cancel; it does not depend on cuts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.downmix import Downmixer, downmix

RATE = 16000
VOICE = (0.3 * np.sin(np.arange(2 * RATE) * 0.07) * (1 + np.sin(np.arange(2 * RATE) * 0.0005))).astype(
    np.float32
)
NOISE = np.random.default_rng(0).normal(0, 1, (2 * RATE, 8)).astype(np.float32)


def channels(*gains: float) -> npt.NDArray[np.float32]:
    """Return the voice in channels of these gains."""
    return np.stack([VOICE * np.float32(gain) for gain in gains], axis=1)


@pytest.mark.parametrize(
    "samples",
    [
        channels(1, 1),
        channels(1, 0),
        channels(1, -0.5),
        channels(0, 0, 1, 0, 0, 0),
        NOISE[:, :2],
        NOISE,
        np.zeros((RATE, 2), np.float32),
        channels(1, 1, -1),
    ],
)
def test_channels_that_do_not_cancel_are_averaged_exactly(samples: npt.NDArray[np.float32]) -> None:
    expected = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(downmix(samples, RATE), expected)


@pytest.mark.parametrize(
    "samples, strongest",
    [
        (channels(1, -1), 0),
        (channels(-0.9, 1), 1),
        (channels(0.5, -1, 0.5), 1),
        (channels(1, -1) + np.float32(0.003) * NOISE[:, :2], None),
    ],
)
def test_where_channels_cancel_the_strongest_is_heard(
    samples: npt.NDArray[np.float32], strongest: int | None
) -> None:
    mixed = downmix(samples, RATE)[RATE // 20 :]
    candidates = range(samples.shape[1]) if strongest is None else [strongest]
    assert any(np.array_equal(mixed, samples[RATE // 20 :, channel]) for channel in candidates)


def test_an_inverted_channel_may_come_and_go() -> None:
    samples = channels(1, -1)
    samples[RATE:, 1] *= -1
    mixed = downmix(samples, RATE)
    settled = np.r_[np.arange(RATE // 20, RATE), np.arange(RATE + RATE // 2, 2 * RATE)]
    np.testing.assert_allclose(mixed[settled], VOICE[settled], atol=1e-6)
    assert np.abs(np.diff(mixed)).max() < 0.2  # no clicks


@pytest.mark.parametrize("size", [1, 7, 320, 321, 5000])
def test_the_output_does_not_depend_on_cuts(size: int) -> None:
    samples = (channels(1, -1) + np.float32(0.01) * NOISE[:, :2])[: 1000 * size if size < 7 else None]
    mixer = Downmixer(2, RATE)
    mixed = [mixer.mix(samples[start : start + size]) for start in range(0, len(samples), size)]
    np.testing.assert_array_equal(np.concatenate(mixed), downmix(samples, RATE))
