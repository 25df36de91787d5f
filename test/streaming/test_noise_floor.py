# SPDX-License-Identifier: Apache-2.0
"""Laws of the noise floor: how far a voice stands above its noise, and that lips are pressed with more care in it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamingtalker_ros.streaming import lip_constraints  # noqa: E402
from streamingtalker_ros.streaming.noise_floor import MEMORY, NoiseFloor  # noqa: E402

RATE, HOP = 25, 640


def noisy(voice, decibels, seed=0):
    """voice (n,) over white noise that lies so many dB under its mean power."""
    noise = np.random.default_rng(seed).standard_normal(len(voice))
    return (voice + noise * np.sqrt(np.mean(voice**2)) * 10.0 ** (-0.05 * decibels)).astype(np.float32)


def above(audio):
    """What a fresh floor says of each hop of audio."""
    floor = NoiseFloor(RATE)
    return np.array([floor.hear(hop) for hop in audio[: len(audio) // HOP * HOP].reshape(-1, HOP)])


def test_the_louder_the_noise_the_less_a_voice_stands_above_it(speech) -> None:
    quiet, *loud = (
        np.median(above(audio)[25:])
        for audio in (speech, noisy(speech, 30), noisy(speech, 10), noisy(speech, 0))
    )
    assert quiet > lip_constraints.FAINT and list(loud) == sorted(loud, reverse=True)
    assert loud[0] > lip_constraints.LOUD > loud[2]
    assert (
        np.mean(
            above(noisy(speech, 10))[25:]
            < lip_constraints.LOUD + 0.5 * (lip_constraints.FAINT - lip_constraints.LOUD)
        )
        > 0.9
    )


def test_neither_level_nor_offset_is_noise(speech) -> None:
    known = above(speech)
    assert np.abs(above(0.25 * speech) - known)[25:].max() < 1.0
    assert above(0.5 * speech + 0.3)[25:] == pytest.approx(above(0.5 * speech)[25:], abs=0.1)


def test_a_noise_that_ends_is_forgotten_and_one_that_begins_is_heard(speech) -> None:
    voice = np.tile(speech, 3)[: 12 * RATE * HOP]
    middle = len(voice) // 2 // HOP
    ends = np.concatenate((noisy(voice[: middle * HOP], 5), voice[middle * HOP :]))
    begins = np.concatenate((voice[: middle * HOP], noisy(voice[middle * HOP :], 5)))
    late = middle + round(MEMORY * RATE)
    assert (
        above(ends)[late:] == above(voice)[late:]
    ).mean() > 0.9  # the level may still fall from the noise's
    assert (
        np.median(above(begins)[late:])
        < lip_constraints.LOUD
        < lip_constraints.FAINT
        < np.median(above(begins)[RATE:middle])
    )


def test_silence_and_reset_leave_nothing() -> None:
    floor = NoiseFloor(RATE)
    first = [floor.hear(np.zeros(HOP, np.float32)) for _ in range(100)]
    assert np.isfinite(first).all() and len(set(first)) == 1
    floor.hear(np.full(HOP, 0.5, np.float32) * np.sign(np.arange(HOP) % 2 - 0.5))
    floor.reset()
    assert floor.hear(np.zeros(HOP, np.float32)) == first[0] and len(floor.powers) == 1


def pressures(talker, audio):
    """How firmly the default model presses the lips, hop by hop: (n,)."""
    stream = talker.open_stream()
    found = []
    for hop in audio[: len(audio) // HOP * HOP].reshape(-1, HOP):
        stream.accept(hop)
        found.append(stream.lips.pressure)
    return np.array(found)


def test_noise_makes_a_talker_surer_before_it_presses_the_lips_and_quiet_changes_nothing(
    talker, speech, monkeypatch
) -> None:
    loud = noisy(speech, 5)
    careful = pressures(talker, loud), pressures(talker, speech)
    monkeypatch.setattr(lip_constraints, "DOUBT", 0.0)
    careless = pressures(talker, loud), pressures(talker, speech)
    assert careful[0].sum() < careless[0].sum() - 1.0
    assert np.abs(careful[1] - careless[1])[25:].max() == 0.0 and careful[1].max() == 1.0
