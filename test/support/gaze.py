# SPDX-License-Identifier: Apache-2.0
"""Measures where the frames of a face look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.conversation.gaze_geometry import gaze_rays


def gaze_errors(frames: Sequence[Any], target: Sequence[float]) -> npt.NDArray[np.float64]:
    """Angles in degrees between the lines of sight of both eyes and the directions to a target, (T, 2)."""
    errors = []
    for frame in frames:
        origins, directions = gaze_rays(frame.weights, frame.head)
        sights = np.asarray(target) - origins
        sights /= np.linalg.norm(sights, axis=1, keepdims=True)
        errors.append(np.degrees(np.arccos(np.clip((sights * directions).sum(axis=1), -1.0, 1.0))))
    return np.array(errors)


def mean_direction(frame: Any) -> npt.NDArray[np.float64]:
    """(3,) unit vector of the line of sight between the eyes."""
    _, directions = gaze_rays(frame.weights, frame.head)
    mean = directions.sum(axis=0)
    return mean / np.linalg.norm(mean)
