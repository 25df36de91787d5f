# SPDX-License-Identifier: Apache-2.0
"""Motion curves of one clip: lips and chin over time, in inter-ocular distances of the face.

`MotionCurves.from_weights` measures ARKit weights on a rig; `reference_curves` returns the curves that a clip
is scored against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.storage import LIP_MEASUREMENTS, Clip
from streamingtalker_ros.evaluation.inference import inter_ocular_distance, lip_aperture
from streamingtalker_ros.face.chin import TYPICAL_CHIN_FRACTIONS, chin_vertex
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.face.rotation import rotation_vector_to_quaternion


@dataclass
class MotionCurves:
    """The motion of one clip by one system, T frames at `FRAME_RATE`.

    Attributes:
        opening: (T,) lip aperture, 0 and up, in inter-ocular distances of the face.
        width: (T,) distance between the mouth's corners, in the same unit.
        weights: (T, 52) ARKit weights; None where only the lips are known.
        head: (T, 4) quaternions xyzw; None where unknown.
        upper_lip_raise: (T,) height of the inner upper lip above its neutral pose; None where unknown.
        lower_lip_drop: (T,) depth of the inner lower lip below its neutral pose; None where unknown.
        chin_drop: (T,) depth of the chin below its neutral pose; None where unknown.
    """

    opening: np.ndarray
    width: np.ndarray
    weights: np.ndarray | None = None
    head: np.ndarray | None = None
    upper_lip_raise: np.ndarray | None = None
    lower_lip_drop: np.ndarray | None = None
    chin_drop: np.ndarray | None = None

    @classmethod
    def from_weights(cls, rig: Rig, weights: npt.ArrayLike, head: np.ndarray | None = None) -> MotionCurves:
        """Measure ARKit weights on a rig.

        Args:
            rig: the face.
            weights: (T, 52), 0..1.
            head: (T, 4) quaternions xyzw, or None.

        Returns:
            The curves, with the weights and the head's rotation.
        """
        unit = inter_ocular_distance(rig)
        weights = np.asarray(weights, np.float32)
        upper, lower = rig.middle_lip_pairs()
        chin = [chin_vertex(rig, fraction) for fraction in TYPICAL_CHIN_FRACTIONS]
        return cls(
            lip_aperture(rig, weights) / unit,
            rig.lip_width(weights) / unit,
            weights,
            head,
            rig.rise(upper, weights) / unit,
            -rig.rise(lower, weights) / unit,
            -rig.rise(chin, weights) / unit,
        )

    def select(self, frames: npt.NDArray[np.intp]) -> MotionCurves:
        """Return the curves at some frame indices.

        Args:
            frames: (N,) frame indices, 0..T - 1, in any order.

        Returns:
            The curves of N frames; curves that are None remain None.
        """
        selected: dict[str, Any] = {
            name: None if curve is None else curve[frames] for name, curve in vars(self).items()
        }
        return MotionCurves(**selected)


def reference_curves(rig: Rig, clip: Clip) -> MotionCurves:
    """Return the curves that a clip is scored against.

    Args:
        rig: the face on which the clip's weights are measured.
        clip: a clip of a corpus.

    Returns:
        Tracked lips and chin where the clip has them, else those of its weights on the rig; always with the
        clip's weights and head rotation.
    """
    head = np.stack([rotation_vector_to_quaternion(rotation) for rotation in clip.head])
    curves = MotionCurves.from_weights(rig, clip.weights, head)
    if clip.lip_opening is not None:
        tracked = {
            name: _interpolate_lost_frames(getattr(clip, name))
            for name in LIP_MEASUREMENTS
            if getattr(clip, name) is not None
        }
        curves.opening = np.maximum(tracked["lip_opening"], 0.0)
        curves.width = tracked.get("lip_width", np.full(len(curves.opening), np.nan))
        curves.upper_lip_raise = tracked.get("upper_lip_raise")
        curves.lower_lip_drop = tracked.get("lower_lip_drop")
        curves.chin_drop = tracked.get("chin_drop")
    return curves


def resample_frames(
    values: np.ndarray, frame_rate: float, frames: int, target_rate: float = FRAME_RATE
) -> np.ndarray:
    """Resample motion to another frame rate by linear interpolation.

    Args:
        values: (T', …) frames at `frame_rate`; a frame stands for the middle of its audio.
        frame_rate: frames per second of `values`.
        frames: number of frames to return; the ends are held.
        target_rate: frames per second of the result.

    Returns:
        (frames, …).
    """
    if abs(frame_rate - target_rate) < 1e-6 and len(values) >= frames:
        return values[:frames]
    position = (np.arange(frames) + 0.5) / target_rate * frame_rate - 0.5
    low = np.clip(np.floor(position).astype(int), 0, len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    fraction = np.clip(position - low, 0.0, 1.0).reshape(-1, *([1] * (values.ndim - 1)))
    return values[low] * (1.0 - fraction) + values[high] * fraction


def _interpolate_lost_frames(curve: np.ndarray) -> npt.NDArray[np.float64]:
    """Bridge frames without tracking (NaN) by straight lines."""
    curve = np.asarray(curve, np.float64)
    is_tracked = np.isfinite(curve)
    if not is_tracked.any():
        return np.zeros(len(curve))
    return np.interp(np.arange(len(curve)), np.flatnonzero(is_tracked), curve[is_tracked])
