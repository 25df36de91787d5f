# SPDX-License-Identifier: Apache-2.0
"""Converts ARKit shapes and the head's rotation to FACS action units.

The layout is that of hri_msgs/FacialActionUnits. The table follows the descriptions of the action units in P.
Ekman, W. Friesen, J. Hager, Facial Action Coding System, 2002, and Apple's descriptions of the shapes; where
several readings exist, M. Ozel's ARKit-to-FACS cheat sheet (melindaozel.com/arkit-to-facs-cheat-sheet). FACS
codes what is seen, so that some units combine shapes: lips part (25) as far as the jaw opens and `mouthClose`
does not undo it. FACS has no unit for `mouthLeft` and `mouthRight`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import INDEX

NUM_ACTION_UNITS = 99  # of hri_msgs, indexed by their code
MAX_HEAD_ANGLE_RAD = np.radians(45.0)  # at intensity 1 of units 51 to 56

# Shapes by unit; the stronger of a pair counts, as a rater codes a unit that either side shows.
SHAPES_BY_UNIT = {
    1: ("browInnerUp",),  # inner brow raiser
    2: ("browOuterUpLeft", "browOuterUpRight"),  # outer brow raiser
    4: ("browDownLeft", "browDownRight"),  # brow lowerer
    5: ("eyeWideLeft", "eyeWideRight"),  # upper lid raiser
    6: ("cheekSquintLeft", "cheekSquintRight"),  # cheek raiser
    7: ("eyeSquintLeft", "eyeSquintRight"),  # lid tightener
    8: ("mouthClose",),  # lips toward each other
    9: ("noseSneerLeft", "noseSneerRight"),  # nose wrinkler
    10: ("mouthUpperUpLeft", "mouthUpperUpRight"),  # upper lip raiser
    12: ("mouthSmileLeft", "mouthSmileRight"),  # lip corner puller
    14: ("mouthDimpleLeft", "mouthDimpleRight"),  # dimpler
    15: ("mouthFrownLeft", "mouthFrownRight"),  # lip corner depressor
    16: ("mouthLowerDownLeft", "mouthLowerDownRight"),  # lower lip depressor
    17: ("mouthShrugLower", "mouthShrugUpper"),  # chin raiser; it pushes the upper lip, too
    18: ("mouthPucker",),  # lip pucker
    19: ("tongueOut",),  # tongue show
    20: ("mouthStretchLeft", "mouthStretchRight"),  # lip stretcher
    22: ("mouthFunnel",),  # lip funneler
    24: ("mouthPressLeft", "mouthPressRight"),  # lip pressor
    28: ("mouthRollLower", "mouthRollUpper"),  # lip suck
    29: ("jawForward",),  # jaw thrust
    30: ("jawLeft", "jawRight"),  # jaw sideways
    34: ("cheekPuff",),  # cheek puff
    61: ("eyeLookOutLeft", "eyeLookInRight"),  # eyes turn left; the mean of both eyes
    62: ("eyeLookInLeft", "eyeLookOutRight"),  # eyes turn right
    63: ("eyeLookUpLeft", "eyeLookUpRight"),  # eyes up
    64: ("eyeLookDownLeft", "eyeLookDownRight"),  # eyes down
    65: ("eyeLookOutLeft", "eyeLookOutRight"),  # walleye; the weaker of both
    66: ("eyeLookInLeft", "eyeLookInRight"),  # cross-eye
}
_LIPS_PART, _JAW_DROP, _MOUTH_STRETCH, _EYES_CLOSED, _WINK, _SPEECH = 25, 26, 27, 43, 46, 50
_UPPER_LIP_RAISER, _LOWER_LIP_DEPRESSOR = 10, 16
# unit, index of the angle (yaw, pitch, roll), sign
_HEAD_UNITS = ((51, 0, 1), (52, 0, -1), (53, 1, -1), (54, 1, 1), (55, 2, -1), (56, 2, 1))
_MEAN_UNITS, _WEAKER_UNITS = (61, 62, 63, 64), (65, 66)

SUPPORTED_UNITS = tuple(
    sorted(
        {
            *SHAPES_BY_UNIT,
            _LIPS_PART,
            _JAW_DROP,
            _MOUTH_STRETCH,
            _EYES_CLOSED,
            _WINK,
            _SPEECH,
            *(unit for unit, _, _ in _HEAD_UNITS),
        }
    )
)


def action_units(inputs: npt.ArrayLike) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Compute the intensity and the confidence of all action units.

    Args:
        inputs: (56,) 52 weights in the order of `ARKIT_NAMES`; yaw, pitch and roll of the head in radians, as
            `rotation.quaternion_to_euler` returns them; 1 while the person speaks, else 0.

    Returns:
        intensity: (99,) 0..1, not Ekman's letters A to E.
        confidence: (99,) 1 for `SUPPORTED_UNITS`, 0 for the units that the shapes do not show.
    """
    values = np.asarray(inputs, np.float64)
    weights, angles, speaking = values[:52], values[52:55], values[55]
    intensity = np.zeros(NUM_ACTION_UNITS)
    for unit, names in SHAPES_BY_UNIT.items():
        shown = [float(weights[INDEX[name]]) for name in names]
        if unit in _MEAN_UNITS:
            intensity[unit] = np.mean(shown)
        else:
            intensity[unit] = min(shown) if unit in _WEAKER_UNITS else max(shown)
    jaw, close = weights[INDEX["jawOpen"]], weights[INDEX["mouthClose"]]
    lips = (*SHAPES_BY_UNIT[_UPPER_LIP_RAISER], *SHAPES_BY_UNIT[_LOWER_LIP_DEPRESSOR])
    intensity[_LIPS_PART] = max(jaw - close, *(weights[INDEX[name]] for name in lips))
    # up to half of its range jawOpen drops the jaw, beyond that it stretches the mouth
    intensity[_JAW_DROP], intensity[_MOUTH_STRETCH] = min(2 * jaw, 1.0), max(2 * jaw - 1, 0.0)
    left, right = weights[INDEX["eyeBlinkLeft"]], weights[INDEX["eyeBlinkRight"]]
    intensity[_EYES_CLOSED], intensity[_WINK] = min(left, right), abs(left - right)
    intensity[_SPEECH] = speaking
    for unit, angle, sign in _HEAD_UNITS:
        intensity[unit] = sign * angles[angle] / MAX_HEAD_ANGLE_RAD
    confidence = np.zeros(NUM_ACTION_UNITS, np.float32)
    confidence[list(SUPPORTED_UNITS)] = 1.0
    return np.clip(intensity, 0, 1).astype(np.float32), confidence
