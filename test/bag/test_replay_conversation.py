# SPDX-License-Identifier: Apache-2.0
"""Replay of a conversation: a bag of all inputs gives the frames of the live run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.dds.message_types import typestore
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.expression_input import (
    EXPRESSION_TYPE,
    GESTURE_TYPE,
    HRI_EXPRESSION_TYPE,
    ExpressionInput,
)
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE, GazeInput
from support.bag_harness import (
    BARE,
    SECOND,
    STAMPED,
    TYPED,
    audio_entries,
    header,
    network,
    read_raw,
    run,
    to_packets,
    write_entries,
)
from support.gaze import gaze_errors
from support.scheduler_harness import FORMAT, MS, S0, SchedulerHarness
from support.two_party import RATE, read_voice, to_level

PACKET_NS = 20 * MS
NETWORK_DELAY_NS = 4 * MS
PARTNER_START = S0 + 1000 * MS


def to_int16(pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    return (32767 * pcm).astype(np.int16)


@pytest.fixture(scope="module")
def voices(voice_path: Path) -> tuple[Any, Any]:
    """Four seconds of the face's words, and eight of the partner's, who begins while the face speaks."""
    voice = to_level(read_voice(voice_path), -22.0)
    return to_int16(voice[-4 * RATE :]), to_int16(voice[: 8 * RATE])


def commands() -> list[tuple[str, str, Any]]:
    """Messages of the topics of gaze, emotion and gestures, as (topic, type, message)."""
    store = typestore("ros-drivers")

    def message(offset_ms: int, name: str, *fields: Any) -> Any:
        return store.types[name](header(store, S0 + offset_ms * MS, "head"), *fields)

    def point(*xyz: float) -> Any:
        return store.types["geometry_msgs/msg/Point"](*xyz)

    return [
        ("/gaze_target", GAZE_TYPE, message(300, GAZE_TYPE, point(1.0, 0.6, 0.0))),
        ("/gaze_target", GAZE_TYPE, message(801, GAZE_TYPE, point(1.0, -0.6, 0.2))),
        ("/gaze_target", GAZE_TYPE, message(8000, GAZE_TYPE, point(2.0, 0.1, -0.3))),
        ("/expression", EXPRESSION_TYPE, message(440, EXPRESSION_TYPE, "happy", 0.75, 0.0, 0.0, 0.0)),
        ("/expression", EXPRESSION_TYPE, message(3333, EXPRESSION_TYPE, "", 1.0, -0.5, 0.75, 2.0)),
        ("/gesture", GESTURE_TYPE, message(1250, GESTURE_TYPE, "shake", 12.0, 2)),
        ("/gesture", GESTURE_TYPE, message(7001, GESTURE_TYPE, "nod", 0.0, 0)),
    ]


def bag_entries(own: Any, partner: Any, name: str, delay: Any = lambda: 5 * MS) -> list[Any]:
    """Entries of a bag of all inputs; `delay` gives the ns until a message is recorded."""
    return [
        *audio_entries("/audio", to_packets(own), name, delay=delay),
        *audio_entries("/partner_audio", to_packets(partner, start=PARTNER_START), name, delay=delay),
        *(
            (stamp_to_ns(message.header.stamp) + delay(), topic, kind, "ros-drivers", message)
            for topic, kind, message in commands()
        ),
    ]


def run_live(talker: Talker, own: Any, partner: Any, **parameters: Any) -> SchedulerHarness:
    """Let a session receive all inputs as their senders send them."""
    harness = SchedulerHarness(talker, seed=5, **parameters)
    session, begin = harness.session, harness.now

    def at(stamp: int, action: Any) -> float:
        time = begin + (stamp + NETWORK_DELAY_NS - S0) / SECOND
        harness.at(time, lambda: action(time))
        return time

    def push(stamp: int, samples: Any) -> None:
        payload = samples.tobytes()
        at(stamp + PACKET_NS, lambda time: session.partner.push(AudioPacket(payload, FORMAT, stamp, time)))

    harness.send_realtime(own)
    for stamp, samples in to_packets(partner, start=PARTNER_START):
        push(stamp, samples)

    def warn(kind: str, text: str) -> None:
        harness.warnings.append(text)

    gaze, expression = GazeInput(session, warn), ExpressionInput(session, warn)
    receive = {
        "/gaze_target": lambda message, kind, stamp: gaze.on_target(message, stamp),
        "/expression": expression.on_expression,
        "/gesture": lambda message, kind, stamp: expression.on_gesture(message, stamp),
    }
    for topic, kind, message in commands():
        stamp = stamp_to_ns(message.header.stamp)
        at(stamp, lambda _, each=(topic, message, kind, stamp): receive[each[0]](*each[1:]))
    harness.run(9.2)
    return harness


def poses(frames: Any) -> Any:
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, talker: Talker, voices: tuple[Any, Any]) -> Any:
    """The frames of the bag of all inputs."""
    folder = tmp_path_factory.mktemp("whole")
    source = write_entries(folder / "in", bag_entries(*voices, STAMPED))
    return run(source, folder / "out", talker)[0].frames


@pytest.fixture(scope="module", params=[False, True], ids=["polite", "interrupted"])
def live(request: pytest.FixtureRequest, talker: Talker, voices: tuple[Any, Any]) -> Any:
    """Whether the partner may interrupt the face, and a live run."""
    return request.param, run_live(talker, *voices, interrupt_on_partner=request.param)


@pytest.mark.parametrize(("storage", "name"), [("sqlite3", STAMPED), ("mcap", TYPED)])
def test_a_replay_gives_the_frames_of_the_live_run(
    tmp_path: Path, talker: Talker, voices: tuple[Any, Any], live: Any, storage: str, name: str
) -> None:
    interrupts, harness = live
    source = write_entries(tmp_path / "in", bag_entries(*voices, name), storage)
    settings = {"seed": 5, "interrupt_on_partner": interrupts}
    replayed, warnings = run(source, tmp_path / "out", talker, **settings)
    assert warnings == harness.warnings == []
    assert replayed.statistics.interrupts == harness.statistics.interrupts == interrupts
    expected = {frame.stamp: pose for frame, pose in zip(harness.faces, poses(harness.faces), strict=True)}
    common = [frame for frame in replayed.frames if frame.stamp in expected]
    assert len(common) >= 220
    np.testing.assert_array_equal(poses(common), np.stack([expected[frame.stamp] for frame in common]))
    # the output holds all inputs: it can be replayed again
    for topic in ("/audio", "/partner_audio", "/gaze_target", "/expression", "/gesture"):
        assert read_raw(tmp_path / "out", topic) == read_raw(source, topic)
    again, _ = run(tmp_path / "out", tmp_path / "again", talker, **settings)
    np.testing.assert_array_equal(poses(again.frames), poses(replayed.frames))


@pytest.mark.parametrize("topic", ["/partner_audio", "/gaze_target", "/expression", "/gesture"])
def test_each_input_counts(
    tmp_path: Path, talker: Talker, voices: tuple[Any, Any], whole: Any, topic: str
) -> None:
    entries = [entry for entry in bag_entries(*voices, STAMPED) if entry[1] != topic]
    replayed, _ = run(write_entries(tmp_path / "in", entries), tmp_path / "out", talker)
    all_inputs, without = (
        {frame.stamp: pose for frame, pose in zip(frames, poses(frames), strict=True)}
        for frames in (whole, replayed.frames)
    )
    common = all_inputs.keys() & without.keys()
    assert any((all_inputs[stamp] != without[stamp]).any() for stamp in common)


def test_the_delay_of_the_recorder_changes_nothing(
    tmp_path: Path, talker: Talker, voices: tuple[Any, Any], whole: Any
) -> None:
    rng = np.random.default_rng(0)
    entries = bag_entries(*voices, STAMPED, lambda: int(rng.integers(5, 19)) * MS)
    replayed, _ = run(write_entries(tmp_path / "in", entries), tmp_path / "out", talker)
    np.testing.assert_array_equal(poses(replayed.frames), poses(whole))


def test_commands_after_the_audio_are_followed_however_long_it_lasts(tmp_path: Path) -> None:
    talker = Talker(network(), "cpu")
    store, seconds = typestore("ros-drivers"), 125
    entries = audio_entries("/audio", to_packets(np.zeros(RATE, np.int16)))
    for n in range(10 * seconds):
        stamp = S0 + n * 100 * MS
        y = 0.5 if n < 10 * seconds - 30 else -0.5
        target = store.types["geometry_msgs/msg/Point"](1.0, y, 0.0)
        message = store.types[GAZE_TYPE](header(store, stamp, "head"), target)
        entries.append((stamp + 2 * MS, "/gaze_target", GAZE_TYPE, "ros-drivers", message))
    replayed, warnings = run(
        write_entries(tmp_path / "in", entries), tmp_path / "out", talker, gaze_aversion=False
    )
    frames = {frame.stamp: frame for frame in replayed.frames}
    assert warnings == []
    for before_end, y in ((10, 0.5), (1, -0.5)):
        frame = frames[S0 + (seconds - before_end) * SECOND]
        assert gaze_errors([frame], (1.0, y, 0.0)).max() < 3.0


def test_an_expression_of_ros4hri_is_followed(tmp_path: Path, talker: Talker) -> None:
    store = typestore("ros-drivers")
    entries = audio_entries("/audio", to_packets(np.zeros(2 * RATE, np.int16)))
    message = store.types[HRI_EXPRESSION_TYPE](header(store, S0, "face"), "happy", 0.0, 0.0, 0.9)
    entries.append((S0 + MS, "/expression", HRI_EXPRESSION_TYPE, "ros-drivers", message))
    replayed, warnings = run(write_entries(tmp_path / "in", entries), tmp_path / "out", talker)
    plain, _ = run(write_entries(tmp_path / "plain", entries[:-1]), tmp_path / "plain_out", talker)
    assert warnings == [] and np.abs(poses(replayed.frames) - poses(plain.frames)).max() > 0.2


def test_inputs_in_the_namespace_of_the_audio_are_found(
    tmp_path: Path, talker: Talker, voices: tuple[Any, Any], whole: Any
) -> None:
    entries = bag_entries(*voices, STAMPED)
    renamed = [(time, f"/robot{topic}", *rest) for time, topic, *rest in entries]
    source = write_entries(tmp_path / "in", renamed)
    replayed, _ = run(source, tmp_path / "out", talker, "/robot/audio")
    np.testing.assert_array_equal(poses(replayed.frames), poses(whole))


@pytest.mark.parametrize("topic", ["/partner_audio", "/expression", "/gesture"])
def test_damaged_messages_of_an_input_cost_one_warning(
    tmp_path: Path, talker: Talker, voices: tuple[Any, Any], topic: str
) -> None:
    store = typestore("ros-drivers")
    damaged = {
        "/partner_audio": (BARE, store.types[BARE](np.frombuffer(b'{"text": "hello"}', np.uint8))),
        "/expression": (
            EXPRESSION_TYPE,
            store.types[EXPRESSION_TYPE](header(store, S0, "head"), "hungry", 1.0, 0.0, 0.0, 0.0),
        ),
        "/gesture": (
            GESTURE_TYPE,
            store.types[GESTURE_TYPE](header(store, S0, "head"), "nod", float("nan"), 1),
        ),
    }
    name, message = damaged[topic]
    entries = audio_entries("/audio", to_packets(voices[0]))
    entries += [(entry[0], topic, name, "ros-drivers", message) for entry in entries]
    replayed, warnings = run(write_entries(tmp_path / "in", entries), tmp_path / "out", talker)
    assert replayed.statistics.frames == 100 and len(warnings) == 1 and topic[1:] in warnings[0]
