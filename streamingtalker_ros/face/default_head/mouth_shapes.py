# SPDX-License-Identifier: Apache-2.0
"""Shapes of mouth, jaw and tongue, left sides only.

Shapes that keep closed lips closed give both lips the same displacement along the line where they touch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.head import MOUTH_HEIGHT
from streamingtalker_ros.face.default_head.mesh import smoothstep
from streamingtalker_ros.face.default_head.shape_builder import JAW_HINGE, ShapeBuilder
from streamingtalker_ros.face.default_head.skin import MOUTH_HALF_WIDTH, lip_line_height

JAW_OPEN_DEG = 21.0  # rotation of the jaw at jawOpen 1
# (dx, dz towards the line between the lips) of each loop in the middle of the mouth
_ROLL = {
    "outer1": (-0.5, 0.5),
    "outer2": (-1.0, 1.5),
    "outer3": (-1.2, 2.4),
    "border": (-2.0, 3.4),
    "lip0": (-3.8, 3.2),
    "lip1": (-6.2, 2.2),
    "lip2": (-6.9, 0.8),
    "lip3": (-5.0, 0.2),
    "contact": (-3.0, 0.0),
    "lining0": (-1.4, -0.3),
    "lining1": (-0.3, -0.4),
}
_PRESS = {
    "outer2": (0.3, 0.5),
    "outer3": (0.3, 1.0),
    "border": (-0.4, 2.3),
    "lip0": (-1.2, 2.4),
    "lip1": (-2.2, 1.7),
    "lip2": (-2.2, 0.8),
    "lip3": (-1.6, 0.2),
    "contact": (-1.2, 0.0),
    "lining0": (-1.0, 0.0),
}


def mouth_shapes(builder: ShapeBuilder) -> dict[str, npt.NDArray[np.float64]]:
    """Displacements (V, 3) of the shapes of jaw, lips, lower cheeks and tongue by name.

    Args:
        builder: The symmetric head, in mm, with its edge loops and weights.

    Returns:
        {name: (V, 3) displacements in mm at weight 1}; of each pair of left and right shapes, the left one.
    """
    shapes = _jaw_shapes(builder)
    shapes.update(_symmetric_shapes(builder))
    shapes.update(_corner_shapes(builder))
    shapes.update(_single_lip_shapes(builder))
    shapes["tongueOut"] = _tongue_out(builder)
    return shapes


def _jaw_rotation(builder: ShapeBuilder, degrees: float) -> npt.NDArray[np.float64]:
    """Displacements (V, 3) of a rotation about the jaw's axis, downwards."""
    a = np.radians(degrees)
    dx, dz = builder.x - JAW_HINGE[0], builder.z - JAW_HINGE[2]
    return np.column_stack(
        [np.cos(a) * dx + np.sin(a) * dz - dx, np.zeros_like(dx), np.cos(a) * dz - np.sin(a) * dx - dz]
    )


def _jaw_shapes(builder: ShapeBuilder) -> dict[str, npt.NDArray[np.float64]]:
    """Shapes of the jaw, and mouthClose, which is the exact counterpart of jawOpen at closed lips."""
    rotation = _jaw_rotation(builder, JAW_OPEN_DEG)
    slide = builder.jaw_weight * smoothstep((builder.x + 5.0) / 65.0)  # fades towards the ears
    for part in ("teeth_lower", "tongue"):
        slide[slice(*builder.parts[part])] = 1.0
    shapes = {
        "jawOpen": builder.jaw_weight[:, None] * rotation,
        "mouthClose": (builder.closed_jaw_weight - builder.jaw_weight)[:, None] * rotation,
        "jawForward": builder.displace(slide, dx=6.5),
        "jawLeft": builder.seal_lips(builder.displace(slide, dy=7.5, dx=-0.6)),
    }
    shapes["jawOpen"] -= np.column_stack(
        [np.zeros_like(builder.y), 0.055 * builder.y * builder.lip_weight, np.zeros_like(builder.y)]
    )
    return shapes


