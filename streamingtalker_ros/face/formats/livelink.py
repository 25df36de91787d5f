# SPDX-License-Identifier: Apache-2.0
"""Writer of the CSV of the Live Link Face app, which Unreal, Blender and Maya import.

Columns: Timecode, BlendShapeCount, the 52 shapes in the order of the app (which exchanges left and right of
jaw and mouth in Apple's order), then yaw, pitch and roll of the head and of each eye in radians, with the
signs of `face.rotation.quaternion_to_euler`. The app's own signs depend on how the phone is held. The
timecode is HH:MM:SS:FF.fff; its frames FF count sixtieths of a second, whatever the frame rate of the rows.
`livelink_reader` reads the file.
"""

from __future__ import annotations

import csv
import os
import re

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.eye_look import MAX_EYE_ANGLE_RAD
from streamingtalker_ros.face.rotation import quaternion_to_euler
from streamingtalker_ros.output_files import atomic_output

_EXCHANGED = {
    "jawLeft": "jawRight",
    "jawRight": "jawLeft",
    "mouthLeft": "mouthRight",
    "mouthRight": "mouthLeft",
}
SHAPE_ORDER = tuple(_EXCHANGED.get(name, name) for name in ARKIT_NAMES)
ANGLES = tuple(part + angle for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
COLUMNS = ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in SHAPE_ORDER), *ANGLES)

TIMECODE_RATE = 60  # frames of the timecode in a second
_SHAPE_INDICES = [INDEX[name] for name in SHAPE_ORDER]


def eye_angles(weights: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Angles of the eyes from the eye-look shapes.

    Args:
        weights: (T, 52), 0..1.

    Returns:
        (T, 6) yaw, pitch and roll (0) of the left eye, then of the right eye, in radians.
    """

    def difference(positive: str, negative: str) -> npt.NDArray[np.floating]:
        return weights[:, INDEX[f"eyeLook{positive}"]] - weights[:, INDEX[f"eyeLook{negative}"]]

    roll = np.zeros(len(weights))
    return np.float64(MAX_EYE_ANGLE_RAD) * np.stack(
        [
            difference("OutLeft", "InLeft"),
            difference("DownLeft", "UpLeft"),
            roll,
            difference("InRight", "OutRight"),
            difference("DownRight", "UpRight"),
            roll,
        ],
        axis=1,
    )


def timecode(time_s: float) -> str:
    """Write a time as the app does, HH:MM:SS:FF.fff: sixtieths of a second and their thousandths.

    Args:
        time_s: Time of day in seconds, from 0; it starts again after a day.
    """
    second, thousandths = divmod(round(time_s * TIMECODE_RATE * 1000), TIMECODE_RATE * 1000)
    return (
        f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}:"
        f"{thousandths // 1000:02d}.{thousandths % 1000:03d}"
    )


def parse_timecode(text: str) -> float:
    """Read a time of day as the app writes it.

    Args:
        text: HH:MM:SS, HH:MM:SS:FF or HH:MM:SS:FF.fff; frames count sixtieths of a second.

    Returns:
        Seconds since midnight, less than a day.

    Raises:
        ValueError: If it is no such time.
    """
    match = re.fullmatch(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?::([0-9]{2}(?:\.[0-9]{1,3})?))?", text)
    hours, minutes, seconds, frames = (float(part or 0) for part in match.groups()) if match else (24.0,) * 4
    if hours >= 24 or minutes >= 60 or seconds >= 60 or frames >= TIMECODE_RATE:
        raise ValueError(f"{text[:20]!r} is no timecode: write HH:MM:SS:FF with sixtieths of a second FF")
    return 3600 * hours + 60 * minutes + seconds + frames / TIMECODE_RATE


def write_livelink_csv(
    path: str | os.PathLike[str],
    weights: npt.ArrayLike,
    head: npt.ArrayLike,
    frame_rate: float,
    start_s: float = 0.0,
) -> None:
    """Write face motion.

    Args:
        path: File to write.
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        head: (T, 4) quaternions xyzw.
        frame_rate: Frames per second.
        start_s: Time of day of the first row, s.

    Raises:
        TalkerError: If the file cannot be written.
    """
    weights = np.asarray(weights, np.float64)
    angles = np.concatenate([quaternion_to_euler(head), eye_angles(weights)], axis=1)
    with atomic_output(path) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for index, row in enumerate(np.concatenate([weights[:, _SHAPE_INDICES], angles], axis=1)):
            table.writerow(
                [timecode(start_s + index / frame_rate), len(row), *(f"{value:.8f}" for value in row)]
            )
