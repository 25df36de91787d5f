# SPDX-License-Identifier: Apache-2.0
"""Tracked face landmarks: which points of the face mesh are what, and their file.

A `Track` is what tracking leaves of one video: points in pixels (x to the image's right, y down, z away from
the camera, on the scale of x), the time of every frame, and where a face was seen. `save` and `load` keep it
as NAME.npz; its sound lies beside it as NAME.flac. Left and right are the person's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError

POINTS = 478  # 468 of the mesh, 5 of each iris

# from the person's right corner to the left one, 11 points a line; corners belong to both lines
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
MIDDLE = slice(4, 7)  # the pairs of inner lip points whose mean distance is the gap
CORNERS = (291, 61)  # outer corners of the mouth: left, right
EYES = {"Left": (362, 263), "Right": (133, 33)}  # inner and outer corner
LIDS_UPPER = {"Left": (385, 386, 387), "Right": (158, 159, 160)}
LIDS_LOWER = {"Left": (380, 374, 373), "Right": (153, 145, 144)}
IRIS = {"Left": 473, "Right": 468}
BROWS = {"Left": (285, 295, 282, 283, 276), "Right": (55, 65, 52, 53, 46)}  # lower edge, inner end first
CHIN, NOSE_BASE = 152, 2
# neither speech nor brows move these: forehead, temples, bridge of the nose, corners of the eyes
STABLE = (
    10,
    109,
    338,
    67,
    297,
    103,
    332,
    54,
    284,
    21,
    251,
    162,
    389,
    127,
    356,
    168,
    6,
    197,
    195,
    5,
    4,
    1,
    33,
    263,
    133,
    362,
    98,
    327,
    2,
    234,
    454,
)


@dataclass
class Track:
    """points (F, 478, 3) float32 pixels; times (F,) s, the middle of each frame on the sound's clock;
    found (F,) bool; faces: most faces seen at once; size (width, height) in square pixels."""

    points: np.ndarray
    times: np.ndarray
    found: np.ndarray
    faces: int
    size: tuple
    name: str = ""

    def save(self, path) -> None:
        path = Path(path)
        part = path.with_name(path.name + ".part")
        with open(part, "wb") as file:
            np.savez_compressed(
                file,
                points=self.points.astype(np.float32),
                times=self.times,
                found=self.found,
                faces=self.faces,
                size=self.size,
            )
        part.rename(path)


def load(path):
    """The Track in NAME.npz. Raises TalkerError where the file is not one."""
    path = Path(path)
    try:
        with np.load(path) as data:
            track = Track(
                data["points"],
                data["times"],
                data["found"],
                int(data["faces"]),
                tuple(data["size"].tolist()),
                path.stem,
            )
    except (OSError, KeyError, ValueError) as broken:
        raise TalkerError(f"{path} holds no tracked landmarks ({broken}): track the video again") from None
    if track.points.shape != (len(track.times), POINTS, 3):
        raise TalkerError(
            f"{path} has points of shape {track.points.shape}, expected "
            f"({len(track.times)}, {POINTS}, 3): track the video again"
        )
    return track
