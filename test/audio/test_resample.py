# SPDX-License-Identifier: Apache-2.0
"""The streaming resampler equals the offline one, keeps time, rejects aliases and states its delay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.resample import Resampler, to_16k
from streamingtalker_ros.errors import TalkerError

RATES = (8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000, 192000)
INNER = slice(1600, 14400)  # of one second at 16 kHz, without the filter's ends


def tone(frequency: float, rate: int, seconds: float = 1.0) -> npt.NDArray[np.float32]:
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_chunks_of_any_size_give_the_offline_result(rate: int) -> None:
    rng = np.random.default_rng(rate)
    pcm = rng.standard_normal(rate // 2 + 7).astype(np.float32) * 0.1
    expected = to_16k(pcm, rate)
    assert len(expected) == -(-len(pcm) * 16000 // rate)
    resampler, chunks, start = Resampler(rate), [], 0
    while start < len(pcm):
        size = int(rng.choice([0, 1, 2, 160, 441, 960, 4000]))
        chunks.append(resampler.accept(pcm[start : start + size]))
        start += size
    chunks.append(resampler.finish())
    np.testing.assert_array_equal(np.concatenate(chunks), expected)


def test_16_khz_passes_unchanged_and_without_delay() -> None:
    pcm = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    resampler = Resampler(16000)
    assert resampler.delay == 0
    np.testing.assert_array_equal(resampler.accept(pcm), pcm)
    assert len(resampler.finish()) == 0


@pytest.mark.parametrize("rate", RATES)
def test_the_signal_is_aligned_within_0_15_ms(rate: int) -> None:
    resampled = to_16k(tone(100, rate), rate)
    assert np.abs(resampled[INNER] - tone(100, 16000)[INNER]).max() < 2 * np.pi * 100 * 0.00015


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 22050])
def test_frequencies_above_8_khz_are_removed_and_those_below_kept(rate: int) -> None:
    alias = to_16k(tone(9500, rate), rate)[INNER]
    assert np.abs(alias).max() < 1e-4
    passed = to_16k(tone(7000, rate), rate)[INNER]
    assert abs(np.sqrt(2 * np.mean(passed**2)) - 1) < 0.01


@pytest.mark.parametrize("rate", RATES)
def test_the_lag_never_exceeds_the_stated_delay(rate: int) -> None:
    resampler = Resampler(rate)
    assert 0 < resampler.delay <= 0.031
    packet, samples_in, samples_out = rate // 50, 0, 0
    for _ in range(100):
        samples_out += len(resampler.accept(np.ones(packet, np.float32)))
        samples_in += packet
        assert samples_in / rate - samples_out / 16000 <= resampler.delay + 1e-4


def test_a_long_stream_does_not_drift() -> None:
    resampler, samples_out = Resampler(44100), 0
    second = np.zeros(44100, np.float32)
    for _ in range(120):
        samples_out += len(resampler.accept(second))
    assert 0 <= 120 - samples_out / 16000 <= resampler.delay


def test_reset_gives_a_fresh_resampler() -> None:
    resampler = Resampler(44100)
    resampler.accept(tone(300, 44100))
    resampler.reset()
    pcm = tone(700, 44100, 0.3)
    resampled = np.concatenate([resampler.accept(pcm), resampler.finish()])
    np.testing.assert_array_equal(resampled, to_16k(pcm, 44100))


def test_a_finished_resampler_rejects_audio() -> None:
    resampler = Resampler(48000)
    resampler.accept(tone(300, 48000, 0.1))
    resampler.finish()
    with pytest.raises(TalkerError, match="reset"):
        resampler.accept(tone(300, 48000, 0.1))
    assert len(resampler.finish()) == 0


@pytest.mark.parametrize("rates", [(0, 16000), (16000, -1)])
def test_rates_that_are_not_positive_are_rejected(rates: tuple[int, int]) -> None:
    with pytest.raises(TalkerError, match="positive"):
        Resampler(*rates)
