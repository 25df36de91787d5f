# SPDX-License-Identifier: Apache-2.0
"""FACEGOOD's blendshape animation (Audio2Face, code/train): its files, and its shapes under ARKit's names.

`find_pairs(folder)` lists the (wav, npy) pairs of a checkout's code/train; `to_arkit(values, names)` maps (T,
n) Voice2Face weights to (T, 52). The table follows the authors' map (doc/Voice2Face_blendshape2ARkit.xlsx:
where ARKit has one shape for several of theirs, the largest weight counts). That map leaves out the rounded
vowels `oh` and `oo`; here they drive pucker and funnel.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES

KEY_RATE: Final = 30.0
"""Keyframes per second; key k stands at k / 30 s."""

ROUNDED_VOWEL_GAINS: Final = {
    "mouthFunnel": {"mouth_oh_c": 0.6},
    "mouthPucker": {"mouth_oo_c": 0.8, "mouth_oh_c": 0.3},
}
"""ARKit shape -> gain of each rounded vowel that adds to it."""

_BILATERAL_SOURCES: Final = {
    "mouthSmile": ("lipCornerPull", "lipCornerPullOpen"),
    "mouthFrown": ("lipCornerDepress", "lipCornerDepressFix"),
    "mouthDimple": ("dimple",),
    "mouthStretch": ("lipStretch", "lipStretchOpen"),
    "mouthPress": ("press",),
    "mouthLowerDown": ("lowerLipDepress",),
    "mouthUpperUp": ("upperLipRaise",),
}

ARKIT_SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "jawForward": ("jaw_thrust_c",),
    "jawLeft": ("jaw_sideways_l",),
    "jawRight": ("jaw_sideways_r",),
    "jawOpen": ("mouth_stretch_c",),
    "mouthClose": ("mouth_chew_c",),
    "mouthFunnel": tuple(f"mouth_funnel_{side}" for side in ("dl", "dr", "ul", "ur")),
    "mouthPucker": ("mouth_pucker_l", "mouth_pucker_r"),
    "mouthLeft": ("mouth_sideways_l",),
    "mouthRight": ("mouth_sideways_r",),
    "mouthRollLower": ("mouth_suck_dl", "mouth_suck_dr"),
    "mouthRollUpper": ("mouth_suck_ul", "mouth_suck_ur"),
    "mouthShrugLower": ("mouth_chinRaise_d",),
    "mouthShrugUpper": ("mouth_chinRaise_u",),
    "cheekPuff": ("cheek_puff_l", "cheek_puff_r"),
    **{
        shape + side: tuple(f"mouth_{name}_{side[0].lower()}" for name in names)
        for shape, names in _BILATERAL_SOURCES.items()
        for side in ("Left", "Right")
    },
}
"""ARKit shape -> shapes of FACEGOOD, of which the largest weight counts."""


def find_pairs(folder: str | os.PathLike[str]) -> list[tuple[Path, Path]]:
    """Find the pairs of audio and motion of code/train.

    Args:
        folder: code/train of a checkout.

    Returns:
        (wav, npy) pairs in the order of their names.

    Raises:
        TalkerError: if there are none.
    """
    folder = Path(folder)
    pairs = [
        (folder / "wav" / f"{npy.stem.removeprefix('bs_value_')}.wav", npy)
        for npy in sorted((folder / "bs_value").glob("bs_value_*.npy"))
    ]
    pairs = [(wav, npy) for wav, npy in pairs if wav.is_file()]
    if not pairs or not shape_names_path(folder).is_file():
        raise TalkerError(
            f"{folder} is not FACEGOOD's code/train: it needs wav/, bs_value/ and "
            f"{shape_names_path(folder).name}"
        )
    return pairs


def shape_names_path(folder: str | os.PathLike[str]) -> Path:
    """Path of the names of the columns; the other lists beside it have another order.

    Args:
        folder: The folder code/train of FACEGOOD's repository.

    Returns:
        Path of the .npy file of names; it need not exist.
    """
    return Path(folder) / "shirley_1119_bs_name316.npy"


def to_arkit(values: np.ndarray, names: Iterable[str]) -> np.ndarray:
    """Map FACEGOOD's weights to ARKit's.

    Args:
        values: (T, n) weights.
        names: n names of their columns.

    Returns:
        (T, 52) float64 weights, 0 to 1, in the order of ARKIT_NAMES; shapes without a source are 0.
    """
    columns = {str(name): k for k, name in enumerate(names)}
    weights = np.zeros((len(values), len(ARKIT_NAMES)))
    for k, shape in enumerate(ARKIT_NAMES):
        sources = [columns[name] for name in ARKIT_SOURCES.get(shape, ()) if name in columns]
        if sources:
            weights[:, k] = values[:, sources].max(axis=1)
        for name, gain in ROUNDED_VOWEL_GAINS.get(shape, {}).items():
            if name in columns:
                weights[:, k] += gain * values[:, columns[name]]
    return np.clip(weights, 0.0, 1.0)