def _symmetric_shapes(builder: ShapeBuilder) -> dict[str, npt.NDArray[np.float64]]:
    """Shapes of the whole mouth, and mouthLeft."""
    mid = builder.opening_profile
    up = 2.0 * builder.upper_weight - 1.0
    inner = np.zeros(len(builder.points))
    for name, weight in (
        ("border", 0.5),
        ("lip0", 0.7),
        ("lip1", 0.9),
        ("lip2", 1.0),
        ("lip3", 1.0),
        ("contact", 1.0),
        ("lining0", 1.0),
        ("lining1", 0.5),
        ("outer3", 0.35),
        ("outer2", 0.15),
    ):
        inner[builder.loops.mouth[name]] = weight
    # rounded mouths lose the curve of the line between the lips
    curve = lip_line_height(np.minimum(builder.abs_y, MOUTH_HALF_WIDTH)) - MOUTH_HEIGHT
    bow = builder.round_lip_weight * curve
    # The cheeks beside rounded lips move no more than the corners do, and slide forwards on the face's curve.
    half_width = builder.abs_y[builder.loops.mouth["border"]].max()
    lips_y = np.clip(builder.y, -half_width, half_width)
    slide = np.abs(lips_y) * builder.round_lip_weight * (1.0 - builder.round_lip_weight)
    funnel = builder.displace(builder.round_lip_weight, dx=1.0) * (2.0 + 7.0 * mid)[:, None]
    funnel[:, 0] += 0.18 * slide
    funnel[:, 1] -= 0.36 * lips_y * builder.round_lip_weight
    funnel[:, 2] += up * inner * mid * np.where(up > 0, 4.0, 4.6)
    funnel += builder.displace(inner * mid * np.abs(up), dx=1.5)
    funnel[:, 2] -= 0.8 * bow
    pucker = builder.displace(builder.round_lip_weight, dx=1.0) * (1.0 + 9.0 * mid)[:, None]
    pucker[:, 0] += 0.24 * slide
    pucker[:, 1] -= 0.46 * lips_y * builder.round_lip_weight
    border = np.zeros(len(builder.points))
    for name, weight in (("outer3", 0.3), ("border", 0.6), ("lip0", 1.0), ("lip1", 0.7), ("lip2", 0.3)):
        border[builder.loops.mouth[name]] = weight
    pucker[:, 2] += up * border * (1.3 * mid + 0.3)
    pucker[:, 2] -= 0.85 * bow
    for sign in (1, -1):  # the corners lie a little deeper; the cheeks stay
        pucker -= builder.displace(builder.region(sign * 46, -58, 20, 22) * builder.round_lip_weight, dx=1.2)
    # rounded lips slide around the dental arch; its hidden sides move inwards
    for part in ("teeth_upper", "teeth_lower"):
        ids = slice(*builder.parts[part])
        y = builder.y[ids]
        inwards = np.column_stack([-3.0 * (y / 23.5) ** 2, -0.2 * y, np.zeros_like(y)])
        pucker[ids] += inwards
        funnel[ids] += inwards
    left = builder.displace(builder.lip_weight, dy=9.0)
    left[:, 2] += 0.05 * builder.y * builder.lip_weight
    left[:, 0] -= 0.0035 * (builder.y + 9.0) ** 2 * builder.lip_weight * 0.5
    shrug_upper = builder.displace(
        builder.lip_weight * builder.upper_weight * (0.4 + 0.6 * mid), dx=2.6, dz=3.0
    )
    chin = builder.region(0, -90, 17, 11)
    shrug_lower = builder.displace(
        builder.lip_weight * (1 - builder.upper_weight) * (0.4 + 0.6 * mid), dx=2.6, dz=4.2
    ) + builder.displace(chin, dx=1.5, dz=4.0)
    shrug_lower += builder.displace(
        builder.lip_weight * builder.upper_weight * (0.3 + 0.7 * mid), dx=0.8, dz=1.4
    )
    roll_lower, roll_upper = (_move_lip_loops(builder, _ROLL, upper) for upper in (False, True))
    puff = np.zeros((len(builder.points), 3))
    for sign in (1, -1):
        puff += builder.displace(builder.region(sign * 44, -54, 14, 16), dx=8.0, dy=sign * 8.0)
    puff += builder.displace(builder.lip_weight * (0.5 + 0.5 * mid), dx=1.2)
    return {
        "mouthFunnel": funnel,
        "mouthPucker": builder.seal_lips(pucker),
        "mouthLeft": builder.seal_lips(left),
        "mouthShrugUpper": builder.seal_lips(shrug_upper),
        "mouthShrugLower": builder.seal_lips(shrug_lower),
        "mouthRollLower": roll_lower,
        "mouthRollUpper": roll_upper,
        "cheekPuff": builder.seal_lips(puff),
    }


