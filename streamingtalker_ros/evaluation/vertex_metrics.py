# SPDX-License-Identifier: Apache-2.0
"""Errors of vertices, as papers on speech-driven faces give them: LVE, FDD, MOD. All take (T, V, 3) metres.

LVE is MeshTalk's (Richard et al. 2021), FDD is CodeTalker's (Xing et al. 2023), MOD is that of Sun et al.
(DiffPoseTalk, 2024); all three as StreamingTalker (2025) reports them. `Regions` says which vertices of a rig each of
them looks at: published figures belong to other meshes and other people, and compare with nothing here.
"""

from dataclasses import dataclass

import numpy as np

from streamingtalker_ros.evaluation.inference import lip_vertices

PAIRS = 5  # of lip vertices in MOD


@dataclass(frozen=True)
class Regions:
    """Vertex numbers. lips: rings of the inner lips and the corners; upper: whatever eye and brow shapes move, less the
    eyeballs; above, below: (5,) paired inner lips."""

    lips: np.ndarray
    upper: np.ndarray
    above: np.ndarray
    below: np.ndarray


def regions(rig):
    """The Regions of a rig with lip landmarks."""
    inner = [np.asarray(rig.landmarks[name]) for name in ("inner_lip_upper", "inner_lip_lower")]
    pick = np.linspace(0, len(inner[0]) - 1, PAIRS + 2).round().astype(int)[1:-1]
    above_mouth = [i for i, name in enumerate(rig.shape_names) if name.startswith(("eye", "brow"))]
    moved = np.linalg.norm(rig.deltas[above_mouth], axis=-1).max(0) > 5e-4
    lids = {name: span for name, span in rig.parts.items() if name.startswith(("eye_", "glint"))}
    for first, last in lids.values():  # eyeballs turn behind the lids: gaze is no upper-face motion
        moved[first:last] = False
    return Regions(lip_vertices(rig), np.flatnonzero(moved), inner[0][pick], inner[1][pick])


def points(rig, weights, chosen):
    """Where some vertices are, the head at rest: (T, 52), (V,) -> (T, V, 3) metres."""
    weights = np.asarray(weights, np.float32)
    moved = weights @ rig.deltas[:, chosen].reshape(len(rig.deltas), -1)
    return moved.reshape(len(weights), len(chosen), 3) + rig.vertices[chosen]


def lip_vertex_error(made, reference):
    """LVE: mean over frames of the largest squared error of a lip vertex. m²."""
    return float(((made - reference) ** 2).sum(-1).max(-1).mean())


def upper_face_deviation(made, reference, template):
    """FDD: mean over vertices of std_t(‖x - template‖²), reference minus made: m², above 0 if `made` moves less.

    template (V, 3). Its sign is kept, so that clips average honestly; tables of papers give its size.
    """

    def dynamics(motion):
        return ((motion - template) ** 2).sum(-1).std(0)

    return float((dynamics(reference) - dynamics(made)).mean())


def mouth_opening_difference(made, reference):
    """MOD: mean over frames and pairs of | ‖upper - lower‖ made - the same of the reference |, metres.

    made, reference: pairs of (T, 5, 3), upper and lower lip.
    """
    opening = [np.linalg.norm(upper - lower, axis=-1) for upper, lower in (made, reference)]
    return float(np.abs(opening[0] - opening[1]).mean())
