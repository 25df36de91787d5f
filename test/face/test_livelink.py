# SPDX-License-Identifier: Apache-2.0
"""The Live Link Face CSV has the columns of the app and is read by name, in any order."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.livelink import COLUMNS, read_livelink_csv, timecode, write_livelink_csv

APP_HEADER = [
    "Timecode",
    "BlendShapeCount",
    "EyeBlinkLeft",
    "EyeLookDownLeft",
    "EyeLookInLeft",
    "EyeLookOutLeft",
    "EyeLookUpLeft",
    "EyeSquintLeft",
    "EyeWideLeft",
    "EyeBlinkRight",
    "EyeLookDownRight",
    "EyeLookInRight",
    "EyeLookOutRight",
    "EyeLookUpRight",
    "EyeSquintRight",
    "EyeWideRight",
    "JawForward",
    "JawRight",
    "JawLeft",
    "JawOpen",
    "MouthClose",
    "MouthFunnel",
    "MouthPucker",
    "MouthRight",
    "MouthLeft",
    "MouthSmileLeft",
    "MouthSmileRight",
    "MouthFrownLeft",
    "MouthFrownRight",
    "MouthDimpleLeft",
    "MouthDimpleRight",
    "MouthStretchLeft",
    "MouthStretchRight",
    "MouthRollLower",
    "MouthRollUpper",
    "MouthShrugLower",
    "MouthShrugUpper",
    "MouthPressLeft",
    "MouthPressRight",
    "MouthLowerDownLeft",
    "MouthLowerDownRight",
    "MouthUpperUpLeft",
    "MouthUpperUpRight",
    "BrowDownLeft",
    "BrowDownRight",
    "BrowInnerUp",
    "BrowOuterUpLeft",
    "BrowOuterUpRight",
    "CheekPuff",
    "CheekSquintLeft",
    "CheekSquintRight",
    "NoseSneerLeft",
    "NoseSneerRight",
    "TongueOut",
    "HeadYaw",
    "HeadPitch",
    "HeadRoll",
    "LeftEyeYaw",
    "LeftEyePitch",
    "LeftEyeRoll",
    "RightEyeYaw",
    "RightEyePitch",
    "RightEyeRoll",
]


def random_motion(frames: int = 80) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights (T, 52) and head rotations (T, 4)."""
    rng = np.random.default_rng(0)
    head = rng.normal(size=(frames, 4)) * 0.2 + [0, 0, 0, 1]
    return (
        rng.uniform(0, 1, (frames, 52)).astype(np.float32),
        (head / np.linalg.norm(head, axis=1, keepdims=True)).astype(np.float32),
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_columns_are_those_of_the_app() -> None:
    assert list(COLUMNS) == APP_HEADER


def test_every_shape_is_written_into_the_column_of_its_name(tmp_path: Path) -> None:
    weights, head = random_motion()
    write_livelink_csv(tmp_path / "a.csv", weights, head, 25.0)
    rows = read_rows(tmp_path / "a.csv")
    assert len(rows) == 80 and {row["BlendShapeCount"] for row in rows} == {"61"}
    for name in ARKIT_NAMES:
        column = [float(row[name[0].upper() + name[1:]]) for row in rows]
        np.testing.assert_allclose(column, weights[:, INDEX[name]], atol=1e-6)


@pytest.mark.parametrize("frame_rate", [25.0, 30.0, 60.0])
def test_motion_survives_the_round_trip(tmp_path: Path, frame_rate: float) -> None:
    weights, head = random_motion(150)
    write_livelink_csv(tmp_path / "a.csv", weights, head, frame_rate)
    read_weights, read_head, read_rate = read_livelink_csv(tmp_path / "a.csv")
    np.testing.assert_allclose(read_weights, weights, atol=1e-6)
    assert np.abs(np.abs((read_head * head).sum(axis=1)) - 1).max() < 1e-6  # q and -q are one rotation
    assert read_rate == frame_rate


def test_columns_are_found_in_any_order_and_case_and_without_angles(tmp_path: Path) -> None:
    weights, head = random_motion(60)
    write_livelink_csv(tmp_path / "a.csv", weights, head, 30.0)
    names = ["BlendshapeCount", *sorted(ARKIT_NAMES, reverse=True), "Timecode"]
    with open(tmp_path / "b.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        for row in read_rows(tmp_path / "a.csv"):
            by_name = {key.lower(): value for key, value in row.items()}
            table.writerow([by_name[name.lower()] for name in names])
    read_weights, read_head, frame_rate = read_livelink_csv(tmp_path / "b.csv")
    np.testing.assert_allclose(read_weights, weights, atol=1e-6)
    np.testing.assert_array_equal(read_head, np.tile(np.array([0, 0, 0, 1], np.float32), (60, 1)))
    assert frame_rate == 30.0


def test_a_timecode_counts_the_frames_of_its_second() -> None:
    assert timecode(0, 25.0) == "00:00:00:00.000"
    assert timecode(24, 25.0) == "00:00:00:24.000"
    assert timecode(25, 25.0) == "00:00:01:00.000"
    assert timecode(25 * 3661 + 7, 25.0) == "01:01:01:07.000"


def test_eye_angles_follow_the_look_shapes(tmp_path: Path) -> None:
    weights = np.zeros((2, 52), np.float32)
    weights[0, [INDEX["eyeLookOutLeft"], INDEX["eyeLookInRight"]]] = 1  # both to the person's left
    weights[1, [INDEX["eyeLookDownLeft"], INDEX["eyeLookDownRight"]]] = 0.5
    write_livelink_csv(tmp_path / "a.csv", weights, np.tile([0, 0, 0, 1.0], (2, 1)), 25.0)
    left, down = read_rows(tmp_path / "a.csv")
    assert float(left["LeftEyeYaw"]) == float(left["RightEyeYaw"]) == pytest.approx(np.radians(30))
    assert float(down["LeftEyePitch"]) == float(down["RightEyePitch"]) == pytest.approx(np.radians(15))


def test_an_unreadable_file_is_rejected_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "short.csv").write_text("Timecode,BlendShapeCount,JawOpen\n00:00:00:00.000,1,0.5\n")
    write_livelink_csv(tmp_path / "a.csv", *random_motion(30), 25.0)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "torn.csv").write_text("\n".join([*lines[:-1], lines[-1][:60]]))
    for name in ("absent.csv", "empty.csv", "short.csv", "torn.csv"):
        with pytest.raises(TalkerError, match=name):
            read_livelink_csv(tmp_path / name)