def _move_lip_loops(
    builder: ShapeBuilder, table: Mapping[str, tuple[float, float]], upper: bool
) -> npt.NDArray[np.float64]:
    """Move the loops of one lip, most in the middle of the mouth.

    Args:
        builder: The head.
        table: (dx, dz towards the line between the lips) by loop.
        upper: Whether to move the upper lip, or else the lower.

    Returns:
        (V, 3) displacements.
    """
    delta = builder.zeros()
    is_moved = builder.loop_is_upper == (1.0 if upper else 0.0)
    weight = (1.0 - builder.loop_distance**2.2) * is_moved
    for name, (dx, dz) in table.items():
        ids = builder.loops.mouth[name]
        delta[ids, 0] += weight * dx
        delta[ids, 2] += weight * (-dz if upper else dz)
    return delta


def _corner_shapes(builder: ShapeBuilder) -> dict[str, npt.NDArray[np.float64]]:
    """Shapes of the mouth's left corner; weights rise from the middle to the corner and fall on the cheek."""
    along = smoothstep((builder.y + 6.0) / 30.0)
    pull = builder.wide_lip_weight * along
    cheek = builder.region(43, -33, 12, 11)
    curl = np.clip(builder.y / MOUTH_HALF_WIDTH, 0.0, 1.15) ** 1.7  # a bow, not a V
    smile = (
        builder.displace(pull, dx=-5.5, dy=7.5)
        + builder.displace(builder.wide_lip_weight * curl, dz=6.6)
        + builder.displace(builder.left_weight() * builder.lip_weight, dx=-1.0, dz=1.2)
    )
    smile += builder.displace(cheek, dx=4.5, dy=1.5, dz=5.5) + builder.displace(
        builder.region(36, -13, 12, 5), dx=1.0, dz=1.6
    )
    frown = builder.displace(pull, dx=-1.5, dy=2.5, dz=-9.0) + builder.displace(
        builder.region(26, -84, 12, 9), dx=0.8, dz=-3.0
    )
    frown += builder.displace(builder.region(12, -90, 11, 9), dx=1.0, dz=1.5)
    dimple = builder.displace(pull, dx=-5.5, dy=6.5, dz=1.2) - builder.displace(
        builder.region(36, -61, 5, 6), dx=3.5
    )
    stretch = builder.displace(pull, dx=-5.0, dy=9.5, dz=-3.0) + builder.displace(
        builder.region(34, -80, 14, 14), dy=2.0, dz=-2.0
    )
    press = (
        _move_lip_loops(builder, _PRESS, True) + _move_lip_loops(builder, _PRESS, False)
    ) * builder.left_weight()[:, None]
    press += builder.displace(pull, dx=-2.0, dy=1.0) + builder.displace(builder.region(28, -63, 5, 7), dx=0.8)
    return {
        "mouthSmileLeft": builder.seal_lips(smile),
        "mouthFrownLeft": builder.seal_lips(frown),
        "mouthDimpleLeft": builder.seal_lips(dimple),
        "mouthStretchLeft": builder.seal_lips(stretch),
        "mouthPressLeft": builder.seal_lips(press),
    }


def _single_lip_shapes(builder: ShapeBuilder) -> dict[str, npt.NDArray[np.float64]]:
    """Shapes that move one lip on the left."""
    side = builder.left_weight()
    middle = (0.25 + 0.75 * np.exp(-0.5 * ((builder.abs_y - 9.0) / 9.0) ** 2)) * smoothstep(
        (27.0 - builder.abs_y) / 9.0
    )
    up = builder.lip_weight * builder.upper_weight * side * middle
    down = builder.lip_weight * (1.0 - builder.upper_weight) * side * middle
    upper_up = builder.displace(up, dx=1.0, dz=7.5) + builder.displace(
        builder.region(24, -46, 9, 8), dx=1.5, dz=3.0
    )
    lower_down = builder.displace(down, dx=0.6, dz=-8.0) + builder.displace(
        builder.region(14, -82, 10, 8), dz=-2.5
    )
    return {"mouthUpperUpLeft": upper_up, "mouthLowerDownLeft": lower_down}


def _tongue_out(builder: ShapeBuilder) -> npt.NDArray[np.float64]:
    """Move the tongue out of the mouth, its root not at all."""
    first, last = builder.parts["tongue"]
    delta = builder.zeros()
    s = smoothstep((builder.x[first:last] - 42.0) / 30.0)
    delta[first:last] = np.column_stack([34.0 * s, -0.18 * builder.y[first:last] * s, 6.0 * s - 3.0 * s**4])
    return delta
