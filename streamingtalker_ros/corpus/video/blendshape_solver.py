# SPDX-License-Identifier: Apache-2.0
"""Solves tracked landmarks for the weights of the 52 ARKit shapes.

`solve_weights(face, neutral, basis)` returns weights (F, 52). The mouth is fitted per frame to displacements
from the neutral pose by least squares with bounds 0 and 1; a second pass adds a weak temporal regularization.
Then jaw, lips and corners are corrected until the rig's mouth has the tracked gap, width, raise of the upper
lip, so that contact stays contact and each part moves as far as the speaker's, whatever
the residual of the fit. Eyes and brows are measured directly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from streamingtalker_ros.corpus.video.head_pose import StabilizedFace
from streamingtalker_ros.corpus.video.landmark_matching import MOUTH_SHAPES, LandmarkBasis
from streamingtalker_ros.corpus.video.neutral_pose import (
    NeutralPose,
    measure_lip_gap,
    measure_lip_width,
    measure_lips,
)
from streamingtalker_ros.corpus.video.upper_face import measure_upper_face
from streamingtalker_ros.errors import require
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.mouth_measures import MEASURES, MouthMeasures
from streamingtalker_ros.face.rig import Rig

AXIS_WEIGHTS: Final = np.array([0.2, 0.7, 1.0])
"""Weights of x, y, z: a camera hardly measures depth."""

GAP_WEIGHT: Final = 6.0
"""Weight of the lip gap, in landmarks."""

WIDTH_WEIGHT: Final = 2.0
"""Weight of the lip width, in landmarks."""

TEMPORAL_WEIGHT: Final = 0.05
"""Weight of the mean of the neighbouring frames."""

CORRECTION_ITERATIONS: Final = 30
"""Iterations of the lip correction, after which the gap is met within a micrometre."""

WIDTH_DERIVATIVE_STEP: Final = 1e-2
"""Weight step of the numerical derivative of the lip width."""

COMPLIANCE: Final = {
    "jawOpen": 1.0,
    "mouthClose": 0.5,
    "mouthLowerDown": 0.5,
    "mouthUpperUp": 0.3,
    "mouthFunnel": 0.2,
    "mouthPucker": 1.0,
    "mouthStretch": 1.0,
    "mouthSmile": 0.5,
}
"""Share of a shape in the lip correction; shapes that are not listed do not take part."""

# A high cost suppresses shapes that a camera cannot distinguish from others: a funnel with drawn corners
# would fit open vowels as well as lips that are parted from the teeth.
RIDGE_COST: Final = {
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
"""Ridge regularization per shape; the first prefix that matches counts."""


def target_lip_gap(gap: np.ndarray, contact_gap: float) -> np.ndarray:
    """Map tracked gaps to gaps of the rig, which are 0 or negative in contact.

    Below `contact_gap` the measured gap is noise of the tracker, or lips pressed together: the lips overlap
    by the difference. Above three times that, the gap stays; in between it changes linearly.

    Args:
        gap: (…) tracked gap in inter-ocular distances.
        contact_gap: smaller gaps are contact.

    Returns:
        (…) target gap in inter-ocular distances.
    """
    above = np.where(gap < 3 * contact_gap, 1.5 * (gap - contact_gap), gap)
    return np.where(gap < contact_gap, gap - contact_gap, above)


def solve_weights(face: StabilizedFace, neutral: NeutralPose, basis: LandmarkBasis) -> np.ndarray:
    """Solve a tracked face for ARKit weights.

    Args:
        face: face of a speaker.
        neutral: neutral pose of that speaker.
        basis: result of `match_landmarks` for that speaker.

    Returns:
        (F, 52) float32 weights, 0 to 1.
    """
    gap = basis.interocular * target_lip_gap(measure_lip_gap(face.points), neutral.contact_gap)
    width = basis.lip_width * measure_lip_width(face.points) / neutral.lip_width
    mouth = match_lips(_fit_mouth(face, neutral, basis, gap, width), basis.rig, gap, width)
    weights = measure_upper_face(face, neutral).astype(np.float32)
    weights[:, [INDEX[name] for name in MOUTH_SHAPES]] = mouth
    return _match_upper_lip(weights, face, neutral, basis)


def _match_upper_lip(
    weights: np.ndarray, face: StabilizedFace, neutral: NeutralPose, basis: LandmarkBasis
) -> np.ndarray:
    """Weights (F, 52) with the tracked raise of the upper lip; gap and width stay."""
    measures, lips = MouthMeasures(basis.rig), measure_lips(face.points, neutral)
    target = measures(weights)
    target[:, MEASURES.index("upper_lip")] = lips["upper_lip_raise"] * basis.interocular / measures.unit
    return np.stack([measures.fit(*frame) for frame in zip(weights, target, strict=True)])


def _fit_mouth(
    face: StabilizedFace, neutral: NeutralPose, basis: LandmarkBasis, gap: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """Weights (F, len(MOUTH_SHAPES)) by least squares on landmarks, lip gap and lip width."""
    displacement = (face.points - neutral.points)[:, basis.landmarks].astype(np.float64)
    # a narrower mouth needs smaller displacements for the same weight
    displacement[..., 1] *= basis.lip_width / basis.interocular / neutral.lip_width
    rows = (basis.shapes * AXIS_WEIGHTS).reshape(len(MOUTH_SHAPES), -1).T
    gap_row, width_row = lip_jacobian(basis.rig)
    rows = np.concatenate(
        [
            rows,
            GAP_WEIGHT * gap_row[None] / basis.interocular,
            WIDTH_WEIGHT * width_row[None] / basis.interocular,
        ]
    )
    measurements = np.concatenate(
        [
            (displacement * AXIS_WEIGHTS).reshape(len(displacement), -1),
            GAP_WEIGHT * gap[:, None] / basis.interocular,
            WIDTH_WEIGHT * (width - basis.lip_width)[:, None] / basis.interocular,
        ],
        axis=1,
    )
    cost = np.array(
        [
            next(value for prefix, value in RIDGE_COST.items() if name.startswith(prefix))
            for name in MOUTH_SHAPES
        ]
    )
    hessian = rows.T @ rows + np.diag(cost)
    first_pass = solve_bounded(hessian, measurements @ rows)
    padded = np.pad(first_pass, ((1, 1), (0, 0)), mode="edge")
    neighbours = (padded[:-2] + padded[2:]) / 2.0
    return solve_bounded(
        hessian + TEMPORAL_WEIGHT * np.eye(len(MOUTH_SHAPES)),
        measurements @ rows + TEMPORAL_WEIGHT * neighbours,
    )


def lip_jacobian(rig: Rig) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of lip gap and lip width with respect to the weights of the mouth shapes.

    Args:
        rig: the rig.

    Returns:
        (gap (len(MOUTH_SHAPES),), width (len(MOUTH_SHAPES),)) in metres per weight; the width is linearized
        at rest.
    """
    mouth = [rig.shape_names.index(name) for name in MOUTH_SHAPES]
    steps = WIDTH_DERIVATIVE_STEP * np.eye(len(rig.shape_names))[mouth]
    return (
        rig.lip_gap_map()[1][mouth].astype(np.float64),
        (rig.lip_width(steps) - rig.lip_width(np.zeros(len(rig.shape_names)))) * 1e2,
    )


