# SPDX-License-Identifier: Apache-2.0
"""The residual network changes lip aperture and width between contacts and leaves the rest to the rules."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.coarticulation import dominance, residual
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import Phone
from support.synthetic_speech import frame_count, synthesize_utterances

RIG = default_rig()


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return synthesize_utterances({"slt": 1, "awb": 2}, 10)


def test_contacts_and_pauses_stay_those_of_the_rules(utterances: list[Utterance]) -> None:
    largest_change = 0.0
    for utterance in utterances:
        phones = utterance.phones
        t = dominance.frame_times(frame_count(utterance))
        rules, lips = (
            synthesize(phones, len(t), utterance.pcm)
            for synthesize in (dominance.synthesize_lips, residual.synthesize_lips)
        )
        closure, speech = dominance.bilabial_closure(t, phones), dominance.speech_mask(t, phones)
        closed, paused = closure == 1.0, speech == 0.0
        assert closed.any() and (RIG.lip_gap(lips[closed]) < 1e-6).all()
        assert not lips[paused].any() and not rules[paused].any()
        np.testing.assert_array_equal(lips[:, INDEX["tongueOut"]], rules[:, INDEX["tongueOut"]])
        assert lips.min() >= 0.0 and lips.max() <= 1.0 and lips.dtype == np.float32
        free = (closure < 0.01) & (speech > 0.99)
        assert RIG.lip_gap(lips[free]).min() > 0.6e-3  # metres: lips that nearly touch would look closed
        largest_change = max(largest_change, np.abs(RIG.lip_width(lips) - RIG.lip_width(rules)).max())
    assert largest_change > 1e-3


def test_phones_outside_the_context_change_nothing() -> None:
    def lips_before(last: str) -> np.ndarray:
        names = ["pau", "b", "iy", "s", "n", "d", "k", "t", last]
        phones = [Phone(name, 0.1 * k, 0.1 * k + 0.1) for k, name in enumerate(names)]
        return residual.synthesize_lips(phones, 25)

    first, second = lips_before("aa"), lips_before("uw")
    start_of_s = int(0.1 * 3 * 25)  # from s on the last phone lies further away than NUM_PHONES_AFTER
    np.testing.assert_array_equal(first[:start_of_s], second[:start_of_s])
    assert np.abs(first - second).max() > 0.1


def test_move_along_reaches_the_value_or_the_limit_of_the_weights() -> None:
    row = np.array([2.0, -1.0, 0.0], np.float32)
    weights = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.9, 0.1, 0.3]], np.float32)
    moved = residual.move_along(weights, row, row, np.array([0.5, 9.0, -9.0]))
    np.testing.assert_allclose(moved[0] @ row, 0.5, atol=1e-6)
    np.testing.assert_allclose(moved[1:], [[1.0, 0.0, 0.3], [0.0, 1.0, 0.3]], atol=1e-6)
