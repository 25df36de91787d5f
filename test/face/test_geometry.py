# SPDX-License-Identifier: Apache-2.0
"""Vertex normals are exact on a sphere; lip landmarks are only found where there are lips."""

from __future__ import annotations

import numpy as np

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.geometry.lip_landmarks import NUM_PAIRS, find_lip_landmarks
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals


def test_vertex_normals_are_exact_on_an_irregular_sphere() -> None:
    """An octahedron's faces, each split at a random point of the sphere."""
    octahedron = np.array([[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (1, 0, 5), (2, 1, 5), (3, 2, 5), (0, 3, 5)]
    rng = np.random.default_rng(0)
    points, triangles = list(octahedron), []
    for a, b, c in faces:
        inner = rng.dirichlet((3, 3, 3)) @ octahedron[[a, b, c]]
        points.append(inner / np.linalg.norm(inner))
        new = len(points) - 1
        triangles += [(a, b, new), (b, c, new), (c, a, new)]
    sphere, corners = np.array(points), np.array(triangles)
    normals = vertex_normals(3.0 * sphere, corners, index_corners(corners))
    np.testing.assert_allclose(normals, sphere, atol=1e-9)


def test_a_vertex_of_no_triangle_has_no_normal() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], float)
    triangles = np.array([[0, 1, 2]])
    normals = vertex_normals(points, triangles, index_corners(triangles))
    np.testing.assert_allclose(normals, [[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]], atol=1e-9)


def test_lip_landmarks_are_paired_and_run_from_right_to_left() -> None:
    rig = default_rig()
    found = find_lip_landmarks(rig.vertices, rig.triangles, rig.deltas[INDEX["jawOpen"]])
    upper, lower = rig.vertices[found["inner_lip_upper"]], rig.vertices[found["inner_lip_lower"]]
    assert len(upper) == len(lower) == NUM_PAIRS and (np.diff(upper[:, 1]) > 0).all()
    assert np.linalg.norm(upper - lower, axis=1).max() < 0.003
    left, right = rig.vertices[found["mouth_corners"], 1]
    assert left > 0 > right


def test_no_lip_landmarks_are_found_without_lips_or_jaw_motion() -> None:
    rig = default_rig()
    jaw_open = rig.deltas[INDEX["jawOpen"]]
    assert find_lip_landmarks(rig.vertices, rig.triangles, 0 * jaw_open) == {}
    rigid_drop = np.tile(np.array([0, 0, -0.03], np.float32), (len(rig.vertices), 1))
    assert find_lip_landmarks(rig.vertices, rig.triangles, rigid_drop) == {}
