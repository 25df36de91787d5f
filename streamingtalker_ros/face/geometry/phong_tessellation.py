# SPDX-License-Identifier: Apache-2.0
"""Rounder pictures from few vertices: each triangle is cut in four and bent towards its corners' normals.

`Refiner(triangles, count)` knows the mesh; `refine(points, normals)` gives the finer points and normals of
one pose. The original vertices keep their places and numbers; the middles of edges follow behind them.
Method: Phong tessellation, T. Boubekeur and M. Alexa, 2008, one level, alpha = 3/4.
"""

import numpy as np

ALPHA = 0.75


class Refiner:
    """triangles: (T, 3) int; count: vertices. After it, `triangles` (4 T, 3) int64 are those of the finer
    mesh and `edges` (E, 2) the ends of each added vertex."""

    def __init__(self, triangles, count) -> None:
        a, b, c = np.asarray(triangles, np.int64).T
        pairs = np.sort(
            np.concatenate([np.stack([a, b], 1), np.stack([b, c], 1), np.stack([c, a], 1)]), axis=1
        )
        self.edges, middle = np.unique(pairs, axis=0, return_inverse=True)
        ab, bc, ca = count + middle.reshape(3, -1)
        self.triangles = np.stack(
            [np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1
        ).reshape(-1, 3)

    def refine(self, points, normals):
        """points, normals (V, 3) float32 -> both (V + E, 3) float32."""
        a, b = self.edges.T
        pa, pb, na, nb = points[a], points[b], normals[a], normals[b]
        half = (pb - pa) * 0.5
        onto_a = (
            np.einsum("ij,ij->i", half, na)[:, None] * na
        )  # the middle, seen from a, above a's tangent plane
        onto_b = -np.einsum("ij,ij->i", half, nb)[:, None] * nb
        middle = pa + half - (0.5 * ALPHA) * (onto_a + onto_b)
        normal = na + nb
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        return np.concatenate([points, middle]), np.concatenate([normals, normal])

    def mix(self, values):
        """Values per vertex (V, …) -> (V + E, …), edges taking their ends' mean; for colours."""
        return np.concatenate([values, values[self.edges].mean(axis=1)])
