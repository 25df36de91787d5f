# SPDX-License-Identifier: Apache-2.0
"""The skin: a grid around head and neck, in which blocks are replaced by edge loops around mouth and eyes.

Adds the parts skin and mouth. Every loop runs counter-clockwise seen from the front. Millimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.default_head.head import (
    EYE_CENTER,
    EYE_RADIUS,
    LAST_STATION,
    MOUTH_HEIGHT,
    bare_surface,
    cover_eyeball,
    face_relief,
    loft,
)
from streamingtalker_ros.face.default_head.mesh import MeshBuilder, cut_block

MOUTH_HALF_WIDTH = 24.5
MOUTH_LOOP_LENGTH, EYE_LOOP_LENGTH = 40, 30  # vertices of a loop
_ROWS_Z = (
    44,
    37,
    30.5,
    24,
    18,
    12,
    6,
    0,
    -6,
    -12,
    -18,
    -24,
    -30,
    -36,
    -41.5,
    -46.5,
    -52,
    -57.5,
    -63,
    -68.5,
    -74.5,
    -81,
    -87,
    -93,
    -99,
    -104,
)  # z of the rows over the face
_ROWS_V = (0.7, 1.4, 2.1, 2.8, 3.4), (12.4, 12.9, 13.5, 14.1, 14.8, LAST_STATION)
_COLUMNS = (
    0,
    4,
    8,
    12.5,
    17.5,
    23,
    29,
    35,
    41,
    47.5,
    54,
    60.5,
    68,
    76,
    88,
    102,
    118,
    134,
    150,
    165,
)  # degrees from the front, left half
_FRONT_SAMPLES = 1601
_MIRROR = (1.0, -1.0, 1.0)


@dataclass
class EdgeLoops:
    """Loops of vertices around mouth and eyes.

    Attributes:
        mouth: (40,) vertices by name, from outside to inside: block, outer…, border, lip…, contact, lining…,
            bag…. Index 0 is the left corner, 20 the right one, 1 to 19 the upper lip; 40 - k lies below k.
        eye: For each side (30,) loops from the eyelid's inner edge outward. Index 0 of the left eye is the
            outer corner, 15 the inner one.
    """

    mouth: dict[str, npt.NDArray[np.int64]]
    eye: dict[str, list[npt.NDArray[np.int64]]]


def lip_line_height(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Height z (n,) of the line between the closed lips at y (n,): nearly level, with raised corners."""
    t = np.abs(y) / MOUTH_HALF_WIDTH
    return (
        MOUTH_HEIGHT
        + 4.2 * t**2.0
        - 0.5 * np.exp(-((y / 5.0) ** 2))
        + 0.5 * np.exp(-(((np.abs(y) - 9.0) / 5.0) ** 2))
    )


def add_skin(mesh: MeshBuilder) -> EdgeLoops:
    """Add the skin and the inside of the mouth.

    Args:
        mesh: Mesh under construction, in mm; receives the skin and the inside of the mouth.

    Returns:
        Loops of vertices around mouth and eyes.
    """
    psi = np.radians(np.array([-c for c in _COLUMNS[:0:-1]] + list(_COLUMNS) + [180.0]))
    face_v = np.interp(-np.array(_ROWS_Z), -_front_heights(), np.linspace(0, LAST_STATION, _FRONT_SAMPLES))
    v = np.concatenate([_ROWS_V[0], face_v, _ROWS_V[1]])
    grid_psi, grid_v = np.meshgrid(psi, v)
    bare = loft(grid_psi.ravel(), grid_v.ravel())
    ids = np.arange(bare.shape[0]).reshape(grid_psi.shape)
    middle = len(_COLUMNS) - 1  # the column at psi = 0
    top = len(_ROWS_V[0])
    eye_rows = (top + _ROWS_Z.index(18), top + _ROWS_Z.index(-18))
    mouth_rows = (top + _ROWS_Z.index(-46.5), top + _ROWS_Z.index(-81))
    blocks: dict[str, npt.NDArray[np.int64]] = {}
    blocks["left"], ids = cut_block(ids, *eye_rows, middle + 1, middle + 10)
    blocks["right"], ids = cut_block(ids, *eye_rows, middle - 10, middle - 1)
    blocks["mouth"], ids = cut_block(ids, *mouth_rows, middle - 7, middle + 7)
    retained = ids[ids >= 0]
    new_ids = np.full(len(bare), -1)
    new_ids[retained] = mesh.add_vertices("skin", add_features(bare[retained]))
    ids = np.where(ids >= 0, new_ids[ids], -1)
    blocks = {name: new_ids[loop] for name, loop in blocks.items()}
    mesh.add_grid(ids, closed=True)
    crown = mesh.add_vertices("skin", loft(np.zeros(1), np.zeros(1)))[0]
    mesh.add_fan(ids[0], crown)
    eye = _add_eye_loops(mesh, blocks)
    return EdgeLoops(_add_mouth_loops(mesh, blocks["mouth"]), eye)


