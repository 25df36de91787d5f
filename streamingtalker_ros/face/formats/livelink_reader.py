# SPDX-License-Identifier: Apache-2.0
"""Reader of the CSV of the Live Link Face app, also as spreadsheets and other tools save it.

Accepts UTF-8 and UTF-16, with or without a byte order mark; commas, semicolons or tabs between the columns; a
decimal comma; weights in percent. Every row stands at the time of its own timecode, so that rows may be
missing or uneven; a clip may go on over midnight.
"""

from __future__ import annotations

import array
import codecs
import csv
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.formats.livelink import ANGLES, TIMECODE_RATE
from streamingtalker_ros.face.rotation import euler_to_quaternion

DEFAULT_FRAME_RATE = 60.0  # frames/s, the app's default, of a clip of one row
MAX_WEIGHT = 2.0  # of exaggerated motion; a clip with greater ones is in percent
_MIN_PERCENT = 10.0  # greatest weight of a clip in percent, at least
_DAY_S = 86_400.0
_MAX_REGULAR_ROWS = 500_000  # beyond 20 for each row of the file
_MAX_FILE_BYTES = 1 << 30
_FRAME_RATES = (24, 25, 30, 48, 50, 72, 90, 100, 120)  # of writers that count frames at their own rate
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TIMECODE = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})(?:[:;](\d{1,3}(?:[.,]\d*)?)|[.,](\d+))?")
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?")

_LOGGER = logging.getLogger(__name__)


class LiveLinkClip(NamedTuple):
    """Face motion with the time of each row.

    Attributes:
        weights: (T, 52) in the order of `ARKIT_NAMES`.
        head: (T, 4) quaternions xyzw; no rotation if the file lacks its angles.
        times: (T,) seconds from the first row, never falling.
        frame_rate: Rows per second, of the usual distance of two rows.
    """

    weights: npt.NDArray[np.float32]
    head: npt.NDArray[np.float32]
    times: npt.NDArray[np.float64]
    frame_rate: float

    def at_regular_times(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]:
        """Weights, head and frame rate with rows at equal distances, interpolated linearly where needed."""
        count = round(float(self.times[-1]) * self.frame_rate) + 1
        if count > _MAX_REGULAR_ROWS + 20 * len(self.times):
            raise TalkerError(
                f"a motion clip of {self.times[-1]:.0f} s has {len(self.times)} rows: cut it at its gaps"
            )
        regular = np.arange(count) / self.frame_rate
        if count == len(self.times) and np.abs(self.times - regular).max() < 0.25 / self.frame_rate:
            return self.weights, self.head, self.frame_rate
        flips = np.cumprod(np.sign(np.append(1.0, (self.head[1:] * self.head[:-1]).sum(axis=1)) + 1e-9))
        weights, head = (
            np.stack([np.interp(regular, self.times, column) for column in values.T], axis=1)
            for values in (self.weights, self.head * flips[:, None])
        )
        head /= np.linalg.norm(head, axis=1, keepdims=True)
        return weights.astype(np.float32), head.astype(np.float32), self.frame_rate


def read_livelink_csv(path: str | os.PathLike[str]) -> LiveLinkClip:
    """Read face motion; columns are found by name, in any order and without regard to case.

    Args:
        path: A file of the app, of `write_livelink_csv` or of another tool.

    Returns:
        The clip.

    Raises:
        TalkerError: If the file cannot be read, lacks a shape or the timecode, or has a row that is not
            numbers or goes back in time.
    """
    try:
        return _read(Path(path))
    except TalkerError:
        raise
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror or error}): give an existing file"
        ) from None
    except Exception as error:  # a damaged file raises many types in the text and CSV libraries
        raise TalkerError(
            f"{path} cannot be read as a Live Link Face CSV ({type(error).__name__}): export it again"
        ) from None


def _read(path: Path) -> LiveLinkClip:
    rows = _split_rows(path, _decode(path, path.read_bytes() if _is_small(path) else b""))
    header = next(rows, (0, [""]))[1]
    columns: dict[str, int] = {}
    for index, name in enumerate(header):
        columns.setdefault(re.sub(r"[^a-z0-9]", "", name.lower()), index)
    missing = [name for name in ("timecode", *ARKIT_NAMES) if name.lower() not in columns]
    if missing:
        raise TalkerError(
            f"{path} lacks the column {missing[0]} ({len(missing)} are missing): export all 52 "
            "shapes and the timecode"
        )
    has_angles = all(name.lower() in columns for name in ANGLES[:3])
    names = (*ARKIT_NAMES, *(ANGLES[:3] if has_angles else ()))
    indices = [columns[name.lower()] for name in names]
    values, timecodes = array.array("d"), list[str]()
    for line, row in rows:
        if len(row) < max(indices) + 1 or any(cell.strip() for cell in row[len(header) :]):
            raise TalkerError(
                f"{path} has {len(row)} columns in line {line}, its header has {len(header)}: export it "
                "again (decimal commas need quotes, or semicolons between the columns)"
            )
        values.extend(_parse_number(path, line, row[index]) for index in indices)
        timecodes.append(row[columns["timecode"]])
    if not timecodes:
        raise TalkerError(f"{path} has a header and no rows: record at least one frame")
    table = np.frombuffer(values, np.float64).reshape(len(timecodes), len(names))
    times = _times(path, timecodes)
    euler = table[:, 52:] if has_angles else np.zeros((len(table), 3))
    steps = np.diff(times)
    steps = steps[steps > 0]
    rate = float(1 / np.median(steps)) if len(steps) else DEFAULT_FRAME_RATE
    if abs(rate - round(rate)) < 0.02:  # the timecode has thousandths of a sixtieth
        rate = float(round(rate))
    weights = _scale_weights(path, table[:, :52])
    return LiveLinkClip(
        weights.astype(np.float32), euler_to_quaternion(euler).astype(np.float32), times, rate
    )


