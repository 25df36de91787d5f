# SPDX-License-Identifier: Apache-2.0
"""Assembles the default head: parts, shapes of both sides, landmarks and colours become a Rig in metres."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.eye_shapes import eye_shapes
from streamingtalker_ros.face.default_head.eyes import add_brows, add_eyes, add_highlights
from streamingtalker_ros.face.default_head.mesh import MeshBuilder, mirrored_name, smoothstep
from streamingtalker_ros.face.default_head.mouth_shapes import mouth_shapes
from streamingtalker_ros.face.default_head.panel_seams import add_seams
from streamingtalker_ros.face.default_head.shape_builder import ShapeBuilder
from streamingtalker_ros.face.default_head.shell_ears_collar import add_collar, add_ears, add_shell
from streamingtalker_ros.face.default_head.skin import EdgeLoops, add_skin
from streamingtalker_ros.face.default_head.teeth import add_teeth, add_tongue
from streamingtalker_ros.face.default_head.vertex_colors import vertex_colors
from streamingtalker_ros.face.rig import Rig

PIVOT_MM = np.array([-22.0, 0.0, -98.0])  # the point about which the head rotates
MIN_DELTA_MM = 2e-3  # smaller displacements are dropped, so that each shape moves few vertices
_NECK_FOOT_MM, _NECK_HEIGHT_MM = -152.0, 45.0
_MIRROR = np.array([1.0, -1.0, 1.0])
_ONE_SIDED_PARTS = ("glint_left", "glint_right")


def build_default_rig() -> Rig:
    """Build the default face: a rig named "default" with the 52 ARKit shapes.

    It takes most of a second; `stored.default_rig` reads the result from a file of the package.
    """
    mesh = MeshBuilder()
    loops = add_skin(mesh)
    colors = add_eyes(mesh)
    add_brows(mesh)
    add_seams(mesh)
    colors |= add_teeth(mesh)
    add_tongue(mesh)
    add_highlights(mesh)
    colors |= add_ears(mesh) | add_shell(mesh) | add_collar(mesh)
    contact = loops.mouth["contact"]
    partner = mesh.symmetrize((contact, contact[(20 - np.arange(40)) % 40]), _ONE_SIDED_PARTS)
    builder = ShapeBuilder(mesh, loops)
    shapes = {**mouth_shapes(builder), **eye_shapes(builder)}
    deltas = np.stack([_complete_shape(name, shapes, partner) for name in ARKIT_NAMES])
    deltas[np.abs(deltas) < MIN_DELTA_MM] = 0.0
    return Rig(
        name="default",
        vertices=(mesh.points / 1000.0).astype(np.float32),
        triangles=mesh.triangulate().astype(np.uint32),
        shape_names=ARKIT_NAMES,
        deltas=(deltas / 1000.0).astype(np.float32),
        parts=dict(mesh.parts),
        landmarks=_landmarks(loops),
        colors=vertex_colors(builder, colors),
        pivot=(PIVOT_MM / 1000.0).astype(np.float32),
        follow=smoothstep((mesh.points[:, 2] - _NECK_FOOT_MM) / _NECK_HEIGHT_MM).astype(np.float32),
    )


def _complete_shape(
    name: str, shapes: Mapping[str, npt.NDArray[np.float64]], partner: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Displacements (V, 3) of a shape: as modelled, mirrored from the left, or symmetrized without a side."""
    if name not in shapes:
        return shapes[mirrored_name(name)][partner] * _MIRROR
    if mirrored_name(name) != name:
        return shapes[name]
    return (shapes[name] + shapes[name][partner] * _MIRROR) / 2.0


def _landmarks(loops: EdgeLoops) -> dict[str, npt.NDArray[np.int64]]:
    mouth = loops.mouth
    upper = np.arange(19, 0, -1)  # from the person's right to the left
    return {
        "inner_lip_upper": mouth["contact"][upper],
        "inner_lip_lower": mouth["contact"][40 - upper],
        "outer_lip_upper": mouth["border"][upper],
        "outer_lip_lower": mouth["border"][40 - upper],
        "lip_lower": mouth["lip2"][40 - upper],
        "mouth_corners": mouth["contact"][[0, 20]],
        "eyelid_left": loops.eye["left"][2],
        "eyelid_right": loops.eye["right"][2],
    }
