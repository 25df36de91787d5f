# SPDX-License-Identifier: Apache-2.0
"""Forced alignment, measured on synthesized speech whose phone times are known."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics import espeak_tts, flite_festival_tts, forced_alignment
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import BILABIALS, VISEME_TARGETS, VOWELS
from streamingtalker_ros.phonetics.sentences import sentences

PAUSE = 3200  # samples of silence around a sentence
OTHER_LANGUAGES = {
    "de": ("Bitte bringen Sie mir die Suppe.",),
    "tr": ("Babam bana büyük bir bebek aldı.", "Pazartesi sabahı pazara beraber gidiyoruz."),
    "es": ("Compramos un kilo de manzanas y media docena de huevos.",),
}


def synthesize(voice: str, texts: Sequence[str]) -> list[Utterance]:
    if voice not in flite_festival_tts.available_voices():
        pytest.skip(f"the voice {voice} is not installed")
    return flite_festival_tts.synthesize(voice, texts)


@pytest.mark.parametrize("voice", ["slt", "awb", "rms"])
def test_aligned_phones_start_when_they_were_synthesized(voice: str) -> None:
    delays: list[float] = []
    matched_bilabials = bilabials = 0
    for utterance in synthesize(voice, list(itertools.islice(sentences(7), 12))):
        aligned = forced_alignment.align(utterance.pcm, utterance.text)
        assert aligned[0].start == 0.0 and aligned[-1].end == len(utterance.pcm) / 16000
        assert all(
            phone.end == after.start and after.end > after.start
            for phone, after in itertools.pairwise(aligned)
        )
        assert all(phone.name in VISEME_TARGETS or phone.name in VOWELS for phone in aligned)
        names, expected = (
            [phone.name.replace("ax", "ah") for phone in phones] for phones in (aligned, utterance.phones)
        )
        for i, j, count in difflib.SequenceMatcher(None, names, expected, False).get_matching_blocks():
            delays += [
                aligned[i + k].start - utterance.phones[j + k].start
                for k in range(count)
                if names[i + k] != "pau"
            ]
            matched_bilabials += sum(name in BILABIALS for name in names[i : i + count])
        bilabials += sum(name in BILABIALS for name in expected)
    assert len(delays) > 200 and matched_bilabials == bilabials
    assert np.median(np.abs(delays)) < 0.012 and np.percentile(np.abs(delays), 90) < 0.03
    assert abs(np.median(delays)) < 0.008


def test_unknown_words_are_spelled_by_rule() -> None:
    (utterance,) = synthesize("slt", ["The blorfing zimbock was happy."])
    names = [phone.name for phone in forced_alignment.align(utterance.pcm, utterance.text)]
    assert "".join(names).count("b") == 2 and names.count("m") == 1


def test_a_transcript_that_does_not_match_is_rejected() -> None:
    (utterance,) = synthesize("slt", ["We saw the bus."])
    text = "many people believe that the mountain was beautiful before the big storm came over the village"
    with pytest.raises(TalkerError, match="does not fit the sound"):
        forced_alignment.align(utterance.pcm, text)


@pytest.mark.parametrize(
    ("samples", "text", "reason"),
    [
        (16000, "hello", "silent"),
        (16000, "bus 22", "digits"),
        (16000, " - ", "no English word"),
        (100, "hello", "too short"),
    ],
)
def test_input_that_cannot_be_aligned_is_rejected_with_the_reason(
    samples: int, text: str, reason: str
) -> None:
    with pytest.raises(TalkerError, match=reason):
        forced_alignment.align(np.zeros(samples, np.float32), text)


@pytest.mark.parametrize("language", ["de", "tr", "es"])
def test_bilabials_of_other_languages_are_found_where_they_were_spoken(language: str) -> None:
    if not espeak_tts.is_available():
        pytest.skip("espeak-ng is not installed")
    texts = OTHER_LANGUAGES[language]
    found = bilabials = 0
    for utterance in espeak_tts.synthesize(language, texts):
        pcm = np.pad(utterance.pcm, PAUSE)
        aligned = forced_alignment.align(pcm, utterance.text, language)
        pause = PAUSE / SAMPLE_RATE
        spans = [(row.start - pause, row.end - pause) for row in aligned if row.name in BILABIALS]
        for phone in utterance.phones:
            if phone.name in BILABIALS:
                bilabials += 1
                found += any(start < phone.end + 0.02 and end > phone.start - 0.02 for start, end in spans)
    assert bilabials >= 4 and found >= 0.8 * bilabials


def test_a_text_of_another_language_without_words_is_rejected() -> None:
    if not espeak_tts.is_available():
        pytest.skip("espeak-ng is not installed")
    with pytest.raises(TalkerError, match="no word"):
        forced_alignment.align(np.ones(16000, np.float32), "12 – 34", "de")
