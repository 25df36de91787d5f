# SPDX-License-Identifier: Apache-2.0
"""Face motion as the CSV of the Live Link Face app, both ways.

Takes weights (T, 52) in ARKIT_NAMES order and head quaternions (T, 4); gives the file that animators import
into Unreal, Blender or Maya. Columns: Timecode, BlendShapeCount, 52 shapes in the app's own order (it swaps
the left and right of jaw and mouth against Apple's), then yaw, pitch, roll of the head and of each eye, in
radians.

Signs, right-handed with x out of the face, y to the person's left, z up: yaw > 0 turns to the person's left
(about z), pitch > 0 looks down (about y), roll > 0 tilts to the person's right shoulder (about x); the
rotation is yaw, then pitch, then roll about the axes that turn along. The app's own signs depend on how the
phone is held.
"""

import csv

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.rotation import euler_to_quaternion, quaternion_to_euler

_SWAPPED = {
    "jawLeft": "jawRight",
    "jawRight": "jawLeft",
    "mouthLeft": "mouthRight",
    "mouthRight": "mouthLeft",
}
SHAPE_ORDER = tuple(_SWAPPED.get(name, name) for name in ARKIT_NAMES)
ANGLES = tuple(part + angle for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
COLUMNS = ("Timecode", "BlendShapeCount", *(name[0].upper() + name[1:] for name in SHAPE_ORDER), *ANGLES)

EYE_ANGLE = np.radians(30.0)  # of an eye-look shape at 1, as the default face's eyes turn to the side
_APP_RATE = 60.0  # frames/s of the app unless it is told otherwise
_ORDER = [INDEX[name] for name in SHAPE_ORDER]


def eye_angles(weights):
    """Weights (T, 52) -> (T, 6): yaw, pitch, roll (always 0) of the left eye, then of the right."""

    def between(more, less):
        return weights[:, INDEX[f"eyeLook{more}"]] - weights[:, INDEX[f"eyeLook{less}"]]

    roll = np.zeros(len(weights))
    return EYE_ANGLE * np.stack(
        [
            between("OutLeft", "InLeft"),
            between("DownLeft", "UpLeft"),
            roll,
            between("InRight", "OutRight"),
            between("DownRight", "UpRight"),
            roll,
        ],
        axis=1,
    )


def timecode(index, frame_rate) -> str:
    """Time of a frame as the app writes it: HH:MM:SS:FF.fff, frames and thousandths of a frame of the
    second."""
    second = int(index / frame_rate + 1e-9)
    thousandths = round((index - second * frame_rate) * 1000)
    return (
        f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}:"
        f"{thousandths // 1000:02d}.{thousandths % 1000:03d}"
    )


def write_livelink_csv(path, weights, head, frame_rate) -> None:
    """weights: (T, 52) in ARKIT_NAMES order; head: (T, 4) xyzw; frame_rate: frames/s."""
    weights = np.asarray(weights, np.float64)
    angles = np.concatenate([quaternion_to_euler(head), eye_angles(weights)], axis=1)
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for index, row in enumerate(np.concatenate([weights[:, _ORDER], angles], axis=1)):
            table.writerow([timecode(index, frame_rate), len(row), *(f"{value:.8f}" for value in row)])


def read_livelink_csv(path):
    """path: a CSV of the app or of `write_livelink_csv`, columns in any order, found by name whatever its
    capitals.

    Returns weights (T, 52) float32 in ARKIT_NAMES order, head (T, 4) float32 xyzw (no rotation where the file
    has none) and frames/s, counted in the timecode's whole seconds (60, the app's usual, for a clip within
    one second). Raises TalkerError when shapes or the timecode are missing, or a number is not one.
    """
    try:
        with open(path, newline="") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError) as broken:
        raise TalkerError(
            f"{path} cannot be read as a Live Link Face CSV ({broken}): give an existing, non-empty file"
        ) from None
    column = {name.strip().lower(): k for k, name in enumerate(header)}
    missing = [name for name in ("timecode", *ARKIT_NAMES) if name.lower() not in column]
    if missing:
        raise TalkerError(
            f"{path} lacks the column {missing[0]} ({len(missing)} are missing): export all 52 "
            "shapes and the timecode"
        )
    try:
        weights = _numbers(rows, column, ARKIT_NAMES)
        euler = np.zeros((len(rows), 3))
        if all(name.lower() in column for name in ANGLES[:3]):
            euler = _numbers(rows, column, ANGLES[:3])
        rate = _rate([row[column["timecode"]] for row in rows])
    except (ValueError, IndexError) as broken:
        raise TalkerError(f"{path} has a row that is not numbers ({broken}): export it again") from None
    return weights.astype(np.float32), euler_to_quaternion(euler).astype(np.float32), rate


def _numbers(rows, column, names):
    places = [column[name.lower()] for name in names]
    return np.array([[float(row[place]) for place in places] for row in rows]).reshape(len(rows), len(names))


def _rate(codes):
    """Rows in the whole seconds between the first and the last change of second, per second."""
    seconds = []
    for code in codes:
        hours, minutes, second, _ = code.strip().split(":")
        seconds.append(int(hours) * 3600 + int(minutes) * 60 + int(second))
    seconds = np.array(seconds)
    changes = np.flatnonzero(np.diff(seconds)) + 1
    starts = np.concatenate([[0], changes]) if codes and codes[0].endswith(":00.000") else changes
    if len(starts) < 2:
        return _APP_RATE
    first, last = starts[0], starts[-1]
    return float((last - first) / (seconds[last] - seconds[first]))
