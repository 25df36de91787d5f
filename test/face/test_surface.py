# SPDX-License-Identifier: Apache-2.0
"""The default head as a surface: closed and outward, eyelids over the eyeballs, teeth and tongue inside."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rig import Rig
from support.face_shapes import part_triangles, shape_weights

Points: TypeAlias = npt.NDArray[np.floating]
Triangles: TypeAlias = npt.NDArray[np.int64]

EXPRESSIONS: dict[str, dict[str, float]] = {
    "rest": {},
    "open": {"jawOpen": 1.0},
    "half open": {"jawOpen": 0.5},
    "smile": {"mouthSmile": 1.0},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.4},
    "frown": {"mouthFrown": 1.0},
    "pucker": {"mouthPucker": 1.0},
    "funnel": {"mouthFunnel": 1.0},
    "oh": {"mouthFunnel": 0.6, "mouthPucker": 0.3, "jawOpen": 0.3},
    "round": {"mouthFunnel": 0.6, "mouthPucker": 0.7, "jawOpen": 0.2},
    "m": {"jawOpen": 0.25, "mouthClose": 0.25, "mouthPress": 0.6},
    "press": {"mouthPress": 1.0},
    "f": {"jawOpen": 0.05, "mouthRollLower": 0.8, "mouthUpperUp": 0.35},
    "stretch": {"mouthStretch": 1.0},
    "ee": {"mouthSmile": 0.4, "mouthStretch": 0.4, "jawOpen": 0.12, "mouthLowerDown": 0.3},
    "dimple": {"mouthDimple": 1.0},
    "shrug": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.5},
    "puff": {"cheekPuff": 1.0},
    "sneer": {"noseSneer": 1.0},
    "roll": {"mouthRollLower": 1.0, "mouthRollUpper": 1.0},
    "left": {"jawLeft": 0.6, "mouthLeft": 0.6},
}
SPEECH = (
    "jawOpen",
    "mouthFunnel",
    "mouthPucker",
    "mouthSmile",
    "mouthStretch",
    "mouthLowerDown",
    "mouthUpperUp",
)


def winding_number(points: Points, vertices: Points, triangles: Triangles) -> Points:
    """How often the surface winds around each point, (P,): 1 inside, 0 outside.

    A. van Oosterom and J. Strackee, The solid angle of a plane triangle, 1983.
    """

    def dot(u: Points, v: Points) -> Points:
        return np.einsum("pfi,pfi->pf", u, v)

    out = np.zeros(len(points))
    for first in range(0, len(points), 64):
        a, b, c = (vertices[triangles[:, k]][None] - points[first : first + 64, None] for k in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
        below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
        out[first : first + 64] = np.arctan2(dot(a, np.cross(b, c)), below).sum(axis=1) / (2 * np.pi)
    return out


@pytest.fixture(scope="module")
def sealed_skin() -> Triangles:
    """The triangles of the default head's skin with mouth, eyes and neck closed."""
    rig = default_rig()
    triangles: list[npt.ArrayLike] = [part_triangles(rig, "skin")]
    upper, lower = rig.landmarks["inner_lip_upper"], rig.landmarks["inner_lip_lower"]
    left, right = rig.landmarks["mouth_corners"]
    upper, lower = np.r_[right, upper, left], np.r_[right, lower, left]
    for k in range(len(upper) - 1):
        triangles.append([[lower[k], lower[k + 1], upper[k + 1]], [lower[k], upper[k + 1], upper[k]]])
    for loop in open_loops(np.concatenate(triangles)):
        triangles.append([[b, a, loop[0]] for a, b in pairwise(loop[1:])])
    return np.concatenate(triangles)


def open_loops(triangles: Triangles) -> list[list[int]]:
    """Loops of edges that only one triangle has, in the direction of that triangle."""
    edges = {
        (int(a), int(b))
        for corners in triangles
        for a, b in zip(corners, np.roll(corners, -1), strict=True)
        if a != b
    }
    after = {a: b for a, b in edges if (b, a) not in edges}
    loops: list[list[int]] = []
    while after:
        start = next(iter(after))
        loop = [start]
        while after.get(loop[-1]) is not None:
            loop.append(after.pop(loop[-1]))
        loops.append(loop[:-1] if loop[-1] == start else loop)
    return loops


def test_the_skin_is_a_manifold_open_at_neck_and_eyes() -> None:
    rig = default_rig()
    # skin and inner mouth are one surface; some triangles join the two parts
    faces = part_triangles(rig, "skin", "mouth")
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges), "each edge runs once in each direction at most"
    loops = open_loops(faces)
    assert sorted(len(loop) for loop in loops)[:2] == [30, 30] and len(loops) == 3, "two eyes and the neck"
    used = np.unique(rig.triangles)
    assert len(used) == len(rig.vertices), "no loose vertices"


