# SPDX-License-Identifier: Apache-2.0
"""The stateful resampler: chunked = whole, time kept, aliases gone, the stated delay true."""

import numpy as np
import pytest

from streamingtalker_ros.audio.resample import Resampler, to_16k
from streamingtalker_ros.errors import TalkerError

RATES = (8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000, 192000)


def tone(frequency, rate, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_chunks_of_any_size_give_the_whole(rate) -> None:
    rng = np.random.default_rng(rate)
    pcm = rng.standard_normal(rate // 2 + 7).astype(np.float32) * 0.1
    whole = to_16k(pcm, rate)
    assert len(whole) == -(-len(pcm) * 16000 // rate)
    resampler, pieces, start = Resampler(rate), [], 0
    while start < len(pcm):
        size = int(rng.choice([0, 1, 2, 160, 441, 960, 4000]))
        pieces.append(resampler.accept(pcm[start : start + size]))
        start += size
    pieces.append(resampler.finish())
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_16k_passes_untouched_and_undelayed() -> None:
    pcm = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    resampler = Resampler(16000)
    assert resampler.delay == 0
    np.testing.assert_array_equal(resampler.accept(pcm), pcm)
    assert len(resampler.finish()) == 0


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_place_in_time(rate) -> None:
    """Within 0.15 ms: 0.1 rad of 100 Hz at 16 kHz would be 0.16 ms."""
    out = to_16k(tone(100, rate), rate)
    inner = slice(1600, 14400)
    assert np.abs(out[inner] - tone(100, 16000)[inner]).max() < 2 * np.pi * 100 * 0.00015


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 22050])
def test_what_16k_cannot_hold_is_gone(rate) -> None:
    out = to_16k(tone(9500, rate), rate)[1600:14400]
    assert np.abs(out).max() < 1e-4
    kept = to_16k(tone(7000, rate), rate)[1600:14400]
    assert abs(np.sqrt(2 * np.mean(kept**2)) - 1) < 0.01


@pytest.mark.parametrize("rate", RATES)
def test_the_stated_delay_holds_for_blocks_of_20_ms(rate) -> None:
    resampler = Resampler(rate)
    assert 0 < resampler.delay <= 0.031
    block, taken, given = rate // 50, 0, 0
    for _ in range(100):
        given += len(resampler.accept(np.ones(block, np.float32)))
        taken += block
        assert taken / rate - given / 16000 <= resampler.delay + 1e-4


def test_reset_is_a_fresh_resampler() -> None:
    resampler = Resampler(44100)
    resampler.accept(tone(300, 44100))
    resampler.reset()
    pcm = tone(700, 44100, 0.3)
    again = np.concatenate([resampler.accept(pcm), resampler.finish()])
    np.testing.assert_array_equal(again, to_16k(pcm, 44100))


def test_after_finish_only_reset_helps() -> None:
    resampler = Resampler(48000)
    resampler.accept(tone(300, 48000, 0.1))
    resampler.finish()
    with pytest.raises(TalkerError, match="reset"):
        resampler.accept(tone(300, 48000, 0.1))
    assert len(resampler.finish()) == 0


def test_a_long_stream_does_not_drift() -> None:
    resampler, given = Resampler(44100), 0
    second = np.zeros(44100, np.float32)
    for _ in range(120):
        given += len(resampler.accept(second))
    assert 0 <= 120 - given / 16000 <= resampler.delay
