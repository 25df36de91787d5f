# SPDX-License-Identifier: Apache-2.0
"""espeak-ng: phone times fit the audio, and every language maps to phones with viseme targets."""

from __future__ import annotations

import difflib
import itertools

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics import espeak_tts, forced_alignment, languages
from streamingtalker_ros.phonetics.phones import BILABIALS, VISEME_TARGETS, VOWELS
from streamingtalker_ros.phonetics.sentences import sentences


@pytest.fixture
def espeak() -> None:
    """Skips a test where libespeak-ng is not installed."""
    if not espeak_tts.is_available():
        pytest.skip("libespeak-ng is not installed")


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("voice", ["en-us+m3", "en-us+klatt4"])
def test_phone_times_agree_with_forced_alignment(voice: str) -> None:
    delays: list[float] = []
    stop_delays: list[float] = []
    for utterance in espeak_tts.synthesize(voice, list(itertools.islice(sentences(11), 5))):
        aligned = forced_alignment.align(utterance.pcm, utterance.text)
        names, expected = (
            [phone.name.replace("ax", "ah") for phone in phones] for phones in (utterance.phones, aligned)
        )
        for i, j, count in difflib.SequenceMatcher(None, names, expected, False).get_matching_blocks():
            for k in range(count):
                delay = aligned[j + k].start - utterance.phones[i + k].start
                if names[i + k] != "pau":
                    delays.append(delay)
                if names[i + k] in ("p", "t", "k"):
                    stop_delays.append(delay)
    assert len(delays) > 70 and abs(np.median(delays)) < 0.008
    assert np.median(np.abs(delays)) < 0.014 and np.percentile(np.abs(delays), 90) < 0.045
    assert abs(np.median(stop_delays)) < 0.02


@pytest.mark.usefixtures("espeak")
@pytest.mark.parametrize("language", sorted(languages.SENTENCES))
def test_every_language_maps_to_phones_with_viseme_targets(language: str) -> None:
    utterances = espeak_tts.synthesize(language, languages.SENTENCES[language][:8])
    for utterance in utterances[:4]:
        names = [phone.name for phone in utterance.phones]
        assert all(name in VISEME_TARGETS or f"{name}:1" in VISEME_TARGETS for name in names)
        assert all(phone.end == after.start for phone, after in itertools.pairwise(utterance.phones))
        assert sum(name in VOWELS for name in names) > 0.25 * len(names)
        assert 1.0 < len(utterance.pcm) / 16000 < 9.0
    assert BILABIALS & {phone.name for utterance in utterances for phone in utterance.phones}


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [("tʃ", ["ch"]), ("ˈyː", ["uw"]), ("ɔ̃", ["ao"]), ("pʲ", ["p"]), ("ts", ["t", "s"]), ("", [])],
)
def test_ipa_maps_to_phones_by_lip_shape(ipa: str, phones: list[str]) -> None:
    assert espeak_tts.ipa_to_phones(ipa) == phones


@pytest.mark.usefixtures("espeak")
def test_speech_does_not_depend_on_what_was_spoken_before() -> None:
    first, _, again = (
        espeak_tts.synthesize(voice, ["Fish and chips."])[0] for voice in ("en+klatt", "en-us+m3", "en+klatt")
    )
    assert np.array_equal(first.pcm, again.pcm) and first.phones == again.phones


@pytest.mark.usefixtures("espeak")
def test_an_unknown_voice_is_rejected() -> None:
    with pytest.raises(TalkerError, match="no voice 'nowhere'"):
        espeak_tts.synthesize("nowhere", ["hello"])
