# SPDX-License-Identifier: Apache-2.0
"""Weights of the finished vertices for jaw, lips and skin, and soft regions, from which the shapes are built.

A shape is a sum of weights (V,) times directions in millimetres.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.head import MOUTH_HEIGHT
from streamingtalker_ros.face.default_head.mesh import MeshBuilder, gaussian, smoothstep
from streamingtalker_ros.face.default_head.skin import (
    MOUTH_HALF_WIDTH,
    MOUTH_LOOP_LENGTH,
    EdgeLoops,
    lip_line_height,
)

JAW_HINGE = np.array([4.0, 0.0, -14.0])  # a point of the jaw's axis, which runs through the front of the ears
LIP_LOOPS = ("border", "lip0", "lip1", "lip2", "lip3", "contact")
_OUTER_LOOPS = {"outer3": 0.12, "outer2": 0.34, "outer1": 0.62, "outer0": 0.86, "block": 1.0}  # skin's weight
_INNER_LIP_WEIGHTS = (1.0, 0.95, 0.8, 0.5, 0.15, 0.0)  # of the loops from the lips to the throat
_SOFT_PARTS = ("skin", "mouth", "brow_left", "brow_right", "seam_left", "seam_right")
CLOSED_LIP_JAW_FRACTION = 0.40  # fraction of the jaw's motion that closed lips follow


class ShapeBuilder:
    """Vertices of the head and their weights.

    Args:
        mesh: All parts, symmetrized.
        loops: Edge loops around mouth and eyes.

    Attributes:
        points: (V, 3); `x`, `y`, `z` are its columns, `abs_y` is |y|.
        parts: Vertex range of each part.
        loops: Edge loops around mouth and eyes.
        soft_weight: 1 on skin, mouth, brows and seams.
        facing: 1 on the front of the head, 0 on the back.
        jaw_weight: Fraction of the jaw's motion that a vertex follows.
        closed_jaw_weight: The same while the lips are closed.
        lip_weight: 1 on the lips, falling to 0 over 25 mm of skin.
        wide_lip_weight: The same over 36 mm.
        round_lip_weight: The same with round borders, which leave no creases beside rounded lips.
        upper_weight: 1 above the mouth, 0 below.
        opening_profile: Outline of the opening mouth, 1 in the middle, 0 at the corners.
        loop_distance: (40,) distance from the middle along a mouth loop, 0..1.
        loop_is_upper: (40,) 1 for the upper lip, 0 for the lower, ½ at the corners.
    """

    def __init__(self, mesh: MeshBuilder, loops: EdgeLoops) -> None:
        self.points, self.parts, self.loops = mesh.points, mesh.parts, loops
        self.x, self.y, self.z = mesh.points.T
        self.abs_y = np.abs(self.y)
        self.soft_weight = self.mask(*_SOFT_PARTS)
        self.facing = smoothstep((self.x - 5.0) / 40.0)
        self._set_mouth_weights()

    def zeros(self) -> npt.NDArray[np.float64]:
        """Displacements (V, 3) of a shape that moves nothing."""
        return np.zeros((len(self.points), 3))

    def region(self, y: float, z: float, sigma_y: float, sigma_z: float) -> npt.NDArray[np.float64]:
        """Weights of a Gaussian region of the face.

        Args:
            y: Centre, in mm.
            z: Centre, in mm.
            sigma_y: Standard deviation along y, in mm.
            sigma_z: Standard deviation along z, in mm.

        Returns:
            (V,) 0..1.
        """
        return gaussian(self.y, self.z, (y, z), (sigma_y, sigma_z)) * self.facing * self.soft_weight

    def mask(self, *parts: str) -> npt.NDArray[np.float64]:
        """Weights (V,): 1 on the vertices of some parts."""
        weights = np.zeros(len(self.points))
        for name in parts:
            weights[slice(*self.parts[name])] = 1.0
        return weights

    def left_weight(self, half_width: float = 12.0) -> npt.NDArray[np.float64]:
        """Weights (V,): 1 on the person's left, 0 on the right, changing over ± `half_width` mm."""
        return smoothstep((self.y + half_width) / (2.0 * half_width))

    def displace(
        self, weights: npt.NDArray[np.float64], dx: float = 0.0, dy: float = 0.0, dz: float = 0.0
    ) -> npt.NDArray[np.float64]:
        """Displacements (V, 3) in mm: weights (V,) times the direction (dx, dy, dz)."""
        return weights[:, None] * np.array([dx, dy, dz])

    def seal_lips(self, delta: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Give vertices that lie on each other between the lips the same displacement.

        Closed lips stay closed. The loops beside that line take a part of the correction.

        Args:
            delta: (V, 3).

        Returns:
            (V, 3).
        """
        loops = self.loops.mouth
        pair = (MOUTH_LOOP_LENGTH - np.arange(MOUTH_LOOP_LENGTH)) % MOUTH_LOOP_LENGTH
        contact = delta[loops["contact"]]
        correction = (contact + contact[pair]) / 2.0 - contact
        sealed = delta.copy()
        for name, fraction in (
            ("lip2", 0.35),
            ("lip3", 0.75),
            ("contact", 1.0),
            ("lining0", 1.0),
            ("lining1", 0.3),
        ):
            sealed[loops[name]] += fraction * correction
        return sealed

    def _set_mouth_weights(self) -> None:
        loops = self.loops.mouth
        k = np.arange(MOUTH_LOOP_LENGTH)
        self.loop_distance = np.abs(self.y[loops["contact"]]) / MOUTH_HALF_WIDTH
        side = np.where(k % 20 == 0, 0.0, np.where(k < 20, 1.0, -1.0))
        self.loop_is_upper = (side + 1.0) / 2.0
        outline = (1.0 - np.minimum(self.loop_distance, 1.0) ** 2) ** 0.6  # of an opening mouth
        closed = CLOSED_LIP_JAW_FRACTION
        loop_jaw_weight = np.where(side > 0, closed * (1 - outline), closed + (1 - closed) * outline)
        # Skin: by the angle about the hinge; a narrow band at the lips, a wide one on the cheeks.
        angle = np.degrees(np.arctan2(self.z - JAW_HINGE[2], self.x - JAW_HINGE[0]))
        width = 11.0 + 62.0 * smoothstep((self.abs_y - 16.0) / 34.0)
        below_mouth = (
            smoothstep((-30.0 - angle) / width + 0.5)
            * smoothstep((112.0 + angle) / 62.0)
            * smoothstep((self.x + 25.0) / 60.0)
        )
        self.jaw_weight = below_mouth * self.soft_weight
        self.closed_jaw_weight = self.jaw_weight.copy()
        line = lip_line_height(np.minimum(self.abs_y, MOUTH_HALF_WIDTH))
        above_mouth = smoothstep((self.z - line) / (4.0 + 0.5 * self.abs_y) * 0.5 + 0.5)
        self.upper_weight = above_mouth * self.soft_weight
        distance = np.hypot(np.maximum(self.abs_y - 23.0, 0.0), np.maximum(np.abs(self.z + 62.0) - 6.0, 0.0))
        nose = smoothstep((self.z + 51.0) / 6.0) * smoothstep((25.0 - self.abs_y) / 10.0)
        self.lip_weight = smoothstep((25.0 - distance) / 23.0) * self.soft_weight * self.facing
        self.lip_weight *= 1.0 - 0.6 * nose
        self.wide_lip_weight = (
            smoothstep((36.0 - distance) / 33.0) * self.soft_weight * self.facing * (1.0 - 0.85 * nose)
        )
        outside = np.hypot(np.maximum(self.abs_y - 16.0, 0.0), self.z - MOUTH_HEIGHT) - 9.5
        self.round_lip_weight = smoothstep((25.0 - outside) / 25.0) * self.soft_weight * self.facing
        self.round_lip_weight *= 1.0 - 0.7 * nose
        self.opening_profile = np.sqrt(np.maximum(1.0 - (self.y / 26.0) ** 2, 0.0))
        inside = [name for name in loops if name.startswith(("lining", "bag"))]
        for name in (*LIP_LOOPS, *inside, *_OUTER_LOOPS):
            ids, blend = loops[name], _OUTER_LOOPS.get(name, 0.0)
            self.jaw_weight[ids] = loop_jaw_weight + blend * (self.jaw_weight[ids] - loop_jaw_weight)
            self.closed_jaw_weight[ids] = closed + blend * (self.jaw_weight[ids] - closed)
            if not blend:
                self.upper_weight[ids] = self.loop_is_upper
                self.lip_weight[ids] = self.wide_lip_weight[ids] = self.round_lip_weight[ids] = 1.0
        for name, weight in zip(inside, _INNER_LIP_WEIGHTS, strict=True):
            ids = loops[name]
            # the cavity behind the teeth opens with the jaw even while the lips are closed
            self.closed_jaw_weight[ids] = closed if name == "lining0" else loop_jaw_weight
            self.lip_weight[ids] = self.wide_lip_weight[ids] = self.round_lip_weight[ids] = weight
        throat = loops["throat"]
        self.jaw_weight[throat] = self.closed_jaw_weight[throat] = 0.5
        self.lip_weight[throat] = self.wide_lip_weight[throat] = self.round_lip_weight[throat] = 0.0
        for part, fraction in (("teeth_lower", 1.0), ("tongue", 0.92)):
            ids = slice(*self.parts[part])
            self.jaw_weight[ids] = self.closed_jaw_weight[ids] = fraction
