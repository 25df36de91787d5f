# SPDX-License-Identifier: Apache-2.0
"""A part of a head under construction, with its displacements and colours. Metres; axes of `Rig`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.surface_material import SurfaceMaterial

Shapes = Mapping[str, npt.NDArray[np.float64]]
"""Displacements (V, 3) of the vertices by the names of ARKit's shapes."""


@dataclass(frozen=True)
class Part:
    """Vertices, triangles, displacements and colours.

    Attributes:
        name: Name of the part in the rig.
        vertices: (V, 3).
        triangles: (T, 3), counter-clockwise seen from outside.
        colors: (V, 3) sRGB, 0..1.
        deltas: (52, V, 3) in the order of `ARKIT_NAMES`; None for a part that no shape moves.
        uv: (V, 2) texture coordinates, v downwards; None without textures.
        material: Its material; None to show its colours.
        normals: (V, 3) unit vectors for the light on a part that no shape moves; None for those of its mesh.
    """

    name: str
    vertices: npt.NDArray[np.float64]
    triangles: npt.NDArray[np.int64]
    colors: npt.NDArray[np.float64]
    deltas: npt.NDArray[np.float64] | None = None
    uv: npt.NDArray[np.float64] | None = None
    material: SurfaceMaterial | None = None
    normals: npt.NDArray[np.float64] | None = None

    def all_deltas(self) -> npt.NDArray[np.float64]:
        """(52, V, 3) displacements, zeros if no shape moves the part."""
        if self.deltas is None:
            return np.zeros((len(ARKIT_NAMES), *self.vertices.shape))
        return self.deltas

    def all_uv(self) -> npt.NDArray[np.float64]:
        """(V, 2) texture coordinates, zeros without textures."""
        return np.zeros((len(self.vertices), 2)) if self.uv is None else self.uv

    def all_normals(self) -> npt.NDArray[np.float64]:
        """(V, 3) normals, NaN where they are those of the triangles."""
        return np.full_like(self.vertices, np.nan) if self.normals is None else self.normals


def triangulate(quads: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Triangles (T, 3) of quads (Q, 4); a quad that repeats a corner gives one."""
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)]


def grid_quads(rows: int, columns: int, closed: bool = False) -> npt.NDArray[np.int64]:
    """Quads of a grid whose vertex (row, column) has the number row * columns + column.

    Seen from outside, rows go down and columns go to the right; `closed` joins the last column to the first.
    """
    row, column = np.mgrid[: rows - 1, : columns if closed else columns - 1]
    upper_left, right = row * columns + column, row * columns + (column + 1) % columns
    return np.stack([upper_left, upper_left + columns, right + columns, right], axis=-1).reshape(-1, 4)


def smooth(
    values: npt.NDArray[np.float64], triangles: npt.NDArray[np.int64], steps: int
) -> npt.NDArray[np.float64]:
    """Average values (V, …) of vertices over the triangles around them, `steps` times."""
    flat = values.reshape(len(values), -1)
    count = np.maximum(np.bincount(triangles.ravel(), minlength=len(flat)), 1)
    for _ in range(steps):
        means = flat[triangles].mean(axis=1)
        flat = np.column_stack(
            [np.bincount(triangles.ravel(), column.repeat(3), minlength=len(flat)) for column in means.T]
        )
        flat /= count[:, None]
    return flat.reshape(values.shape)


def order_grid(quads: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Vertices (rows, columns) of quads (Q, 4) that form a grid; there are no more rows than columns."""
    place = {
        int(quads[0, 0]): (0, 0),
        int(quads[0, 1]): (0, 1),
        int(quads[0, 2]): (1, 1),
        int(quads[0, 3]): (1, 0),
    }
    waiting = [list(map(int, quad)) for quad in quads[1:]]
    while waiting:
        later = []
        for quad in waiting:
            pair = next((k for k in range(4) if quad[k] in place and quad[k - 3] in place), None)
            if pair is None:
                later.append(quad)
                continue
            a, b, c, d = quad[pair:] + quad[:pair]
            (i, j), (k, m) = place[a], place[b]
            # turned by the sense of the first quad, the next corner lies a quarter turn from the edge a, b
            place[c], place[d] = (k + m - j, m - (k - i)), (i + m - j, j - (k - i))
        if len(later) == len(waiting):
            raise ValueError("the quads are not connected")
        waiting = later
    cells = np.array(list(place.values()))
    cells -= cells.min(axis=0)
    grid = np.full((int(cells[:, 0].max()) + 1, int(cells[:, 1].max()) + 1), -1, np.int64)
    grid[tuple(cells.T)] = list(place)
    if (grid < 0).any():
        raise ValueError("the quads are no grid")
    return grid if grid.shape[0] <= grid.shape[1] else grid.T
