# SPDX-License-Identifier: Apache-2.0
"""A take: what one system did with one clip, as curves in the unit that every face has, its inter-ocular distance.

`of_weights` makes one of ARKit weights on a rig, `reference` that of a clip: the lips that a camera saw, or the
clip's own weights where none did.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.evaluation.inference import inter_ocular, opening_of


@dataclass
class Take:
    """opening: (T,) lip opening, never below 0; width: (T,) distance of the mouth's corners; both in inter-ocular
    distances of the face that shows them, 25 a second. weights: (T, 52) and head: (T, 4) xyzw, or None for lips that
    were only seen."""

    opening: np.ndarray
    width: np.ndarray
    weights: np.ndarray = None
    head: np.ndarray = None


def of_weights(rig, weights, head=None):
    """weights (T, 52), head (T, 4) or None -> Take on a rig."""
    unit = inter_ocular(rig)
    weights = np.asarray(weights, np.float32)
    return Take(opening_of(rig, weights) / unit, rig.lip_width(weights) / unit, weights, head)


def reference(rig, clip):
    """The Take that a clip is judged by; its weights are the clip's own, solved or rule-made."""
    own = of_weights(rig, clip.weights)
    if clip.lip_opening is not None:
        own.opening = np.maximum(_whole(clip.lip_opening), 0.0)
        own.width = (
            _whole(clip.lip_width) if clip.lip_width is not None else np.full(len(own.opening), np.nan)
        )
    return own


def on_grid(values, frame_rate, frames, grid=25.0):
    """Frames at frame_rate (T', …) -> the same motion at `grid` frames a second, (frames, …); ends are held."""
    if abs(frame_rate - grid) < 1e-6 and len(values) >= frames:
        return values[:frames]
    at = (np.arange(frames) + 0.5) / grid * frame_rate - 0.5
    low = np.clip(np.floor(at).astype(int), 0, len(values) - 1)
    high = np.minimum(low + 1, len(values) - 1)
    share = np.clip(at - low, 0.0, 1.0).reshape(-1, *([1] * (values.ndim - 1)))
    return values[low] * (1.0 - share) + values[high] * share


def _whole(curve):
    """A tracked curve with the frames that the tracker lost bridged by straight lines."""
    curve = np.asarray(curve, np.float64)
    seen = np.isfinite(curve)
    return (
        np.interp(np.arange(len(curve)), np.flatnonzero(seen), curve[seen])
        if seen.any()
        else np.zeros(len(curve))
    )
