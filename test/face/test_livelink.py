# SPDX-License-Identifier: Apache-2.0
"""The Live Link Face CSV: the app's columns, by name, both ways; angles with the signs that are
documented."""

import csv

import numpy as np
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.livelink import COLUMNS, read_livelink_csv, timecode, write_livelink_csv
from streamingtalker_ros.face.rotation import euler_to_quaternion, quaternion_to_euler

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


def motion(frames=80, seed=0):
    rng = np.random.default_rng(seed)
    head = rng.normal(size=(frames, 4)) * 0.2 + [0, 0, 0, 1]
    return (
        rng.uniform(0, 1, (frames, 52)).astype(np.float32),
        (head / np.linalg.norm(head, axis=1, keepdims=True)).astype(np.float32),
    )


def table_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_header_is_the_apps() -> None:
    assert list(COLUMNS) == APP_HEADER


def test_every_shape_stands_under_its_own_name(tmp_path) -> None:
    weights, head = motion()
    write_livelink_csv(tmp_path / "a.csv", weights, head, 25.0)
    rows = table_of(tmp_path / "a.csv")
    assert len(rows) == 80 and {row["BlendShapeCount"] for row in rows} == {"61"}
    for name in ARKIT_NAMES:
        column = [float(row[name[0].upper() + name[1:]]) for row in rows]
        np.testing.assert_allclose(column, weights[:, INDEX[name]], atol=1e-6)


@pytest.mark.parametrize("frame_rate", [25.0, 30.0, 60.0])
def test_what_was_written_is_read(tmp_path, frame_rate) -> None:
    weights, head = motion(150)
    write_livelink_csv(tmp_path / "a.csv", weights, head, frame_rate)
    again, turned, rate = read_livelink_csv(tmp_path / "a.csv")
    np.testing.assert_allclose(again, weights, atol=1e-6)
    assert np.abs(np.abs((turned * head).sum(axis=1)) - 1).max() < 1e-6  # q and -q are one rotation
    assert rate == frame_rate


def test_other_orders_capitals_and_52_columns_are_read(tmp_path) -> None:
    weights, head = motion(60)
    write_livelink_csv(tmp_path / "a.csv", weights, head, 30.0)
    rows = table_of(tmp_path / "a.csv")
    names = ["BlendshapeCount", *sorted(ARKIT_NAMES, reverse=True), "Timecode"]
    with open(tmp_path / "b.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        for row in rows:
            by_name = {key.lower(): value for key, value in row.items()}
            table.writerow([by_name[name.lower()] for name in names])
    again, turned, rate = read_livelink_csv(tmp_path / "b.csv")
    np.testing.assert_allclose(again, weights, atol=1e-6)
    np.testing.assert_array_equal(turned, np.tile(np.float32([0, 0, 0, 1]), (60, 1)))
    assert rate == 30.0


def test_timecodes_count_frames_within_the_second() -> None:
    assert timecode(0, 25.0) == "00:00:00:00.000"
    assert timecode(24, 25.0) == "00:00:00:24.000"
    assert timecode(25, 25.0) == "00:00:01:00.000"
    assert timecode(25 * 3661 + 7, 25.0) == "01:01:01:07.000"


def test_signs_are_left_down_and_right_shoulder() -> None:
    """Rotate the nose (x) and the crown (z) with the quaternion itself and see where they go."""

    def rotate(q, v):
        u, w = q[:3], q[3]
        return v + 2 * np.cross(u, np.cross(u, v) + w * v)

    nose, crown = np.eye(3)[0], np.eye(3)[2]
    assert rotate(euler_to_quaternion([0.3, 0, 0]), nose)[1] > 0.2  # yaw: to the person's left
    assert rotate(euler_to_quaternion([0, 0.3, 0]), nose)[2] < -0.2  # pitch: down
    assert rotate(euler_to_quaternion([0, 0, 0.3]), crown)[1] < -0.2  # roll: to the right shoulder
    both = rotate(
        euler_to_quaternion([np.pi / 2, 0.3, 0]), nose
    )  # first the yaw, then the pitch, turned along
    np.testing.assert_allclose(both, [0, np.cos(0.3), -np.sin(0.3)], atol=1e-9)


def test_angles_and_quaternions_are_inverse() -> None:
    euler = np.random.default_rng(2).uniform([-3, -1.5, -3], [3, 1.5, 3], (500, 3))
    np.testing.assert_allclose(quaternion_to_euler(euler_to_quaternion(euler)), euler, atol=1e-9)


def test_eyes_turn_as_the_shapes_look(tmp_path) -> None:
    weights = np.zeros((2, 52), np.float32)
    weights[0, [INDEX["eyeLookOutLeft"], INDEX["eyeLookInRight"]]] = 1  # both to the person's left
    weights[1, [INDEX["eyeLookDownLeft"], INDEX["eyeLookDownRight"]]] = 0.5
    write_livelink_csv(tmp_path / "a.csv", weights, np.tile([0, 0, 0, 1.0], (2, 1)), 25.0)
    left, down = table_of(tmp_path / "a.csv")
    assert float(left["LeftEyeYaw"]) == float(left["RightEyeYaw"]) == pytest.approx(np.radians(30))
    assert float(down["LeftEyePitch"]) == float(down["RightEyePitch"]) == pytest.approx(np.radians(15))


def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "short.csv").write_text("Timecode,BlendShapeCount,JawOpen\n00:00:00:00.000,1,0.5\n")
    weights, head = motion(30)
    write_livelink_csv(tmp_path / "a.csv", weights, head, 25.0)
    text = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "torn.csv").write_text("\n".join(text[:-1] + [text[-1][:60]]))
    for name in ("absent.csv", "empty.csv", "short.csv", "torn.csv"):
        with pytest.raises(TalkerError, match=name):
            read_livelink_csv(tmp_path / name)
