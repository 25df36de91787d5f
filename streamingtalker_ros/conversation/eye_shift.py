# SPDX-License-Identifier: Apache-2.0
"""Shifts the direction of both eyes by an angle, in the eyeLook weights of a frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.gaze_geometry import eye_angles, set_eye_angles


def shift_gaze(weights: npt.NDArray[np.float32], left_deg: float, up_deg: float) -> None:
    """Turn both eyes further.

    Args:
        weights: (52,) in 0..1, changed in place.
        left_deg: Degrees to the person's left.
        up_deg: Degrees up.
    """
    if left_deg == up_deg == 0.0:
        return
    for eye, (yaw, pitch) in enumerate(eye_angles(weights)):
        set_eye_angles(weights, eye, yaw + math.radians(left_deg), pitch + math.radians(up_deg))
