# SPDX-License-Identifier: Apache-2.0
"""Builds a mesh of named parts from grids, strips and fans of quads, and makes it exactly symmetric.

Millimetres; x out of the face, y to the person's left, z up. Quads are counter-clockwise seen from outside.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

_SIDES = (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left"))
_MIRROR = (1.0, -1.0, 1.0)


class MeshBuilder:
    """A mesh under construction.

    Attributes:
        points: (V, 3) vertices added so far.
        quads: Vertices of each quad; a triangle repeats its last corner.
        parts: Vertex range of each part.
    """

    def __init__(self) -> None:
        self.points: npt.NDArray[np.float64] = np.zeros((0, 3))
        self.quads: list[tuple[int, int, int, int]] = []
        self.parts: dict[str, tuple[int, int]] = {}

    def add_vertices(self, part: str, points: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Add vertices to a part.

        Args:
            part: Name of the part; all its vertices must be added before those of the next part.
            points: (n, 3).

        Returns:
            (n,) indices of the new vertices.
        """
        points = np.asarray(points, np.float64).reshape(-1, 3)
        first = len(self.points)
        self.points = np.concatenate([self.points, points])
        low, high = self.parts.get(part, (first, first))
        assert high == first, f"the vertices of part {part} must be consecutive"
        self.parts[part] = (low, first + len(points))
        return np.arange(first, first + len(points))

    def add_strip(self, outer: npt.NDArray[np.int64], inner: npt.NDArray[np.int64]) -> None:
        """Add quads between two closed loops of equal length, `outer` counter-clockwise around `inner`."""
        for k in range(len(outer)):
            n = (k + 1) % len(outer)
            self.quads.append((outer[k], outer[n], inner[n], inner[k]))

    def add_fan(self, loop: npt.NDArray[np.int64], center: int) -> None:
        """Add triangles from a closed loop to one vertex.

        Args:
            loop: (n,) vertices, counter-clockwise around `center` seen from outside.
            center: Vertex that all triangles share.
        """
        for k in range(len(loop)):
            self.quads.append((loop[k], loop[(k + 1) % len(loop)], center, center))

    def add_grid(self, ids: npt.NDArray[np.int64], closed: bool = False) -> None:
        """Add quads over a grid of vertices.

        Args:
            ids: (rows, columns) vertices, -1 for a hole; seen from outside, rows go down and columns go to
                the person's left.
            closed: Whether the last column is joined to the first.
        """
        rows, columns = ids.shape
        for i in range(rows - 1):
            for j in range(columns if closed else columns - 1):
                n = (j + 1) % columns
                if min(ids[i, j], ids[i + 1, j], ids[i + 1, n], ids[i, n]) >= 0:
                    self.quads.append((ids[i, j], ids[i + 1, j], ids[i + 1, n], ids[i, n]))

    def triangulate(self) -> npt.NDArray[np.int64]:
        """Split each quad along its shorter diagonal, (T, 3); equal diagonals are chosen symmetrically."""
        triangles: list[tuple[int, int, int]] = []
        for a, b, c, d in self.quads:
            pa, pb, pc, pd = self.points[[a, b, c, d]]
            first, second = np.linalg.norm(pa - pc), np.linalg.norm(pb - pd)
            on_left = pa[1] + pb[1] + pc[1] + pd[1] >= 0.0
            if c == d:
                triangles.append((a, b, c))
            elif first < second - 1e-6 or (abs(first - second) <= 1e-6 and on_left):
                triangles += [(a, b, c), (a, c, d)]
            else:
                triangles += [(a, b, d), (b, c, d)]
        return np.array(triangles, np.int64)

    def symmetrize(
        self,
        known_pairs: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
        one_sided: Collection[str] = (),
    ) -> npt.NDArray[np.int64]:
        """Make the points exactly symmetric about the plane y = 0 and return the mirror image of each vertex.

        Args:
            known_pairs: Vertices that lie on others, so that the nearest vertex is not their mirror image,
                and their mirror images.
            one_sided: Parts without symmetry, which keep their points.

        Returns:
            (V,) the vertex on the other side, for a vertex on the plane or of a one-sided part itself.
        """
        partner = np.empty(len(self.points), np.int64)
        for name, (first, last) in self.parts.items():
            if name in one_sided:
                partner[first:last] = np.arange(first, last)
                continue
            start, end = self.parts[mirrored_name(name)]
            mirrored = (self.points[first:last] * _MIRROR).astype(np.float32)
            candidates = self.points[start:end].astype(np.float32)
            x, y, z = (np.subtract.outer(mirrored[:, k], candidates[:, k]) for k in range(3))
            distance = np.sqrt(x * x + y * y + z * z)
            partner[first:last] = start + distance.argmin(axis=1)
            assert distance.min(axis=1).max() < 1e-2, f"part {name} has no mirror image"
        partner[known_pairs[0]] = known_pairs[1]
        assert (partner[partner] == np.arange(len(partner))).all(), "the mirror images are not one to one"
        symmetric = (self.points + self.points[partner] * _MIRROR) / 2.0
        for name in one_sided:
            first, last = self.parts[name]
            symmetric[first:last] = self.points[first:last]
        self.points = symmetric
        return partner


def mirrored_name(name: str) -> str:
    """Name of the part or shape on the other side; the name itself if it has no side."""
    for side, opposite in _SIDES:
        if name.endswith(side):
            return name[: -len(side)] + opposite
    return name


def cut_block(
    ids: npt.NDArray[np.int64], top: int, bottom: int, left: int, right: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut the inside of a block out of a grid.

    Args:
        ids: (rows, columns) vertices.
        top: First row of the block.
        bottom: Last row.
        left: First column.
        right: Last column, on the person's left.

    Returns:
        loop: Vertices of the block's border, counter-clockwise seen from outside, from the middle row of the
            column `right` on.
        ids: The grid with -1 inside the block.
    """
    middle = (top + bottom) // 2
    loop = [(i, right) for i in range(middle, top, -1)]
    loop += [(top, j) for j in range(right, left, -1)]
    loop += [(i, left) for i in range(top, bottom)]
    loop += [(bottom, j) for j in range(left, right)]
    loop += [(i, right) for i in range(bottom, middle, -1)]
    remaining = ids.copy()
    remaining[top + 1 : bottom, left + 1 : right] = -1
    return np.array([ids[i, j] for i, j in loop]), remaining


def smoothstep(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Smooth step from 0 (x ≤ 0) to 1 (x ≥ 1): 3 x² − 2 x³."""
    x = np.clip(x, 0.0, 1.0)
    return np.asarray(x * x * (3.0 - 2.0 * x))


def gaussian(
    y: npt.NDArray[np.float64],
    z: npt.NDArray[np.float64],
    center: tuple[float, float],
    sigma: tuple[float, float],
) -> npt.NDArray[np.float64]:
    """Gaussian in the frontal plane, with its peak of 1 at the centre.

    Args:
        y: (n,) in mm.
        z: (n,) in mm.
        center: (y, z) in mm.
        sigma: Standard deviations along y and z, in mm.

    Returns:
        (n,) 0..1.
    """
    return np.exp(-0.5 * (((y - center[0]) / sigma[0]) ** 2 + ((z - center[1]) / sigma[1]) ** 2))


def smooth_max(
    a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], radius: float
) -> npt.NDArray[np.float64]:
    """Polynomial smooth maximum of a and b, (n,) each; `radius` is the half-width of the blend."""
    h = np.clip(0.5 + 0.5 * (a - b) / radius, 0.0, 1.0)
    return b + (a - b) * h + radius * h * (1.0 - h)
