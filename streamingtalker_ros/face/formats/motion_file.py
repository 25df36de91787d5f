# SPDX-License-Identifier: Apache-2.0
"""Motion in a file: CSV (Live Link Face) or NPZ (`streamingtalker animate`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.array_files import (
    MAX_MOTION_RATE,
    MIN_MOTION_RATE,
    read_npz,
    to_floats,
)
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv

MOTION_SUFFIXES: Final = (".csv", ".npz")


def read_motion(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Read one motion file.

    Args:
        path: CSV or NPZ.

    Returns:
        Weights (T, 52) in the order of `ARKIT_NAMES`, head quaternions (T, 4) xyzw, frames per second.

    Raises:
        TalkerError: If the file holds no such motion.
    """
    if path.suffix.lower() == ".csv":
        return read_livelink_csv(path).at_regular_times()
    needs = "it needs weights, head and frame_rate, as `streamingtalker animate` writes them"
    arrays = read_npz(path, ("weights", "head", "frame_rate"), needs, optional=("names",))
    try:
        weights, head = (to_floats(arrays[name], np.float32) for name in ("weights", "head"))
        frame_rate = float(to_floats(arrays["frame_rate"], np.float64))
        names = [str(name) for name in arrays.get("names", ARKIT_NAMES)]
    except (TypeError, ValueError):  # arrays of another type or shape
        raise TalkerError(f"{path} does not hold numbers where motion should be: {needs}") from None
    is_valid = (
        weights.ndim == 2 and len(weights) and weights.shape[1] == 52 and sorted(names) == sorted(ARKIT_NAMES)
    )
    if not is_valid or head.shape != (len(weights), 4):
        raise TalkerError(
            f"{path} does not hold the 52 ARKit weights and a head quaternion for each frame: write it "
            "with `streamingtalker animate`"
        )
    if not (
        np.isfinite(weights).all()
        and np.isfinite(head).all()
        and MIN_MOTION_RATE <= frame_rate <= MAX_MOTION_RATE
    ):
        raise TalkerError(
            f"{path} holds numbers that are not finite, or {frame_rate:g} frames/s: write it with "
            f"`streamingtalker animate`, at {MIN_MOTION_RATE:g} to {MAX_MOTION_RATE:g} frames/s"
        )
    return weights[:, [names.index(name) for name in ARKIT_NAMES]], head, frame_rate
