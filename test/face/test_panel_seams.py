# SPDX-License-Identifier: Apache-2.0
"""The seams of the default head lie on its skin whatever its shapes, and part two tones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rig import Rig

LOWEST_MM, HIGHEST_MM = 0.1, 1.2  # of a seam above the triangles of the skin, which are coarse near the crown


class Binding:
    """Where points lie on the skin of a rig at rest: triangle and barycentric weights."""

    def __init__(self, rig: Rig, points: npt.NDArray[np.float64]) -> None:
        first, last = rig.parts["skin"]
        triangles = rig.triangles[((rig.triangles >= first) & (rig.triangles < last)).all(axis=1)]
        corners = rig.vertices[triangles].astype(float)
        a, edge, other = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        normal = np.cross(edge, other)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        best, weights = [], []
        for point in points:
            height = np.einsum("nk,nk->n", point - a, normal)
            flat = point - a - height[:, None] * normal
            system = np.stack([edge, other, normal], axis=-1)
            u, v, _ = np.linalg.solve(system, flat[..., None])[..., 0].T
            inside = np.minimum(np.minimum(u, v), 1.0 - u - v)
            score = np.abs(height) + 0.1 * np.maximum(-inside, 0.0)
            nearest = int(score.argmin())
            best.append(triangles[nearest])
            weights.append((1.0 - u[nearest] - v[nearest], u[nearest], v[nearest]))
        self.triangles, self.weights = np.array(best), np.array(weights)

    def heights_mm(self, vertices: npt.NDArray[np.float64], points: npt.NDArray[np.float64]) -> np.ndarray:
        """Heights of the points, moved, above their place on the skin of moved vertices."""
        a, b, c = (vertices[self.triangles[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        foot = sum(self.weights[:, k, None] * corner for k, corner in enumerate((a, b, c)))
        return 1e3 * np.einsum("nk,nk->n", points - foot, normal)


def test_seams_follow_the_skin() -> None:
    rig = default_rig()
    for side in ("left", "right"):
        first, last = rig.parts[f"seam_{side}"]
        seam = np.arange(first, last)
        binding = Binding(rig, rig.vertices[seam].astype(float))
        rest = binding.heights_mm(rig.vertices.astype(float), rig.vertices[seam].astype(float))
        assert rest.min() > LOWEST_MM and rest.max() < HIGHEST_MM
        for name, delta in zip(rig.shape_names, rig.deltas, strict=True):
            moved = (rig.vertices + delta).astype(float)
            heights = binding.heights_mm(moved, moved[seam])
            assert heights.min() > LOWEST_MM and heights.max() < HIGHEST_MM, name
        random = np.random.default_rng(0)
        for _ in range(20):
            weights = random.random(len(rig.deltas)) * (random.random(len(rig.deltas)) < 0.15)
            moved = rig.vertices + np.tensordot(weights, rig.deltas, 1)
            heights = binding.heights_mm(moved, moved[seam])
            assert heights.min() > LOWEST_MM and heights.max() < HIGHEST_MM


def test_the_face_is_lighter_than_the_panels_behind_the_seams() -> None:
    rig = default_rig()
    assert rig.colors is not None
    first, last = rig.parts["skin"]
    x, y, z = rig.vertices[first:last].T
    seam = rig.vertices[slice(*rig.parts["seam_left"])]
    seam = seam[np.argsort(seam[:, 2])]
    before = x - np.interp(z, seam[:, 2], seam[:, 0])
    tone = rig.colors[first:last].mean(axis=1)
    at_side = (
        (z > -0.09) & (z < 0.06) & (np.abs(y) > 0.053)
    )  # beside the eyelids, which have their own colours
    plate, panel = tone[at_side & (before > 0.003)], tone[at_side & (before < -0.007)]
    assert min(len(plate), len(panel)) > 20 and plate.min() > panel.max() + 0.1
