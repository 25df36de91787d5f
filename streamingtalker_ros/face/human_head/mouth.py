# SPDX-License-Identifier: Apache-2.0
"""The mouth of a human head: lips that touch at rest, and shapes that move them as the default face's do.

The edge loops of the lips run around the mouth, from the skin over the lips into the mouth; along one of them
the lips touch. A correction along this line of contact fades towards the outermost and the innermost loop.
Metres; x out of the face, y to the person's left, z up.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.human_head.part import Shapes

VERMILION_LOOP: Final = 4
"""Border of the lips, of the loops from the skin into the mouth."""

_NUM_LANDMARKS: Final = 19
_MAX_LANDMARK: Final = 0.86  # of the half width of the mouth
_REACH_M: Final = 0.012  # along the skin, beyond which a correction has faded
_MIN_GAIN: Final = 0.55
_MAX_GAIN: Final = 1.5
_DRAWN_IN: Final = {  # share of the way to the line of contact, and metres upwards
    "mouthRollUpper": (0.6, 0.0),
    "mouthRollLower": (0.6, 0.0035),
    "mouthPressLeft": (0.35, 0.0),
    "mouthPressRight": (0.35, 0.0),
}
"""How far shapes draw the red of the lips in; a lower lip that rolls in rises against the upper teeth."""
_OPENING: Final = {"jawOpen": 0.75, "mouthFunnel": 0.5}
"""Exponents of the opening's height across the mouth, (1 - x²) to that power: 0.5 is an ellipse."""
_PUCKER_ARCH: Final = 1.5  # how far a pucker levels the line of contact; above 1, its middle rises
_MIN_WIDTH_M: Final = 1e-4  # below which a change of the mouth's width says nothing of a shape's gain


