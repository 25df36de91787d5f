# SPDX-License-Identifier: Apache-2.0
"""Shapes of eyes, brows, upper cheeks and nose, left sides only.

Eyelids slide over the eyeball: a moved vertex is put back on the skin above it. The look shapes turn the
eyeball.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.head import EYE_CENTER
from streamingtalker_ros.face.default_head.shape_builder import ShapeBuilder
from streamingtalker_ros.face.default_head.skin import EYE_LOOP_LENGTH, skin_surface
from streamingtalker_ros.face.eye_look import MAX_EYE_ANGLE_RAD

_MARGIN_LOOP = 2  # of the loops of an eye
_LOOK_ANGLES_RAD = {  # yaw to the person's left, pitch up
    "eyeLookUpLeft": (0.0, MAX_EYE_ANGLE_RAD),
    "eyeLookDownLeft": (0.0, -MAX_EYE_ANGLE_RAD),
    "eyeLookOutLeft": (MAX_EYE_ANGLE_RAD, 0.0),
    "eyeLookInLeft": (-MAX_EYE_ANGLE_RAD, 0.0),
}


def eye_shapes(builder: ShapeBuilder) -> dict[str, npt.NDArray[np.float64]]:
    """Displacements (V, 3) of the shapes of the upper face by name.

    Args:
        builder: The symmetric head, in mm, with its edge loops and weights.

    Returns:
        {name: (V, 3) displacements in mm at weight 1}; of each pair of left and right shapes, the left one.
    """
    margin = builder.points[builder.loops.eye["left"][_MARGIN_LOOP]]
    k = np.arange(EYE_LOOP_LENGTH)
    pair = (EYE_LOOP_LENGTH - k) % EYE_LOOP_LENGTH
    upper = (k > 0) & (k < EYE_LOOP_LENGTH // 2)
    lower = k > EYE_LOOP_LENGTH // 2
    opening = np.abs(margin[:, 2] - margin[pair, 2])
    closed_z = 0.22 * np.where(upper, margin[:, 2], margin[pair, 2]) + 0.78 * np.where(
        upper, margin[pair, 2], margin[:, 2]
    )
    profile = opening / opening.max()
    off_lids = _off_eyelids(builder)
    shapes = {
        "eyeBlinkLeft": _move_eyelids(builder, np.where(upper | lower, closed_z - margin[:, 2], 0.0)),
        "eyeSquintLeft": _move_eyelids(builder, np.where(lower, 3.4, -1.4) * profile * (upper | lower)),
        "eyeWideLeft": _move_eyelids(builder, np.where(upper, 3.0, -1.2) * profile),
    }
    shapes["eyeSquintLeft"] += builder.displace(
        builder.region(34, -16, 13, 6) * builder.mask("skin") * off_lids, dx=1.2, dz=1.8
    )
    for name, (yaw, pitch) in _LOOK_ANGLES_RAD.items():
        upper_dz, lower_dz = {"eyeLookUpLeft": (3.2, 1.9), "eyeLookDownLeft": (-5.8, -2.1)}.get(
            name, (0.0, 0.0)
        )
        shapes[name] = _turn_eyeball(builder, yaw, pitch) + _move_eyelids(
            builder, np.where(upper, upper_dz, lower_dz) * profile
        )
    brow = {
        "browDownLeft": builder.displace(builder.region(24, 21, 15, 9), dx=1.4, dy=-2.5, dz=-5.6)
        + builder.displace(builder.region(8, 16, 6, 8), dx=1.0, dy=-1.0, dz=-2.0),
        "browInnerUp": builder.displace(builder.region(15, 22, 12, 12), dz=8.5, dx=0.6)
        + builder.displace(builder.region(-15, 22, 12, 12), dz=8.5, dx=0.6),
        "browOuterUpLeft": builder.displace(builder.region(38, 23, 17, 12), dz=7.5, dx=0.4),
    }
    shapes.update({name: delta * off_lids[:, None] for name, delta in brow.items()})
    squint = builder.displace(builder.region(40, -22, 13, 9), dx=3.6, dz=5.0) * off_lids[:, None]
    shapes["cheekSquintLeft"] = squint + _move_eyelids(builder, np.where(lower, 1.8, 0.0) * profile)
    sneer = builder.displace(builder.region(12, -37, 5, 6), dz=5.0, dx=0.8, dy=1.2) + builder.displace(
        builder.region(14, -47, 7, 6) * builder.upper_weight, dz=2.6, dx=0.6
    )
    sneer += builder.displace(builder.region(11, -8, 4, 8), dx=1.6, dz=1.5) + builder.displace(
        builder.region(14, 19, 9, 7), dz=-1.8
    )
    shapes["noseSneerLeft"] = builder.seal_lips(sneer * off_lids[:, None])
    return shapes


def _off_eyelids(builder: ShapeBuilder) -> npt.NDArray[np.float64]:
    """Weights (V,): 0 on the eyelids of both eyes, 1 from the outermost loop on; 1 on the brows."""
    weights = np.ones(len(builder.points))
    for side in ("left", "right"):
        # the outermost loop belongs to the grid
        for loop, weight in zip(builder.loops.eye[side], (0, 0, 0, 0.12, 0.36, 0.68, 0.95), strict=False):
            weights[loop] = weight
    return weights


def _move_eyelids(builder: ShapeBuilder, dz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Move the margin of the left eyelids by dz (30,); the loops around it follow less and less."""
    delta = builder.zeros()
    fractions = (1.0, 1.0, 1.0, 0.92, 0.74, 0.42, 0.10)
    for n, (loop, fraction) in enumerate(zip(builder.loops.eye["left"], fractions, strict=False)):
        points = builder.points[loop]
        y, z = points[:, 1], points[:, 2] + fraction * dz
        if n <= _MARGIN_LOOP:  # edge and margin slide on the eyeball
            distance = np.linalg.norm(points - EYE_CENTER, axis=1)
            depth2 = distance**2 - (y - EYE_CENTER[1]) ** 2 - (z - EYE_CENTER[2]) ** 2
            x = EYE_CENTER[0] + np.sqrt(np.maximum(depth2, 1.0))
        else:
            x = points[:, 0] + skin_surface(y, z)[:, 0] - skin_surface(y, points[:, 2])[:, 0]
        delta[loop] = np.column_stack([x - points[:, 0], np.zeros(len(loop)), z - points[:, 2]])
    return delta


def _turn_eyeball(builder: ShapeBuilder, a: float, b: float) -> npt.NDArray[np.float64]:
    """Displacements (V, 3) that turn the left eyeball by a rad to the person's left and b rad up."""
    first, last = builder.parts["eye_left"]
    yaw = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    pitch = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    delta = builder.zeros()
    eyeball = builder.points[first:last] - EYE_CENTER
    delta[first:last] = eyeball @ (yaw @ pitch).T - eyeball
    return delta
