# SPDX-License-Identifier: Apache-2.0
"""Laws of the noise floor: the voice's level above its noise, and closures that need more evidence in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Talker
from streamingtalker_ros.streaming import lip_constraints
from streamingtalker_ros.streaming.lip_constraints import FULL_PENALTY_DB, NO_PENALTY_DB
from streamingtalker_ros.streaming.noise_floor import MEMORY_S, NoiseFloorEstimator

FRAME_RATE, HOP = 25, 640
Audio = npt.NDArray[np.float32]


def add_noise(voice: Audio, snr_db: float, seed: int = 0) -> Audio:
    """Add white noise `snr_db` below the voice's mean power."""
    noise = np.random.default_rng(seed).standard_normal(len(voice))
    return (voice + noise * np.sqrt(np.mean(voice**2)) * 10.0 ** (-0.05 * snr_db)).astype(np.float32)


def split_hops(audio: Audio) -> Audio:
    """Return the complete hops of audio, (n, HOP)."""
    return audio[: len(audio) // HOP * HOP].reshape(-1, HOP)


def measure(audio: Audio) -> npt.NDArray[np.float64]:
    """Return a fresh estimator's result for each hop of audio, in dB."""
    floor = NoiseFloorEstimator(FRAME_RATE)
    return np.array([floor.update(hop) for hop in split_hops(audio)])


def test_louder_noise_lowers_the_level_above_it(speech: Audio) -> None:
    clean, *noisy = (
        float(np.median(measure(audio)[25:]))
        for audio in (speech, add_noise(speech, 30), add_noise(speech, 10), add_noise(speech, 0))
    )
    assert clean > NO_PENALTY_DB and noisy == sorted(noisy, reverse=True)
    assert noisy[0] > FULL_PENALTY_DB > noisy[2]
    middle = 0.5 * (FULL_PENALTY_DB + NO_PENALTY_DB)
    assert np.mean(measure(add_noise(speech, 10))[25:] < middle) > 0.9


def test_gain_and_offset_do_not_count_as_noise(speech: Audio) -> None:
    known = measure(speech)
    assert np.abs(measure(np.float32(0.25) * speech) - known)[25:].max() < 1.0
    shifted = measure((0.5 * speech + 0.3).astype(np.float32))
    assert shifted[25:] == pytest.approx(measure(np.float32(0.5) * speech)[25:], abs=0.1)


def test_the_noise_floor_follows_noise_that_ends_or_begins(speech: Audio) -> None:
    voice = np.tile(speech, 3)[: 12 * FRAME_RATE * HOP]
    middle = len(voice) // 2 // HOP
    first, second = voice[: middle * HOP], voice[middle * HOP :]
    ends = measure(np.concatenate((add_noise(first, 5), second)))
    begins = measure(np.concatenate((first, add_noise(second, 5))))
    late = middle + round(MEMORY_S * FRAME_RATE)
    # the level may still be falling from that of the noise
    assert (ends[late:] == measure(voice)[late:]).mean() > 0.9
    assert np.median(begins[late:]) < FULL_PENALTY_DB < NO_PENALTY_DB < np.median(begins[FRAME_RATE:middle])


def test_silence_gives_a_constant_and_reset_discards_all_audio() -> None:
    floor = NoiseFloorEstimator(FRAME_RATE)
    silence = np.zeros(HOP, np.float32)
    levels = [floor.update(silence) for _ in range(100)]
    assert np.isfinite(levels).all() and len(set(levels)) == 1
    floor.update((0.5 * np.sign(np.arange(HOP) % 2 - 0.5)).astype(np.float32))
    floor.reset()
    assert floor.update(silence) == levels[0] and len(floor.powers) == 1


def closing_targets(talker: Talker, audio: Audio) -> npt.NDArray[np.float64]:
    """Return how firmly the shipped model closes the lips, hop by hop."""
    stream = talker.open_stream()
    closing: list[float] = []
    for hop in split_hops(audio):
        stream.accept(hop)
        closing.append(stream.lip_targets.closing)
    return np.array(closing)


def test_in_noise_lips_close_less_often_and_in_quiet_nothing_changes(
    talker: Talker, speech: Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = add_noise(speech, 5)
    penalized = closing_targets(talker, noisy), closing_targets(talker, speech)
    monkeypatch.setattr(lip_constraints, "NOISE_PENALTY", 0.0)
    plain = closing_targets(talker, noisy), closing_targets(talker, speech)
    assert penalized[0].sum() < plain[0].sum() - 1.0
    assert np.abs(penalized[1] - plain[1])[25:].max() == 0.0 and penalized[1].max() == 1.0
