# SPDX-License-Identifier: Apache-2.0
"""Laws of the emotions: they are told apart, they blend and fade, and they never change where lips touch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Stream, Talker, TalkerError
from streamingtalker_ros.conversation.commands import Express
from streamingtalker_ros.conversation.emotion import BLEND_S, EmotionController
from streamingtalker_ros.conversation.emotion_table import (
    EMOTIONS,
    NEUTRAL,
    SYNONYMS,
    emotion_name,
    emotion_row,
    parse_emotion,
)
from streamingtalker_ros.conversation.frame import FrameContext, FramePose, Modulation
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX, MOUTH_MASK
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.lip_measure import CONTACT_GAP_M
from streamingtalker_ros.model.protocol import BlendshapeFrame
from streamingtalker_ros.phonetics import espeak_tts
from streamingtalker_ros.phonetics.flite_festival_tts import available_voices
from tools.benchmarks.emotions import (
    TEXTS,
    closure_counts,
    confusion,
    move,
    opening_correlations,
    synthetic_voices,
)

RATE = 25.0
NAMES = [name for name in EMOTIONS if name != NEUTRAL]
REST = np.zeros(len(ARKIT_NAMES), np.float32)


def step(
    controller: EmotionController, weights: npt.NDArray[np.float32], index: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """One frame: weights (52,) and rotation (3,)."""
    pose = FramePose(weights.copy(), np.zeros(3, np.float32))
    context = FrameContext(index, RATE, 0, True, np.zeros(640, np.float32), Modulation())
    controller.step(context, pose)
    return pose.weights, pose.rotation


def settled(name: str, strength: float = 1.0) -> EmotionController:
    """A controller whose emotion has blended in."""
    controller = EmotionController()
    controller.express(Express(name, strength))
    for n in range(round(2 * BLEND_S * RATE)):
        step(controller, REST, n)
    return controller


def run(stream: Stream, pieces: Iterable[np.ndarray]) -> list[BlendshapeFrame]:
    """All frames of audio."""
    return [frame for piece in pieces for frame in stream.accept(piece)] + stream.finish()


def as_array(frames: Iterable[BlendshapeFrame]) -> npt.NDArray[np.float32]:
    """(T, 56) weights and head."""
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


def random_mouths(count: int) -> npt.NDArray[np.float32]:
    """Random faces (count, 52), a third of them with lips that touch."""
    rng = np.random.default_rng(4)
    weights = rng.uniform(0, 1, (count, 52)).astype(np.float32) ** 2
    touching = weights[: count // 3]
    row = default_rig().lip_gap_map()[1]
    others = touching @ row - touching[:, INDEX["mouthClose"]] * row[INDEX["mouthClose"]]
    touching[:, INDEX["mouthClose"]] = np.clip(others / -row[INDEX["mouthClose"]], 0, 1)
    return weights


@pytest.mark.parametrize("name", NAMES)
def test_touching_lips_touch_and_parted_lips_stay_parted_at_full_strength(name: str) -> None:
    controller, rig = settled(name), default_rig()
    opening = 1.0 + emotion_scalar(name)
    touched = 0
    for n, weights in enumerate(random_mouths(600)):
        result, _ = step(controller, weights, n)
        assert result.min() >= 0.0 and result.max() <= 1.0 and result.dtype == np.float32
        before, after = float(rig.lip_gap(weights)), float(rig.lip_gap(result))
        if before <= CONTACT_GAP_M:
            assert after <= before + 1e-6
            touched += 1
        else:  # the largest gap of a mouth limits what a factor above 1 can open
            expected = CONTACT_GAP_M + opening * (before - CONTACT_GAP_M)
            assert min(expected, before) - 1e-5 <= after <= max(expected, before) + 1e-5
    assert touched > 100
    assert abs(float(rig.lip_gap(step(controller, REST)[0]))) <= 1e-6
    assert abs(float(rig.lip_gap(controller.mouth_at_rest))) <= 1e-6
    assert not controller.mouth_at_rest[~MOUTH_MASK].any()


def emotion_scalar(name: str) -> float:
    """The emotion's factor minus 1 on the opening of parted lips."""
    return EMOTIONS[name].mouth_opening


def test_at_full_strength_lips_close_and_open_as_without_an_emotion_and_emotions_are_told_apart(
    talker: Talker,
) -> None:
    """A small form of `tools/benchmarks/emotions.py`."""
    if "slt" not in available_voices() or not espeak_tts.is_available():
        pytest.skip("flite or espeak-ng is not installed")
    voices = list(synthetic_voices(("slt",), ("en-us+m3",), TEXTS[:2]).values())
    motions = [move(talker, voice, steps=1) for voice in voices]
    neutral, *others = closure_counts(voices, motions, talker.frame_rate)
    assert neutral.bilabials > 30
    assert min(counts.recall for counts in others) >= neutral.recall - 0.01
    assert opening_correlations(motions).min() >= 0.9
    assert np.diag(confusion(motions, talker.frame_rate)).min() >= 0.9  # by the centroids of the other voice


