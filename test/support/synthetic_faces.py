# SPDX-License-Identifier: Apache-2.0
"""Landmarks without a camera: the default rig, posed and projected as a face tracker would see it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from streamingtalker_ros.corpus.video.head_pose import IMAGE_TO_HEAD_AXES, MIRROR_PAIRS
from streamingtalker_ros.corpus.video.landmarks import (
    BROWS,
    CHIN_LANDMARKS,
    CHIN_TIP,
    EYE_CORNERS,
    INNER_LOWER,
    INNER_UPPER,
    IRIS,
    LOWER_LIDS,
    MOUTH_CORNERS,
    NUM_LANDMARKS,
    OUTER_LOWER,
    OUTER_UPPER,
    UPPER_LIDS,
    LandmarkTrack,
)
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.chin import chin_vertex
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rig import Rig

PIXELS_PER_METRE = 700.0  # 46 pixels between the eyes
IMAGE_SIZE = (640, 480)
NOSE_BRIDGE = 168
EYE_CORNER_PAIRS = 2  # the first pairs of MIRROR_PAIRS are corners of the eyes, which the rig has


def landmark_vertices(rig: Rig) -> dict[int, int]:
    """{landmark number: vertex} for lips, chin, eyes and brows; lip points are evenly spaced between the
    corners."""
    corners = rig.landmark("mouth_corners")
    vertices = {MOUTH_CORNERS[0]: corners[0], MOUTH_CORNERS[1]: corners[1]}
    for numbers, name in (
        (INNER_UPPER, "inner_lip_upper"),
        (INNER_LOWER, "inner_lip_lower"),
        (OUTER_UPPER, "outer_lip_upper"),
        (OUTER_LOWER, "outer_lip_lower"),
    ):
        line = rig.landmark(name)
        line = line[np.argsort(rig.vertices[line, 1])]
        vertices.update(zip(numbers, (corners[1], *line[1:-1:2], corners[0]), strict=True))
    for number, fraction in zip((*CHIN_LANDMARKS, CHIN_TIP), (0.8, 0.95, 1.0), strict=True):
        vertices[number] = chin_vertex(rig, fraction)
    for side in EYE_CORNERS:
        lids = rig.landmark(f"eyelid_{side.lower()}")
        inner, outer = np.argsort(np.abs(rig.vertices[lids, 1]))[[0, -1]]
        vertices.update(zip(EYE_CORNERS[side], lids[[inner, outer]], strict=True))
        by_height = lids[np.argsort(rig.vertices[lids, 2])]
        vertices.update(zip(UPPER_LIDS[side], by_height[-3:], strict=True))
        vertices.update(zip(LOWER_LIDS[side], by_height[:3], strict=True))
        first, last = rig.parts[f"brow_{side.lower()}"]
        brow = np.arange(first, last)
        brow = brow[np.argsort(np.abs(rig.vertices[brow, 1]))]
        vertices.update(zip(BROWS[side], brow[np.linspace(2, len(brow) - 3, 5).astype(int)], strict=True))
    return {number: int(vertex) for number, vertex in vertices.items()}


def rest_landmarks(rig: Rig) -> np.ndarray:
    """(478, 3) landmarks at rest, in metres; those without a vertex lie on a random, symmetric skull."""
    rng = np.random.default_rng(2)
    points = np.zeros((NUM_LANDMARKS, 3))
    center = rig.vertices[rig.landmark("mouth_corners")].mean(axis=0) + np.array((0, 0, 0.06))
    points += center + np.array((-0.03, 0, 0))
    for right, left in MIRROR_PAIRS[EYE_CORNER_PAIRS:]:
        offset = rng.uniform((-0.06, 0.02, -0.05), (0.0, 0.08, 0.08))
        points[left], points[right] = center + offset, center + offset * (1, -1, 1)
    for number in (10, NOSE_BRIDGE, 6, 197, 195, 5, 4, 1, 2):
        points[number] = center + rng.uniform((-0.04, 0, -0.05), (0.02, 0, 0.08))
    for number, vertex in landmark_vertices(rig).items():
        points[number] = rig.vertices[vertex]
    for side in EYE_CORNERS:
        points[IRIS[side]] = points[list(EYE_CORNERS[side])].mean(axis=0)
    return points


def film_face(
    weights: np.ndarray,
    head: np.ndarray | None = None,
    name: str = "film",
    frame_rate: float = 25.0,
    noise: float = 0.0,
    shift: np.ndarray | None = None,
    zoom: np.ndarray | None = None,
    max_faces: int = 1,
) -> LandmarkTrack:
    """Track of the default rig in front of a camera.

    Args:
        weights: (F, 52) ARKit weights.
        head: (F, 3) rotation vectors of the head; None for a still head.
        name: name of the track.
        frame_rate: frames per second of the camera.
        noise: standard deviation of the landmarks in pixels.
        shift: (F, 2) pixels by which the face moves in the image.
        zoom: (F,) factor of the size of the face.
        max_faces: number of faces that the tracker reports.
    """
    rig = default_rig()
    weights = np.asarray(weights, np.float64)
    frames = len(weights)
    points = np.repeat(rest_landmarks(rig)[None], frames, axis=0)
    vertices = landmark_vertices(rig)
    points[:, list(vertices)] = rig.pose(weights)[:, list(vertices.values())]
    if head is not None:
        pivot = points[0, NOSE_BRIDGE] - (0.08, 0, 0)
        points = np.einsum("fij,fpj->fpi", Rotation.from_rotvec(head).as_matrix(), points - pivot) + pivot
    scale = PIXELS_PER_METRE * (np.ones(frames) if zoom is None else zoom)
    pixels = scale[:, None, None] * (points @ IMAGE_TO_HEAD_AXES) + (320.0, 240.0, 0.0)
    if shift is not None:
        pixels[..., :2] += shift[:, None]
    pixels += np.random.default_rng(5).normal(0.0, noise, pixels.shape) if noise else 0.0
    return LandmarkTrack(
        pixels.astype(np.float32),
        (np.arange(frames) + 0.5) / frame_rate,
        np.ones(frames, bool),
        max_faces,
        IMAGE_SIZE,
        name,
    )


def synthesize_talking(frames: int = 125, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (T, 52) of a mouth that rests, talks with closures, and rests; and (640 T,) audio that fits
    them."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / 25
    active = ((t > 1.0) & (t < t[-1] - 1.0)).astype(float)
    weights = np.zeros((frames, 52))

    def set_weights(value: np.ndarray, *names: str) -> None:
        for name in names:
            weights[:, INDEX[name]] = value * active

    set_weights(0.45 * np.maximum(0, np.sin(2 * np.pi * 2.1 * t + rng.random())), "jawOpen")
    set_weights(0.4 * np.maximum(0, np.sin(2 * np.pi * 0.9 * t)), "mouthPucker")
    set_weights(0.4 * np.maximum(0, -np.sin(2 * np.pi * 0.9 * t)), "mouthSmileLeft", "mouthSmileRight")
    set_weights(
        0.15 * np.maximum(0, np.sin(2 * np.pi * 2.1 * t + 0.4)), "mouthUpperUpLeft", "mouthUpperUpRight"
    )
    weights[frames // 2 : frames // 2 + 3, [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 1.0
    gap = np.maximum(0, default_rig().lip_gap(weights))
    amplitude = np.repeat(0.02 + gap * 30 * active, 640)
    pcm = rng.normal(0, 0.2, len(amplitude)) * amplitude * np.repeat(active, 640)
    return weights, pcm.astype(np.float32)


def synthesize_head_motion(frames: int) -> np.ndarray:
    """(T, 3) rotation vectors of a head that nods, turns and rolls."""
    t = np.arange(frames) / 25
    return np.stack([0.06 * np.sin(t), 0.12 * np.sin(1.3 * t), 0.2 * np.sin(0.9 * t)], axis=1)
