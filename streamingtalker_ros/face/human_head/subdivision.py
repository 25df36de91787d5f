# SPDX-License-Identifier: Apache-2.0
"""Catmull-Clark subdivision of a mesh of quads, applied to any values of its vertices.

Source: E. Catmull, J. Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


class Subdivision:
    """One step of subdivision. The new vertices are the old ones, then one for each edge, then for each quad.

    Args:
        quads: (Q, 4) vertices of each quad.
        num_vertices: Vertices of the mesh.

    Attributes:
        quads: (4 Q, 4) quads of the subdivided mesh.
        edges: (E, 2) vertices of each edge; the vertex of edge e of the subdivided mesh is num_vertices + e.
    """

    def __init__(self, quads: npt.NDArray[np.int64], num_vertices: int) -> None:
        self._quads = quads
        sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
        self.edges, edge_of_side, sides_of_edge = np.unique(
            np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True
        )
        self._edge_of_side = edge_of_side.reshape(-1, 4)
        self._is_border = sides_of_edge == 1
        self._num_vertices = num_vertices
        border = self.edges[self._is_border]
        self._border_neighbours = np.bincount(border.ravel(), minlength=num_vertices)
        self._valence = np.bincount(self.edges.ravel(), minlength=num_vertices)
        edge_points = num_vertices + self._edge_of_side
        face_points = num_vertices + len(self.edges) + np.arange(len(quads))
        self.quads: npt.NDArray[np.int64] = np.concatenate(
            [
                np.column_stack([quads[:, k], edge_points[:, k], face_points, edge_points[:, k - 1]])
                for k in range(4)
            ]
        )

    def refine(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values of the subdivided mesh, linear in those of the mesh.

        Args:
            values: (V, …) values of the vertices, such as positions or displacements.

        Returns:
            (V + E + Q, …).
        """
        flat = values.reshape(self._num_vertices, -1)
        face_points = flat[self._quads].mean(axis=1)
        middles = flat[self.edges].mean(axis=1)
        edge_faces = np.zeros_like(middles)
        np.add.at(edge_faces, self._edge_of_side, face_points[:, None])
        edge_points = np.where(self._is_border[:, None], middles, (middles + edge_faces / 2.0) / 2.0)
        refined = np.concatenate([self._move(flat, face_points, middles), edge_points, face_points])
        return refined.reshape(-1, *values.shape[1:])

    def _move(
        self,
        flat: npt.NDArray[np.float64],
        face_points: npt.NDArray[np.float64],
        middles: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.float64]:
        """New positions of the old vertices."""
        around = np.zeros_like(flat)
        faces = np.bincount(self._quads.ravel(), minlength=self._num_vertices)
        np.add.at(around, self._quads, face_points[:, None])
        edges = np.zeros_like(flat)
        np.add.at(edges, self.edges, middles[:, None])
        valence = np.maximum(self._valence, 1)[:, None]
        inner = (
            around / np.maximum(faces, 1)[:, None] + 2.0 * edges / valence + (valence - 3) * flat
        ) / valence
        border = np.zeros_like(flat)
        np.add.at(border, self.edges[self._is_border], middles[self._is_border][:, None])
        border = (border + 2.0 * flat) / 4.0
        moved = np.where((self._border_neighbours == 2)[:, None], border, inner)
        return np.where(((self._border_neighbours > 2) | (faces == 0))[:, None], flat, moved)
