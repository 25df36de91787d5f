# SPDX-License-Identifier: Apache-2.0
"""Messages of gaze_target: whatever they hold, commands with stamps or one warning each kind."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.dds.message_types import message_class
from streamingtalker_ros.runtime.gaze_input import FrameUnknownError, GazeInput, TransformPendingError
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.gaze_messages import gaze_message

STAMP, NOW = 1_700_000_000_000_000_000, 1_700_000_001_000_000_000


class Sink:
    """Collects commands."""

    def __init__(self) -> None:
        self.parameters = TalkerParameters(gaze_timeout=3.0, gaze_aversion=False)
        self.commands: list[tuple[Any, int]] = []

    def command(self, command: Any, stamp: int = 0) -> None:
        self.commands.append((command, stamp))


def make(transform: Any = None) -> tuple[Sink, GazeInput, list[str]]:
    sink, warnings, kinds = Sink(), list[str](), set[str]()

    def warn(kind: str, message: str) -> None:
        if kind not in kinds:
            kinds.add(kind)
            warnings.append(message)

    return sink, GazeInput(sink, warn, transform), warnings


def message(point: Any, stamp: int = STAMP, frame: str = "") -> Any:
    return gaze_message(message_class, point, stamp, frame)


@pytest.mark.parametrize("frame", ["", "head", "/head"])
def test_a_point_of_the_face_becomes_a_command_with_its_stamp(frame: str) -> None:
    sink, gaze, warnings = make()
    gaze.on_target(message((1.0, 0.5, 0.1), frame=frame), NOW)
    gaze.on_target(message((1.0, 0.5, 0.1), stamp=0, frame=frame), NOW)  # never set
    assert sink.commands == [(LookAt((1.0, 0.5, 0.1), 3.0), STAMP), (LookAt((1.0, 0.5, 0.1), 3.0), NOW)]
    assert warnings == []


def test_what_is_no_target_is_dropped_with_one_warning() -> None:
    sink, gaze, warnings = make()
    values = (math.nan, math.inf, -math.inf, 1e300, 0.0)
    for x in values:
        for y in values:
            gaze.on_target(message((x, y, 0.0)), NOW)
    assert sink.commands == [] and len(warnings) == 1 and "gaze_target" in warnings[0]


def test_without_tf_other_frames_are_taken_as_the_faces_with_one_warning() -> None:
    sink, gaze, warnings = make()
    for _ in range(3):
        gaze.on_target(message((1.0, 0.0, 0.0), frame="camera"), NOW)
    assert len(sink.commands) == 3 and len(warnings) == 1 and "camera" in warnings[0]


def test_points_of_other_frames_are_transformed_and_dropped_without_a_transform() -> None:
    def transform(point: Any, frame: str, stamp: int) -> Any:
        if frame == "pending":
            raise TransformPendingError("no transform yet")
        if frame != "camera":
            raise FrameUnknownError(f"{frame} does not exist")
        return point[0], point[1] + 1.0, point[2]

    sink, gaze, warnings = make(transform)
    gaze.on_target(message((1.0, 0.0, 0.0), frame="camera"), NOW)
    gaze.on_target(message((1.0, 0.0, 0.0), frame="head"), NOW)
    for _ in range(3):
        gaze.on_target(message((1.0, 0.0, 0.0), frame="nowhere"), NOW)
        gaze.on_target(message((1.0, 0.0, 0.0), frame="pending"), NOW)
    assert [command.point for command, _ in sink.commands] == [(1.0, 1.0, 0.0), (1.0, 0.0, 0.0)]
    assert len(warnings) == 1 and "nowhere" in warnings[0]


def test_names_of_frames_are_bounded_in_length_and_number() -> None:
    rng = np.random.default_rng(0)
    sink, gaze, warnings = make()
    for _ in range(1000):
        name = "".join(chr(int(c)) for c in rng.integers(32, 1000, int(rng.integers(1, 3000))))
        gaze.on_target(message((1.0, 0.0, 0.0), frame=name), NOW)
    assert len(sink.commands) == 1000 and len(warnings) <= 20 and max(map(len, warnings)) < 600
