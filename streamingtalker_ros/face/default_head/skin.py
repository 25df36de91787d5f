# SPDX-License-Identifier: Apache-2.0
"""The skin: a grid around head and neck, with rings for the mouth and the two eyes set into cut-out blocks.

`sculpt_skin(mesh)` adds the parts skin and mouth to a Mesh and returns Rings: the vertex loops that the
shapes and the other parts hold on to. Every loop runs counter-clockwise seen from the front; millimetres.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.face.default_head.head import BALL, EYE, LAST, MOUTH, front, loft, over_ball, relief
from streamingtalker_ros.face.default_head.mesh import block_loop

HALF_WIDTH = 24.5  # of the mouth
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
)  # front height of the rows over the face
_ROWS_V = (0.7, 1.4, 2.1, 2.8, 3.4), (12.4, 12.9, 13.5, 14.1, 14.8, LAST)
_COLUMNS = (0, 4, 8, 12.5, 17.5, 23, 29, 35, 41, 47.5, 54, 60.5) + (
    68,
    76,
    88,
    102,
    118,
    134,
    150,
    165,
)  # degrees, left half


@dataclass
class Rings:
    """Vertex loops. mouth: name -> (40,): block, outer…, border, lip…, contact,
    lining…; index 0 is the left corner, 20 the right one, 1…19 the upper lip, and 40 -
    k the lower partner of k. eye: side -> list of (30,) loops from the lid's inner edge
    outward; for the left eye index 0 is the outer corner, 15 the inner one."""

    mouth: dict
    eye: dict
    pole: int


def mouth_line(y):
    """Height of the line between the closed lips at y (n,): nearly
    level, corners lifted by a hint of a smile."""
    t = np.abs(y) / HALF_WIDTH
    return (
        MOUTH
        + 4.2 * t**2.0
        - 0.5 * np.exp(-((y / 5.0) ** 2))
        + 0.5 * np.exp(-(((np.abs(y) - 9.0) / 5.0) ** 2))
    )


def sculpt_skin(mesh):
    """Add skin and mouth to the mesh. Returns Rings."""
    psi = np.radians(np.array([-c for c in _COLUMNS[:0:-1]] + list(_COLUMNS) + [180.0]))
    face_v = np.interp(-np.array(_ROWS_Z), -_front_height(), np.linspace(0, LAST, 1601))
    v = np.concatenate([_ROWS_V[0], face_v, _ROWS_V[1]])
    grid_psi, grid_v = np.meshgrid(psi, v)
    bare = loft(grid_psi.ravel(), grid_v.ravel())
    ids = np.arange(bare.shape[0]).reshape(grid_psi.shape)
    middle = len(_COLUMNS) - 1  # the column at psi = 0
    top = len(_ROWS_V[0])
    eye_rows = (top + _ROWS_Z.index(18), top + _ROWS_Z.index(-18))
    mouth_rows = (top + _ROWS_Z.index(-46.5), top + _ROWS_Z.index(-81))
    loops = {}
    loops["left"], ids = block_loop(ids, *eye_rows, middle + 1, middle + 10)
    loops["right"], ids = block_loop(ids, *eye_rows, middle - 10, middle - 1)
    loops["mouth"], ids = block_loop(ids, *mouth_rows, middle - 7, middle + 7)
    kept = ids[ids >= 0]
    new = np.full(len(bare), -1)
    new[kept] = mesh.add("skin", relief_all(bare[kept]))
    ids = np.where(ids >= 0, new[ids], -1)
    loops = {name: new[loop] for name, loop in loops.items()}
    mesh.grid(ids, closed=True)
    pole = mesh.add("skin", loft(np.zeros(1), np.zeros(1)))[0]
    mesh.fan(ids[0], pole)
    eye = _eye_rings(mesh, loops)
    mouth = _mouth_rings(mesh, loops["mouth"])
    return Rings(mouth, eye, pole)


def _front_height():
    return loft(np.zeros(1601), np.linspace(0, LAST, 1601))[:, 2] - np.linspace(0, 1e-3, 1601)


def relief_all(bare):
    """The finished skin over bare points anywhere on the head (n, 3)."""
    out = relief(bare)
    left = over_ball(out)
    right = over_ball(out * (1, -1, 1)) * (1, -1, 1)
    return np.where(out[:, 1:2] >= 0, left, right)


def skin_at(y, z):
    """The finished skin over frontal coordinates of the face (n,), (n,) -> (n, 3)."""
    return relief_all(front(y, z))


def _lid(count=30):
    """The almond of the left eye: (count, 2) frontal offsets from
    the ball's centre, from the outer corner on."""
    angle = 2.0 * np.pi * np.arange(count) / count
    c, s = np.cos(angle), np.sin(angle)
    width = np.where(c >= 0, 17.0, 15.6)
    upper = 7.9 * np.abs(s) ** 1.0
    lower = 8.0 * np.abs(s) ** 1.1
    y = width * (0.75 * c + 0.25 * (1.0 - 2.0 * np.minimum(angle, 2 * np.pi - angle) / np.pi))
    z = np.where(s >= 0, upper, -lower) + 1.3 * c - 0.9 * np.exp(-(((c + 1) / 0.15) ** 2))
    return np.stack([y, z], axis=1)


