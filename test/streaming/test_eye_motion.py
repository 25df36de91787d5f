# SPDX-License-Identifier: Apache-2.0
"""The guard of the eyes' life: blinks and looks stay in bounds whatever the network does, untouched where it does
well."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the streaming package needs PyTorch")

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.streaming.eye_motion import LIDS, LifeState, keep_alive, lid

RATE = 25.0
LOOK = [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook")]


def live(faces, speaking=None, seed=0, state=None, start=0):
    """Run faces (T, 52) through the guard -> (T, 52)."""
    state, out = state or LifeState(), faces.copy()
    for n, weights in enumerate(out):
        keep_alive(state, weights, bool(speaking is not None and speaking[n]), seed, start + n, RATE)
    return out


def onsets(faces):
    shut = faces[:, LIDS[0]] > 0.5
    return np.flatnonzero(shut[1:] & ~shut[:-1]) + 1


def blinking(minutes, per_minute, seed=0):
    """Faces that blink by themselves after gaps of 0.6 s and more, and look about every second."""
    rng, frames = np.random.default_rng(seed), int(minutes * 60 * RATE)
    faces = np.zeros((frames, 52), np.float32)
    at = 0.0
    while True:
        at += 0.6 + rng.exponential(60.0 / per_minute - 0.6)
        first = int(at * RATE)
        if first + 10 >= frames:
            break
        for k in range(10):
            faces[first + k, LIDS] = np.maximum(faces[first + k, LIDS], lid((k + 0.5) / RATE))
    gaze = np.repeat(rng.uniform(0, 0.3, (frames // 25 + 1, 2)), 25, 0)[:frames]
    faces[:, [INDEX["eyeLookOutLeft"], INDEX["eyeLookUpLeft"]]] = gaze
    return faces


@pytest.mark.parametrize("lids", [0.0, 0.2, 0.6, 1.0], ids="lids stay at {}".format)
def test_a_dead_face_blinks_and_its_lids_stay_open_between(lids) -> None:
    faces = np.zeros((int(10 * 60 * RATE), 52), np.float32)
    faces[:, LIDS] = lids
    made = live(faces)
    assert 10 <= len(onsets(made)) / 10 <= 25
    assert np.median(made[:, LIDS]) <= max(lids, 0.25) and (lids > 0.5 or made.max() >= 0.95)
    assert np.abs(np.diff(onsets(made)) / RATE).max() <= 7.1


def test_a_frantic_face_is_calmed() -> None:
    faces = blinking(10, 55)
    assert len(onsets(faces)) > 400
    made = onsets(live(faces))
    assert 10 <= len(made) / 10 <= 25
    assert np.histogram(made, 10, (0, len(faces)))[0].max() <= 34


def test_a_face_that_lives_is_left_alone() -> None:
    """At 17 blinks a minute at most a tenth of the frames change, the others bit for bit."""
    faces = blinking(10, 17, seed=3)
    made = live(faces)
    changed = (made != faces).any(1)
    assert changed.mean() < 0.1 and 10 <= len(onsets(made)) / 10 <= 25
    gaps = np.diff(onsets(faces)) / RATE
    assert (gaps > 7).any()  # there was something to do
    regular = np.zeros((3000, 52), np.float32)
    for first in range(20, 2960, 65):
        regular[first : first + 10, LIDS] = np.array([lid((k + 0.5) / RATE) for k in range(10)])[:, None]
    regular[:, LOOK[2]] = np.repeat(np.random.default_rng(0).uniform(0, 1, 75), 40)
    np.testing.assert_array_equal(live(regular), regular)


def test_ends_of_phrases_draw_blinks() -> None:
    speaking = (np.arange(int(20 * 60 * RATE)) % 100) < 75  # 3 s of speech, 1 s of pause
    made = onsets(live(np.zeros((len(speaking), 52), np.float32), speaking))
    after = (made - 75) % 100 < 10
    assert after.mean() > 0.25  # by chance a tenth
    assert 10 <= len(made) / 20 <= 25


def test_a_gaze_that_stands_still_is_moved_in_single_jumps_and_both_eyes_together() -> None:
    faces = np.zeros((int(5 * 60 * RATE), 52), np.float32)
    faces[:, INDEX["eyeLookOutLeft"]] = faces[:, INDEX["eyeLookInRight"]] = 0.05
    made = live(faces)
    side = [
        made[:, INDEX[f"eyeLook{a}{eye}"]] - made[:, INDEX[f"eyeLook{b}{eye}"]]
        for a, b, eye in (("Out", "In", "Left"), ("In", "Out", "Right"))
    ]
    np.testing.assert_allclose(side[0], side[1], atol=1e-6)
    jumps = np.flatnonzero(np.abs(np.diff(side[0])) > 1e-4)
    assert 12 <= len(jumps) / 5 <= 20
    assert made[:, LOOK].min() >= 0 and made[:, LOOK].max() <= 0.4 and side[0].std() > 0.05


def test_it_is_a_function_of_seed_and_frame_of_fixed_size_and_can_begin_again() -> None:
    faces = np.zeros((2000, 52), np.float32)
    made, other = live(faces, seed=5), live(faces, seed=6)
    state = LifeState()
    first = live(faces[:700], seed=5, state=state)
    np.testing.assert_array_equal(
        np.concatenate((first, live(faces[700:], seed=5, state=state, start=700))), made
    )
    assert not np.array_equal(onsets(made), onsets(other))
    state.reset()
    np.testing.assert_array_equal(live(faces, seed=5, state=state), made)
    assert all(isinstance(value, (bool, int, float, tuple)) for value in vars(state).values())
