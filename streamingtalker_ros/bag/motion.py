# SPDX-License-Identifier: Apache-2.0
"""Face motion of a bag: recorded FaceMotion as arrays, and its comparison with the motion of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.bag.rosbag_io import BagInput, decode
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import MOUTH_SHAPES, lip_aperture, lip_vertices
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.frames import FaceFrame

MIN_COMMON_FRAMES = 12
"""Frames in common that a comparison needs."""

MAX_VALUE = 10.0
"""Greatest weight of a reference; the weights of a face are in 0..1."""

_TIME_TOLERANCE_S = 1e-6


@dataclass
class MotionRecording:
    """Frames of the blendshape family in the order of their publication.

    Attributes:
        stamps: (T,) int64 ns.
        weights: (T, 52) float32.
        head: (T, 4) float32 quaternions xyzw.
        speaking: (T,) bool, voice activity.
        idle: (T,) bool, frames without received audio.
        frame_rate: Frames per second.
    """

    stamps: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    speaking: npt.NDArray[np.bool_]
    idle: npt.NDArray[np.bool_]
    frame_rate: float

    @classmethod
    def from_frames(cls, frames: Sequence[FaceFrame], frame_rate: float) -> MotionRecording:
        """Return published frames as arrays.

        Args:
            frames: T frames in the order of their publication, 1 and more.
            frame_rate: Frames per second, above 0.

        Returns:
            The recording; it holds copies of the values.
        """
        return cls(
            np.array([frame.stamp for frame in frames], np.int64),
            np.stack([frame.weights for frame in frames]),
            np.stack([frame.head for frame in frames]),
            np.array([frame.speaking for frame in frames]),
            np.array([frame.idle for frame in frames]),
            float(frame_rate),
        )


def read_motion(bag: BagInput, topic: str) -> MotionRecording:
    """Read the FaceMotion of a topic.

    Shapes that the messages do not name are 0; damaged messages are missing frames.

    Args:
        bag: An open bag.
        topic: Topic of FaceMotion.

    Returns:
        The frames in the order of their stamps, the shapes in that of ARKIT_NAMES; its frame rate is the
        median of the distances of the stamps.

    Raises:
        TalkerError: If the names and weights of a frame differ in number, or a value is not finite or beyond
            ±`MAX_VALUE`.
    """
    stamps: list[int] = []
    weights: list[npt.NDArray[np.float32]] = []
    head: list[list[float]] = []
    speaking: list[bool] = []
    for bag_message in bag.messages(topic):
        try:
            message = decode(bag_message)
        except TalkerError:
            continue
        if len(message.names) != len(message.weights):
            raise TalkerError(
                f"frame {message.frame} of {topic} has {len(message.names)} names for "
                f"{len(message.weights)} weights: it cannot be compared with"
            )
        head_rotation = [message.head.x, message.head.y, message.head.z, message.head.w]
        numbers = np.array([*message.weights, *head_rotation], np.float64)
        if not bool((np.abs(numbers) <= MAX_VALUE).all()):  # False for NaN
            raise TalkerError(
                f"frame {message.frame} of {topic} holds values beyond ±{MAX_VALUE:g}: it cannot be compared "
                "with"
            )
        row = np.zeros(len(ARKIT_NAMES), np.float32)
        for name, weight in zip(message.names, message.weights, strict=True):
            if name in INDEX:
                row[INDEX[name]] = weight
        stamps.append(stamp_to_ns(message.header.stamp))
        weights.append(row)
        head.append(head_rotation)
        speaking.append(message.speaking)
    unique, order = np.unique(np.array(stamps, np.int64), return_index=True)
    frame_rate = NS_PER_S / float(np.median(np.diff(unique))) if len(unique) > 1 else 0.0
    return MotionRecording(
        unique,
        np.array(weights, np.float32)[order],
        np.array(head, np.float32)[order],
        np.array(speaking, bool)[order],
        np.zeros(len(order), bool),
        frame_rate,
    )


def align_weights(
    motion: MotionRecording, reference: MotionRecording
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Sample two recordings at the same moments.

    The moments are the middles of the frames of audio (not idle ones) of `motion` that have a frame of the
    reference at most one of its periods away; between its frames the reference is interpolated linearly.

    Returns:
        The weights (T, 52) of `motion` and of `reference`.
    """
    if len(reference.stamps) < 2:
        return np.zeros((0, len(ARKIT_NAMES)), np.float32), np.zeros((0, len(ARKIT_NAMES)), np.float32)
    origin, rows = reference.stamps[0], np.flatnonzero(~motion.idle)
    moments = (motion.stamps[rows] - origin) / NS_PER_S + 0.5 / motion.frame_rate
    reference_times = (reference.stamps - origin) / NS_PER_S + 0.5 / reference.frame_rate
    after = np.clip(np.searchsorted(reference_times, moments), 1, len(reference_times) - 1)
    distance = np.minimum(
        np.abs(moments - reference_times[after - 1]), np.abs(moments - reference_times[after])
    )
    covered = distance <= 1.0 / reference.frame_rate
    covered &= (moments >= reference_times[0] - _TIME_TOLERANCE_S) & (
        moments <= reference_times[-1] + _TIME_TOLERANCE_S
    )
    interpolated = [np.interp(moments[covered], reference_times, column) for column in reference.weights.T]
    return motion.weights[rows[covered]], np.stack(interpolated, 1).astype(np.float32)


def compare(motion: MotionRecording, reference: MotionRecording, rig: Rig) -> dict[str, float]:
    """Compare frames of audio with a reference on a rig.

    Args:
        motion: The generated motion; its idle frames are left out.
        reference: The motion to compare with, at any frame rate; its stamps are of the same clock.
        rig: The face on which lip aperture and lip vertices are measured.

    Returns:
        Figures, their units in the names. Correlation and lag are NaN if one of the two mouths does not move.

    Raises:
        TalkerError: If fewer than MIN_COMMON_FRAMES frames lie at the times of the reference.
    """
    weights, reference_weights = align_weights(motion, reference)
    if len(weights) < MIN_COMMON_FRAMES:
        raise TalkerError(
            f"the reference covers {len(weights)} of the frames, too few to compare: its stamps "
            "are outside the times of the audio"
        )
    aperture, reference_aperture = lip_aperture(rig, weights), lip_aperture(rig, reference_weights)
    lips = rig.deltas[:, lip_vertices(rig)]  # (52, L, 3)
    both_move = np.ptp(aperture) > 0 and np.ptp(reference_aperture) > 0
    lag = float(metrics.lag(aperture, reference_aperture)) if both_move else float("nan")
    lip_error = vertex_metrics.lip_vertex_error(
        np.tensordot(weights, lips, 1), np.tensordot(reference_weights, lips, 1)
    )
    return {
        "frames": len(weights),
        "lip_opening_r": (metrics.correlation(aperture, reference_aperture) if both_move else float("nan")),
        "lag_frames": lag,
        "lag_ms": 1e3 * lag / motion.frame_rate,
        "lip_opening_error_mm": 1e3 * float(np.abs(aperture - reference_aperture).mean()),
        "lve_mm2": 1e6 * lip_error,
        "mouth_weights_error": float(np.abs(weights - reference_weights)[:, MOUTH_SHAPES].mean()),
    }
