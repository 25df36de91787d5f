# SPDX-License-Identifier: Apache-2.0
"""Landmarks without a camera: the default rig, posed and seen as a face tracker would see it."""

import numpy as np
from scipy.spatial.transform import Rotation

from streamingtalker_ros.corpus.video import landmarks as L
from streamingtalker_ros.corpus.video.head_pose import IMAGE_TO_HEAD_AXES
from streamingtalker_ros.corpus.video.landmark_matching import chin_vertex
from streamingtalker_ros.face.default_head.assemble import default_rig

PIXELS = 700.0  # per metre: 46 between the eyes


def anatomy(rig):
    """{landmark number: vertex} for lips, chin, eyes and brows; lip points lie evenly between the corners."""
    corners = rig.landmark("mouth_corners")
    found = {L.CORNERS[0]: corners[0], L.CORNERS[1]: corners[1]}
    for numbers, name in (
        (L.INNER_UPPER, "inner_lip_upper"),
        (L.INNER_LOWER, "inner_lip_lower"),
        (L.OUTER_UPPER, "outer_lip_upper"),
        (L.OUTER_LOWER, "outer_lip_lower"),
    ):
        row = rig.landmark(name)
        row = row[np.argsort(rig.vertices[row, 1])]
        found.update(zip(numbers, (corners[1], *row[1:-1:2], corners[0])))
    found.update({199: chin_vertex(rig, 0.8), 175: chin_vertex(rig, 0.95), 152: chin_vertex(rig, 1.0)})
    for side in L.EYES:
        lids = rig.landmark(f"eyelid_{side.lower()}")
        inner, outer = np.argsort(np.abs(rig.vertices[lids, 1]))[[0, -1]]
        found.update(zip(L.EYES[side], lids[[inner, outer]]))
        high = lids[np.argsort(rig.vertices[lids, 2])]
        found.update(zip(L.LIDS_UPPER[side], high[-3:]))
        found.update(zip(L.LIDS_LOWER[side], high[:3]))
        first, last = rig.parts[f"brow_{side.lower()}"]
        row = np.arange(first, last)
        row = row[np.argsort(np.abs(rig.vertices[row, 1]))]
        found.update(zip(L.BROWS[side], row[np.linspace(2, len(row) - 3, 5).astype(int)]))
    return found


def bones(rig):
    """(478, 3): where every landmark is at rest; those without anatomy sit still on a made-up, symmetric skull."""
    rng = np.random.default_rng(2)
    points = np.zeros((L.POINTS, 3))
    middle = rig.vertices[rig.landmark("mouth_corners")].mean(axis=0) + (0, 0, 0.06)
    points += middle + (-0.03, 0, 0)
    for right, left in (
        (54, 284),
        (67, 297),
        (103, 332),
        (109, 338),
        (21, 251),
        (162, 389),
        (127, 356),
        (234, 454),
        (98, 327),
    ):
        offset = rng.uniform((-0.06, 0.02, -0.05), (0.0, 0.08, 0.08))
        points[left], points[right] = middle + offset, middle + offset * (1, -1, 1)
    for number in (10, 168, 6, 197, 195, 5, 4, 1, 2):
        points[number] = middle + rng.uniform((-0.04, 0, -0.05), (0.02, 0, 0.08))
    for number, vertex in anatomy(rig).items():
        points[number] = rig.vertices[vertex]
    for side in L.EYES:
        points[L.IRIS[side]] = points[list(L.EYES[side])].mean(axis=0)
    return points


def film(weights, head=None, name="film", fps=25.0, noise=0.0, shift=None, zoom=None, faces=1):
    """A Track of the default rig with weights (F, 52), head (F, 3) rotation vectors, as a camera in front sees it."""
    rig = default_rig()
    weights = np.asarray(weights, np.float64)
    count = len(weights)
    points = np.repeat(bones(rig)[None], count, axis=0)
    places = anatomy(rig)
    points[:, list(places)] = rig.pose(weights)[:, list(places.values())]
    if head is not None:
        pivot = points[0, 168] - (0.08, 0, 0)
        points = np.einsum("fij,fpj->fpi", Rotation.from_rotvec(head).as_matrix(), points - pivot) + pivot
    scale = PIXELS * (np.ones(count) if zoom is None else zoom)
    pixels = scale[:, None, None] * (points @ IMAGE_TO_HEAD_AXES) + (320.0, 240.0, 0.0)
    if shift is not None:
        pixels[..., :2] += shift[:, None]
    pixels += np.random.default_rng(5).normal(0.0, noise, pixels.shape) if noise else 0.0
    return L.Track(
        pixels.astype(np.float32),
        (np.arange(count) + 0.5) / fps,
        np.ones(count, bool),
        faces,
        (640, 480),
        name,
    )


def match_of(rig, neutral):
    from streamingtalker_ros.corpus.video.landmark_matching import match

    return match(rig, neutral)
