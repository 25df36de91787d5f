# SPDX-License-Identifier: Apache-2.0
"""Normals of a moving triangle mesh: the mesh's corners sorted once, then summed for every pose without a loop.

corners = vertex_corners(triangles); normals = smooth_normals(points, triangles, corners)
"""

import numpy as np


def vertex_corners(faces):
    """faces (T, 3) int -> the corners (a, b, c in turn) sorted by vertex, where each vertex starts, and which
    vertices have any."""
    corner = faces.T.ravel()
    order = np.argsort(corner, kind="stable")
    present, starts = np.unique(corner[order], return_index=True)
    return order, starts, present


def smooth_normals(points, faces, corners):
    """points (V, 3), faces (T, 3) int, corners of `vertex_corners(faces)` -> (V, 3) of unit length, exact on
    a sphere whatever its triangles: a corner's normal is divided by its two edges' squared lengths (N. Max,
    Weights for computing vertex normals, 1999). Zero for a vertex of no triangle."""
    a, b, c = points[faces[:, 0]], points[faces[:, 1]], points[faces[:, 2]]
    ab, bc, ca = b - a, c - b, a - c
    across = np.cross(ab, -ca)
    lab, lbc, lca = (np.einsum("ij,ij->i", edge, edge) + 1e-12 for edge in (ab, bc, ca))
    weight = np.concatenate([1.0 / (lab * lca), 1.0 / (lab * lbc), 1.0 / (lbc * lca)])
    order, starts, present = corners
    normals = np.zeros_like(points)
    normals[present] = np.add.reduceat(across[order % len(faces)] * weight[order, None], starts, axis=0)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
