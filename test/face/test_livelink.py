# SPDX-License-Identifier: Apache-2.0
"""The Live Link Face CSV has the columns of the app and is read by name, in any order."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.face.formats.livelink import COLUMNS, parse_timecode, timecode, write_livelink_csv
from streamingtalker_ros.face.formats.livelink_reader import read_livelink_csv
from tools import blender_import_csv

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


@pytest.mark.parametrize("frame_rate", [24.0, 25.0, 30.0, 50.0, 60.0])
def test_motion_survives_the_round_trip(tmp_path: Path, frame_rate: float) -> None:
    weights, head = random_motion(150)
    write_livelink_csv(tmp_path / "a.csv", weights, head, frame_rate)
    read_weights, read_head, times, read_rate = read_livelink_csv(tmp_path / "a.csv")
    np.testing.assert_allclose(times, np.arange(150) / frame_rate, atol=2e-5)
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
    read_weights, read_head, _, frame_rate = read_livelink_csv(tmp_path / "b.csv")
    np.testing.assert_allclose(read_weights, weights, atol=1e-6)
    np.testing.assert_array_equal(read_head, np.tile(np.array([0, 0, 0, 1], np.float32), (60, 1)))
    assert frame_rate == 30.0


def test_a_timecode_counts_sixtieths_of_its_second() -> None:
    assert timecode(0.0) == "00:00:00:00.000"
    assert timecode(24 / 25) == "00:00:00:57.600"
    assert timecode(1.0) == "00:00:01:00.000"
    assert timecode(3661 + 7 / 60) == "01:01:01:07.000"
    assert timecode(0.9999999) == "00:00:01:00.000"  # rounding carries into the seconds
    assert timecode(86_400.5) == "00:00:00:30.000"


@pytest.mark.parametrize("seconds", [0.0, 0.25, 3661 + 7 / 60, 86_399.95])
def test_a_timecode_is_read_as_it_is_written(seconds: float) -> None:
    assert parse_timecode(timecode(seconds)) == pytest.approx(seconds, abs=2e-5)
    assert parse_timecode("01:02:03") == 3723


@pytest.mark.parametrize(
    "text", ["", "1:2:3", "24:00:00:00", "00:60:00:00", "00:00:60:00", "00:00:00:60", "a", "-1"]
)
def test_a_text_that_is_no_timecode_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="write HH:MM:SS:FF"):
        parse_timecode(text)


def test_the_import_script_for_blender_reads_the_times_and_weights_of_a_file(tmp_path: Path) -> None:
    weights, head = random_motion(70)
    write_livelink_csv(tmp_path / "a.csv", weights, head, 60.0, 86_399.5)
    seconds, columns = blender_import_csv.read_curves(str(tmp_path / "a.csv"))
    np.testing.assert_allclose(seconds, np.arange(70) / 60, atol=2e-5)
    for name in ARKIT_NAMES:
        np.testing.assert_allclose(columns[name.lower()], weights[:, INDEX[name]], atol=1e-6)


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


TIMES = np.arange(150) / 30.0


def clip_lines(times: npt.NDArray[np.float64], scale: float = 1.0) -> list[list[str]]:
    """Header and rows of a clip whose jawOpen is a tenth of the time, all other shapes 0.25."""
    names = [name[0].upper() + name[1:] for name in ARKIT_NAMES]
    lines = [["Timecode", "BlendShapeCount", *names]]
    for time in times:
        weights = [f"{scale * (0.1 * time if name == 'JawOpen' else 0.25):.6f}" for name in names]
        lines.append([timecode(43_200.0 + float(time)), "52", *weights])
    return lines


def save(path: Path, lines: list[list[str]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    path.write_bytes("".join(delimiter.join(line) + "\r\n" for line in lines).encode(encoding))
    return path


def assert_is_the_clip(path: Path, times: npt.NDArray[np.float64] = TIMES) -> None:
    weights, _, read_times, _ = read_livelink_csv(path)
    np.testing.assert_allclose(read_times, times - times[0], atol=2e-5)
    np.testing.assert_allclose(weights[:, INDEX["jawOpen"]], 0.1 * times, atol=1e-5)
    np.testing.assert_allclose(weights[:, INDEX["cheekPuff"]], 0.25, atol=1e-6)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_clip_is_read_in_every_encoding_and_with_every_delimiter(
    tmp_path: Path, encoding: str, delimiter: str
) -> None:
    assert_is_the_clip(save(tmp_path / "a.csv", clip_lines(TIMES), delimiter, encoding))


def test_decimal_commas_are_read_and_are_rejected_where_they_split_the_columns(tmp_path: Path) -> None:
    header, *rows = clip_lines(TIMES)
    commas = [header, *([cell.replace(".", ",") for cell in row] for row in rows)]
    assert_is_the_clip(save(tmp_path / "a.csv", commas, ";"))
    quoted = [header, *([f'"{cell}"' for cell in row] for row in commas[1:])]
    assert_is_the_clip(save(tmp_path / "b.csv", quoted))
    with pytest.raises(TalkerError, match="columns in line 2"):
        read_livelink_csv(save(tmp_path / "c.csv", commas))


def test_weights_in_percent_are_read_with_and_without_the_sign(tmp_path: Path) -> None:
    assert_is_the_clip(save(tmp_path / "a.csv", clip_lines(TIMES, 100.0)))
    header, *rows = clip_lines(TIMES, 100.0)
    signs = [header, *([*row[:2], *(f"{cell} %" for cell in row[2:])] for row in rows)]
    assert_is_the_clip(save(tmp_path / "b.csv", signs))
    with pytest.raises(TalkerError, match="from 0 to 1, or in percent"):
        read_livelink_csv(save(tmp_path / "c.csv", clip_lines(TIMES, 2550.0)))


@pytest.mark.parametrize("start", [86_397.3, 86_399.999, 0.0])
def test_a_clip_goes_on_over_midnight(tmp_path: Path, start: float) -> None:
    lines = clip_lines(TIMES)
    for line, time in zip(lines[1:], TIMES, strict=True):
        line[0] = timecode(start + float(time))
    assert_is_the_clip(save(tmp_path / "a.csv", lines))


@pytest.mark.parametrize(
    "times",
    [
        TIMES[(TIMES < 1.2) | (TIMES > 3.4)],
        np.sort(np.random.default_rng(1).uniform(0, 5, 90)),
        np.concatenate([np.arange(60) / 60, 1 + np.arange(48) / 24]),  # a rate that changes
        np.repeat(TIMES, 2),  # rows that share a timecode
    ],
    ids=["missing rows", "uneven", "two rates", "repeated"],
)
def test_every_row_stands_at_its_own_timecode(tmp_path: Path, times: npt.NDArray[np.float64]) -> None:
    assert_is_the_clip(save(tmp_path / "a.csv", clip_lines(times)), times)


def test_missing_rows_are_interpolated_at_regular_times(tmp_path: Path) -> None:
    kept = TIMES[(TIMES < 1.2) | (TIMES > 3.4)]
    clip = read_livelink_csv(save(tmp_path / "a.csv", clip_lines(kept)))
    weights, head, rate = clip.at_regular_times()
    assert rate == 30.0 and len(weights) == len(head) == len(TIMES)
    np.testing.assert_allclose(weights[:, INDEX["jawOpen"]], 0.1 * TIMES, atol=1e-5)


@pytest.mark.parametrize("rate", [25, 30])
def test_a_timecode_that_counts_at_the_rate_of_the_rows_is_recognised(tmp_path: Path, rate: int) -> None:
    times = np.arange(3 * rate + 7) / rate
    lines = clip_lines(times)
    for k, line in enumerate(lines[1:]):
        line[0] = f"00:00:{k // rate:02d}:{k % rate:02d}.000"
    assert_is_the_clip(save(tmp_path / "a.csv", lines), times)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda lines: lines[5].__setitem__(0, "11:59:59:00.000"), "goes back in time"),
        (lambda lines: lines[5].__setitem__(0, "00:01.2"), "needs hours:minutes:seconds:frames"),
        (lambda lines: lines[5].__setitem__(0, "12:00:00:99.000"), "export at most 60"),
        (lambda lines: lines[5].__setitem__(7, "nan"), "'nan' in line 6"),
        (lambda lines: lines[5].__setitem__(7, "1e300"), "give weights from 0 to 1"),
        (lambda lines: lines[5].__setitem__(7, ""), "not a number"),
        (lambda lines: lines.__delitem__(slice(1, None)), "no rows"),
        (lambda lines: lines[0].__setitem__(9, "EyeBlink"), "lacks the column"),
    ],
)
def test_a_row_that_cannot_be_read_is_rejected_in_one_sentence(
    tmp_path: Path, change: Callable[[list[list[str]]], object], message: str
) -> None:
    lines = clip_lines(TIMES)
    change(lines)
    with pytest.raises(TalkerError, match=message) as error:
        read_livelink_csv(save(tmp_path / "a.csv", lines))
    assert "\n" not in str(error.value) and len(str(error.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + bytes(60), bytes(100), b"\xff\xfe\x00", b"\n\n", b'"' * 200_000]
)
def test_a_file_that_is_no_table_is_rejected_in_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(TalkerError, match=r"a\.csv"):
        read_livelink_csv(tmp_path / "a.csv")
