# SPDX-License-Identifier: Apache-2.0
"""Landmarks onto the weights of the 52 shapes: bounded least squares, then exact lips.

`solve(face, neutral, basis)` gives weights (F, 52). The mouth is solved per frame against the speaker's neutral
with bounds 0 and 1; a second pass leans lightly on the neighbouring frames. At last jaw and corners are corrected
until the rig's lips are as far apart, and as wide, as the tracked ones: contact stays contact, whatever the
fit left over. Eyes and brows are read off directly, they have shapes of their own.
"""

import numpy as np

from streamingtalker_ros.corpus.video.landmark_matching import MOUTH
from streamingtalker_ros.corpus.video.neutral_pose import lip_gap, lip_width
from streamingtalker_ros.corpus.video.upper_face import upper_face
from streamingtalker_ros.errors import require
from streamingtalker_ros.face.arkit import INDEX

TRUST = np.array([0.2, 0.7, 1.0])  # of x, y, z: a camera hardly sees depth
GAP, WIDTH = 6.0, 2.0  # the lips' distance counts as much as that many landmarks
NEIGHBOURS = 0.05  # how firmly a frame leans on the ones beside it
ROUNDS = 30  # of correction: a gap within a micrometre
# how readily a shape gives way when lips are made exact
EASE = {
    "jawOpen": 1.0,
    "mouthClose": 0.5,
    "mouthLowerDown": 0.5,
    "mouthUpperUp": 0.3,
    "mouthFunnel": 0.2,
    "mouthPucker": 1.0,
    "mouthStretch": 1.0,
    "mouthSmile": 0.5,
}
# what a shape costs: those that a camera cannot tell from others must earn their place; a funnel with drawn corners
# would fit open vowels as well as the lips drawn off the teeth that they are
COST = {
    "jawOpen": 0.005,
    "jawForward": 0.3,
    "jaw": 0.1,
    "mouthClose": 0.05,
    "mouthFunnel": 0.3,
    "mouthUpperUp": 0.01,
    "mouthLowerDown": 0.03,
    "mouthPucker": 0.03,
    "mouthSmile": 0.03,
    "mouthStretch": 0.05,
    "mouthFrown": 0.08,
    "mouthDimple": 0.15,
    "mouthPress": 0.08,
    "mouthRoll": 0.04,
    "mouthShrug": 0.15,
    "mouth": 0.1,
}


def opening(gap, touch):
    """Tracked gap (…) in inter-ocular distances -> the opening wanted: 0 and below where lips touch.

    Below `touch` the gap is the tracker's noise or lips pressed together: lips overlap by what lacks. Above three
    times that it is the gap itself; between, a straight line.
    """
    return np.where(gap < touch, gap - touch, np.where(gap < 3 * touch, 1.5 * (gap - touch), gap))


def solve(face, neutral, basis):
    """face: a Face of the speaker whose Neutral it is -> weights (F, 52) float32 on the basis's rig."""
    gap = basis.eyes * opening(lip_gap(face.points), neutral.touch)
    width = basis.width * lip_width(face.points) / neutral.width
    mouth = exact(_fit(face, neutral, basis, gap, width), basis.rig, gap, width)
    weights = upper_face(face, neutral)
    weights[:, [INDEX[name] for name in MOUTH]] = mouth
    return weights.astype(np.float32)


def _fit(face, neutral, basis, gap, width):
    """(F, len(MOUTH)) weights of the mouth by least squares."""
    moved = (face.points - neutral.points)[:, basis.mesh].astype(np.float64)
    moved[..., 1] *= basis.width / basis.eyes / neutral.width  # a narrow mouth needs less of the same shape
    rows = (basis.shapes * TRUST).reshape(len(MOUTH), -1).T
    gap_row, width_row = lip_rows(basis.rig)
    rows = np.concatenate([rows, GAP * gap_row[None] / basis.eyes, WIDTH * width_row[None] / basis.eyes])
    seen = np.concatenate(
        [
            (moved * TRUST).reshape(len(moved), -1),
            GAP * gap[:, None] / basis.eyes,
            WIDTH * (width - basis.width)[:, None] / basis.eyes,
        ],
        axis=1,
    )
    cost = np.array([next(value for key, value in COST.items() if name.startswith(key)) for name in MOUTH])
    hessian = rows.T @ rows + np.diag(cost)
    first = bounded(hessian, seen @ rows)
    beside = np.pad(first, ((1, 1), (0, 0)), mode="edge")
    beside = (beside[:-2] + beside[2:]) / 2.0
    return bounded(hessian + NEIGHBOURS * np.eye(len(MOUTH)), seen @ rows + NEIGHBOURS * beside)


def lip_rows(rig):
    """(gap (len(MOUTH),), width (len(MOUTH),)): m per weight of the mouth's shapes, width linearised at rest."""
    columns = [rig.shape_names.index(name) for name in MOUTH]
    step = 1e-2 * np.eye(len(rig.shape_names))[columns]
    return (
        rig.lip_gap_map()[1][columns].astype(np.float64),
        (rig.lip_width(step) - rig.lip_width(np.zeros(len(rig.shape_names)))) * 1e2,
    )


def exact(mouth, rig, gap, width):
    """Weights (F, len(MOUTH)) moved as little as it takes to give the rig's lips a gap and width (F,) in m.

    Least-norm steps (the cheaper a shape in EASE, the more it takes) within the bounds, repeated, because bounds bite
    and a width is not quite linear. A width that the rig cannot reach is left; the gap is met before all.
    """
    gap_row, width_row = lip_rows(rig)
    ease = np.array([EASE.get(name.replace("Left", "").replace("Right", ""), 0.0) for name in MOUTH])
    full = np.zeros((len(mouth), len(rig.shape_names)))
    columns = [rig.shape_names.index(name) for name in MOUTH]
    for _ in range(ROUNDS):
        full[:, columns] = mouth
        missing = width - rig.lip_width(full), gap - rig.lip_gap(full)
        # a shape at a bound is no help on the side it cannot go
        down, up = mouth > 0.0, mouth < 1.0
        for row, lack in zip((width_row, gap_row), missing):
            free = ease * np.where(np.sign(row) * np.sign(lack)[:, None] > 0, up, down)
            power = (free * row * row).sum(axis=1)
            step = np.where(power > 1e-12, lack / np.maximum(power, 1e-12), 0.0)
            mouth = np.clip(mouth + step[:, None] * free * row, 0.0, 1.0)
    return mouth


def bounded(hessian, right):
    """argmin over 0 ≤ w ≤ 1 of wᵀ H w − 2 rᵀ w for every row r of right (F, S): (F, S)."""
    optimize = require("scipy.optimize", "solving tracked landmarks")
    root = np.linalg.cholesky(hessian)  # H = L Lᵀ, so that the cost is |Lᵀ w − L⁻¹ r|²
    sides = np.linalg.solve(root, right.T).T
    out = np.array([optimize.nnls(root.T, side)[0] for side in sides])
    for k in np.flatnonzero((out > 1.0).any(axis=1)):
        out[k] = optimize.lsq_linear(root.T, sides[k], bounds=(0.0, 1.0), method="bvls").x
    return np.clip(out, 0.0, 1.0)
