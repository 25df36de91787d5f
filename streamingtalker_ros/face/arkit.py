# SPDX-License-Identifier: Apache-2.0
"""The 52 ARKit blendshapes in the order of Apple's documentation: names, indices, mirror partners.

"Left" is the person's left, as in Apple's names.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_EYE_STEMS = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
_SIDES = (("Left", "Right"), ("Right", "Left"))


def _pairs(*stems: str) -> tuple[str, ...]:
    return tuple(stem + side for stem in stems for side in ("Left", "Right"))


ARKIT_NAMES: Final[tuple[str, ...]] = (
    *(stem + "Left" for stem in _EYE_STEMS),
    *(stem + "Right" for stem in _EYE_STEMS),
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
"""Names of the shapes in Apple's order."""

INDEX: Final[dict[str, int]] = {name: i for i, name in enumerate(ARKIT_NAMES)}
"""Index of each shape by name."""


def _mirrored_name(name: str) -> str:
    for side, opposite in _SIDES:
        if name.endswith(side):
            return name[: -len(side)] + opposite
    return name


MIRROR: Final[npt.NDArray[np.intp]] = np.array([INDEX[_mirrored_name(name)] for name in ARKIT_NAMES])
"""(52,) index of each shape's mirror image; its own for a shape without a side."""

MOUTH_MASK: Final[npt.NDArray[np.bool_]] = np.array(
    [name.startswith(("jaw", "mouth", "tongue", "cheekPuff")) for name in ARKIT_NAMES]
)
"""(52,) shapes of jaw, mouth, tongue and cheekPuff, which fade without voice."""

UPPER_FACE_MASK: Final[npt.NDArray[np.bool_]] = np.array(
    [name.startswith(("brow", "eyeSquint", "eyeWide", "cheekSquint", "noseSneer")) for name in ARKIT_NAMES]
)
"""(52,) expressive shapes of the upper face; blinks and gaze are not among them."""
