# SPDX-License-Identifier: Apache-2.0
"""What the shapes draw with: the finished vertices, how much
each belongs to jaw, lips and skin, soft regions.

A Canvas is made once from mesh and rings. A shape is a (V, 3)
array of millimetres, built from regions × directions.
"""

import numpy as np

from streamingtalker_ros.face.default_head.mesh import bump, smooth
from streamingtalker_ros.face.default_head.skin import HALF_WIDTH, mouth_line

HINGE = np.array([4.0, 0.0, -14.0])  # the jaw's axis runs through the ears' fronts
LIPS = ("border", "lip0", "lip1", "lip2", "lip3", "contact")
_OUTER = {"outer3": 0.12, "outer2": 0.34, "outer1": 0.62, "outer0": 0.86, "block": 1.0}
SEALED = 0.40  # the share of the jaw's way that closed lips take


class Canvas:
    """points (V, 3); soft (V,): 1 on skin, mouth and brows; jaw, seal (V,): share of the jaw's motion, and
    the share that closed lips would take; lip, wide (V,): 1 on the lips, fading over
    25 and 36 mm of skin; upper (V,): 1 above the mouth, 0 below."""

    def __init__(self, mesh, rings) -> None:
        self.points, self.parts, self.rings = mesh.points, mesh.parts, rings
        self.x, self.y, self.z = mesh.points.T
        self.a = np.abs(self.y)
        count = len(mesh.points)
        self.soft = np.zeros(count)
        for part in ("skin", "mouth", "brow_left", "brow_right"):
            self.soft[slice(*mesh.parts[part])] = 1.0
        self.facing = smooth((self.x - 5.0) / 40.0)
        self._mouth()

    def zeros(self):
        return np.zeros((len(self.points), 3))

    def region(self, y, z, wide, tall, part=None):
        """A soft spot (V,) on the person's left of the face: centre (y, z), widths (σ_y, σ_z)."""
        spot = bump(self.y, self.z, (y, z), (wide, tall)) * self.facing * self.soft
        return spot if part is None else spot * self.mask(part)

    def mask(self, *names):
        out = np.zeros(len(self.points))
        for name in names:
            out[slice(*self.parts[name])] = 1.0
        return out

    def left(self, reach=12.0):
        """(V,): 1 on the person's left, 0 on the right, crossing over
        `reach` mm on each side of the middle."""
        return smooth((self.y + reach) / (2.0 * reach))

    def move(self, weight, dx=0.0, dy=0.0, dz=0.0):
        """weight (V,) times a direction in mm -> (V, 3)."""
        return weight[:, None] * np.array([dx, dy, dz])

    def _mouth(self) -> None:
        k = np.arange(40)
        contact = self.rings.mouth["contact"]
        self.ring_t = np.abs(self.y[contact]) / HALF_WIDTH  # (40,)
        side = np.where(k % 20 == 0, 0.0, np.where(k < 20, 1.0, -1.0))
        self.ring_up = (side + 1.0) / 2.0
        round_ = (1.0 - np.minimum(self.ring_t, 1.0) ** 2) ** 0.6  # an opening mouth's outline
        ring_jaw = np.where(side > 0, SEALED * (1 - round_), SEALED + (1 - SEALED) * round_)
        # Skin: by the angle about the hinge; a narrow band at the lips, a wide one on the cheeks.
        angle = np.degrees(np.arctan2(self.z - HINGE[2], self.x - HINGE[0]))
        width = 11.0 + 62.0 * smooth((self.a - 16.0) / 34.0)
        geo = (
            smooth((-30.0 - angle) / width + 0.5)
            * smooth((112.0 + angle) / 62.0)
            * smooth((self.x + 25.0) / 60.0)
        )
        self.jaw = geo * self.soft
        self.seal = self.jaw.copy()
        up_geo = smooth(
            (self.z - mouth_line(np.minimum(self.a, HALF_WIDTH))) / (4.0 + 0.5 * self.a) * 0.5 + 0.5
        )
        self.upper = up_geo * self.soft
        away = np.hypot(np.maximum(self.a - 23.0, 0.0), np.maximum(np.abs(self.z + 62.0) - 6.0, 0.0))
        self.lip = smooth((25.0 - away) / 23.0) * self.soft * self.facing
        nose = smooth((self.z + 51.0) / 6.0) * smooth((25.0 - self.a) / 10.0)
        self.wide = smooth((36.0 - away) / 33.0) * self.soft * self.facing * (1.0 - 0.85 * nose)
        self.lip *= 1.0 - 0.6 * nose
        self.open = np.sqrt(np.maximum(1.0 - (self.y / 26.0) ** 2, 0.0))
        inside = [name for name in self.rings.mouth if name.startswith(("lining", "bag"))]
        for name in (*LIPS, *inside, *_OUTER):
            ids, mix = self.rings.mouth[name], _OUTER.get(name, 0.0)
            self.jaw[ids] = ring_jaw + mix * (self.jaw[ids] - ring_jaw)
            self.seal[ids] = SEALED + mix * (self.jaw[ids] - SEALED)
            if not mix:
                self.upper[ids] = self.ring_up
                self.lip[ids] = self.wide[ids] = 1.0
        for name in inside:  # the bag behind the teeth opens with the jaw even when the lips are closed
            self.seal[self.rings.mouth[name]] = SEALED if name == "lining0" else ring_jaw
        for n, name in enumerate(inside):
            self.lip[self.rings.mouth[name]] = self.wide[self.rings.mouth[name]] = (
                1.0,
                0.95,
                0.8,
                0.5,
                0.15,
                0.0,
            )[n]
        throat = self.rings.mouth["throat"]
        self.jaw[throat], self.seal[throat], self.lip[throat] = 0.5, 0.5, 0.0
        self.wide[throat] = 0.0
        for part, share in (("teeth_lower", 1.0), ("tongue", 0.92)):
            self.jaw[slice(*self.parts[part])] = share
            self.seal[slice(*self.parts[part])] = share

    def seal_lips(self, delta):
        """Give paired vertices of the line between the lips one common motion, so that closed lips stay
        closed; the neighbours inside and outside take part of the correction. delta (V, 3) -> (V, 3)."""
        rings = self.rings.mouth
        pair = (40 - np.arange(40)) % 40
        at = delta[rings["contact"]]
        correction = (at + at[pair]) / 2.0 - at
        out = delta.copy()
        for name, share in (
            ("lip2", 0.35),
            ("lip3", 0.75),
            ("contact", 1.0),
            ("lining0", 1.0),
            ("lining1", 0.3),
        ):
            out[rings[name]] += share * correction
        return out
