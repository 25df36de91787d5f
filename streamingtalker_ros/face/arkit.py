# SPDX-License-Identifier: Apache-2.0
"""The 52 ARKit blendshape names in the order of Apple's documentation, their indices and mirror partners.

"Left" is the person's left, as in Apple's names.
"""

import numpy as np

_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")


def _pairs(*stems):
    return tuple(stem + side for stem in stems for side in ("Left", "Right"))


ARKIT_NAMES = (
    *(name + "Left" for name in _EYE),
    *(name + "Right" for name in _EYE),
    "jawForward",
    "jawLeft",
    "jawRight",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthLeft",
    "mouthRight",
    *_pairs("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch"),
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    *_pairs("mouthPress", "mouthLowerDown", "mouthUpperUp"),
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)

INDEX = {name: i for i, name in enumerate(ARKIT_NAMES)}


def _partner(name):
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name[: -len(side)] + other
    return name


MIRROR = np.array([INDEX[_partner(name)] for name in ARKIT_NAMES])  # (52,): itself where there is no partner
