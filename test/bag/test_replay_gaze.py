# SPDX-License-Identifier: Apache-2.0
"""Replay of gaze targets: by their stamps, so that a replay gives the frames of the live run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.conversation.commands import LookAt
from streamingtalker_ros.dds.message_types import typestore
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE
from streamingtalker_ros.streaming import Talker
from support.bag_harness import audio_entries, header, network, read_raw, run, to_packets, write_entries
from support.scheduler_harness import MS, S0, SchedulerHarness, voice

TARGETS = {300: (1.0, 0.6, 0.0), 801: (1.0, -0.6, 0.2), 1200: (2.0, 0.1, -0.3)}


@pytest.fixture(scope="module")
def talker() -> Any:
    return Talker(network(), "cpu")


def write_bag(path: Path, delays_ms: dict[int, int], storage: str, points: Any = None) -> Path:
    """A bag of two seconds of a voice and of targets recorded some time after their stamps."""
    store, entries = typestore("ros-drivers"), audio_entries("/audio", to_packets(voice(2.0)))
    for offset, target in (points or TARGETS).items():
        point = store.types["geometry_msgs/msg/Point"](*target)
        message = store.types[GAZE_TYPE](header(store, S0 + offset * MS, "head"), point)
        time = S0 + (offset + delays_ms.get(offset, 0)) * MS
        entries.append((time, "/gaze_target", GAZE_TYPE, "ros-drivers", message))
    return write_entries(path, entries, storage)


def poses(frames: Any) -> Any:
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_a_replay_gives_the_frames_of_the_live_run(tmp_path: Path, talker: Any, storage: str) -> None:
    harness = SchedulerHarness(talker, seed=5)
    harness.send_realtime(voice(2.0))
    for offset, target in TARGETS.items():
        command = LookAt(target, 2.0, aversion=True)
        harness.at(
            harness.now + (offset + 20) / 1000,
            lambda command=command, offset=offset: harness.session.command(command, S0 + offset * MS),
        )
    harness.run(2.4)
    live = poses(harness.audio)
    replayed, warnings = run(write_bag(tmp_path / "in", {}, storage), tmp_path / "out", talker, seed=5)
    frames = [frame for frame in replayed.frames if not frame.idle]
    assert len(live) == len(frames) == 50 and warnings == []
    np.testing.assert_array_equal(poses(frames), live)
    assert read_raw(tmp_path / "out", "/gaze_target") == read_raw(tmp_path / "in", "/gaze_target")
    # the output holds all inputs: it can be replayed again
    again, _ = run(tmp_path / "out", tmp_path / "again", talker, seed=5)
    np.testing.assert_array_equal(poses([frame for frame in again.frames if not frame.idle]), live)


def test_the_delay_of_the_recorder_changes_nothing(tmp_path: Path, talker: Any) -> None:
    results = []
    for name, delays in (("a", {}), ("b", {300: 60, 801: 10, 1200: 75})):
        replayed, _ = run(write_bag(tmp_path / name, delays, "mcap"), tmp_path / f"{name}_out", talker)
        results.append(poses(replayed.frames))
    np.testing.assert_array_equal(results[0], results[1])


def test_gaze_targets_change_the_frames_from_their_stamps_on(tmp_path: Path, talker: Any) -> None:
    with_targets, _ = run(write_bag(tmp_path / "a", {}, "mcap"), tmp_path / "a_out", talker)
    shutil.rmtree(tmp_path / "a")
    other_topic, _ = run(tmp_path / "a_out", tmp_path / "b", talker, gaze_topic="other")
    first = int(np.argmax((poses(with_targets.frames) != poses(other_topic.frames)).any(axis=1)))
    assert with_targets.frames[first].stamp == S0 + 320 * MS


def test_targets_that_are_none_cost_one_warning(tmp_path: Path, talker: Any) -> None:
    points = {n: (float("nan"), 0.0, 0.0) for n in range(100, 1500, 10)}
    replayed, warnings = run(write_bag(tmp_path / "in", {}, "mcap", points), tmp_path / "out", talker)
    plain, _ = run(tmp_path / "in", tmp_path / "plain", talker, gaze_topic="other")
    np.testing.assert_array_equal(poses(replayed.frames), poses(plain.frames))
    assert len(warnings) == 1
