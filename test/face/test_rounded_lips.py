# SPDX-License-Identifier: Apache-2.0
"""Rounded lips of the default head leave its cheeks nearly where they are."""

from __future__ import annotations

import numpy as np
import pytest

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig


@pytest.mark.parametrize(("name", "deepest_mm"), [("mouthPucker", 6.5), ("mouthFunnel", 4.0)])
def test_rounded_lips_do_not_dent_the_cheeks(name: str, deepest_mm: float) -> None:
    rig = default_rig()
    points = rig.vertices.astype(float)
    first, last = rig.parts["skin"]
    faces = rig.triangles[((rig.triangles >= first) & (rig.triangles < last)).all(axis=1)]
    a, b, c = (points[faces[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    x, y, z = points[first:last].T
    cheek = first + np.flatnonzero((np.abs(y) > 0.032) & (x > 0.02) & (z > -0.1) & (z < -0.03))
    assert len(cheek) > 100
    outward = normals[cheek] / np.linalg.norm(normals[cheek], axis=1, keepdims=True)
    height_mm = 1e3 * np.einsum("nk,nk->n", rig.deltas[INDEX[name]][cheek], outward)
    assert height_mm.min() > -deepest_mm
