# SPDX-License-Identifier: Apache-2.0
"""Reader and writer of the CSV of the Live Link Face app, which Unreal, Blender and Maya import.

Columns: Timecode, BlendShapeCount, the 52 shapes in the order of the app (which exchanges left and right of
jaw and mouth in Apple's order), then yaw, pitch and roll of the head and of each eye in radians, with the
signs of `face.rotation.quaternion_to_euler`. The app's own signs depend on how the phone is held.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rotation import euler_to_quaternion, quaternion_to_euler

_EXCHANGED = {
    "jawLeft": "jawRight",
    "jawRight": "jawLeft",
    "mouthLeft": "mouthRight",
    "mouthRight": "mouthLeft",
}
SHAPE_ORDER = tuple(_EXCHANGED.get(name, name) for name in ARKIT_NAMES)
ANGLES = tuple(part + angle for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
COLUMNS = ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in SHAPE_ORDER), *ANGLES)

MAX_EYE_ANGLE_RAD = np.radians(
    30.0
)  # of an eye-look shape at 1, as the eyes of the default face turn sideways
DEFAULT_FRAME_RATE = 60.0  # frames/s, the app's default
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
    return MAX_EYE_ANGLE_RAD * np.stack(
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


def timecode(index: int, frame_rate: float) -> str:
    """Time of a frame as the app writes it, HH:MM:SS:FF.fff: frame of the second and its thousandths."""
    second = int(index / frame_rate + 1e-9)
    thousandths = round((index - second * frame_rate) * 1000)
    return (
        f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}:"
        f"{thousandths // 1000:02d}.{thousandths % 1000:03d}"
    )


def write_livelink_csv(
    path: str | os.PathLike[str], weights: npt.ArrayLike, head: npt.ArrayLike, frame_rate: float
) -> None:
    """Write face motion.

    Args:
        path: File to write.
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        head: (T, 4) quaternions xyzw.
        frame_rate: Frames per second.
    """
    weights = np.asarray(weights, np.float64)
    angles = np.concatenate([quaternion_to_euler(head), eye_angles(weights)], axis=1)
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for index, row in enumerate(np.concatenate([weights[:, _SHAPE_INDICES], angles], axis=1)):
            table.writerow([timecode(index, frame_rate), len(row), *(f"{value:.8f}" for value in row)])


def read_livelink_csv(
    path: str | os.PathLike[str],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]:
    """Read face motion; columns are found by name, in any order and without regard to case.

    Args:
        path: A file of the app or of `write_livelink_csv`.

    Returns:
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        head: (T, 4) quaternions xyzw; no rotation if the file lacks its angles.
        frame_rate: Frames per second, counted between changes of the timecode's second; `DEFAULT_FRAME_RATE`
            for a clip within one second.

    Raises:
        TalkerError: If the file cannot be read, lacks a shape or the timecode, or has a value that is no
            number.
    """
    try:
        with open(path, newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError) as error:
        raise TalkerError(
            f"{path} cannot be read as a Live Link Face CSV ({error}): give an existing, non-empty file"
        ) from None
    columns = {name.strip().lower(): k for k, name in enumerate(header)}
    missing = [name for name in ("timecode", *ARKIT_NAMES) if name.lower() not in columns]
    if missing:
        raise TalkerError(
            f"{path} lacks the column {missing[0]} ({len(missing)} are missing): export all 52 "
            "shapes and the timecode"
        )
    try:
        weights = _read_columns(rows, columns, ARKIT_NAMES)
        euler = np.zeros((len(rows), 3))
        if all(name.lower() in columns for name in ANGLES[:3]):
            euler = _read_columns(rows, columns, ANGLES[:3])
        frame_rate = _frame_rate([row[columns["timecode"]] for row in rows])
    except (ValueError, IndexError) as error:
        raise TalkerError(f"{path} has a row that is not numbers ({error}): export it again") from None
    return weights.astype(np.float32), euler_to_quaternion(euler).astype(np.float32), frame_rate


def _read_columns(
    rows: Sequence[Sequence[str]], columns: dict[str, int], names: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(T, len(names)) values of the named columns."""
    indices = [columns[name.lower()] for name in names]
    values = [[float(row[index]) for index in indices] for row in rows]
    return np.array(values, np.float64).reshape(len(rows), len(names))


def _frame_rate(timecodes: Sequence[str]) -> float:
    """Rows between the first and the last change of the second, per second."""
    seconds: list[int] = []
    for text in timecodes:
        hours, minutes, second, _ = text.strip().split(":")
        seconds.append(int(hours) * 3600 + int(minutes) * 60 + int(second))
    changes = (np.flatnonzero(np.diff(seconds)) + 1).tolist()
    starts = [0, *changes] if timecodes and timecodes[0].endswith(":00.000") else changes
    if len(starts) < 2:
        return DEFAULT_FRAME_RATE
    first, last = starts[0], starts[-1]
    return float((last - first) / (seconds[last] - seconds[first]))