class Mouth:
    """The edge loops of the lips.

    Args:
        vertices: (V, 3) vertices at rest.
        quads: (Q, 4) quads of the skin, at least around the mouth.
        middle: Three vertices on the middle of the upper lip: of the outermost loop on the skin, of the loop
            along which the lips touch, and of the innermost loop in the mouth.

    Attributes:
        loops: (L, N) vertices of each loop, from the skin into the mouth.
        contact: (N,) the loop along which the lips touch.
    """

    def __init__(
        self, vertices: npt.NDArray[np.float64], quads: npt.NDArray[np.int64], middle: tuple[int, int, int]
    ) -> None:
        tracer = _LoopTracer(quads)
        outer, contact, inner = middle
        starts = tracer.find_line(outer, inner)
        self.loops = np.array([tracer.trace_loop(start, vertices) for start in starts])
        self._contact = starts.index(contact)
        self.contact = self.loops[self._contact]
        self._points = points = vertices[self.loops]
        steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)
        position = np.concatenate([[0.0], np.cumsum(steps)])
        distance = np.abs(position - position[self._contact])
        self._fading = smoothstep(1.0 - distance / _REACH_M)
        self._sort_contact(vertices)
        rig = default_rig()
        default_width, widening = rig.lip_width_map()
        corners = vertices[self.contact[[self._left, self._right]], 1]
        scale = float(corners[0] - corners[1]) / default_width
        wanted = zip(rig.lip_gap_map()[1].tolist(), widening.tolist(), strict=True)
        self._wanted = {
            name: (scale * gap, scale * width)
            for name, (gap, width) in zip(rig.shape_names, wanted, strict=True)
        }

    def _sort_contact(self, vertices: npt.NDArray[np.float64]) -> None:
        """Find the corners, and where each vertex of the line of contact lies between them."""
        y = vertices[self.contact, 1]
        left, right = int(y.argmax()), int(y.argmin())
        self._left, self._right = left, right
        count = np.arange(len(y))
        self._is_upper = (count <= left) | (count >= right)
        across = (y - (y[left] + y[right]) / 2.0) / ((y[left] - y[right]) / 2.0)
        self._across: npt.NDArray[np.float64] = across
        upper, lower = np.flatnonzero(self._is_upper), np.flatnonzero((count >= left) & (count <= right))
        self._upper = upper[np.argsort(across[upper])]
        self._lower = lower[np.argsort(across[lower])]

    def lips(
        self, values: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Values of the upper and the lower lip at each vertex of the line of contact, (N, 3) each.

        Args:
            values: (V, 3) values of the vertices.
        """
        both = []
        for chain in (self._upper, self._lower):
            found = values[self.contact[chain]]
            both.append(
                np.column_stack([np.interp(self._across, self._across[chain], found[:, k]) for k in range(3)])
            )
        return both[0], both[1]

    def spread(self, correction: npt.NDArray[np.float64], num_vertices: int) -> npt.NDArray[np.float64]:
        """Displacements (num_vertices, 3) of a correction, fading around the line of contact.

        Args:
            correction: (N, 3) along the line of contact.
            num_vertices: Vertices of the mesh.
        """
        result = np.zeros((num_vertices, 3))
        result[self.loops] = self._fading[:, None, None] * correction
        return result

    def seal(self, vertices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Vertices (V, 3) with both lips on the curve in the middle between them.

        Args:
            vertices: (V, 3) at rest.
        """
        upper, lower = self.lips(vertices)
        correction = (upper + lower) / 2.0 - vertices[self.contact]
        return vertices + self.spread(correction, len(vertices))

    def landmarks(self) -> dict[str, npt.NDArray[np.int64]]:
        """Landmarks of the inner lips and the corners, as `Rig` names them."""
        lower_middle = self._lower[np.abs(self._across[self._lower]) < _MAX_LANDMARK]
        wanted = np.linspace(-_MAX_LANDMARK, _MAX_LANDMARK, _NUM_LANDMARKS)
        lower = np.array([lower_middle[np.abs(self._across[lower_middle] - x).argmin()] for x in wanted])
        upper = np.array(
            [self._upper[np.abs(self._across[self._upper] - x).argmin()] for x in self._across[lower]]
        )
        return {
            "inner_lip_upper": self.contact[upper],
            "inner_lip_lower": self.contact[lower],
            "mouth_corners": self.contact[[self._left, self._right]],
        }

    def gains(self, shapes: Shapes) -> dict[str, float]:
        """Factor of each of the 52 shapes that brings its lip gap, or else its width, near the wanted one.

        Args:
            shapes: The 52 shapes of ARKit.
        """
        gains: dict[str, float] = {}
        for name, (gap, width) in self._wanted.items():
            wanted, found = (
                (gap, self._middle_gap(shapes[name])) if gap > 0.0 else (width, self._width(shapes[name]))
            )
            is_comparable = abs(wanted) > _MIN_WIDTH_M and wanted * found > 0.0
            gains[name] = float(np.clip(wanted / found, _MIN_GAIN, _MAX_GAIN)) if is_comparable else 1.0
        gains["mouthClose"] = gains["jawOpen"]
        return gains

    def fit_shapes(self, shapes: Shapes) -> dict[str, npt.NDArray[np.float64]]:
        """Make lip gap and width of each shape those of the default face, in proportion to the mouth.

        Shapes that do not open the default face's lips keep the lips in contact along their whole length;
        `mouthClose` brings back what `jawOpen` parts.

        Args:
            shapes: The 52 shapes of ARKit, multiplied by their gains.

        Returns:
            The same shapes, fitted.
        """
        fitted: dict[str, npt.NDArray[np.float64]] = {}
        for name in sorted(shapes, key=lambda name: name == "mouthClose"):  # it follows jawOpen
            wanted_gap, wanted_width = self._wanted[name]
            shape = shapes[name]
            if name in _DRAWN_IN:
                shape = shape.copy()
                shape[self.loops] += self._draw_in(name)
            if name == "mouthPucker":
                shape = shape + self.spread(self._arch(), len(shape))
            upper, lower = self.lips(shape)
            parting = upper - lower
            if name == "mouthClose":
                opened = self.lips(fitted["jawOpen"])
                wanted = opened[1] - opened[0]
            elif wanted_gap > 0.0:
                wanted = parting * (wanted_gap / max(self._middle_gap(shape), 1e-6))
                if name in _OPENING:
                    wanted[:, 2] = wanted_gap * self._opening(_OPENING[name])
            else:
                wanted = np.zeros_like(parting)
            excess = parting - wanted
            if name.startswith("mouthRoll"):
                excess[:, 0] = 0.0  # one lip lies behind the other
            share = 1.0 if "Upper" in name else 0.0 if "Lower" in name else 0.5  # of the upper lip
            correction = np.where(self._is_upper[:, None], -share * excess, (1.0 - share) * excess)
            correction[[self._left, self._right]] = (0.5 - share) * excess[[self._left, self._right]]
            shape = shape + self.spread(correction, len(shape))
            fitted[name] = shape + self.spread(self._widen(name, shape, wanted_width), len(shape))
        return {name: fitted[name] for name in shapes}

    def _draw_in(self, name: str) -> npt.NDArray[np.float64]:
        """Displacements (L, N, 3) of the loops that narrow the red of the lips in the name of a shape."""
        share, rise = _DRAWN_IN[name]
        outside = np.arange(self._contact)
        fading = np.interp(outside, [0, VERMILION_LOOP], [0.0, 1.0])[:, None]
        if name.endswith(("Left", "Right")):
            sign = 1.0 if name.endswith("Left") else -1.0
            reach = smoothstep((1.0 + 3.0 * sign * self._across) / 2.0)
        else:
            reach = np.where(self._is_upper == ("Upper" in name), 1.0 - self._across**2, 0.0)
        way = share * (self._points[self._contact] - self._points[outside]) + [0.0, 0.0, rise]
        moved = np.zeros_like(self._points)
        moved[outside] = (fading * reach)[..., None] * way * [1.0, 0.0, 1.0]
        return moved

    def _arch(self) -> npt.NDArray[np.float64]:
        """Displacements (N, 3) that bend the line of contact, so that what opens on it is round."""
        height = self._points[self._contact, :, 2]
        middle = np.interp(0.0, self._across[self._upper], height[self._upper])
        return _PUCKER_ARCH * np.outer(middle - height, [0.0, 0.0, 1.0])

    def _opening(self, exponent: float) -> npt.NDArray[np.float64]:
        """Height (N,) of an opening along the line of contact, as a fraction of `_middle_gap`."""
        height = np.power(1.0 - np.square(np.clip(self._across, -1.0, 1.0)), exponent)
        profile = np.zeros((int(self.contact.max()) + 1, 3))
        profile[self.contact[self._upper], 2] = height[self._upper]
        return height / self._middle_gap(profile)

    def _middle_gap(self, shape: npt.NDArray[np.float64]) -> float:
        """What a shape adds to the lip gap as `Rig.lip_gap` measures it."""
        marks = self.landmarks()
        upper, lower = marks["inner_lip_upper"], marks["inner_lip_lower"]
        middle = slice(len(upper) // 2 - len(upper) // 6, len(upper) - len(upper) // 2 + len(upper) // 6)
        return float((shape[upper[middle], 2] - shape[lower[middle], 2]).mean())

    def _width(self, shape: npt.NDArray[np.float64]) -> float:
        left, right = shape[self.contact[[self._left, self._right]], 1]
        return float(left - right)

    def _widen(self, name: str, shape: npt.NDArray[np.float64], wanted: float) -> npt.NDArray[np.float64]:
        """Correction (N, 3) that stretches the mouth, or the side in the shape's name, to a width."""
        missing = wanted - self._width(shape)
        if name.endswith("Left"):
            profile = np.maximum(self._across, 0.0)
        elif name.endswith("Right"):
            profile = np.minimum(self._across, 0.0)
        else:
            profile = self._across / 2.0
        correction = np.zeros((len(self.contact), 3))
        correction[:, 1] = missing * profile
        return correction


class _LoopTracer:
    """Follows edge loops: at a vertex of four edges, the edge that shares no quad with the last one."""

    def __init__(self, quads: npt.NDArray[np.int64]) -> None:
        self._neighbours: defaultdict[int, set[int]] = defaultdict(set)
        self._faces: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for face, corners in enumerate(quads.tolist()):
            for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
                self._neighbours[a].add(b)
                self._neighbours[b].add(a)
                self._faces[min(a, b), max(a, b)].add(face)

    def _edge_faces(self, a: int, b: int) -> set[int]:
        return self._faces[min(a, b), max(a, b)]

    def _follow(self, start: int, second: int, end: int) -> list[int]:
        """Vertices from `start` over `second` to `end`; empty if the edge loop does not lead there."""
        line = [start, second]
        while line[-1] != end:
            last, vertex = line[-2:]
            behind = self._edge_faces(last, vertex)
            ahead = [
                n for n in self._neighbours[vertex] if n != last and not behind & self._edge_faces(vertex, n)
            ]
            if len(self._neighbours[vertex]) != 4 or not ahead or ahead[0] in line[1:]:
                return []
            line.append(ahead[0])
        return line

    def find_line(self, start: int, end: int) -> list[int]:
        """Vertices of the edge loop from `start` to `end`."""
        lines = [self._follow(start, second, end) for second in self._neighbours[start]]
        return min((line for line in lines if line), key=len)

    def trace_loop(self, start: int, vertices: npt.NDArray[np.float64]) -> list[int]:
        """Vertices of the closed edge loop that leaves `start` towards the person's left."""
        second = max(self._neighbours[start], key=lambda n: vertices[n, 1])
        return self._follow(start, second, start)[:-1]
