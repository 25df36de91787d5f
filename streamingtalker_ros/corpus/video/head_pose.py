# SPDX-License-Identifier: Apache-2.0
"""Head pose: separates the rigid motion of the head from tracked landmarks.

`mean_rigid_face(tracks)` computes the rigid reference of a speaker; `stabilize(track, reference)` registers
every frame with it. Stabilized points are in inter-ocular distances (between the middles of the eyes), axes x
out of the face, y to the person's left, z up, with the origin between the eyes. The pose is a similarity
transform, fitted by least squares (Umeyama 1991) to landmarks that neither speech nor brows move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streamingtalker_ros.corpus.video.landmarks import EYE_CORNERS, RIGID_LANDMARKS, LandmarkTrack
from streamingtalker_ros.errors import require

IMAGE_TO_HEAD_AXES: Final = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation of image axes (x right, y down, z away) to head axes (x forward, y left, z up)."""

MIRROR_PAIRS: Final = (
    (33, 263),
    (133, 362),
    (54, 284),
    (67, 297),
    (103, 332),
    (109, 338),
    (21, 251),
    (162, 389),
    (127, 356),
    (234, 454),
    (98, 327),
)
"""Right and left partners among the rigid landmarks."""

SMOOTHING_FRAMES: Final = 5
"""Width of the triangular filter on the pose: the fit is noisier than the motion of a head."""

PROCRUSTES_ITERATIONS: Final = 4
"""Iterations of the generalized Procrustes analysis."""


@dataclass
class StabilizedFace:
    """Landmarks without the motion of the head.

    Attributes:
        points: (F, 478, 3) float32 in inter-ocular distances.
        head: (F, 3) rotation vectors from the reference, in radians.
        times: (F,) seconds.
        name: stem of the video.
    """

    points: np.ndarray
    head: np.ndarray
    times: np.ndarray
    name: str = ""


def fit_similarity(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit similarity transforms by least squares (Umeyama 1991): target ≈ s R source + t.

    Args:
        source: (n, 3) points.
        target: (…, n, 3) points.

    Returns:
        (R (…, 3, 3), s (…), t (…, 3)).
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=-2)
    a, b = source - source_mean, target - target_mean[..., None, :]
    u, d, vt = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    sign = np.ones(d.shape)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (d * sign).sum(axis=-1) / (a * a).sum()
    return rotation, scale, target_mean - scale[..., None] * (rotation @ source_mean)


def mean_rigid_face(tracks: Sequence[LandmarkTrack], frames_per_track: int = 20) -> np.ndarray:
    """Compute the mean of the rigid landmarks of a speaker, frontal and in inter-ocular distances.

    Args:
        tracks: at least one track of the speaker.
        frames_per_track: number of evenly spaced frames per track.

    Returns:
        (len(RIGID_LANDMARKS), 3) reference for `stabilize`.
    """
    samples = []
    for track in tracks:
        frames = np.flatnonzero(track.detected)
        count = min(frames_per_track, len(frames))
        samples.append(track.points[frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]])
    points = np.concatenate(samples).astype(np.float64) @ IMAGE_TO_HEAD_AXES.T
    rigid = points[:, RIGID_LANDMARKS]
    mean = rigid[0] - rigid[0].mean(axis=0)
    for _ in range(PROCRUSTES_ITERATIONS):
        rotation, scale, shift = fit_similarity(mean, rigid)
        normalized = (rigid - shift[:, None]) / scale[:, None, None]
        registered = np.swapaxes(rotation, -1, -2) @ normalized.swapaxes(-1, -2)
        mean = registered.swapaxes(-1, -2).mean(axis=0)
        mean -= mean.mean(axis=0)
    # a face equals its mirror image: half of the rotation onto that image is its rotation away from the front
    order = np.arange(len(RIGID_LANDMARKS))
    for right, left in MIRROR_PAIRS:
        a, b = RIGID_LANDMARKS.index(right), RIGID_LANDMARKS.index(left)
        order[[a, b]] = b, a
    turn, _, _ = fit_similarity(mean, (mean * (1, -1, 1))[order])
    rotation_class = _rotation_class()
    rotation_vector = rotation_class.from_matrix(turn).as_rotvec()
    mean = mean @ rotation_class.from_rotvec(rotation_vector / 2).as_matrix().T
    left_eye, right_eye = (
        mean[[RIGID_LANDMARKS.index(number) for number in EYE_CORNERS[side]]].mean(axis=0)
        for side in ("Left", "Right")
    )
    return (mean - (left_eye + right_eye) / 2) / np.linalg.norm(left_eye - right_eye)


def stabilize(track: LandmarkTrack, reference: np.ndarray) -> StabilizedFace:
    """Remove the motion of the head from a track.

    Args:
        track: a track in which a face was detected in every frame.
        reference: result of `mean_rigid_face`.

    Returns:
        The stabilized face, with the smoothed rotation of the head.
    """
    points = track.points.astype(np.float64) @ IMAGE_TO_HEAD_AXES.T
    rotation, scale, _ = fit_similarity(reference, points[:, RIGID_LANDMARKS])
    rotation_class = _rotation_class()
    head = _smooth(_wrap(rotation_class.from_matrix(rotation).as_rotvec()))
    rotation = rotation_class.from_rotvec(head).as_matrix()
    scale = np.exp(_smooth(np.log(scale)[:, None]))
    shift = points[:, RIGID_LANDMARKS].mean(axis=1) - scale * (rotation @ reference.mean(axis=0))
    points = (points - shift[:, None]) / scale[:, None] @ rotation
    return StabilizedFace(points.astype(np.float32), head.astype(np.float32), track.times, track.name)


def relative_rotation(head: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """Express rotations of the head relative to that of the neutral pose, in the axes of the neutral face.

    Args:
        head: (F, 3) rotation vectors in radians.
        neutral: (3,) rotation vector of the neutral pose.

    Returns:
        (F, 3) float32 rotation vectors.
    """
    rotation_class = _rotation_class()
    relative = rotation_class.from_rotvec(neutral).inv() * rotation_class.from_rotvec(head)
    return relative.as_rotvec().astype(np.float32)


def _wrap(rotation_vectors: np.ndarray) -> np.ndarray:
    """Choose the equivalent rotation vectors that are continuous: heads do not turn upside down."""
    angle = np.linalg.norm(rotation_vectors, axis=1, keepdims=True)
    wrapped = rotation_vectors * (1 - 2 * np.pi / np.maximum(angle, 1e-9))
    return np.where(angle > np.pi - 0.5, wrapped, rotation_vectors)


def _smooth(curves: np.ndarray) -> np.ndarray:
    """Filter curves (F, n) over SMOOTHING_FRAMES frames with a triangular kernel; the ends are held."""
    kernel = np.bartlett(SMOOTHING_FRAMES + 2)[1:-1]
    half = SMOOTHING_FRAMES // 2
    padded = np.pad(curves, ((half, half), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)


def _rotation_class() -> Any:
    return require("scipy.spatial.transform", "solving tracked landmarks", "video").Rotation