def _front_heights() -> npt.NDArray[np.float64]:
    """Heights z of the bare surface's front at equidistant stations, strictly decreasing."""
    stations = np.linspace(0, LAST_STATION, _FRONT_SAMPLES)
    return loft(np.zeros(_FRONT_SAMPLES), stations)[:, 2] - np.linspace(0, 1e-3, _FRONT_SAMPLES)


def add_features(bare: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The finished skin at points (n, 3) of the bare surface, anywhere on the head."""
    skin = face_relief(bare)
    left = cover_eyeball(skin)
    right = cover_eyeball(skin * _MIRROR) * _MIRROR
    return np.where(skin[:, 1:2] >= 0, left, right)


def skin_surface(y: npt.NDArray[np.float64], z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The finished skin (n, 3) at frontal coordinates y, z (n,) within the face."""
    return add_features(bare_surface(y, z))


def _eyelid_margin() -> npt.NDArray[np.float64]:
    """Almond shape of the left eye: (30, 2) frontal offsets from the eyeball's centre."""
    angle = 2.0 * np.pi * np.arange(EYE_LOOP_LENGTH) / EYE_LOOP_LENGTH
    c, s = np.cos(angle), np.sin(angle)
    width = np.where(c >= 0, 17.0, 15.6)
    upper = 7.9 * np.abs(s) ** 1.0
    lower = 8.0 * np.abs(s) ** 1.1
    y = width * (0.75 * c + 0.25 * (1.0 - 2.0 * np.minimum(angle, 2 * np.pi - angle) / np.pi))
    z = np.where(s >= 0, upper, -lower) + 1.3 * c - 0.9 * np.exp(-(((c + 1) / 0.15) ** 2))
    return np.stack([y, z], axis=1)


def _add_eye_loops(
    mesh: MeshBuilder, blocks: Mapping[str, npt.NDArray[np.int64]]
) -> dict[str, list[npt.NDArray[np.int64]]]:
    margin = _eyelid_margin()
    block = mesh.points[blocks["left"]][:, 1:] - EYE_CENTER[1:]
    k = np.arange(EYE_LOOP_LENGTH)
    lift = np.where(np.sin(2 * np.pi * k / EYE_LOOP_LENGTH) > 0.05, 2.5, 1.7)
    points = [
        _on_eyeball(margin * 1.02, -0.2) - (1.5, 0, 0),
        _on_eyeball(margin * 0.985, 0.9),
        _on_eyeball(margin, lift),
    ]
    for t in (0.13, 0.30, 0.5, 0.75):
        offset = margin + (block - margin) * t
        points.append(skin_surface(EYE_CENTER[1] + offset[:, 0], EYE_CENTER[2] + offset[:, 1]))
    loops: dict[str, list[npt.NDArray[np.int64]]] = {"left": [], "right": []}
    mirrored_order = (EYE_LOOP_LENGTH // 2 - k) % EYE_LOOP_LENGTH
    for loop in points:
        loops["left"].append(mesh.add_vertices("skin", loop))
        loops["right"].append(mesh.add_vertices("skin", (loop * _MIRROR)[mirrored_order]))
    for side, eye_loops in loops.items():
        eye_loops.append(blocks[side])
        for inner, outer in pairwise(eye_loops):
            mesh.add_strip(outer, inner)
    return loops


def _on_eyeball(
    offset: npt.NDArray[np.float64], lift: float | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Points (n, 3) `lift` above the left eyeball, at frontal offsets (n, 2) from its centre."""
    depth = np.sqrt(np.maximum((EYE_RADIUS + np.asarray(lift)) ** 2 - (offset**2).sum(axis=1), 1.0))
    return np.column_stack(
        [EYE_CENTER[0] + depth, EYE_CENTER[1] + offset[:, 0], EYE_CENTER[2] + offset[:, 1]]
    )


def _add_mouth_loops(mesh: MeshBuilder, block: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
    k = np.arange(MOUTH_LOOP_LENGTH)
    angle = np.pi * k / 20.0
    along = 1.0 - np.minimum(k, 40 - k) / 10.0  # 1 at the left corner, -1 at the right one
    y = MOUTH_HALF_WIDTH * (0.5 * np.cos(angle) + 0.5 * along)
    t = np.abs(y) / MOUTH_HALF_WIDTH
    side = np.where(k % 20 == 0, 0.0, np.where(k < 20, 1.0, -1.0))
    line = lip_line_height(y)
    height = np.where(
        side > 0,
        6.5 * (1 - t**2) ** 0.85 * (1 - 0.16 * np.exp(-((y / 3.2) ** 2))),
        7.9 * (1 - t**2.2) ** 0.8,
    )
    border = np.column_stack([y * 1.045, line + side * height])
    block_yz = mesh.points[block][:, 1:]
    loops = {"block": block}
    for n, fraction in enumerate((0.78, 0.54, 0.28, 0.10)):
        yz = border + (block_yz - border) * fraction
        loops[f"outer{n}"] = mesh.add_vertices("skin", skin_surface(yz[:, 0], yz[:, 1]))
    fullness = np.where(side > 0, 1.0, 1.15) * (1 - t**3)
    profile = {  # fraction of the way from the border to the line between the lips, bulge
        "border": (0.0, 0.4),
        "lip0": (0.22, 2.4),
        "lip1": (0.50, 3.9),
        "lip2": (0.78, 3.4),
        "lip3": (0.94, 1.9),
        "contact": (1.0, 0.5),
    }
    for name, (fraction, bulge) in profile.items():
        loop_y = border[:, 0] + (y - border[:, 0]) * fraction
        loop_z = border[:, 1] + (line - border[:, 1]) * fraction
        loop = skin_surface(loop_y, loop_z)
        loop[:, 0] += bulge * (1 - t**3 if name == "contact" else fullness) - 1.6 * fraction * t**4
        loops[name] = mesh.add_vertices("skin", loop)
    contact = mesh.points[loops["contact"]]
    ellipse = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for n, (back, ay, az) in enumerate(((2.5, 24.5, 1.2), (5.0, 24.5, 5.0), (9.0, 25.5, 11.5))):
        loop = np.column_stack(
            [
                contact[:, 0] - back,
                0.4 * y * ay / MOUTH_HALF_WIDTH + 0.6 * ay * ellipse[:, 0],
                line + az * ellipse[:, 1],
            ]
        )
        loops[f"lining{n}"] = mesh.add_vertices("mouth", loop)
    for n, (x, ay, az) in enumerate(((66, 26.0, 15.5), (48, 22.0, 14.0), (36, 12.0, 8.0))):
        loop = np.column_stack(
            [np.full(MOUTH_LOOP_LENGTH, float(x)), ay * ellipse[:, 0], MOUTH_HEIGHT + az * ellipse[:, 1]]
        )
        loops[f"bag{n}"] = mesh.add_vertices("mouth", loop)
    for outer, inner in pairwise(list(loops.values())):
        mesh.add_strip(outer, inner)
    throat = mesh.add_vertices("mouth", [(30.0, 0.0, MOUTH_HEIGHT)])
    mesh.add_fan(loops["bag2"], throat[0])
    loops["throat"] = throat
    return loops
