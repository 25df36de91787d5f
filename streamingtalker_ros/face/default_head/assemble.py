# SPDX-License-Identifier: Apache-2.0
"""Puts the sculpture together: parts, shapes on both sides, landmarks, colours -> Rig in metres."""

import functools

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.eye_shapes import eye_shapes
from streamingtalker_ros.face.default_head.eyes import sculpt_brows, sculpt_eyes, sculpt_glints
from streamingtalker_ros.face.default_head.hair_ears_collar import sculpt_collar, sculpt_ears, sculpt_hair
from streamingtalker_ros.face.default_head.mesh import Mesh, other_side, smooth
from streamingtalker_ros.face.default_head.mouth_shapes import mouth_shapes
from streamingtalker_ros.face.default_head.shape_builder import Canvas
from streamingtalker_ros.face.default_head.skin import sculpt_skin
from streamingtalker_ros.face.default_head.teeth import sculpt_teeth, sculpt_tongue
from streamingtalker_ros.face.default_head.vertex_colors import paint
from streamingtalker_ros.face.rig import Rig

NECK = np.array([-22.0, 0.0, -98.0])  # mm: where the head turns
_FLIP = np.array([1.0, -1.0, 1.0])


@functools.lru_cache(maxsize=1)
def default_rig() -> Rig:
    """The face that comes with the package: a rig named "default" with the 52 ARKit shapes.

    Built once per process, in under a second.
    """
    mesh = Mesh()
    rings = sculpt_skin(mesh)
    eye_names = sculpt_eyes(mesh)
    sculpt_brows(mesh)
    teeth_names = sculpt_teeth(mesh)
    sculpt_tongue(mesh)
    contact = rings.mouth["contact"]
    sculpt_glints(mesh)
    sculpt_ears(mesh)
    sculpt_hair(mesh)
    sculpt_collar(mesh)
    partner = mesh.mirror(
        (contact, contact[(20 - np.arange(40)) % 40]), one_sided=("hair", "glint_left", "glint_right")
    )
    canvas = Canvas(mesh, rings)
    half = {**mouth_shapes(canvas), **eye_shapes(canvas)}
    deltas = np.stack([_both_sides(name, half, partner) for name in ARKIT_NAMES])
    deltas[np.abs(deltas) < 2e-3] = 0.0  # two micrometres: keeps the moving part of each shape small
    return Rig(
        name="default",
        vertices=(mesh.points / 1000.0).astype(np.float32),
        triangles=mesh.triangles().astype(np.uint32),
        shape_names=ARKIT_NAMES,
        deltas=(deltas / 1000.0).astype(np.float32),
        parts=dict(mesh.parts),
        landmarks=_landmarks(rings),
        colors=paint(canvas, eye_names, teeth_names),
        pivot=(NECK / 1000.0).astype(np.float32),
        follow=smooth((mesh.points[:, 2] + 152.0) / 45.0).astype(np.float32),
    )


def _both_sides(name, half, partner):
    """A shape by name: sculpted, mirrored from the left, or made
    its own mirror image when it has no side."""
    if name not in half:
        return half[other_side(name)][partner] * _FLIP
    if other_side(name) != name:
        return half[name]
    return (half[name] + half[name][partner] * _FLIP) / 2.0


def _landmarks(rings):
    mouth = rings.mouth
    upper = np.arange(19, 0, -1)  # from the person's right to the left
    return {
        "inner_lip_upper": mouth["contact"][upper],
        "inner_lip_lower": mouth["contact"][40 - upper],
        "outer_lip_upper": mouth["border"][upper],
        "outer_lip_lower": mouth["border"][40 - upper],
        "lip_lower": mouth["lip2"][40 - upper],
        "mouth_corners": mouth["contact"][[0, 20]],
        "eyelid_left": rings.eye["left"][2],
        "eyelid_right": rings.eye["right"][2],
    }
