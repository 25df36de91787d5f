# SPDX-License-Identifier: Apache-2.0
"""The head's pose out of tracked landmarks, and kept.

`mean_face(tracks)` finds a speaker's rigid reference; `steady(track, reference)` turns every frame onto it.
Steady points are in parts of the inter-ocular distance (between the middles of the eyes), axes as everywhere:
x out of the face, y to the person's left, z up, the origin between the eyes. The pose is a similarity fitted
by least squares (Umeyama 1991) to landmarks that neither speech nor brows move.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.corpus.video.landmarks import EYES, STABLE
from streamingtalker_ros.errors import require

IMAGE_TO_HEAD_AXES = np.array(
    [[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
)  # image (x right, y down, z away) -> ours
PAIRS = (
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
)  # right and left partners among the stable landmarks
SMOOTH = 5  # frames: the rigid fit trembles more than a head does


@dataclass
class Face:
    """points (F, 478, 3), steady; head (F, 3) rotation vectors from the reference; times (F,) s; name."""

    points: np.ndarray
    head: np.ndarray
    times: np.ndarray
    name: str = ""


def similarity(source, target):
    """(R (…, 3, 3), s (…), t (…, 3)) that bring source (n, 3) onto target (…, n, 3): s R x + t, least squares."""
    middle, middles = source.mean(axis=0), target.mean(axis=-2)
    a, b = source - middle, target - middles[..., None, :]
    u, d, vt = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    sign = np.ones(d.shape)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (d * sign).sum(axis=-1) / (a * a).sum()
    return rotation, scale, middles - scale[..., None] * (rotation @ middle)


def mean_face(tracks, frames=20):
    """The stable landmarks of a speaker, (len(STABLE), 3), as upright, frontal and large as steady points are.

    tracks: of one speaker, at least one; frames: how many of each to look at, evenly spread.
    """
    views = []
    for track in tracks:
        seen = np.flatnonzero(track.found)
        views.append(
            track.points[seen[np.linspace(0, len(seen) - 1, min(frames, len(seen))).round().astype(int)]]
        )
    views = np.concatenate(views).astype(np.float64) @ IMAGE_TO_HEAD_AXES.T
    stable = views[:, STABLE]
    mean = stable[0] - stable[0].mean(axis=0)
    for _ in range(4):  # generalised Procrustes
        rotation, scale, shift = similarity(mean, stable)
        mean = (
            (
                np.swapaxes(rotation, -1, -2)
                @ ((stable - shift[:, None]) / scale[:, None, None]).swapaxes(-1, -2)
            )
            .swapaxes(-1, -2)
            .mean(axis=0)
        )
        mean -= mean.mean(axis=0)
    left, right = (np.array([STABLE.index(p) for p in EYES[side]]) for side in ("Left", "Right"))
    # a face is its own mirror image: half of the turn onto that image is what it looks away from the front
    mirrored = mean * (1, -1, 1)
    order = np.arange(len(STABLE))
    for a, b in PAIRS:
        a, b = STABLE.index(a), STABLE.index(b)
        order[[a, b]] = b, a
    turn, _, _ = similarity(mean, mirrored[order])
    rotvec = _rotation().from_matrix(turn).as_rotvec()
    mean = mean @ _rotation().from_rotvec(rotvec / 2).as_matrix().T
    eyes = mean[left].mean(axis=0), mean[right].mean(axis=0)
    return (mean - (eyes[0] + eyes[1]) / 2) / np.linalg.norm(eyes[0] - eyes[1])


def steady(track, reference):
    """A Track in which a face was found in every frame -> its Face. reference: of `mean_face`."""
    views = track.points.astype(np.float64) @ IMAGE_TO_HEAD_AXES.T
    rotation, scale, _ = similarity(reference, views[:, STABLE])
    Rotation = _rotation()
    head = _smooth(_continuous(Rotation.from_matrix(rotation).as_rotvec()))
    rotation, scale = Rotation.from_rotvec(head).as_matrix(), np.exp(_smooth(np.log(scale)[:, None]))
    shift = views[:, STABLE].mean(axis=1) - scale * (rotation @ reference.mean(axis=0))
    points = (views - shift[:, None]) / scale[:, None] @ rotation
    return Face(points.astype(np.float32), head.astype(np.float32), track.times, track.name)


def relative(head, neutral):
    """Rotation vectors (F, 3) against that of the neutral (3,), in the neutral face's own axes: (F, 3) float32."""
    Rotation = _rotation()
    return (Rotation.from_rotvec(neutral).inv() * Rotation.from_rotvec(head)).as_rotvec().astype(np.float32)


def _continuous(rotvec):
    """Rotation vectors whose neighbours lie near each other; heads do not turn upside down."""
    angle = np.linalg.norm(rotvec, axis=1, keepdims=True)
    return np.where(angle > np.pi - 0.5, rotvec * (1 - 2 * np.pi / np.maximum(angle, 1e-9)), rotvec)


def _smooth(curves):
    """curves (F, n): means over SMOOTH frames in a triangle, ends held."""
    kernel = np.bartlett(SMOOTH + 2)[1:-1]
    padded = np.pad(curves, ((SMOOTH // 2, SMOOTH // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)


def _rotation():
    return require("scipy.spatial.transform", "solving tracked landmarks").Rotation
