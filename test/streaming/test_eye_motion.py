# SPDX-License-Identifier: Apache-2.0
"""Laws of the eye motion: blink rate and fixations are bounded; natural motion is unchanged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.streaming.eye_motion import (
    EYELIDS,
    EyeMotionState,
    apply_eye_motion,
    eyelid_curve,
)

FRAME_RATE = 25.0
GAZE_COLUMNS = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook")]
LIDS = list(EYELIDS)
Weights = npt.NDArray[np.float32]


def run(
    faces: Weights,
    speaking: npt.NDArray[np.bool_] | None = None,
    seed: int = 0,
    state: EyeMotionState | None = None,
    start: int = 0,
) -> Weights:
    """Apply the rules to faces (T, 52) from frame `start` on; returns new faces."""
    state, result = state or EyeMotionState(), faces.copy()
    for n, weights in enumerate(result):
        voiced = bool(speaking is not None and speaking[n])
        apply_eye_motion(state, weights, voiced, seed, start + n, FRAME_RATE)
    return result


def blink_onsets(faces: Weights) -> npt.NDArray[np.int64]:
    """Return the frames in which blinks begin."""
    shut = faces[:, LIDS[0]] > 0.5
    return np.flatnonzero(shut[1:] & ~shut[:-1]) + 1


def blink_weights() -> Weights:
    """Return the eyelid's weight over a natural blink of 10 frames."""
    return np.array([eyelid_curve((k + 0.5) / FRAME_RATE) for k in range(10)], np.float32)


def random_blinking(minutes: float, per_minute: float, seed: int = 0) -> Weights:
    """Return faces that blink by themselves at intervals of 0.6 s and more and move the gaze every second."""
    rng, frames = np.random.default_rng(seed), int(minutes * 60 * FRAME_RATE)
    faces = np.zeros((frames, 52), np.float32)
    seconds = 0.0
    while True:
        seconds += 0.6 + rng.exponential(60.0 / per_minute - 0.6)
        first = int(seconds * FRAME_RATE)
        if first + 10 >= frames:
            break
        for lid in LIDS:
            faces[first : first + 10, lid] = np.maximum(faces[first : first + 10, lid], blink_weights())
    gaze = np.repeat(rng.uniform(0, 0.3, (frames // 25 + 1, 2)), 25, 0)[:frames]
    faces[:, [INDEX["eyeLookOutLeft"], INDEX["eyeLookUpLeft"]]] = gaze
    return faces


@pytest.mark.parametrize("lid_weight", [0.0, 0.2, 0.6, 1.0], ids="eyelids stay at {}".format)
def test_a_still_face_blinks_and_its_eyelids_stay_open_between(lid_weight: float) -> None:
    faces = np.zeros((int(10 * 60 * FRAME_RATE), 52), np.float32)
    faces[:, LIDS] = lid_weight
    result = run(faces)
    assert 10 <= len(blink_onsets(result)) / 10 <= 25
    assert np.median(result[:, LIDS]) <= max(lid_weight, 0.25)
    assert lid_weight > 0.5 or result.max() >= 0.95
    assert np.abs(np.diff(blink_onsets(result)) / FRAME_RATE).max() <= 7.1


def test_excess_blinks_are_suppressed() -> None:
    faces = random_blinking(10, 55)
    assert len(blink_onsets(faces)) > 400
    onsets = blink_onsets(run(faces))
    assert 10 <= len(onsets) / 10 <= 25
    assert np.histogram(onsets, 10, (0, len(faces)))[0].max() <= 34


def test_natural_eye_motion_is_not_changed() -> None:
    """At 17 blinks a minute at most a tenth of the frames change, the others bit for bit."""
    faces = random_blinking(10, 17, seed=3)
    result = run(faces)
    changed = (result != faces).any(1)
    assert changed.mean() < 0.1 and 10 <= len(blink_onsets(result)) / 10 <= 25
    intervals = np.diff(blink_onsets(faces)) / FRAME_RATE
    assert (intervals > 7).any()  # some interval was too long
    regular = np.zeros((3000, 52), np.float32)
    for first in range(20, 2960, 65):
        regular[first : first + 10, LIDS] = blink_weights()[:, None]
    regular[:, GAZE_COLUMNS[2]] = np.repeat(np.random.default_rng(0).uniform(0, 1, 75), 40)
    np.testing.assert_array_equal(run(regular), regular)


def test_blinks_follow_the_ends_of_phrases() -> None:
    speaking = (np.arange(int(20 * 60 * FRAME_RATE)) % 100) < 75  # 3 s of speech, 1 s of pause
    onsets = blink_onsets(run(np.zeros((len(speaking), 52), np.float32), speaking))
    after_phrase = (onsets - 75) % 100 < 10
    assert after_phrase.mean() > 0.25  # by chance a tenth
    assert 10 <= len(onsets) / 20 <= 25


def test_a_still_gaze_moves_in_single_saccades_of_both_eyes() -> None:
    faces = np.zeros((int(5 * 60 * FRAME_RATE), 52), np.float32)
    faces[:, INDEX["eyeLookOutLeft"]] = faces[:, INDEX["eyeLookInRight"]] = 0.05
    result = run(faces)
    left_eye, right_eye = (
        result[:, INDEX[f"eyeLook{outward}{eye}"]] - result[:, INDEX[f"eyeLook{inward}{eye}"]]
        for outward, inward, eye in (("Out", "In", "Left"), ("In", "Out", "Right"))
    )
    np.testing.assert_allclose(left_eye, right_eye, atol=1e-6)
    saccades = np.flatnonzero(np.abs(np.diff(left_eye)) > 1e-4)
    assert 12 <= len(saccades) / 5 <= 20
    gaze = result[:, GAZE_COLUMNS]
    assert gaze.min() >= 0 and gaze.max() <= 0.4 and left_eye.std() > 0.05


def test_the_result_is_a_function_of_seed_and_frame_and_the_state_has_a_fixed_size() -> None:
    faces = np.zeros((2000, 52), np.float32)
    expected, other = run(faces, seed=5), run(faces, seed=6)
    state = EyeMotionState()
    first = run(faces[:700], seed=5, state=state)
    second = run(faces[700:], seed=5, state=state, start=700)
    np.testing.assert_array_equal(np.concatenate((first, second)), expected)
    assert not np.array_equal(blink_onsets(expected), blink_onsets(other))
    state.reset()
    np.testing.assert_array_equal(run(faces, seed=5, state=state), expected)
    assert all(isinstance(value, (bool, int, float, tuple)) for value in vars(state).values())
