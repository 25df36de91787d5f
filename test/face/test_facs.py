# SPDX-License-Identifier: Apache-2.0
"""ARKit shapes and head rotations become the FACS action units that a rater would code."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from streamingtalker_ros.face import facs
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rotation import euler_to_quaternion, quaternion_to_euler
from support.face_shapes import shape_weights


def coded_units(
    shapes: Mapping[str, float], angles: tuple[float, float, float] = (0.0, 0.0, 0.0), speaking: float = 0.0
) -> dict[int, float]:
    """Intensities above zero by unit."""
    intensity, _ = facs.action_units(np.concatenate([shape_weights(**shapes), angles, [speaking]]))
    return {int(unit): round(float(intensity[unit]), 4) for unit in np.flatnonzero(intensity)}


def test_a_face_at_rest_has_no_intensity_and_only_supported_units_have_confidence() -> None:
    intensity, confidence = facs.action_units(np.zeros(56))
    assert intensity.shape == confidence.shape == (99,) and intensity.dtype == confidence.dtype == np.float32
    assert not intensity.any() and set(np.flatnonzero(confidence)) == set(facs.SUPPORTED_UNITS)
    assert {0, 11, 13, 23, 45, 70, 98}.isdisjoint(facs.SUPPORTED_UNITS)


def test_every_shape_changes_a_unit_except_the_two_without_one() -> None:
    open_jaw = coded_units({"jawOpen": 0.3})
    unchanged = [name for name in ARKIT_NAMES if coded_units({"jawOpen": 0.3, name: 0.5}) == open_jaw]
    assert unchanged == ["mouthLeft", "mouthRight"]


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
def test_shapes_are_coded_as_a_rater_would(shapes: dict[str, float], expected: dict[int, float]) -> None:
    assert coded_units(shapes) == expected


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
def test_each_rotation_of_the_head_has_its_unit(euler: tuple[float, float, float], expected: int) -> None:
    yaw, pitch, roll = quaternion_to_euler(euler_to_quaternion(euler)).tolist()
    assert coded_units({}, (yaw, pitch, roll)) == {expected: round(0.2 / facs.MAX_HEAD_ANGLE_RAD, 4)}
    assert coded_units({}, (10 * yaw, 10 * pitch, 10 * roll)) == {expected: 1.0}


def test_speech_is_coded() -> None:
    assert coded_units({}, speaking=1.0) == {50: 1.0}
