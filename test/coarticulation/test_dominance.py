# SPDX-License-Identifier: Apache-2.0
"""Laws of the dominance model on synthetic speech: closures, open vowels, pauses, random upper face."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.audio.constants import FRAME_RATE, SAMPLE_RATE
from streamingtalker_ros.coarticulation import dominance, residual, upper_face
from streamingtalker_ros.coarticulation.face_motion import synthesize_motion
from streamingtalker_ros.face.arkit import INDEX, MIRROR
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.phonetics.flite_festival_tts import Utterance
from streamingtalker_ros.phonetics.phones import BILABIALS, LABIODENTALS, OPEN_VOWELS, Phone
from support.synthetic_speech import frame_count, synthesize_utterances

VOICES = {"slt": 0, "awb": 1, "kal16": 2, "rms": 3}  # name -> seed of its sentences
SLOW_VOICES = {"awb": 1.25, "rms": 1.25}
Spoken = list[tuple[Utterance, npt.NDArray[np.float32], npt.NDArray[np.floating]]]


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return synthesize_utterances(VOICES, 12, SLOW_VOICES)


@pytest.fixture(
    scope="module", params=(dominance.synthesize_lips, residual.synthesize_lips), ids=("rules", "residual")
)
def speech(request: pytest.FixtureRequest, utterances: list[Utterance]) -> Spoken:
    """Twelve sentences in each voice with their lips, by rules or corrected, and the lip gap in metres."""
    rig, spoken = default_rig(), []
    for utterance in utterances:
        weights = request.param(utterance.phones, frame_count(utterance), utterance.pcm)
        spoken.append((utterance, weights, rig.lip_gap(weights)))
    return spoken


def _frames_during(phone: Phone, num_frames: int) -> npt.NDArray[np.bool_]:
    """Frames that show any part of the phone."""
    start = np.arange(num_frames) / FRAME_RATE
    return (start < phone.end) & (start + 1 / FRAME_RATE > phone.start)


def _gaps(speech: Spoken, names: Collection[str], reduce: Callable[..., Any]) -> npt.NDArray[np.floating]:
    """Smallest or largest lip gap in each of the named phones."""
    return np.array(
        [
            reduce(gap[_frames_during(phone, len(gap))])
            for utterance, _, gap in speech
            for phone in utterance.phones
            if phone.name in names
        ]
    )


def test_bilabials_close_and_open_vowels_open(speech: Spoken) -> None:
    open_gaps, closed_gaps = _gaps(speech, OPEN_VOWELS, np.max), _gaps(speech, BILABIALS, np.min)
    usual = np.median(open_gaps)
    assert len(closed_gaps) > 100 and len(open_gaps) > 150
    assert np.mean(closed_gaps < 0.1 * usual) >= 0.99
    assert np.mean(open_gaps < 0.1 * usual) < 0.02
    assert 0.006 < usual < 0.02  # metres: people open their lips about a centimetre


def test_the_lower_lip_meets_the_teeth_in_labiodentals(speech: Spoken) -> None:
    usual = np.median(_gaps(speech, OPEN_VOWELS, np.max))
    assert np.mean(_gaps(speech, LABIODENTALS, np.min) < 0.35 * usual) > 0.95
    for utterance, weights, _ in speech:
        for phone in utterance.phones:
            if phone.name in LABIODENTALS:
                assert weights[_frames_during(phone, len(weights)), INDEX["mouthRollLower"]].max() > 0.3


def test_the_mouth_closes_in_pauses_and_never_jumps(speech: Spoken) -> None:
    for utterance, weights, gap in speech:
        t = dominance.frame_times(len(gap))
        for phone in utterance.phones:
            if phone.name == "pau" and phone.end - phone.start > 0.3:
                is_resting = (t > phone.start + 0.2) & (t < phone.end - 0.1)
                assert not weights[is_resting].any()
        speed = np.abs(np.diff(weights[:, INDEX["jawOpen"]])) * FRAME_RATE
        assert speed.max() < 12.0  # the jaw's whole range takes 80 ms at least
        assert (weights[:, INDEX["mouthClose"]] <= weights[:, INDEX["jawOpen"]] + 1e-6).all()
        np.testing.assert_array_equal(weights, weights[:, MIRROR])


def _utterance(*names: str, phone_length: float = 0.1) -> list[Phone]:
    """Phones of equal length between two pauses."""
    edges = 0.4 + phone_length * np.arange(len(names) + 1)
    phones = [Phone(*row) for row in zip(names, edges[:-1], edges[1:], strict=True)]
    return [Phone("pau", 0.0, edges[0]), *phones, Phone("pau", edges[-1], edges[-1] + 0.6)]


@pytest.mark.parametrize("offset", np.linspace(0.0, 0.04, 9))
@pytest.mark.parametrize("name", sorted(BILABIALS))
def test_the_shortest_closure_fills_a_frame_wherever_it_falls(name: str, offset: float) -> None:
    start, end = 0.3 + offset, 0.325 + offset
    phones = [Phone("aa", 0.0, start), Phone(name, start, end), Phone("aa", end, 0.8)]
    weights = dominance.synthesize_lips(phones, 20)
    opening = weights[:, INDEX["jawOpen"]] - weights[:, INDEX["mouthClose"]]
    assert opening.min() < 1e-6 and weights[opening.argmin(), INDEX["jawOpen"]] > 0.05
    assert opening[:5].min() > 0.2 and opening[12:17].min() > 0.2


def test_motion_never_starts_earlier_than_the_look_ahead_allows() -> None:
    t = dominance.frame_times(40)
    onset = 0.4 + 4 * 0.1
    for first, second, max_lead in (("p", "t", 0.09), ("uw", "ih", 0.12), ("aa", "ih", 0.09)):
        lips = [
            dominance.synthesize_lips(_utterance("n", "ih", "n", "ih", last), 40) for last in (first, second)
        ]
        differs = np.abs(lips[0] - lips[1]).max(1) > 0.02
        assert differs[t >= onset].any()
        assert not differs[t < onset - max_lead].any()


def test_rounding_spreads_to_neighbouring_consonants() -> None:
    rounded, plain = (
        dominance.synthesize_lips(_utterance("t", vowel, "t", vowel), 40)[:, INDEX["mouthPucker"]]
        for vowel in ("uw", "ih")
    )
    middle_of_t = np.abs(dominance.frame_times(40) - 0.65).argmin()
    assert rounded[middle_of_t] > 0.18 and plain[middle_of_t] < 0.02


def test_loud_and_slow_vowels_open_wider() -> None:
    pcm = np.full(2 * SAMPLE_RATE, 0.05, np.float32)
    pcm[int(0.72 * SAMPLE_RATE) : int(0.86 * SAMPLE_RATE)] = 0.4
    phones = _utterance("t", "aa", "t", "aa", "t", "aa")
    soft, loud, _ = dominance.articulation_effort(phones, pcm)[[2, 4, 6]]
    assert loud > 1.15 * soft
    slow, fast = (
        dominance.synthesize_lips(_utterance("t", "aa", "t", phone_length=length), 60)[
            :, INDEX["jawOpen"]
        ].max()
        for length in (0.2, 0.07)
    )
    assert slow > 1.1 * fast


def test_the_seed_changes_the_upper_face_and_never_the_lips() -> None:
    phones = _utterance("b", "aa", "b", "iy", "f", "uw")
    first, second, again = (synthesize_motion(phones, 500, seed=seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first[0], again[0])
    upper = upper_face.UPPER_FACE_MASK
    np.testing.assert_array_equal(first[0][:, ~upper], second[0][:, ~upper])
    assert np.abs(first[0] - second[0])[:, upper].max() > 0.5
    assert np.abs(first[1] - second[1]).max() > 0.005


def test_blink_rate_gaze_and_head_motion_are_in_human_ranges() -> None:
    num_seeds, total_blinks = 12, 0
    for seed in range(num_seeds):  # a minute each
        weights, head = upper_face.synthesize_upper_face([Phone("pau", 0.0, 60.0)], 25 * 60, seed)
        is_shut = weights[:, INDEX["eyeBlinkLeft"]] > 0.85
        blinks = int(np.count_nonzero(is_shut[1:] & ~is_shut[:-1]))
        total_blinks += blinks
        assert 10 <= blinks <= 25
        assert head.std(0).min() > 0.002 and np.abs(head).max() < upper_face.HEAD_LIMIT_RAD
        assert np.abs(np.diff(head, axis=0)).max() * FRAME_RATE < 0.5  # rad/s
        assert not (weights[:, INDEX["eyeLookOutLeft"]] * weights[:, INDEX["eyeLookInLeft"]]).any()
        left, right = (weights[:, INDEX[name]] for name in ("eyeLookOutLeft", "eyeLookInRight"))
        np.testing.assert_array_equal(left, right)
    assert 12 < total_blinks / num_seeds < 22
