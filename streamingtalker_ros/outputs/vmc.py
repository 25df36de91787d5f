# SPDX-License-Identifier: Apache-2.0
"""VMC protocol (protocol.vmc.info) over OSC: one bundle for each pose, for VSeeFace, Warudo and others.

A bundle holds, in this order:

| Address | Arguments |
|---|---|
| `/VMC/Ext/OK` | 1: the character is loaded |
| `/VMC/Ext/T` | seconds since the first pose that was sent |
| `/VMC/Ext/Bone/Pos` | "Head", position 0 0 0, rotation x y z w about the neutral pose, in Unity's axes |
| `/VMC/Ext/Blend/Val` | name and weight of each clip |
| `/VMC/Ext/Blend/Apply` | |

Clips are the 52 of "perfect sync", which have the ARKit names with a capital, and those that every VRM
character has: A, I, U, E, O, of which the mouth is composed, Blink, Blink_L and Blink_R.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.visemes import VisemeEstimator
from streamingtalker_ros.outputs.address import OutputAddress
from streamingtalker_ros.outputs.osc_bundle import OscBundle
from streamingtalker_ros.outputs.timeline import DAY_S, Pose

PERFECT_SYNC_NAMES: Final = tuple(name[0].upper() + name[1:] for name in ARKIT_NAMES)
"""Names of the perfect-sync clips, in the order of `ARKIT_NAMES`."""

VRM_VOWELS: Final = {"A": "aa", "I": "ih", "U": "ou", "E": "E", "O": "oh"}
"""Viseme of each vowel clip."""

VRM_NAMES: Final = (*VRM_VOWELS, "Blink", "Blink_L", "Blink_R")
"""Names of the clips of every VRM character."""


def to_unity(quaternion: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convert a rotation to Unity's axes: left-handed, x to the person's right, y up, z out of the face.

    Args:
        quaternion: (4,) xyzw in the axes of this package.

    Returns:
        (4,) xyzw.
    """
    x, y, z, w = quaternion
    return np.array([y, -z, -x, w])


class VmcEncoder:
    """Encodes poses as bundles of the VMC protocol.

    Args:
        address: A `vmc://` address.
    """

    def __init__(self, address: OutputAddress) -> None:
        clips = address.text("clips")
        self._rate = address.rate
        self._elapsed = 0  # poses
        self._number: int | None = None  # of the last pose
        self._has_arkit, self._has_vrm = clips != "vrm", clips != "perfect-sync"
        self._visemes = VisemeEstimator(tuple(VRM_VOWELS.values()))
        names = (*PERFECT_SYNC_NAMES,) * self._has_arkit + VRM_NAMES * self._has_vrm
        self._bundle = OscBundle(
            [
                ("/VMC/Ext/OK", (1,)),
                ("/VMC/Ext/T", (0.0,)),
                ("/VMC/Ext/Bone/Pos", ("Head", *(0.0,) * 7)),
                *(("/VMC/Ext/Blend/Val", (name, 0.0)) for name in names),
                ("/VMC/Ext/Blend/Apply", ()),
            ]
        )

    def encode(self, pose: Pose) -> bytes:
        """Return the bundle of a pose.

        Args:
            pose: The pose; its number gives the time.
        """
        if self._number is not None:  # numbers begin anew at midnight
            self._elapsed += (pose.number - self._number) % (DAY_S * self._rate)
        self._number = pose.number
        values = [[self._elapsed / self._rate, 0.0, 0.0, 0.0], to_unity(pose.head)]
        if self._has_arkit:
            values.append(pose.weights)
        if self._has_vrm:
            visemes = self._visemes.estimate(pose.weights)
            left, right = (pose.weights[INDEX[f"eyeBlink{side}"]] for side in ("Left", "Right"))
            both = min(left, right)  # Blink and the sides add up in the receiver
            values += [visemes[1:], [both, left - both, right - both]]
        return self._bundle.encode(np.concatenate(values))
