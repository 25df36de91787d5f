# SPDX-License-Identifier: Apache-2.0
"""Plain OSC, one bundle for each pose with one message for each value, by one of three conventions.

| Preset | Messages |
|---|---|
| `arkit` | `/jawOpen` weight, and so on by the ARKit names; `/head` x y z w |
| `facecap` | of Face Cap: `/W` index weight; in degrees `/HR` pitch yaw roll, `/ELR`, `/ERR` pitch yaw |
| `vrchat` | `/avatar/parameters/v2/JawOpen` value, and so on: Unified Expressions of VRCFaceTracking |

`prefix=/face` stands before each address; the preset `vrchat` has `/avatar/parameters/v2` by default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.livelink import eye_angles
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.outputs.address import OutputAddress
from streamingtalker_ros.outputs.osc_bundle import Argument, OscBundle
from streamingtalker_ros.outputs.timeline import Pose


def _pairs(*stems: str) -> tuple[str, ...]:
    return tuple(stem + side for stem in stems for side in ("Left", "Right"))


FACECAP_NAMES: Final = (
    "browInnerUp",
    *_pairs("browDown", "browOuterUp", "eyeLookUp", "eyeLookDown", "eyeLookIn", "eyeLookOut"),
    *_pairs("eyeBlink", "eyeSquint", "eyeWide"),
    "cheekPuff",
    *_pairs("cheekSquint", "noseSneer"),
    "jawOpen",
    "jawForward",
    *_pairs("jaw"),
    "mouthFunnel",
    "mouthPucker",
    *_pairs("mouth"),
    "mouthRollUpper",
    "mouthRollLower",
    "mouthShrugUpper",
    "mouthShrugLower",
    "mouthClose",
    *_pairs("mouthSmile", "mouthFrown", "mouthDimple", "mouthUpperUp", "mouthLowerDown", "mouthPress"),
    *_pairs("mouthStretch"),
    "tongueOut",
)
"""ARKit names in the order of Face Cap's indices."""

VRCHAT_PREFIX: Final = "/avatar/parameters/v2"

_VRCHAT_PAIRS: Final = {  # Unified Expression of each ARKit shape with a left and a right side
    "BrowDown": "browDown",
    "BrowOuterUp": "browOuterUp",
    "EyeSquint": "eyeSquint",
    "EyeWide": "eyeWide",
    "CheekSquint": "cheekSquint",
    "NoseSneer": "noseSneer",
    "Jaw": "jaw",
    "Mouth": "mouth",
    "MouthSmile": "mouthSmile",
    "MouthSad": "mouthFrown",
    "MouthDimple": "mouthDimple",
    "MouthStretch": "mouthStretch",
    "MouthPress": "mouthPress",
    "MouthUpperUp": "mouthUpperUp",
    "MouthLowerDown": "mouthLowerDown",
}
_VRCHAT_SINGLE: Final = {  # Unified Expressions of one ARKit shape
    "JawOpen": "jawOpen",
    "JawForward": "jawForward",
    "MouthClosed": "mouthClose",
    "LipFunnel": "mouthFunnel",
    "LipPucker": "mouthPucker",
    "LipSuckUpper": "mouthRollUpper",
    "LipSuckLower": "mouthRollLower",
    "MouthRaiserUpper": "mouthShrugUpper",
    "MouthRaiserLower": "mouthShrugLower",
    "BrowInnerUpLeft": "browInnerUp",
    "BrowInnerUpRight": "browInnerUp",
    "CheekPuffLeft": "cheekPuff",
    "CheekPuffRight": "cheekPuff",
    "TongueOut": "tongueOut",
}
VRCHAT_SHAPES: Final = {
    **{name + side: shape + side for name, shape in _VRCHAT_PAIRS.items() for side in ("Left", "Right")},
    **_VRCHAT_SINGLE,
}
"""ARKit shape of each Unified Expression; eyelids and gaze are computed besides."""

VRCHAT_EYES: Final = ("EyeLidLeft", "EyeLidRight", "EyeLeftX", "EyeLeftY", "EyeRightX", "EyeRightY")
"""Openness of the lids, 0 closed, 0.75 at rest, 1 wide; gaze -1 to 1, to the person's right and up."""

_LID_AT_REST: Final = 0.75
_VRCHAT_INDICES: Final = [INDEX[shape] for shape in VRCHAT_SHAPES.values()]
_FACECAP_INDICES: Final = [INDEX[name] for name in FACECAP_NAMES]

Messages = list[tuple[str, tuple[Argument, ...]]]


def _arkit_messages(prefix: str) -> Messages:
    return [*((f"{prefix}/{name}", (0.0,)) for name in ARKIT_NAMES), (f"{prefix}/head", (0.0,) * 4)]


def _arkit_values(pose: Pose) -> npt.NDArray[np.float64]:
    return np.concatenate([pose.weights, pose.head])


def _facecap_messages(prefix: str) -> Messages:
    return [
        (f"{prefix}/HR", (0.0,) * 3),
        (f"{prefix}/ELR", (0.0,) * 2),
        (f"{prefix}/ERR", (0.0,) * 2),
        *((f"{prefix}/W", (index, 0.0)) for index in range(len(FACECAP_NAMES))),
    ]


def _facecap_values(pose: Pose) -> npt.NDArray[np.float64]:
    yaw, pitch, roll = quaternion_to_euler(pose.head)
    eyes = eye_angles(pose.weights[None])[0]
    angles = np.degrees([pitch, yaw, roll, eyes[1], eyes[0], eyes[4], eyes[3]])
    return np.concatenate([angles, pose.weights[_FACECAP_INDICES]])


def _vrchat_messages(prefix: str) -> Messages:
    return [(f"{prefix or VRCHAT_PREFIX}/{name}", (0.0,)) for name in (*VRCHAT_SHAPES, *VRCHAT_EYES)]


def _vrchat_values(pose: Pose) -> npt.NDArray[np.float64]:
    def weight(name: str) -> float:
        return float(pose.weights[INDEX[name]])

    lids = [
        _LID_AT_REST * (1.0 - weight(f"eyeBlink{side}")) + (1.0 - _LID_AT_REST) * weight(f"eyeWide{side}")
        for side in ("Left", "Right")
    ]
    gaze = [
        weight("eyeLookInLeft") - weight("eyeLookOutLeft"),
        weight("eyeLookUpLeft") - weight("eyeLookDownLeft"),
        weight("eyeLookOutRight") - weight("eyeLookInRight"),
        weight("eyeLookUpRight") - weight("eyeLookDownRight"),
    ]
    return np.concatenate([pose.weights[_VRCHAT_INDICES], lids, gaze])


PRESETS: Final[dict[str, tuple[Callable[[str], Messages], Callable[[Pose], npt.NDArray[np.float64]]]]] = {
    "arkit": (_arkit_messages, _arkit_values),
    "facecap": (_facecap_messages, _facecap_values),
    "vrchat": (_vrchat_messages, _vrchat_values),
}
"""Messages of each preset for a prefix, and their numbers for a pose."""


class OscEncoder:
    """Encodes poses as OSC bundles.

    Args:
        address: An `osc://` address.
    """

    def __init__(self, address: OutputAddress) -> None:
        messages, self._values = PRESETS[address.text("preset")]
        self._bundle = OscBundle(messages(address.text("prefix")))

    def encode(self, pose: Pose) -> bytes:
        """Return the bundle of a pose.

        Args:
            pose: The pose.
        """
        return self._bundle.encode(self._values(pose))
