# SPDX-License-Identifier: Apache-2.0
"""Linear blendshape rig: a template mesh, its blendshapes, and the landmarks that measure its mouth.

`face.default_head.stored.default_rig` returns the rig that comes with the package,
`face.formats.importers.load_face` reads one from a file. Input: weights (…, S) in the order of `shape_names`
and head rotations (…, 4) xyzw. Output: vertices (…, V, 3) in metres; x out of the face, y to the person's
left, z up.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rotation import rotation_matrix
from streamingtalker_ros.face.surface_material import MaterialRange

DEFAULT_COLOR = (0.85, 0.68, 0.58)  # sRGB, of faces that come without colours
_SHOULDERS = 0.15  # height of what is shown of a bust below the head, as a fraction of the head's
_MAX_FIGURE_HEAD = 0.45  # height of the head of a whole figure, as a fraction of the figure's


@dataclass(frozen=True)
class Rig:
    """A linear blendshape face. Immutable; arrays are shared, not copied.

    Attributes:
        name: Name of the face.
        vertices: (V, 3) float32, metres, at rest.
        triangles: (T, 3) uint32, counter-clockwise seen from outside.
        shape_names: Names of the S shapes.
        deltas: (S, V, 3) float32, metres, displacement of each vertex at weight 1.
        parts: Vertex range (first, last + 1) of each named part.
        landmarks: Vertex indices of each named landmark; `inner_lip_upper` and `inner_lip_lower` are paired.
        colors: (V, 3) float32, sRGB, 0..1.
        pivot: (3,) float32, metres, the point about which the head rotates.
        follow: (V,) float32, the fraction of the head's rotation that a vertex takes; None: all of it.
        normals: (V, 3) float32, unit vectors for the light on vertices that no shape moves, such as hair's;
            NaN or None stand for those of the triangles.
        uv: (V, 2) float32, texture coordinates with v downwards, as in glTF; None without textures.
        materials: Textured materials of ranges of vertices; `colors` apply elsewhere, and in renderers that
            draw no textures.

    Raises:
        TalkerError: If the deltas do not fit the names and the vertices.
    """

    name: str
    vertices: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.uint32]
    shape_names: tuple[str, ...]
    deltas: npt.NDArray[np.float32]
    parts: Mapping[str, tuple[int, int]]
    landmarks: Mapping[str, npt.NDArray[np.int64]]
    colors: npt.NDArray[np.float32]
    pivot: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(3, np.float32))
    follow: npt.NDArray[np.float32] | None = None
    normals: npt.NDArray[np.float32] | None = None
    uv: npt.NDArray[np.float32] | None = None
    materials: Sequence[MaterialRange] = ()

    def __post_init__(self) -> None:
        expected = (len(self.shape_names), len(self.vertices), 3)
        if self.deltas.shape != expected:
            raise TalkerError(
                f"rig {self.name}: deltas have shape {self.deltas.shape}, "
                f"expected {expected} for its names and vertices"
            )

    @classmethod
    def from_mesh(
        cls, name: str, vertices: npt.NDArray[np.float32], triangles: npt.NDArray[np.integer]
    ) -> Rig:
        """Make a rig without shapes and landmarks of a plain mesh.

        Args:
            name: Name of the face.
            vertices: (V, 3) metres.
            triangles: (T, 3).

        Returns:
            The rig, in `DEFAULT_COLOR`.
        """
        return cls(
            name=name,
            vertices=np.asarray(vertices, np.float32),
            triangles=np.asarray(triangles, np.uint32),
            shape_names=(),
            deltas=np.zeros((0, len(vertices), 3), np.float32),
            parts={"skin": (0, len(vertices))},
            landmarks={},
            colors=np.tile(np.array(DEFAULT_COLOR, np.float32), (len(vertices), 1)),
        )

    @functools.cached_property
    def _moved_deltas(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """The M vertices that any shape moves, and their deltas as a matrix (S, 3 M)."""
        moved_ids = np.flatnonzero((self.deltas != 0).any(axis=(0, 2)))
        return moved_ids, np.ascontiguousarray(
            self.deltas[:, moved_ids].reshape(len(self.deltas), 3 * len(moved_ids))
        )

    def _validate(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        values = np.asarray(weights, np.float32)
        if values.ndim < 1 or values.shape[-1] != len(self.shape_names):
            raise TalkerError(
                f"rig {self.name} takes {len(self.shape_names)} weights per frame, "
                f"got an array of shape {values.shape}"
            )
        return values

    def offsets(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Displacements of the vertices from the template, without any rotation of the head.

        Args:
            weights: (…, S), 0..1.

        Returns:
            (…, V, 3) float32, metres.
        """
        values = self._validate(weights)
        moved_ids, matrix = self._moved_deltas
        offsets = np.zeros((*values.shape[:-1], len(self.vertices), 3), np.float32)
        offsets[..., moved_ids, :] = (values @ matrix).reshape(*values.shape[:-1], len(moved_ids), 3)
        return offsets

    def pose(self, weights: npt.ArrayLike, head: npt.ArrayLike | None = None) -> npt.NDArray[np.float32]:
        """Pose the face.

        The head rotates about `pivot`; vertices of the neck take the fraction `follow` of the rotation, so
        that the neck twists while its foot stands still.

        Args:
            weights: (…, S), 0..1.
            head: (…, 4) quaternion xyzw; None for no rotation.

        Returns:
            (…, V, 3) float32, metres.
        """
        points = self.offsets(weights) + self.vertices
        if head is None:
            return points
        inverse = np.swapaxes(rotation_matrix(head), -1, -2)
        rotated = (points - self.pivot) @ inverse + self.pivot
        if self.follow is not None:
            rotated = points + self.follow[:, None] * (rotated - points)
        return rotated.astype(np.float32, copy=False)

    def head_bounds(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Lowest and highest corner (3,) in metres of the head at rest, with a bit of a bust's shoulders."""
        low, high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        if self.follow is None or not (self.follow >= 0.5).any():
            return low, high
        head = self.vertices[self.follow >= 0.5]
        head_low, head_high = head.min(axis=0), head.max(axis=0)
        height = head_high[2] - head_low[2]
        if height >= _MAX_FIGURE_HEAD * (high[2] - low[2]):  # no figure, whose head includes the neck
            head_low[2] = max(low[2], head_low[2] - _SHOULDERS * height)
        return head_low, head_high

    def landmark(self, name: str) -> npt.NDArray[np.int64]:
        """Indices (n,) of the vertices of a named landmark.

        Args:
            name: Name of the landmark, such as `inner_lip_upper`.

        Raises:
            TalkerError: If the rig lacks the landmark.
        """
        vertices = self.landmarks.get(name)
        if vertices is None or len(vertices) == 0:
            raise TalkerError(
                f"rig {self.name} has no landmark {name}: pass it to load_face(..., landmarks={{...}})"
            )
        return vertices

    def middle_lip_pairs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The paired landmarks in the middle of the inner lips, between which the lip gap is measured.

        Returns:
            Vertices of the upper and of the lower lip, (n,) each.

        Raises:
            TalkerError: If the rig lacks the landmarks of the inner lips.
        """
        upper, lower = self.landmark("inner_lip_upper"), self.landmark("inner_lip_lower")
        middle = slice(len(upper) // 2 - len(upper) // 6, len(upper) - len(upper) // 2 + len(upper) // 6)
        return upper[middle], lower[middle]

    @functools.cached_property
    def _lip_gap(self) -> tuple[float, npt.NDArray[np.float32]]:
        upper, lower = self.middle_lip_pairs()
        z, dz = self.vertices[:, 2].astype(np.float64), self.deltas[:, :, 2].astype(np.float64)
        bias = (z[upper] - z[lower]).mean()
        return float(bias), (dz[:, upper] - dz[:, lower]).mean(axis=1).astype(np.float32)

    def rise(self, vertices: npt.ArrayLike, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Mean vertical displacement of some vertices from the template.

        Args:
            vertices: (n,) indices.
            weights: (…, S), 0..1.

        Returns:
            (…) metres, positive upwards.
        """
        return self._validate(weights) @ self.deltas[:, np.asarray(vertices), 2].mean(axis=1)

    def lip_gap_map(self) -> tuple[float, npt.NDArray[np.float32]]:
        """Coefficients of the lip gap, which is linear in the weights: lip_gap = bias + weights @ row.

        Returns:
            bias: Metres.
            row: (S,) float32, metres per weight.

        Raises:
            TalkerError: If the rig lacks the landmarks of the inner lips.
        """
        return self._lip_gap

    def lip_gap(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Height of the inner upper lip above the inner lower lip, mean over the middle pairs of landmarks.

        Args:
            weights: (…, S), 0..1.

        Returns:
            (…) metres; negative where the lips would pass through each other.

        Raises:
            TalkerError: If the rig lacks the landmarks of the inner lips.
        """
        bias, row = self._lip_gap
        return bias + self._validate(weights) @ row

    def lip_width_map(self) -> tuple[float, npt.NDArray[np.float32]]:
        """Coefficients of the mouth's width along y, the linear part of `lip_width`.

        Returns:
            width: Metres, at rest.
            row: (S,) float32, metres per weight.

        Raises:
            TalkerError: If the rig lacks the landmark of the mouth's corners.
        """
        left, right = self.landmark("mouth_corners")
        across = self.vertices[left, 1] - self.vertices[right, 1]
        row = np.sign(across) * (self.deltas[:, left, 1] - self.deltas[:, right, 1])
        return abs(float(across)), np.asarray(row, np.float32)

    def lip_width(self, weights: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Distance of the mouth's corners.

        Args:
            weights: (…, S), 0..1.

        Returns:
            (…) metres.

        Raises:
            TalkerError: If the rig lacks the landmark of the mouth's corners.
        """
        left, right = self.landmark("mouth_corners")
        corners = self.vertices[[left, right]] + np.einsum(
            "...s,scd->...cd", self._validate(weights), self.deltas[:, [left, right]]
        )
        return np.linalg.norm(corners[..., 0, :] - corners[..., 1, :], axis=-1)
