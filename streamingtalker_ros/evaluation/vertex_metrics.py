# SPDX-License-Identifier: Apache-2.0
"""Vertex errors as papers on speech-driven faces report them: LVE, FDD, MOD.

LVE is MeshTalk's (Richard et al. 2021), FDD is CodeTalker's (Xing et al. 2023), MOD is that of Sun et al.
(DiffPoseTalk, 2024); all three as StreamingTalker (2025) reports them. `MeshRegions` names the vertices of a
rig that each of them covers. Published numbers belong to other meshes and are not comparable with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.evaluation.inference import lip_vertices
from streamingtalker_ros.face.rig import Rig

LIP_PAIRS: Final = 5
"""Pairs of lip vertices that MOD covers."""

_MIN_DISPLACEMENT_M: Final = 5e-4  # metres, of a vertex of the upper face under any eye or brow shape


@dataclass(frozen=True)
class MeshRegions:
    """Vertex indices of the regions that the metrics cover.

    Attributes:
        lips: inner lip rings and the mouth's corners.
        upper_face: vertices that eye and brow shapes move, without the eyeballs.
        upper_lip: (LIP_PAIRS,) on the inner upper lip.
        lower_lip: (LIP_PAIRS,) on the inner lower lip, paired with `upper_lip`.
    """

    lips: npt.NDArray[np.intp]
    upper_face: npt.NDArray[np.intp]
    upper_lip: npt.NDArray[np.intp]
    lower_lip: npt.NDArray[np.intp]


def mesh_regions(rig: Rig) -> MeshRegions:
    """Determine the regions of a rig that has lip landmarks."""
    upper, lower = (np.asarray(rig.landmarks[name]) for name in ("inner_lip_upper", "inner_lip_lower"))
    pairs = np.linspace(0, len(upper) - 1, LIP_PAIRS + 2).round().astype(int)[1:-1]
    shapes = [i for i, name in enumerate(rig.shape_names) if name.startswith(("eye", "brow"))]
    is_moved = np.linalg.norm(rig.deltas[shapes], axis=-1).max(0) > _MIN_DISPLACEMENT_M
    for name, (first, last) in rig.parts.items():
        if name.startswith(("eye_", "glint")):  # eyeballs turn behind the lids: gaze is not upper-face motion
            is_moved[first:last] = False
    return MeshRegions(lip_vertices(rig), np.flatnonzero(is_moved), upper[pairs], lower[pairs])


def vertex_positions(
    rig: Rig, weights: npt.ArrayLike, vertices: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    """Positions of some vertices with the head in its neutral pose.

    Args:
        rig: the face.
        weights: (T, 52).
        vertices: (V,) indices.

    Returns:
        (T, V, 3) metres.
    """
    weights = np.asarray(weights, np.float32)
    offsets = weights @ rig.deltas[:, vertices].reshape(len(rig.deltas), -1)
    return offsets.reshape(len(weights), len(vertices), 3) + rig.vertices[vertices]


def lip_vertex_error(generated: np.ndarray, reference: np.ndarray) -> float:
    """LVE: mean over frames of the largest squared error of a lip vertex.

    Args:
        generated: (T, V, 3) metres.
        reference: (T, V, 3) metres.

    Returns:
        m².
    """
    return float(((generated - reference) ** 2).sum(-1).max(-1).mean())


def upper_face_deviation(generated: np.ndarray, reference: np.ndarray, template: np.ndarray) -> float:
    """FDD: mean over vertices of std_t(‖x - template‖²), reference minus generated.

    The sign is preserved, so that the mean over clips is not biased; papers report the absolute value.

    Args:
        generated: (T, V, 3) metres.
        reference: (T, V, 3) metres.
        template: (V, 3) metres.

    Returns:
        m², positive if `generated` moves less.
    """

    def deviation(motion: np.ndarray) -> np.ndarray:
        return ((motion - template) ** 2).sum(-1).std(0)

    return float((deviation(reference) - deviation(generated)).mean())


def mouth_opening_difference(generated: Sequence[np.ndarray], reference: Sequence[np.ndarray]) -> float:
    """MOD: mean over frames and lip pairs of the absolute difference in ‖upper - lower‖.

    Args:
        generated: upper and lower lip, (T, LIP_PAIRS, 3) metres each.
        reference: the same of the reference.

    Returns:
        Metres.
    """
    opening = [np.linalg.norm(upper - lower, axis=-1) for upper, lower in (generated, reference)]
    return float(np.abs(opening[0] - opening[1]).mean())
