# SPDX-License-Identifier: Apache-2.0
"""ARKit shapes and the head's rotation as FACS action units, in the layout of hri_msgs/FacialActionUnits.

The table follows the descriptions of the action units in P. Ekman, W. Friesen, J. Hager, Facial Action Coding
System, 2002, beside Apple's descriptions of the shapes; where several readings exist, M. Ozel's ARKit-to-FACS
cheat sheet (melindaozel.com/arkit-to-facs-cheat-sheet) was the guide. FACS codes what is seen, so that a few
units take a combination of shapes: lips part (25) as far as the jaw opens and `mouthClose` does not undo it.
FACS has no unit for `mouthLeft` and `mouthRight`.
"""

import numpy as np

from streamingtalker_ros.face.arkit import INDEX

COUNT = 99  # units of hri_msgs, indexed by their code
FULL_TURN = np.radians(45.0)  # of the head, for intensity 1 of units 51 to 56

# unit -> the shapes that show it; of a pair the stronger side counts, as a rater codes either side
UNITS = {
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
_LIPS_PART, _JAW_DROP, _MOUTH_STRETCH, _EYES_CLOSED, _SPEECH = 25, 26, 27, 43, 50
_TURNS = ((51, 0, 1), (52, 0, -1), (53, 1, -1), (54, 1, 1), (55, 2, -1), (56, 2, 1))  # unit, angle, sign
_MEANS, _WEAKER = (61, 62, 63, 64), (65, 66)

CODED = tuple(
    sorted(
        {
            *UNITS,
            _LIPS_PART,
            _JAW_DROP,
            _MOUTH_STRETCH,
            _EYES_CLOSED,
            _SPEECH,
            46,
            *(unit for unit, _, _ in _TURNS),
        }
    )
)


def action_units(sources):
    """sources (56,): 52 weights in ARKIT_NAMES order, the head's yaw, pitch and roll in rad (as
    `rotation.quaternion_to_euler` gives them), speaking 0 or 1 -> intensity (99,), confidence (99,) float32.

    Intensities run from 0 to 1, not in Ekman's letters A to E. Confidence is 1 for the units in CODED, which
    the shapes can show, and 0 for all others, of which they tell nothing.
    """
    sources = np.asarray(sources, np.float64)
    weights, angles, speaking = sources[:52], sources[52:55], sources[55]
    intensity = np.zeros(COUNT)
    for unit, names in UNITS.items():
        values = [weights[INDEX[name]] for name in names]
        combine = np.mean if unit in _MEANS else min if unit in _WEAKER else max
        intensity[unit] = combine(values)
    jaw, close = weights[INDEX["jawOpen"]], weights[INDEX["mouthClose"]]
    lips = (*UNITS[10], *UNITS[16])
    intensity[_LIPS_PART] = max(jaw - close, *(weights[INDEX[name]] for name in lips))
    # a dropped jaw is up to half of the way, a stretched mouth is beyond
    intensity[_JAW_DROP], intensity[_MOUTH_STRETCH] = min(2 * jaw, 1.0), max(2 * jaw - 1, 0.0)
    left, right = weights[INDEX["eyeBlinkLeft"]], weights[INDEX["eyeBlinkRight"]]
    intensity[_EYES_CLOSED], intensity[46] = min(left, right), abs(left - right)  # 46: wink
    intensity[_SPEECH] = speaking
    for unit, angle, sign in _TURNS:
        intensity[unit] = sign * angles[angle] / FULL_TURN
    confidence = np.zeros(COUNT, np.float32)
    confidence[list(CODED)] = 1.0
    return np.clip(intensity, 0, 1).astype(np.float32), confidence
