# SPDX-License-Identifier: Apache-2.0
"""Vertex normals of a moving triangle mesh, without a loop over its vertices.

The corners of the triangles are sorted by vertex once (`index_corners`); each pose sums over them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class CornerIndex(NamedTuple):
    """Corners of triangles, grouped by vertex.

    Attributes:
        order: (3 T,) corners, those of column 0 of the triangles first, sorted by vertex.
        starts: (P,) where the corners of each vertex start in `order`.
        vertices: (P,) the vertices that have corners, ascending.
    """

    order: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    vertices: npt.NDArray[np.integer]


def index_corners(triangles: npt.NDArray[np.integer]) -> CornerIndex:
    """Group the corners of triangles (T, 3) by vertex."""
    corners = triangles.T.ravel()
    order = np.argsort(corners, kind="stable")
    vertices, starts = np.unique(corners[order], return_index=True)
    return CornerIndex(order, starts, vertices)


def weld_seams(vertices: npt.NDArray[np.floating], deltas: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """For each vertex, the first one that lies and moves as it does, such as its double at a texture seam.

    Args:
        vertices: (V, 3) at rest.
        deltas: (S, V, 3) displacements of the shapes.

    Returns:
        (V,) vertices; normals that are computed with the triangles of these have no crease at seams.
    """
    motion = np.tensordot(np.sqrt(np.arange(2.0, 2.0 + len(deltas))), deltas, axes=1)
    rows = np.ascontiguousarray(np.concatenate([vertices, motion], axis=1), np.float32).round(7)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()]


def vertex_normals(
    points: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer], corners: CornerIndex
) -> npt.NDArray[np.floating]:
    """Compute vertex normals that are exact on a sphere, however it is triangulated.

    The normal at each corner is divided by the squared lengths of its two edges: N. Max, Weights for
    computing vertex normals from facet normals, Journal of Graphics Tools, 1999.

    Args:
        points: (V, 3).
        triangles: (T, 3).
        corners: `index_corners(triangles)`.

    Returns:
        (V, 3) unit vectors; zero for a vertex of no triangle.
    """
    a, b, c = points[triangles[:, 0]], points[triangles[:, 1]], points[triangles[:, 2]]
    ab, bc, ca = b - a, c - b, a - c
    face_normals = np.cross(ab, -ca)
    ab2, bc2, ca2 = (np.einsum("ij,ij->i", edge, edge) + 1e-12 for edge in (ab, bc, ca))
    weight = np.concatenate([1.0 / (ab2 * ca2), 1.0 / (ab2 * bc2), 1.0 / (bc2 * ca2)])
    weighted = face_normals[corners.order % len(triangles)] * weight[corners.order, None]
    normals = np.zeros_like(points)
    normals[corners.vertices] = np.add.reduceat(weighted, corners.starts, axis=0)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
