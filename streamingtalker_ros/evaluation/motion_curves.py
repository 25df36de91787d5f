# SPDX-License-Identifier: Apache-2.0
"""Motion curves of one clip: lip aperture and width over time, in inter-ocular distances of the face.

`MotionCurves.from_weights` measures ARKit weights on a rig; `reference_curves` returns the curves that a clip
is scored against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import FRAME_RATE
from streamingtalker_ros.corpus.storage import Clip
from streamingtalker_ros.evaluation.inference import inter_ocular_distance, lip_aperture
from streamingtalker_ros.face.rig import Rig


@dataclass
class MotionCurves:
    """The motion of one clip by one system, T frames at `FRAME_RATE`.

    Attributes:
        opening: (T,) lip aperture, 0 and up, in inter-ocular distances of the face.
        width: (T,) distance between the mouth's corners, in the same unit.
        weights: (T, 52) ARKit weights; None where only the lips are known.
        head: (T, 4) quaternions xyzw; None where unknown.
    """

    opening: np.ndarray
    width: np.ndarray
    weights: np.ndarray | None = None
    head: np.ndarray | None = None

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
        return cls(lip_aperture(rig, weights) / unit, rig.lip_width(weights) / unit, weights, head)

    def select(self, frames: npt.NDArray[np.intp]) -> MotionCurves:
        """Return the curves at some frame indices.

        Args:
            frames: (N,) frame indices, 0..T - 1, in any order.

        Returns:
            The curves of N frames; curves that are None remain None.
        """
        return MotionCurves(
            self.opening[frames],
            self.width[frames],
            None if self.weights is None else self.weights[frames],
            None if self.head is None else self.head[frames],
        )


def reference_curves(rig: Rig, clip: Clip) -> MotionCurves:
    """Return the curves that a clip is scored against.

    Args:
        rig: the face on which the clip's weights are measured.
        clip: a clip of a corpus.

    Returns:
        Tracked lips where the clip has them, else the lips of its weights on the rig; always with the clip's
        weights.
    """
    curves = MotionCurves.from_weights(rig, clip.weights)
    if clip.lip_opening is not None:
        curves.opening = np.maximum(_interpolate_lost_frames(clip.lip_opening), 0.0)
        curves.width = (
            _interpolate_lost_frames(clip.lip_width)
            if clip.lip_width is not None
            else np.full(len(curves.opening), np.nan)
        )
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