def _eye_rings(mesh, loops):
    lid = _lid()
    block = mesh.points[loops["left"]][:, 1:] - EYE[1:]
    margin = _on_ball(lid, np.where(np.sin(2 * np.pi * np.arange(30) / 30) > 0.05, 2.5, 1.7))
    points = [_on_ball(lid * 1.02, -0.2) - (1.5, 0, 0), _on_ball(lid * 0.985, 0.9), margin]
    for t in (0.13, 0.30, 0.5, 0.75):
        at = lid + (block - lid) * t
        points.append(relief_all(front(EYE[1] + at[:, 0], EYE[2] + at[:, 1])))
    rings = {"left": [], "right": []}
    flip = (15 - np.arange(30)) % 30
    for ring in points:
        rings["left"].append(mesh.add("skin", ring))
        rings["right"].append(mesh.add("skin", (ring * (1, -1, 1))[flip]))
    for side in rings:
        rings[side].append(loops[side])
        for inner, outer in zip(rings[side], rings[side][1:]):
            mesh.strip(outer, inner)
    return rings


def _on_ball(offset, lift):
    """Frontal offsets (n, 2) from the left ball's centre -> points (n, 3) `lift` above the ball."""
    depth = np.sqrt(np.maximum((BALL + np.asarray(lift)) ** 2 - (offset**2).sum(axis=1), 1.0))
    return np.column_stack([EYE[0] + depth, EYE[1] + offset[:, 0], EYE[2] + offset[:, 1]])


def _mouth_rings(mesh, block):
    k = np.arange(40)
    angle = np.pi * k / 20.0
    along = 1.0 - np.minimum(k, 40 - k) / 10.0  # 1 at the left corner, -1 at the right one
    y = HALF_WIDTH * (0.5 * np.cos(angle) + 0.5 * along)
    t = np.abs(y) / HALF_WIDTH
    side = np.where(k % 20 == 0, 0.0, np.where(k < 20, 1.0, -1.0))
    line = mouth_line(y)
    height = np.where(
        side > 0,
        6.5 * (1 - t**2) ** 0.85 * (1 - 0.16 * np.exp(-((y / 3.2) ** 2))),
        7.9 * (1 - t**2.2) ** 0.8,
    )
    border = np.column_stack([y * 1.045, line + side * height])
    block_yz = mesh.points[block][:, 1:]
    rings = {"block": block}
    for n, s in enumerate((0.78, 0.54, 0.28, 0.10)):
        at = border + (block_yz - border) * s
        rings[f"outer{n}"] = mesh.add("skin", skin_at(at[:, 0], at[:, 1]))
    full = np.where(side > 0, 1.0, 1.15) * (1 - t**3)
    profile = {
        "border": (0.0, 0.4),
        "lip0": (0.22, 2.4),
        "lip1": (0.50, 3.9),
        "lip2": (0.78, 3.4),
        "lip3": (0.94, 1.9),
        "contact": (1.0, 0.5),
    }
    for name, (s, bulge) in profile.items():
        at_y = border[:, 0] + (y - border[:, 0]) * s
        at_z = border[:, 1] + (line - border[:, 1]) * s
        ring = skin_at(at_y, at_z)
        ring[:, 0] += bulge * (1 - t**3 if name == "contact" else full) - 1.6 * s * t**4
        rings[name] = mesh.add("skin", ring)
    contact = mesh.points[rings["contact"]]
    e = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for n, (back, ay, az) in enumerate(((2.5, 24.5, 1.2), (5.0, 24.5, 5.0), (9.0, 25.5, 11.5))):
        ring = np.column_stack(
            [contact[:, 0] - back, 0.4 * y * ay / HALF_WIDTH + 0.6 * ay * e[:, 0], line + az * e[:, 1]]
        )
        rings[f"lining{n}"] = mesh.add("mouth", ring)
    for n, (x, ay, az) in enumerate(((66, 26.0, 15.5), (48, 22.0, 14.0), (36, 12.0, 8.0))):
        rings[f"bag{n}"] = mesh.add(
            "mouth", np.column_stack([np.full(40, float(x)), ay * e[:, 0], MOUTH + az * e[:, 1]])
        )
    names = list(rings)
    for outer, inner in zip(names, names[1:]):
        mesh.strip(rings[outer], rings[inner])
    throat = mesh.add("mouth", [(30.0, 0.0, MOUTH)])[0]
    mesh.fan(rings["bag2"], throat)
    rings["throat"] = np.array([throat])
    return rings
