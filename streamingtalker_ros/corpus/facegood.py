# SPDX-License-Identifier: Apache-2.0
"""FACEGOOD's blendshape animation (Audio2Face, code/train): its files and its shapes under ARKit's names.

`pairs(folder)` lists (wav, npy) of a checkout's code/train; `to_arkit(values, names)` turns (T, 116) of Voice2Face
weights into (T, 52). The table follows the authors' own map (doc/Voice2Face_blendshape2ARkit.xlsx: where ARKit has
one shape for several of theirs, the largest counts); the rounded `oh` and `oo`, which it leaves out although they
move, are given to pucker and funnel by what they look like.
"""

from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES

RATE = 30.0  # keys a second; key k stands at k / 30 s
ROUND = {"mouthFunnel": {"mouth_oh_c": 0.6}, "mouthPucker": {"mouth_oo_c": 0.8, "mouth_oh_c": 0.3}}
_BOTH = {
    "mouthSmile": ("lipCornerPull", "lipCornerPullOpen"),
    "mouthFrown": ("lipCornerDepress", "lipCornerDepressFix"),
    "mouthDimple": ("dimple",),
    "mouthStretch": ("lipStretch", "lipStretchOpen"),
    "mouthPress": ("press",),
    "mouthLowerDown": ("lowerLipDepress",),
    "mouthUpperUp": ("upperLipRaise",),
}
SOURCES = {
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
        for shape, names in _BOTH.items()
        for side in ("Left", "Right")
    },
}


def pairs(folder):
    """[(wav, npy)] of code/train, in the order of names. Raises TalkerError where there are none."""
    folder = Path(folder)
    found = [
        (folder / "wav" / f"{npy.stem.removeprefix('bs_value_')}.wav", npy)
        for npy in sorted((folder / "bs_value").glob("bs_value_*.npy"))
    ]
    found = [(wav, npy) for wav, npy in found if wav.is_file()]
    if not found or not names_file(folder).is_file():
        raise TalkerError(
            f"{folder} is not FACEGOOD's code/train: it needs wav/, bs_value/ and {names_file(folder).name}"
        )
    return found


def names_file(folder):
    """The file of the columns' names; the other lists beside it are in another order."""
    return Path(folder) / "shirley_1119_bs_name316.npy"


def to_arkit(values, names):
    """values (T, n) of the shapes `names` -> (T, 52) float64 in ARKIT_NAMES order; shapes without a source are 0."""
    column = {str(name): k for k, name in enumerate(names)}
    out = np.zeros((len(values), len(ARKIT_NAMES)))
    for k, shape in enumerate(ARKIT_NAMES):
        there = [column[name] for name in SOURCES.get(shape, ()) if name in column]
        if there:
            out[:, k] = values[:, there].max(axis=1)
        for name, share in ROUND.get(shape, {}).items():
            if name in column:
                out[:, k] += share * values[:, column[name]]
    return np.clip(out, 0.0, 1.0)
