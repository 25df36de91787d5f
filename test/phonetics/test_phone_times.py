# SPDX-License-Identifier: Apache-2.0
"""Phone times of the synthesisers agree with their audio; names and sentences follow the tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics import flite_festival_tts
from streamingtalker_ros.phonetics.phones import (
    BILABIALS,
    LABIODENTALS,
    VISEME_TARGETS,
    VOWELS,
    Phone,
    normalize_phones,
)
from streamingtalker_ros.phonetics.sentences import sentences, vocabulary

STEP = 40  # samples between loudness values
PAUSE_DB, STOP_DB, CONSONANT_DB, VOWEL_DB = -50.0, -30.0, -15.0, -5.0  # expected loudness


def _expected_loudness(phone: Phone) -> float:
    if phone.name == "pau":
        return PAUSE_DB
    if phone.name in VOWELS:
        return VOWEL_DB
    return STOP_DB if phone.name in "ptkbdg" else CONSONANT_DB


@pytest.mark.parametrize("voice", list(flite_festival_tts.VOICES))
def test_phone_times_agree_with_the_audio_within_8_ms(voice: str) -> None:
    if voice not in flite_festival_tts.available_voices():
        pytest.skip(f"the voice {voice} is not installed")
    lags: list[float] = []
    for utterance in flite_festival_tts.synthesize(voice, list(itertools.islice(sentences(3), 8))):
        phones, pcm = utterance.phones, utterance.pcm
        assert phones[0].start == 0.0 and abs(phones[-1].end - len(pcm) / SAMPLE_RATE) < 1e-6
        assert all(a.end == b.start for a, b in itertools.pairwise(phones))
        level = 10 * np.log10(np.convolve(pcm**2, np.ones(80) / 80, "same")[::STEP] + 1e-9)
        level = np.clip(level - np.percentile(level, 90), PAUSE_DB, 0.0)
        t = np.arange(len(level)) * STEP / SAMPLE_RATE
        expected = np.full(len(t), CONSONANT_DB)
        for phone in phones:
            expected[(t >= phone.start) & (t < phone.end)] = _expected_loudness(phone)
        shifts = range(-24, 25)
        match = [np.corrcoef(level[30:-30], np.roll(expected, shift)[30:-30])[0, 1] for shift in shifts]
        lags.append(shifts[int(np.argmax(match))] * STEP / SAMPLE_RATE)
    assert abs(np.median(lags)) <= 0.0075


def test_phone_names_are_normalized_to_those_of_the_viseme_table() -> None:
    rows = [("H#", 0.0, 0.1), ("pau", 0.1, 0.2), ("AXR", 0.2, 0.3), ("EY1", 0.3, 0.4)]
    phones = normalize_phones([Phone(*row) for row in rows])
    assert [phone.name for phone in phones] == ["pau", "er", "ey"] and phones[0].end == 0.2
    for name in VOWELS | BILABIALS | LABIODENTALS:
        assert name in VISEME_TARGETS or f"{name}:1" in VISEME_TARGETS


def test_an_unknown_voice_is_rejected() -> None:
    with pytest.raises(TalkerError, match="there is no voice 'hal'"):
        flite_festival_tts.synthesize("hal", ["Good morning, Dave."])


def test_sentences_repeat_by_seed_and_stay_short() -> None:
    first, again, other = (list(itertools.islice(sentences(seed), 400)) for seed in (5, 5, 6))
    assert first == again and first != other
    assert all(3 <= len(sentence.split()) <= 14 for sentence in first)
    assert len(set(first)) > 350 and len(vocabulary()) > 800
