# SPDX-License-Identifier: Apache-2.0
"""Tracked face landmarks: their numbers in the face mesh, and their file format.

A `LandmarkTrack` is the result of tracking one video: points in pixels (x to the image's right, y down, z
away from the camera, on the scale of x), the time of every frame, and whether a face was detected. NAME.npz
stores it; the audio lies beside it as NAME.flac. Left and right are the person's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.array_files import read_npz
from streamingtalker_ros.output_files import atomic_output

NUM_LANDMARKS: Final = 478
"""468 landmarks of the face mesh and 5 of each iris."""

Side = str
"""Side of the person: "Left" or "Right"."""

# Lines of 11 points from the person's right corner of the mouth to the left one; the corners belong to both
# lines.
INNER_UPPER: Final = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER: Final = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
OUTER_UPPER: Final = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER: Final = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)

MIDDLE_PAIRS: Final = slice(4, 7)
"""Pairs of inner lip points whose mean distance is the lip gap."""

MOUTH_CORNERS: Final = (291, 61)
"""Outer corners of the mouth: left, right."""

EYE_CORNERS: Final[dict[Side, tuple[int, int]]] = {"Left": (362, 263), "Right": (133, 33)}
"""Inner and outer corner of each eye."""

UPPER_LIDS: Final[dict[Side, tuple[int, ...]]] = {"Left": (385, 386, 387), "Right": (158, 159, 160)}
LOWER_LIDS: Final[dict[Side, tuple[int, ...]]] = {"Left": (380, 374, 373), "Right": (153, 145, 144)}

IRIS: Final[dict[Side, int]] = {"Left": 473, "Right": 468}
"""Center of each iris."""

BROWS: Final[dict[Side, tuple[int, ...]]] = {
    "Left": (285, 295, 282, 283, 276),
    "Right": (55, 65, 52, 53, 46),
}
"""Lower edge of each brow, inner end first."""

CHIN_LANDMARKS: Final = (199, 175)
"""Front of the chin, and nearer its tip."""

CHIN_TIP: Final = 152

# fmt: off
RIGID_LANDMARKS: Final = (
    10, 109, 338, 67, 297, 103, 332, 54, 284, 21, 251, 162, 389, 127, 356, 168, 6, 197, 195, 5, 4, 1, 33, 263,
    133, 362, 98, 327, 2, 234, 454,
)
# fmt: on
"""Landmarks that neither speech nor brows move: forehead, temples, bridge of the nose, corners of the
eyes."""


@dataclass
class LandmarkTrack:
    """Landmarks of one video.

    Attributes:
        points: (F, 478, 3) float32 pixels; NaN in frames without a face.
        times: (F,) seconds, the middle of each frame on the clock of the audio.
        detected: (F,) bool, whether a face was detected.
        max_faces: largest number of faces in one frame.
        image_size: (width, height) in square pixels.
        name: stem of the video.
    """

    points: np.ndarray
    times: np.ndarray
    detected: np.ndarray
    max_faces: int
    image_size: tuple[int, int]
    name: str = ""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the track as NPZ; the file appears at once, complete.

        Args:
            path: NAME.npz.
        """
        with atomic_output(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                points=self.points.astype(np.float32),
                times=self.times,
                found=self.detected,
                faces=self.max_faces,
                size=self.image_size,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LandmarkTrack:
        """Read a track.

        Args:
            path: NAME.npz.

        Returns:
            The track.

        Raises:
            TalkerError: if the file is not a track.
        """
        path = Path(path)
        needs = "it holds no tracked landmarks, track the video again"
        arrays = read_npz(path, ("points", "times", "found", "faces", "size"), needs)
        try:
            width, height = (int(length) for length in arrays["size"])
            track = cls(
                arrays["points"],
                arrays["times"],
                arrays["found"],
                int(arrays["faces"]),
                (width, height),
                path.stem,
            )
        except (TypeError, ValueError):  # arrays of another type or shape
            raise TalkerError(f"{path} holds no tracked landmarks: track the video again") from None
        if track.points.shape != (len(track.times), NUM_LANDMARKS, 3):
            raise TalkerError(
                f"{path} has points of shape {track.points.shape}, expected "
                f"({len(track.times)}, {NUM_LANDMARKS}, 3): track the video again"
            )
        return track
