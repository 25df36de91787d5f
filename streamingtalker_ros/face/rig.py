# SPDX-License-Identifier: Apache-2.0
"""The rig: a template face, its triangles, its blendshapes and the landmarks that measure a mouth.

`default_rig()` gives the face that the project sculpts itself (see `face/sculpt`); `face/importers` makes
a Rig of a face that a user owns. In: weights (…, S) in the order of `shape_names`, head rotations (…, 4)
xyzw. Out: vertices (…, V, 3) in metres, axes: x out of the face, y to the person's left, z up.
"""

import functools
from dataclasses import dataclass, field

import numpy as np

from streamingtalker_ros.errors import TalkerError


@dataclass(frozen=True)
class Rig:
    """A linear blendshape face. Immutable; arrays are shared, not copied."""

    name: str
    vertices: np.ndarray  # (V, 3) float32, metres, at rest
    triangles: np.ndarray  # (T, 3) uint32, counter-clockwise seen from outside
    shape_names: tuple  # S names
    deltas: np.ndarray  # (S, V, 3) float32, metres at weight 1
    parts: dict  # part name -> (first, last + 1) vertex range
    landmarks: dict  # name -> int array; inner_lip_upper and inner_lip_lower are paired
    colors: np.ndarray  # (V, 3) float32, 0..1
    pivot: np.ndarray = field(
        default_factory=lambda: np.zeros(3, np.float32)
    )  # (3,) where the head turns on the neck
    follow: np.ndarray = (
        None  # (V,) float32: share of the head's rotation that a vertex takes; None: all of it
    )

    def __post_init__(self):
        count, shapes = len(self.vertices), len(self.shape_names)
        if self.deltas.shape != (shapes, count, 3):
            raise TalkerError(
                f"rig {self.name}: deltas have shape {self.deltas.shape}, "
                f"expected {(shapes, count, 3)} for its names and vertices"
            )

    @functools.cached_property
    def _moving(self):
        """The vertices that any shape moves, and their deltas as a matrix: (M,) int, (S, 3 M) float32."""
        moving = np.flatnonzero((self.deltas != 0).any(axis=(0, 2)))
        return moving, np.ascontiguousarray(self.deltas[:, moving].reshape(len(self.deltas), 3 * len(moving)))

    def _checked(self, weights):
        weights = np.asarray(weights, np.float32)
        if weights.ndim < 1 or weights.shape[-1] != len(self.shape_names):
            raise TalkerError(
                f"rig {self.name} takes {len(self.shape_names)} weights per frame, "
                f"got an array of shape {weights.shape}"
            )
        return weights

    def offsets(self, weights):
        """weights (…, S) -> (…, V, 3) float32 metres: the posed
        vertices minus the template, head at rest."""
        weights = self._checked(weights)
        moving, matrix = self._moving
        out = np.zeros((*weights.shape[:-1], len(self.vertices), 3), np.float32)
        out[..., moving, :] = (weights @ matrix).reshape(*weights.shape[:-1], len(moving), 3)
        return out

    def pose(self, weights, head=None):
        """weights (…, S), head (…, 4) quaternion xyzw or None -> (…, V, 3) float32 metres.

        The head turns about `pivot`; vertices of the neck follow by
        their share, so that it twists and stays put.
        """
        points = self.offsets(weights) + self.vertices
        if head is None:
            return points
        turned = (points - self.pivot) @ np.swapaxes(rotation_matrix(head), -1, -2) + self.pivot
        if self.follow is None:
            return turned
        return points + self.follow[:, None] * (turned - points)

    @functools.cached_property
    def _gap(self):
        upper, lower = (self.landmark(name) for name in ("inner_lip_upper", "inner_lip_lower"))
        middle = slice(len(upper) // 2 - len(upper) // 6, len(upper) - len(upper) // 2 + len(upper) // 6)
        upper, lower = upper[middle], lower[middle]
        z, dz = self.vertices[:, 2].astype(np.float64), self.deltas[:, :, 2].astype(np.float64)
        bias = (z[upper] - z[lower]).mean()
        return float(bias), (dz[:, upper] - dz[:, lower]).mean(axis=1).astype(np.float32)

    def landmark(self, name):
        """The vertices of a named landmark, (n,) int. Raises TalkerError where the rig does not know it."""
        if len(self.landmarks.get(name, ())) == 0:
            raise TalkerError(
                f"rig {self.name} has no landmark {name}: pass it to load_face(..., landmarks={{...}})"
            )
        return self.landmarks[name]

    def lip_gap_map(self):
        """(bias in metres, row (S,) float32 metres per weight): lip_gap = bias + weights @ row."""
        return self._gap

    def lip_gap(self, weights):
        """weights (…, S) -> (…) metres: inner upper lip minus inner
        lower lip along z, mean of the middle pairs.

        Signed: below zero the lips would pass through each other.
        Raises TalkerError where the lips are unknown.
        """
        bias, row = self._gap
        return bias + self._checked(weights) @ row

    def lip_width_map(self):
        """(width in metres at rest, row (S,) float32 metres per weight): the mouth's width along y, of which `lip_width`
        is the exact form for corners that also move to and fro."""
        left, right = self.landmark("mouth_corners")
        across = self.vertices[left, 1] - self.vertices[right, 1]
        return abs(float(across)), np.float32(
            np.sign(across) * (self.deltas[:, left, 1] - self.deltas[:, right, 1])
        )

    def lip_width(self, weights):
        """weights (…, S) -> (…) metres: the distance of the mouth's corners."""
        left, right = self.landmark("mouth_corners")
        corners = self.vertices[[left, right]] + np.einsum(
            "...s,scd->...cd", self._checked(weights), self.deltas[:, [left, right]]
        )
        return np.linalg.norm(corners[..., 0, :] - corners[..., 1, :], axis=-1)


def rotation_matrix(quaternion):
    """quaternion (…, 4) xyzw, any length but zero -> (…, 3, 3) float32."""
    q = np.asarray(quaternion, np.float64)
    x, y, z, w = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows, np.float32), (0, 1), (-2, -1))


@functools.lru_cache(maxsize=1)
def default_rig():
    """The project's own face with the 52 ARKit shapes; built once per process, in under a second."""
    from streamingtalker_ros.face.default_head.assemble import sculpt_rig

    return sculpt_rig()