def test_triangles_face_outwards(sealed_skin: Triangles) -> None:
    rig = default_rig()
    points = rig.vertices.astype(float)
    for part in rig.parts:
        faces = part_triangles(rig, part)
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        assert len(np.unique(edges, axis=0)) == len(edges), f"the triangles of {part} agree on their outside"
    for part, minimum in (
        ("eye_left", 0.5),
        ("eye_right", 0.5),
        ("tongue", 0.95),
        ("shell", 0.5),
        ("brow_left", 0.1),
    ):
        center = points[slice(*rig.parts[part])].mean(axis=0)
        assert winding_number(center[None], points, part_triangles(rig, part)) > minimum
    assert winding_number(np.array([[0.0, 0.0, 0.03]]), points, sealed_skin) == pytest.approx(1.0, abs=1e-6)
    assert winding_number(np.array([[0.2, 0.0, 0.03]]), points, sealed_skin) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_teeth_tongue_and_inner_mouth_stay_behind_the_skin(name: str, sealed_skin: Triangles) -> None:
    assert count_outside(default_rig(), sealed_skin, shape_weights(**EXPRESSIONS[name])) == {}


def test_random_speech_shapes_push_nothing_through_the_skin(sealed_skin: Triangles) -> None:
    generator = np.random.default_rng(3)
    for _ in range(8):
        chosen = generator.choice(SPEECH, 3, replace=False)
        weights = shape_weights(**dict(zip(chosen, generator.random(3) * 0.7, strict=True)))
        assert count_outside(default_rig(), sealed_skin, weights) == {}


def count_outside(rig: Rig, skin: Triangles, weights: npt.NDArray[np.float32]) -> dict[str, int]:
    """Vertices of each inner part outside the sealed skin; parts without any are left out."""
    points = rig.pose(weights)
    found: dict[str, int] = {}
    for part in ("teeth_upper", "teeth_lower", "tongue", "mouth"):
        tested = points[slice(*rig.parts[part])]
        outside = winding_number(tested[tested[:, 0] > 0.06], points, skin) < 0.4
        if outside.any():
            found[part] = int(outside.sum())
    return found


def test_a_blink_covers_the_eyeball_and_never_cuts_it() -> None:
    rig = default_rig()
    faces = part_triangles(rig, "skin")
    for side in ("left", "right"):
        ball = rig.vertices[slice(*rig.parts[f"eye_{side}"])].astype(float)
        center, radius = fit_sphere(ball)
        near = faces[np.linalg.norm(rig.vertices[faces].mean(axis=1) - center, axis=1) < 0.035]
        # the inner edge of the eyelids is hidden inside the eyeball
        hidden_edge = np.linalg.norm(rig.vertices - center, axis=1) < radius
        lids = near[~hidden_edge[near].any(axis=1)]
        for w in np.linspace(0.0, 1.0, 6):
            posed = rig.pose(shape_weights(eyeBlink=w)).astype(float)
            depth = depth_inside(posed, lids, center, radius)
            assert depth.max() < 0.0003, (
                f"an eyelid lies {depth.max() * 1000:.2f} mm inside the eyeball at {w}"
            )
        ahead = ball[ball[:, 0] > center[0] + 0.5 * radius]
        assert is_hidden(ahead, posed, near).all(), "closed eyelids cover the eyeball"
        assert not is_hidden(ahead, rig.vertices.astype(float), near).all(), "open eyelids do not"


def depth_inside(vertices: Points, triangles: Triangles, center: Points, radius: float) -> Points:
    """Depth (m) of the middles of triangles and edges inside the front of a sphere; negative outside."""
    corner = vertices[triangles].astype(float)
    probe = np.concatenate([corner.mean(axis=1), *((corner[:, k] + corner[:, k - 1]) / 2 for k in range(3))])
    return np.where(probe[:, 0] > center[0], radius - np.linalg.norm(probe - center, axis=1), -1.0)


def fit_sphere(points: Points) -> tuple[Points, float]:
    """Centre (3,) and radius of the sphere through points (n, 3), least squares."""
    matrix = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(matrix, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def is_hidden(points: Points, vertices: Points, triangles: Triangles) -> npt.NDArray[np.bool_]:
    """Whether a ray from each point along +x meets a triangle, (P,) bool."""
    a, b, c = (vertices[triangles[:, k]][None, :, 1:] - points[:, None, 1:] for k in range(3))
    area = [u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0] for u, v in ((a, b), (b, c), (c, a))]
    covers = (np.minimum.reduce(area) >= 0) | (np.maximum.reduce(area) <= 0)
    ahead = vertices[triangles].max(axis=1)[None, :, 0] > points[:, None, 0]
    return (covers & ahead).any(axis=1)


def test_look_shapes_turn_the_iris() -> None:
    rig = default_rig()
    pupil = rig.parts["eye_left"][0]
    for name, axis, sign in (
        ("eyeLookOutLeft", 1, 1),
        ("eyeLookInLeft", 1, -1),
        ("eyeLookUpLeft", 2, 1),
        ("eyeLookDownLeft", 2, -1),
    ):
        assert sign * rig.deltas[INDEX[name], pupil, axis] > 0.005


def test_the_lower_lip_touches_the_upper_teeth_in_f_and_v() -> None:
    rig = default_rig()
    posed = rig.pose(shape_weights(**EXPRESSIONS["f"]))
    lip = rig.landmarks["lip_lower"][6:13]
    teeth = posed[slice(*rig.parts["teeth_upper"])]
    gap = np.linalg.norm(posed[lip][:, None] - teeth[None], axis=-1).min(axis=1)
    apart = np.linalg.norm(
        rig.vertices[lip][:, None] - rig.vertices[slice(*rig.parts["teeth_upper"])][None], axis=-1
    ).min(axis=1)
    assert gap.max() < 0.0035 < apart.min() + 0.0035
