# SPDX-License-Identifier: Apache-2.0
"""ARKit shapes as FACS action units, in hri_msgs' layout."""

import numpy as np
import pytest

from streamingtalker_ros.face import facs
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rotation import euler_to_quaternion, quaternion_to_euler


def units(speaking=0.0, turn=(0.0, 0.0, 0.0), **shapes):
    """Units above zero: {code: intensity}."""
    weights = np.zeros(52)
    for name, value in shapes.items():
        weights[INDEX[name]] = value
    intensity, _ = facs.action_units(np.concatenate([weights, turn, [speaking]]))
    return {int(unit): round(float(intensity[unit]), 4) for unit in np.flatnonzero(intensity)}


def test_a_face_at_rest_shows_nothing_and_only_what_shapes_tell_is_sure() -> None:
    intensity, confidence = facs.action_units(np.zeros(56))
    assert intensity.shape == confidence.shape == (99,) and intensity.dtype == confidence.dtype == np.float32
    assert not intensity.any() and set(np.flatnonzero(confidence)) == set(facs.SUPPORTED_UNITS)
    assert {0, 11, 13, 23, 45, 70, 98}.isdisjoint(facs.SUPPORTED_UNITS)


def test_every_shape_shows_in_some_unit_but_for_the_two_that_facs_does_not_know() -> None:
    open_jaw = units(jawOpen=0.3)
    silent = [name for name in ARKIT_NAMES if units(**{"jawOpen": 0.3, name: 0.5}) == open_jaw]
    assert silent == ["mouthLeft", "mouthRight"]


@pytest.mark.parametrize(
    "shapes, expected",
    [
        (
            {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.2, "cheekSquintLeft": 0.5},
            {12: 0.7, 6: 0.5},
        ),  # Duchenne's smile
        ({"browInnerUp": 0.4, "browOuterUpRight": 0.6}, {1: 0.4, 2: 0.6}),
        ({"browDownLeft": 1.0, "eyeWideLeft": 0.3, "mouthPressRight": 0.2}, {4: 1.0, 5: 0.3, 24: 0.2}),
        ({"jawOpen": 0.4}, {25: 0.4, 26: 0.8}),
        ({"jawOpen": 0.75}, {25: 0.75, 26: 1.0, 27: 0.5}),
        ({"jawOpen": 0.3, "mouthClose": 0.3}, {8: 0.3, 26: 0.6}),  # the jaw is down behind closed lips
        ({"mouthUpperUpLeft": 0.5}, {10: 0.5, 25: 0.5}),
        ({"eyeBlinkLeft": 0.9, "eyeBlinkRight": 0.9}, {43: 0.9}),
        ({"eyeBlinkLeft": 0.9}, {46: 0.9}),  # a wink
        ({"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6}, {61: 0.6}),
        ({"eyeLookInLeft": 0.6, "eyeLookInRight": 0.6}, {61: 0.3, 62: 0.3, 66: 0.6}),
        ({"mouthRollLower": 0.8, "mouthPucker": 0.1}, {28: 0.8, 18: 0.1}),
    ],
)
def test_shapes_are_coded_as_a_rater_would(shapes, expected) -> None:
    assert units(**shapes) == expected


@pytest.mark.parametrize(
    "euler, expected",
    [
        ((0.2, 0, 0), 51),
        ((-0.2, 0, 0), 52),
        ((0, -0.2, 0), 53),
        ((0, 0.2, 0), 54),
        ((0, 0, -0.2), 55),
        ((0, 0, 0.2), 56),
    ],
)
def test_the_heads_turns_have_their_sides(euler, expected) -> None:
    turn = quaternion_to_euler(euler_to_quaternion(euler))
    assert units(turn=turn) == {expected: round(0.2 / facs.MAX_HEAD_ANGLE_RAD, 4)}
    assert units(turn=10 * turn) == {expected: 1.0}


def test_speech_is_coded() -> None:
    assert units(speaking=1.0) == {50: 1.0}