def test_neutral_changes_no_bit_and_chunked_equals_whole(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    speech = speech[:32_000]
    plain = as_array(run(talker.open_stream(3), [speech]))
    np.testing.assert_array_equal(as_array(run(talker.open_stream(3, emotion="neutral"), [speech])), plain)
    whole = as_array(run(talker.open_stream(3, emotion="happy:0.7"), [speech]))
    cuts = np.sort(np.random.default_rng(1).integers(0, len(speech), 20))
    pieces = as_array(run(talker.open_stream(3, emotion="happy:0.7"), np.split(speech, cuts)))
    np.testing.assert_allclose(pieces, whole, atol=1e-5)
    assert np.abs(whole - plain).max() > 0.2


def test_an_emotion_blends_in_and_a_decayed_one_leaves_every_bit_as_it_was(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    plain = as_array(run(talker.open_stream(3), [speech]))
    stream = talker.open_stream(3)
    frames = stream.accept(speech[:16_000])
    stream.express("happy", decay_s=1.0)
    first = len(frames)
    result = as_array(frames + run(stream, [speech[16_000:]]))
    np.testing.assert_array_equal(result[:first], plain[:first])
    smile = result[first:, INDEX["mouthSmileLeft"]] - plain[first:, INDEX["mouthSmileLeft"]]
    assert smile.max() > 0.3 and np.abs(np.diff(smile)).max() < 0.15  # no jump
    np.testing.assert_array_equal(result[first + 26 :], plain[first + 26 :])


def test_a_command_without_a_name_returns_to_the_lasting_emotion() -> None:
    controller = EmotionController()
    controller.set_lasting("sad")
    controller.reset()
    sad = step(controller, REST)[0]
    controller.express(Express("happy"))
    for n in range(30):
        happy, _ = step(controller, REST, n)
    assert happy[INDEX["mouthSmileLeft"]] > 0.5 > sad[INDEX["mouthSmileLeft"]]
    controller.express(Express(""))
    for n in range(30):
        result, _ = step(controller, REST, n)
    np.testing.assert_allclose(result, sad, atol=1e-6)


def test_a_reset_shows_the_lasting_emotion_at_once_and_no_other(
    talker: Talker, speech: npt.NDArray[np.float32]
) -> None:
    stream = talker.open_stream(3, emotion="angry")
    first = as_array(run(stream, [speech[:16_000]]))
    stream.reset()
    stream.express("happy")
    run(stream, [speech[:16_000]])
    stream.reset()
    np.testing.assert_array_equal(as_array(run(stream, [speech[:16_000]])), first)


def test_the_closed_mouth_of_a_stream_shows_its_emotion(talker: Talker) -> None:
    stream = talker.open_stream(3)
    assert not stream.mouth_at_rest.any()
    stream.express("happy")
    stream.accept(np.zeros(30 * talker.hop, np.float32))
    assert stream.mouth_at_rest[INDEX["mouthSmileLeft"]] > 0.5
    stream.set(mouth_expressiveness=0.5)
    stream.accept(np.zeros(30 * talker.hop, np.float32))
    assert 0.25 < stream.mouth_at_rest[INDEX["mouthSmileLeft"]] < 0.5


def test_the_left_half_is_stronger_and_strength_scales() -> None:
    for name in NAMES:
        full, half = emotion_row(name), emotion_row(name, 0.5)
        np.testing.assert_allclose(half, 0.5 * full, rtol=1e-6)
    assert emotion_row("happy")[INDEX["mouthSmileLeft"]] > emotion_row("happy")[INDEX["mouthSmileRight"]]


def test_valence_and_arousal_find_the_emotion_of_their_point() -> None:
    for name in ("happy", "sad", "surprised"):
        row = emotion_row("", 1.0, EMOTIONS[name].valence, EMOTIONS[name].arousal)
        nearest = min(NAMES, key=lambda key: float(np.linalg.norm((row - emotion_row(key))[:52])))
        assert nearest == name
    assert np.abs(emotion_row("", 1.0, 0.0, 0.0)[:52]).max() < 0.25  # near neutral in the middle
    happier = emotion_row("happy", 1.0, valence=1.0)
    assert happier[INDEX["mouthSmileLeft"]] > emotion_row("happy")[INDEX["mouthSmileLeft"]]


def test_every_synonym_is_an_emotion_of_some_strength() -> None:
    for name, (emotion, strength) in SYNONYMS.items():
        assert emotion_name(name.upper()) == (emotion, strength) and 0.0 < strength <= 1.0
    assert parse_emotion("") == (NEUTRAL, 1.0) and parse_emotion("scared:0.5") == ("afraid", 0.5)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("hapy",), "did you mean happy"),
        (("", 2.0), "strength"),
        (("happy", float("nan")), "strength"),
        (("happy", 1.0, -2.0), "valence"),
        (("happy", 1.0, None, "much"), "arousal"),
        (("happy", 1.0, None, None, 0.0), "decay_s"),
        ((None,), "unknown emotion"),
        (([1],), "unknown emotion"),
    ],
)
def test_an_invalid_emotion_is_one_sentence_and_changes_nothing(values: tuple[Any, ...], words: str) -> None:
    with pytest.raises(TalkerError, match=words):
        Express(*values)


def test_blinks_are_rarer_in_anger_and_more_frequent_in_fear(talker: Talker) -> None:
    """Over 40 s of silence, in which the network and its rules blink."""
    streams = [talker.open_stream(5, emotion=name, steps=1) for name in ("angry", "neutral", "afraid")]
    counts = []
    for frames in talker.accept(streams, [np.zeros(40 * 16_000, np.float32)] * 3):
        shut = np.array([frame.weights[INDEX["eyeBlinkLeft"]] > 0.6 for frame in frames])
        counts.append(int((shut[1:] & ~shut[:-1]).sum()))
    assert counts[0] < counts[1] < counts[2]
