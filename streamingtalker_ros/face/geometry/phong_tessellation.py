# SPDX-License-Identifier: Apache-2.0
"""Phong tessellation: each triangle is split in four and bent towards the tangent planes at its corners.

T. Boubekeur and M. Alexa, Phong Tessellation, SIGGRAPH Asia 2008; one level, alpha = 3/4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ALPHA = 0.75  # 0 keeps the triangles flat, 1 projects onto the tangent planes


class PhongTessellator:
    """Tessellates poses of one mesh. The vertices keep their indices; the middles of edges follow.

    Args:
        triangles: (T, 3).
        num_vertices: Vertices of the mesh, V.

    Attributes:
        edges: (E, 2) vertices at the ends of each edge.
        triangles: (4 T, 3) triangles of the tessellated mesh; four in a row come from one triangle.
    """

    def __init__(self, triangles: npt.NDArray[np.integer], num_vertices: int) -> None:
        a, b, c = np.asarray(triangles, np.int64).T
        pairs = np.sort(
            np.concatenate([np.stack([a, b], 1), np.stack([b, c], 1), np.stack([c, a], 1)]), axis=1
        )
        self.edges, middle = np.unique(pairs, axis=0, return_inverse=True)
        ab, bc, ca = num_vertices + middle.reshape(3, -1)
        self.triangles = np.stack(
            [np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1
        ).reshape(-1, 3)

    def tessellate(
        self, points: npt.NDArray[np.floating], normals: npt.NDArray[np.floating]
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Tessellate one pose.

        Args:
            points: (V, 3).
            normals: (V, 3) unit vectors.

        Returns:
            Points and normals, (V + E, 3) each.
        """
        a, b = self.edges.T
        pa, pb, na, nb = points[a], points[b], normals[a], normals[b]
        half = (pb - pa) * 0.5
        # how far the middle lies above the tangent plane at either end
        above_a = np.einsum("ij,ij->i", half, na)[:, None] * na
        above_b = -np.einsum("ij,ij->i", half, nb)[:, None] * nb
        middle = pa + half - (0.5 * ALPHA) * (above_a + above_b)
        normal = na + nb
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        return np.concatenate([points, middle]), np.concatenate([normals, normal])

    def interpolate(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Values of all vertices, (V, …) -> (V + E, …); an edge takes the mean of its ends.

        Args:
            values: (V, …) one value or row per vertex of the original mesh, in any unit.

        Returns:
            (V + E, …) the given values, then those of the edges' middles.
        """
        return np.concatenate([values, values[self.edges].mean(axis=1)])