def match_lips(mouth: np.ndarray, rig: Rig, gap: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Correct mouth weights as little as possible until the rig's lips have a given gap and width.

    Least-norm steps weighted by COMPLIANCE within the bounds, repeated because bounds limit the steps and the
    width is not quite linear. A width that the rig cannot reach is not met; the gap has priority.

    Args:
        mouth: (F, len(MOUTH_SHAPES)) weights.
        rig: the rig.
        gap: (F,) target lip gap in metres.
        width: (F,) target lip width in metres.

    Returns:
        (F, len(MOUTH_SHAPES)) weights, 0 to 1.
    """
    gap_row, width_row = lip_jacobian(rig)
    compliance = np.array(
        [COMPLIANCE.get(name.replace("Left", "").replace("Right", ""), 0.0) for name in MOUTH_SHAPES]
    )
    weights = np.zeros((len(mouth), len(rig.shape_names)))
    columns = [rig.shape_names.index(name) for name in MOUTH_SHAPES]
    for _ in range(CORRECTION_ITERATIONS):
        weights[:, columns] = mouth
        errors = width - rig.lip_width(weights), gap - rig.lip_gap(weights)
        can_decrease, can_increase = mouth > 0.0, mouth < 1.0
        for row, error in zip((width_row, gap_row), errors, strict=True):
            increase = np.sign(row) * np.sign(error)[:, None] > 0
            free = compliance * np.where(increase, can_increase, can_decrease)
            power = (free * row * row).sum(axis=1)
            step = np.where(power > 1e-12, error / np.maximum(power, 1e-12), 0.0)
            mouth = np.clip(mouth + step[:, None] * free * row, 0.0, 1.0)
    return mouth


def solve_bounded(hessian: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Minimize wᵀ H w − 2 rᵀ w over 0 ≤ w ≤ 1 for every row r.

    Args:
        hessian: (S, S) positive definite H.
        right: (F, S) rows r.

    Returns:
        (F, S) minimizers.
    """
    optimize = require("scipy.optimize", "solving tracked landmarks", "video")
    root = np.linalg.cholesky(hessian)  # H = L Lᵀ, so the cost is |Lᵀ w − L⁻¹ r|² up to a constant
    sides = np.linalg.solve(root, right.T).T
    weights = np.array([optimize.nnls(root.T, side)[0] for side in sides])
    for k in np.flatnonzero((weights > 1.0).any(axis=1)):
        weights[k] = optimize.lsq_linear(root.T, sides[k], bounds=(0.0, 1.0), method="bvls").x
    return np.clip(weights, 0.0, 1.0)
