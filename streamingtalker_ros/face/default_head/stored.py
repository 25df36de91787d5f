# SPDX-License-Identifier: Apache-2.0
"""The default head as a file of the package, so that a process need not model it before its first frame.

`tools/default_head.py` writes it from `assemble.build_default_rig`; the tests verify that the two agree.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

import numpy as np

from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.rig import Rig

FILE: Final = Path(__file__).parents[2] / "data" / "default_head.npz"
"""Arrays of the rig; of the deltas only those that are not zero."""

_LANDMARK: Final = "landmark_"
_PART: Final = "part_"


@functools.lru_cache(maxsize=1)
def default_rig() -> Rig:
    """Return the default face of the package: a rig named "default" with the 52 ARKit shapes.

    It is read once per process.
    """
    with np.load(FILE) as file:
        arrays = {name: file[name] for name in file.files}
    vertices = arrays["vertices"]
    deltas = np.zeros((len(ARKIT_NAMES), len(vertices), 3), np.float32)
    deltas.reshape(-1)[arrays["delta_indices"]] = arrays["delta_values"]
    return Rig(
        name="default",
        vertices=vertices,
        triangles=arrays["triangles"],
        shape_names=ARKIT_NAMES,
        deltas=deltas,
        parts={
            name.removeprefix(_PART): (int(value[0]), int(value[1]))
            for name, value in arrays.items()
            if name.startswith(_PART)
        },
        landmarks={
            name.removeprefix(_LANDMARK): value
            for name, value in arrays.items()
            if name.startswith(_LANDMARK)
        },
        colors=arrays["colors"],
        pivot=arrays["pivot"],
        follow=arrays["follow"],
    )


def write_rig(rig: Rig, path: Path = FILE) -> None:
    """Write a rig with the 52 ARKit shapes as `default_rig` reads it.

    Args:
        rig: The default face.
        path: The file, which is replaced.
    """
    assert rig.shape_names == ARKIT_NAMES and rig.follow is not None
    flat = rig.deltas.reshape(-1)
    indices = np.flatnonzero(flat).astype(np.uint32)
    arrays: dict[str, Any] = {
        "vertices": rig.vertices,
        "triangles": rig.triangles,
        "delta_indices": indices,
        "delta_values": flat[indices],
        "colors": rig.colors,
        "pivot": rig.pivot,
        "follow": rig.follow,
        **{f"{_PART}{name}": np.array(value, np.int64) for name, value in rig.parts.items()},
        **{f"{_LANDMARK}{name}": value for name, value in rig.landmarks.items()},
    }
    np.savez(path, **arrays)
