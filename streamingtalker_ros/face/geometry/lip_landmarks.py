# SPDX-License-Identifier: Apache-2.0
"""Where a face's inner lips are, told from the motion of
jawOpen: the landmarks of faces that come without any.

`find_lips(vertices, triangles, jaw)` looks for pairs of vertices that lie together
at rest, one above that stays and one below that follows the jaw, at the front of
the mouth. Our axes, metres; nothing is found in a face without lips.
"""

import numpy as np

PAIRS = 9


def find_lips(vertices, triangles, jaw):
    """vertices, jaw (V, 3): the template and jawOpen's deltas. Returns
    {"inner_lip_upper": (9,), "inner_lip_lower": (9,), "mouth_corners": (2,) left,
    right}, from the person's right to the left, or {} where lips cannot be told.
    """
    drop = -jaw[:, 2]
    used = np.zeros(len(vertices), bool)
    used[np.asarray(triangles, np.int64).ravel()] = True
    size = np.ptp(vertices[:, 2])
    if drop.max() < 0.02 * size:
        return {}
    head_middle = np.median(vertices[used][:, 1])
    near = used & (np.abs(vertices[:, 1] - head_middle) < 0.16 * size)
    still = np.flatnonzero(near & (drop < 0.25 * drop.max()))
    falls = np.flatnonzero(near & (drop > 0.45 * drop.max()))
    if len(still) < PAIRS or len(falls) < PAIRS:
        return {}
    partner, apart = _nearest(vertices[still], vertices[falls])
    together = apart < 0.022 * size
    upper, lower, apart = still[together], falls[partner[together]], apart[together]
    if len(upper) < PAIRS:
        return {}
    y = vertices[upper, 1] - head_middle
    reach = np.abs(y).max()
    chosen = []
    for at in np.linspace(-0.75, 0.75, PAIRS) * reach:
        column = np.flatnonzero(np.abs(y - at) < 0.14 * reach)
        if len(column) == 0:
            return {}
        # The lips are the foremost such pair; behind them teeth and gums may meet as well.
        front = vertices[upper[column], 0]
        column = column[front > front.max() - 0.02 * size]
        chosen.append(column[np.argmin(apart[column] + 0.5 * np.abs(y[column] - at))])
    corners = [upper[np.argmax(y)], upper[np.argmin(y)]]
    return {
        "inner_lip_upper": upper[chosen],
        "inner_lip_lower": lower[chosen],
        "mouth_corners": np.array(corners),
    }


def _nearest(points, others):
    """For each of points (n, 3) the nearest of others: index (n,),
    distance (n,); in blocks, to bound the memory."""
    index, distance = np.zeros(len(points), np.int64), np.zeros(len(points))
    for first in range(0, len(points), 256):
        apart = np.linalg.norm(points[first : first + 256, None] - others[None], axis=-1)
        index[first : first + 256] = apart.argmin(axis=1)
        distance[first : first + 256] = apart.min(axis=1)
    return index, distance
