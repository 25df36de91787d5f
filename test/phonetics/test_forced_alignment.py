# SPDX-License-Identifier: Apache-2.0
"""Forced alignment against speech whose phone times the synthesiser knows."""

import difflib
import itertools

import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed: nothing aligns")

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.phonetics import flite_festival_tts, forced_alignment
from streamingtalker_ros.phonetics.phones import BILABIALS, VISEME_TARGETS, VOWELS
from streamingtalker_ros.phonetics.sentences import sentences


def _spoken(voice, texts):
    if voice not in flite_festival_tts.available_voices():
        pytest.skip(f"the voice {voice} is not installed")
    return flite_festival_tts.synthesize(voice, texts)


@pytest.mark.parametrize("voice", ["slt", "awb", "rms"])
def test_aligned_phones_start_when_the_synthesiser_says(voice) -> None:
    apart, closures, spoken = [], 0, 0
    for said in _spoken(voice, list(itertools.islice(sentences(7), 12))):
        found = forced_alignment.align(said.pcm, said.text)
        assert found[0].start == 0.0 and found[-1].end == len(said.pcm) / 16000
        assert all(one.end == two.start and two.end > two.start for one, two in zip(found, found[1:]))
        assert all(phone.name in VISEME_TARGETS or phone.name in VOWELS for phone in found)
        mine, theirs = (
            [phone.name.replace("ax", "ah") for phone in phones] for phones in (found, said.phones)
        )
        for i, j, count in difflib.SequenceMatcher(None, mine, theirs, False).get_matching_blocks():
            apart += [
                found[i + k].start - said.phones[j + k].start for k in range(count) if mine[i + k] != "pau"
            ]
            closures += sum(name in BILABIALS for name in mine[i : i + count])
        spoken += sum(name in BILABIALS for name in theirs)
    assert len(apart) > 200 and closures == spoken
    assert np.median(np.abs(apart)) < 0.012 and np.percentile(np.abs(apart), 90) < 0.03
    assert abs(np.median(apart)) < 0.008


def test_unknown_words_are_spelt_out() -> None:
    said = _spoken("slt", ["The blorfing zimbock was happy."])[0]
    names = [phone.name for phone in forced_alignment.align(said.pcm, said.text)]
    assert "".join(names).count("b") == 2 and names.count("m") == 1


def test_wrong_text_and_no_speech_are_one_sentence_each() -> None:
    said = _spoken("slt", ["We saw the bus."])[0]
    long = "many people believe that the mountain was beautiful before the big storm came over the village"
    with pytest.raises(TalkerError, match="does not fit the sound"):
        forced_alignment.align(said.pcm, long)
    for pcm, text, reason in (
        (np.zeros(16000), "hello", "silent"),
        (said.pcm, "bus 22", "digits"),
        (said.pcm, " - ", "no English word"),
        (said.pcm[:100], "hello", "too short"),
    ):
        with pytest.raises(TalkerError, match=reason):
            forced_alignment.align(pcm, text)
