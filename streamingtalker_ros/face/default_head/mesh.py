# SPDX-License-Identifier: Apache-2.0
"""A growing mesh: parts of vertices and quads, loops cut out
of a grid, rings that fill them, exact mirror symmetry.

Everything in millimetres while sculpting (x out of the face, y to the person's left, z up). Quads are
counter-clockwise seen from outside. Each part knows its vertices; assemble.py turns the result into a Rig.
"""

import numpy as np


class Mesh:
    """Vertices and quads by part; `add` returns the new vertices' indices."""

    def __init__(self) -> None:
        self.points, self.quads, self.parts = np.zeros((0, 3)), [], {}

    def add(self, part, points):
        """part: name (its vertices must be added in one run); points (n, 3) -> (n,) int indices."""
        points = np.asarray(points, np.float64).reshape(-1, 3)
        first = len(self.points)
        self.points = np.concatenate([self.points, points])
        low, high = self.parts.get(part, (first, first))
        assert high == first, f"part {part} must be one run of vertices"
        self.parts[part] = (low, first + len(points))
        return np.arange(first, first + len(points))

    def strip(self, outer, inner, closed=True) -> None:
        """Quads between two loops of equal length, counter-clockwise
        when `outer` runs so around `inner`."""
        steps = len(outer) if closed else len(outer) - 1
        for k in range(steps):
            n = (k + 1) % len(outer)
            self.quads.append((outer[k], outer[n], inner[n], inner[k]))

    def fan(self, loop, center) -> None:
        """Triangles from a closed loop to one vertex (as quads with a doubled corner)."""
        for k in range(len(loop)):
            self.quads.append((loop[k], loop[(k + 1) % len(loop)], center, center))

    def grid(self, ids, closed=False) -> None:
        """Quads over a (rows, columns) array of indices: rows go down,
        columns to the person's left, seen from outside."""
        rows, columns = ids.shape
        for i in range(rows - 1):
            for j in range(columns if closed else columns - 1):
                n = (j + 1) % columns
                if min(ids[i, j], ids[i + 1, j], ids[i + 1, n], ids[i, n]) >= 0:
                    self.quads.append((ids[i, j], ids[i + 1, j], ids[i + 1, n], ids[i, n]))

    def triangles(self):
        """(T, 3) int64: each quad cut along its shorter diagonal;
        where they are equal, along one that mirrors."""
        out = []
        for a, b, c, d in self.quads:
            pa, pb, pc, pd = self.points[[a, b, c, d]]
            first, second = np.linalg.norm(pa - pc), np.linalg.norm(pb - pd)
            mirrored = pa[1] + pb[1] + pc[1] + pd[1] >= 0.0
            if c == d:
                out.append((a, b, c))
            elif first < second - 1e-6 or (abs(first - second) <= 1e-6 and mirrored):
                out += [(a, b, c), (a, c, d)]
            else:
                out += [(a, b, d), (b, c, d)]
        return np.array(out, np.int64)

    def mirror(self, known, one_sided=()):
        """(V,) int: each vertex's partner across the plane y = 0,
        itself on it. Points are made exactly symmetric.

        known: (ids, partners) of vertices that lie on each other, where the nearest one is no answer;
        one_sided: parts that have no symmetry and keep their shape (their vertices are their own partners).
        """
        partner = np.empty(len(self.points), np.int64)
        for name, (first, last) in self.parts.items():
            if name in one_sided:
                partner[first:last] = np.arange(first, last)
                continue
            other, end = self.parts[other_side(name)]
            here, there = self.points[first:last] * (1.0, -1.0, 1.0), self.points[other:end]
            distance = np.linalg.norm(
                here[:, None].astype(np.float32) - there[None].astype(np.float32), axis=-1
            )
            partner[first:last] = other + distance.argmin(axis=1)
            assert distance.min(axis=1).max() < 1e-2, f"part {name} has no mirror image"
        partner[known[0]] = known[1]
        assert (partner[partner] == np.arange(len(partner))).all(), "the mirror is not one to one"
        even = (self.points + self.points[partner] * (1.0, -1.0, 1.0)) / 2.0
        for name in one_sided:
            first, last = self.parts[name]
            even[first:last] = self.points[first:last]
        self.points = even
        return partner


def other_side(name):
    """The name of the part, ring or shape on the other side; the name itself when it has no side."""
    for one, other in (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left")):
        if name.endswith(one):
            return name[: -len(one)] + other
    return name


def block_loop(ids, top, bottom, left, right):
    """The border of a block of a grid as a closed loop, counter-clockwise seen
    from outside, and the grid with the block's inside struck out (-1). The loop
    starts at the middle row of the side `right` (the person's left).
    """
    middle = (top + bottom) // 2
    loop = [(i, right) for i in range(middle, top, -1)]
    loop += [(top, j) for j in range(right, left, -1)]
    loop += [(i, left) for i in range(top, bottom)]
    loop += [(bottom, j) for j in range(left, right)]
    loop += [(i, right) for i in range(bottom, middle, -1)]
    rest = ids.copy()
    rest[top + 1 : bottom, left + 1 : right] = -1
    return np.array([ids[i, j] for i, j in loop]), rest


def smooth(x):
    """Smooth step of x from 0 (x <= 0) to 1 (x >= 1)."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def bump(y, z, center, width):
    """A Gaussian in the frontal plane: 1 at center (y, z), width (σ_y, σ_z)."""
    return np.exp(-0.5 * (((y - center[0]) / width[0]) ** 2 + ((z - center[1]) / width[1]) ** 2))


def soft_max(a, b, radius):
    """Larger of a and b with a rounded seam of that radius (polynomial smooth maximum)."""
    h = np.clip(0.5 + 0.5 * (a - b) / radius, 0.0, 1.0)
    return b + (a - b) * h + radius * h * (1.0 - h)
