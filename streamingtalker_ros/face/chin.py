# SPDX-License-Identifier: Apache-2.0
"""The front of a face's chin, whose drop is compared with that of a filmed face."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamingtalker_ros.face.rig import Rig

TYPICAL_CHIN_FRACTIONS: Final = (0.78, 0.91)
"""Heights of the chin that are measured, as `chin_vertex` takes them."""


def chin_vertex(rig: Rig, fraction: float) -> int:
    """Find the vertex at the front of the chin at a given height.

    Args:
        rig: the rig.
        fraction: height on the mid-plane; 0 is the border of the upper lip, 1 the end of the chin.

    Returns:
        Number of the vertex.
    """
    border = rig.landmark("outer_lip_upper")
    top = rig.vertices[border[len(border) // 2]]
    drop = -rig.deltas[rig.shape_names.index("jawOpen"), :, 2]
    width = np.ptp(rig.vertices[rig.landmark("mouth_corners"), 1])
    x, y, z = rig.vertices.T
    front = np.flatnonzero(
        (np.abs(y) < 0.06 * width)
        & (drop > 0.5 * drop.max())
        & (x > top[0] - 0.6 * width)
        & (z < top[2] - 0.3 * width)
    )
    end = z[front].min()
    height = top[2] + fraction * (end - top[2])
    return int(front[np.argmin(np.abs(z[front] - height) - 0.2 * x[front])])
