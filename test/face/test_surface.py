# SPDX-License-Identifier: Apache-2.0
"""The default face as a surface: whole and outward, lids that
cover the balls, teeth and tongue that stay inside."""

import numpy as np
import pytest
from face.test_rig import weights

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.assemble import default_rig

EXPRESSIONS = {
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


def faces_of(rig, *parts):
    part = np.zeros(len(rig.vertices), bool)
    for name in parts:
        part[slice(*rig.parts[name])] = True
    return rig.triangles[part[rig.triangles].all(axis=1)].astype(int)


def mouth_faces(rig):
    """Skin and inner mouth are one surface; some of its triangles join the two parts."""
    part = np.zeros(len(rig.vertices), bool)
    for name in ("skin", "mouth"):
        part[slice(*rig.parts[name])] = True
    return rig.triangles[part[rig.triangles].all(axis=1)].astype(int)


def winding(points, vertices, faces):
    """How often the surface winds round each point, (P,): 1
    inside, 0 outside (van Oosterom & Strackee 1983)."""
    out = np.zeros(len(points))
    for first in range(0, len(points), 64):
        a, b, c = (vertices[faces[:, k]][None] - points[first : first + 64, None] for k in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
        dot = lambda u, v: np.einsum("pfi,pfi->pf", u, v)  # noqa: E731
        below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
        out[first : first + 64] = np.arctan2(dot(a, np.cross(b, c)), below).sum(axis=1) / (2 * np.pi)
    return out


def sealed_skin(rig):
    """The skin's triangles with mouth, eyes and neck closed:
    outside the rest of this surface is open air."""
    faces = [faces_of(rig, "skin")]
    upper, lower = rig.landmarks["inner_lip_upper"], rig.landmarks["inner_lip_lower"]
    left, right = rig.landmarks["mouth_corners"]
    upper, lower = np.r_[right, upper, left], np.r_[right, lower, left]
    for k in range(len(upper) - 1):
        faces.append([[lower[k], lower[k + 1], upper[k + 1]], [lower[k], upper[k + 1], upper[k]]])
    border = open_loops(np.concatenate(faces))
    for loop in border:
        faces.append([[b, a, loop[0]] for a, b in zip(loop[1:], loop[2:])])
    return np.concatenate(faces)


def open_loops(faces):
    """The loops of edges that only one triangle has, each in that triangle's direction."""
    edges = {(a, b) for face in faces for a, b in zip(face, np.roll(face, -1)) if a != b}
    after = {a: b for a, b in edges if (b, a) not in edges}
    loops = []
    while after:
        start = next(iter(after))
        loop = [start]
        while after.get(loop[-1]) is not None:
            loop.append(after.pop(loop[-1]))
        loops.append(loop[:-1] if loop[-1] == start else loop)
    return loops


def test_skin_is_manifold_with_openings_for_neck_and_eyes() -> None:
    rig = default_rig()
    faces = mouth_faces(rig)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges), "each edge runs once in each direction at most"
    loops = open_loops(faces)
    assert sorted(len(loop) for loop in loops)[:2] == [30, 30] and len(loops) == 3, "two eyes and the neck"
    used = np.unique(rig.triangles)
    assert len(used) == len(rig.vertices), "no loose vertices"


def test_triangles_face_outward() -> None:
    rig = default_rig()
    points = rig.vertices.astype(float)
    for part in rig.parts:
        faces = faces_of(rig, part)
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        assert len(np.unique(edges, axis=0)) == len(edges), (
            f"the triangles of {part} agree about their outside"
        )
    for part, share in (
        ("eye_left", 0.5),
        ("eye_right", 0.5),
        ("tongue", 0.95),
        ("hair", 0.5),
        ("brow_left", 0.1),
    ):
        center = points[slice(*rig.parts[part])].mean(axis=0)
        assert winding(center[None], points, faces_of(rig, part)) > share
    assert winding(np.array([[0.0, 0.0, 0.03]]), points, sealed_skin(rig)) == pytest.approx(1.0, abs=1e-6)
    assert winding(np.array([[0.2, 0.0, 0.03]]), points, sealed_skin(rig)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_teeth_tongue_and_inner_mouth_stay_behind_the_skin(name) -> None:
    rig = default_rig()
    assert poking(rig, weights(**EXPRESSIONS[name])) == {}


def test_nothing_pokes_through_in_random_speech() -> None:
    rig = default_rig()
    generator = np.random.default_rng(3)
    for _ in range(8):
        chosen = generator.choice(SPEECH, 3, replace=False)
        assert poking(rig, weights(**dict(zip(chosen, generator.random(3) * 0.7)))) == {}


def poking(rig, w):
    """part -> how many of its vertices stand outside the sealed skin."""
    points, faces, found = rig.pose(w).astype(np.float32), sealed_skin(rig), {}
    for part in ("teeth_upper", "teeth_lower", "tongue", "mouth"):
        tested = points[slice(*rig.parts[part])]
        outside = winding(tested[tested[:, 0] > 0.06], points, faces) < 0.4
        if outside.any():
            found[part] = int(outside.sum())
    return found


def test_blink_covers_the_ball_and_never_cuts_it() -> None:
    rig = default_rig()
    faces = faces_of(rig, "skin")
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ball = rig.vertices[slice(*rig.parts[f"eye_{side}"])].astype(float)
        center, radius = fit_sphere(ball)
        near = faces[np.linalg.norm(rig.vertices[faces].mean(axis=1) - center, axis=1) < 0.035]
        tucked = (
            np.linalg.norm(rig.vertices - center, axis=1) < radius
        )  # the lids' inner edge, hidden in the ball
        lids = near[~tucked[near].any(axis=1)]
        for w in np.linspace(0.0, 1.0, 6):
            posed = rig.pose(weights(eyeBlink=w)).astype(float)
            depth = probes(posed, lids, center, radius)
            assert depth.max() < 0.0003, f"a lid lies {depth.max() * 1000:.2f} mm inside the ball at {w}"
        ahead = ball[ball[:, 0] > center[0] + 0.5 * radius]
        assert hidden(ahead, posed, near).all(), "closed lids cover the ball"
        assert not hidden(ahead, rig.vertices.astype(float), near).all(), "open lids do not"


def probes(vertices, faces, center, radius):
    """How deep the middles of triangles and edges lie in the front
    of the ball, metres; negative outside."""
    corner = vertices[faces].astype(float)
    probe = np.concatenate([corner.mean(axis=1), *((corner[:, k] + corner[:, k - 1]) / 2 for k in range(3))])
    return np.where(probe[:, 0] > center[0], radius - np.linalg.norm(probe - center, axis=1), -1.0)


def fit_sphere(points):
    """Centre (3,) and radius of the sphere through points (n, 3), least squares."""
    matrix = np.column_stack([2 * points, np.ones(len(points))])
    solution = np.linalg.lstsq(matrix, (points**2).sum(axis=1), rcond=None)[0]
    return solution[:3], np.sqrt(solution[3] + (solution[:3] ** 2).sum())


def hidden(points, vertices, faces):
    """Whether a ray from each point along +x meets a triangle, (P,) bool."""
    a, b, c = (vertices[faces[:, k]][None, :, 1:] - points[:, None, 1:] for k in range(3))
    area = [u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0] for u, v in ((a, b), (b, c), (c, a))]
    covers = (np.minimum.reduce(area) >= 0) | (np.maximum.reduce(area) <= 0)
    ahead = vertices[faces].max(axis=1)[None, :, 0] > points[:, None, 0]
    return (covers & ahead).any(axis=1)


def test_gaze_turns_the_iris() -> None:
    rig = default_rig()
    pupil = rig.parts["eye_left"][0]
    for name, axis, sign in (
        ("eyeLookOutLeft", 1, 1),
        ("eyeLookInLeft", 1, -1),
        ("eyeLookUpLeft", 2, 1),
        ("eyeLookDownLeft", 2, -1),
    ):
        assert sign * rig.deltas[INDEX[name], pupil, axis] > 0.005


def test_lower_lip_meets_the_upper_teeth() -> None:
    rig = default_rig()
    posed = rig.pose(weights(**EXPRESSIONS["f"]))
    lip = rig.landmarks["lip_lower"][6:13]
    teeth = posed[slice(*rig.parts["teeth_upper"])]
    gap = np.linalg.norm(posed[lip][:, None] - teeth[None], axis=-1).min(axis=1)
    apart = np.linalg.norm(
        rig.vertices[lip][:, None] - rig.vertices[slice(*rig.parts["teeth_upper"])][None], axis=-1
    ).min(axis=1)
    assert gap.max() < 0.0035 < apart.min() + 0.0035
