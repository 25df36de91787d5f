# SPDX-License-Identifier: Apache-2.0
"""The skin of a head under construction, with places that are the same on every person.

All people share one topology, so a place is stated on MakeHuman's base mesh: millimetres from the middle
between its eyes, x forward, y to the person's left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals
from streamingtalker_ros.face.human_head.part import smooth
from streamingtalker_ros.face.rendering.software_renderer import rasterize

_OCCLUSION_DIRECTIONS = 40
_OCCLUSION_PIXELS = 320
_OCCLUSION_BIAS_M = 0.0015
_GOLDEN_ANGLE = np.pi * (3.0 - 5.0**0.5)


class Roots(NamedTuple):
    """Points on a surface: triangle (N,) and barycentric weights (N, 3)."""

    triangles: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """The skin of a person.

    Attributes:
        vertices: (V, 3) metres, axes of `Rig`.
        base: (V, 3) the same vertices on the base mesh, mm.
        triangles: (T, 3).
        deltas: (52, V, 3) metres.
    """

    vertices: npt.NDArray[np.float64]
    base: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]
    deltas: npt.NDArray[np.float64]

    @cached_property
    def normals(self) -> npt.NDArray[np.float64]:
        """(V, 3) unit normals, outward."""
        corners = index_corners(self.triangles)
        return vertex_normals(self.vertices.astype(np.float32), self.triangles, corners).astype(np.float64)

    def evaluate(self, roots: Roots, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Interpolate values of the vertices at points of the surface.

        Args:
            roots: N points.
            values: (V, …) values of the vertices.

        Returns:
            (N, …).
        """
        corners = values[self.triangles[roots.triangles]]
        return np.einsum("nk,nk...->n...", roots.weights, corners)

    def scatter(self, density: npt.NDArray[np.float64], count: int, random: np.random.Generator) -> Roots:
        """Random points of the surface.

        Args:
            density: (V,) relative density of the points, 0 for none.
            count: Number of points.
            random: Source of random numbers.

        Returns:
            `count` points.
        """
        a, b, c = (self.base[self.triangles[:, k]] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        weight = area * density[self.triangles].mean(axis=1)
        triangles = random.choice(len(weight), count, p=weight / weight.sum())
        u, v = np.sqrt(random.random(count)), random.random(count)
        return Roots(triangles, np.column_stack([1.0 - u, u * (1.0 - v), u * v]))

    @cached_property
    def openness(self) -> npt.NDArray[np.float64]:
        """(V,) fraction of the sky that each vertex sees, weighted by the cosine to its normal.

        From each of several directions a depth image of the surface shows which vertices are hidden.
        """
        k = np.arange(_OCCLUSION_DIRECTIONS)
        height = 1.0 - (2.0 * k + 1.0) / _OCCLUSION_DIRECTIONS
        radius = np.sqrt(1.0 - height**2)
        directions = np.column_stack(
            [radius * np.cos(k * _GOLDEN_ANGLE), radius * np.sin(k * _GOLDEN_ANGLE), height]
        )
        points = self.vertices - self.vertices.mean(axis=0)
        extent = 1.02 * np.linalg.norm(points, axis=1).max()
        seen, total = np.zeros(len(points)), np.zeros(len(points))
        for direction in directions:
            across = np.cross(direction, [0.31, 0.57, 0.76])
            across /= np.linalg.norm(across)
            axes = np.stack([across, np.cross(direction, across)])
            pixel = (points @ axes.T / extent + 1.0) * (_OCCLUSION_PIXELS / 2)
            nearness = points @ direction + 2.0 * extent
            screen = np.column_stack([pixel, nearness])[self.triangles]
            index, triangle, weights = rasterize(screen, _OCCLUSION_PIXELS, _OCCLUSION_PIXELS)
            image = np.zeros(_OCCLUSION_PIXELS**2)
            image[index] = (screen[triangle, :, 2] * weights).sum(axis=1)
            column, row = pixel.astype(np.int64).T
            is_seen = nearness > image[row * _OCCLUSION_PIXELS + column] - _OCCLUSION_BIAS_M - 0.0005
            cosine = np.clip(self.normals @ direction, 0.0, None)
            seen += cosine * is_seen
            total += cosine
        return smooth(seen / np.maximum(total, 1e-9), self.triangles, steps=4)