def _is_small(path: Path) -> bool:
    if path.exists() and not path.is_file():
        raise TalkerError(f"{path} is not a file: give a Live Link Face CSV")
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise TalkerError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB: cut the clip")
    return True


def _decode(path: Path, data: bytes) -> str:
    if data.startswith(b"PK\x03\x04"):
        raise TalkerError(f"{path} is a workbook or an archive: save the table as CSV")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data[:64]:
        encoding = "utf-16-le" if data[1:64:2].count(0) > data[0:64:2].count(0) else "utf-16-be"
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # of an older spreadsheet: the names and numbers are ASCII
    if "\0" in text or not text.strip():
        raise TalkerError(f"{path} is empty or is not text: give a Live Link Face CSV")
    return text


def _split_rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that is not empty, the header first."""
    first, _, rest = text.lstrip().partition("\n")
    if re.match(r"\s*\"?sep=", first, re.IGNORECASE):  # a spreadsheet's note of its delimiter
        text, first = rest, rest.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, row


def _parse_number(path: Path, line: int, cell: str) -> float:
    text = cell.strip()
    percent = text.endswith("%")
    text = text.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(text):
        raise TalkerError(f"{path} has {text[:20]!r} in line {line}, which is not a number: export it again")
    value = float(text.replace(",", "."))
    if abs(value) > 1e6:
        raise TalkerError(f"{path} has {value:g} in line {line}: give weights from 0 to 1")
    return value / 100 if percent else value


def _scale_weights(path: Path, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights 0..1 of a clip whose weights are that already or are in percent."""
    greatest, least = float(weights.max()), float(weights.min())
    if _MIN_PERCENT <= greatest <= 100 * MAX_WEIGHT and least >= -100 * MAX_WEIGHT:
        return weights / 100
    if greatest > MAX_WEIGHT or least < -MAX_WEIGHT:
        raise TalkerError(
            f"{path} has weights from {least:g} to {greatest:g}: export them from 0 to 1, or in percent"
        )
    return weights


def _times(path: Path, timecodes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Seconds (T,) from the first row."""
    seconds, frames = np.zeros(len(timecodes)), np.zeros(len(timecodes))
    for row, text in enumerate(timecodes):
        match = _TIMECODE.fullmatch(text.strip())
        if match is None or int(match[2]) > 59 or int(match[3]) > 60:
            raise TalkerError(f"{path} has the timecode {text[:20]!r}: it needs hours:minutes:seconds:frames")
        seconds[row] = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])
        if match[4]:
            frames[row] = float(match[4].replace(",", "."))
        elif match[5]:
            frames[row] = TIMECODE_RATE * float(f"0.{match[5]}")
    rate = _timecode_rate(seconds, frames)
    if frames.max() > rate:
        raise TalkerError(
            f"{path} counts {frames.max():g} frames in a second of its timecode: export at most 60"
        )
    if rate != TIMECODE_RATE:
        _LOGGER.warning("%s counts the frames of its timecode at %d per second, not at 60", path, rate)
    times = seconds + frames / rate
    steps = np.diff(times)
    days = np.cumsum(np.append(0, steps < -_DAY_S / 2))
    times = times + days * _DAY_S
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        raise TalkerError(
            f"{path} goes back in time at {timecodes[int(back[0]) + 1].strip()[:20]}: give one take, with "
            "its rows in order"
        )
    return times - times[0]


def _timecode_rate(seconds: npt.NDArray[np.float64], frames: npt.NDArray[np.float64]) -> int:
    """Frames per second of the timecode: 60, unless every whole second counts 0, 1, … at another usual rate.

    Some writers count frames at the rate of the clip. Two whole seconds at least have to show it.
    """
    starts = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(seconds)]
    inner = list(pairwise(starts[1:-1]))
    if frames[0] == 0 and len(starts) > 2:
        inner.insert(0, (starts[0], starts[1]))
    if inner and starts[-1] - starts[-2] == inner[0][1] - inner[0][0]:  # the last second is whole, too
        inner.append((starts[-2], starts[-1]))
    counts = {end - start for start, end in inner}
    consecutive = (np.diff(seconds)[np.array(starts[1:-1], int) - 1] == 1).all() if len(starts) > 2 else False
    if len(inner) < 2 or len(counts) != 1 or not consecutive or counts.isdisjoint(_FRAME_RATES):
        return TIMECODE_RATE
    count = counts.pop()
    counted = all(np.array_equal(frames[start:end], np.arange(count)) for start, end in inner)
    return count if counted else TIMECODE_RATE
