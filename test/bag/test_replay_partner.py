# SPDX-License-Identifier: Apache-2.0
"""Replay of a partner's audio: a bag gives the frames of the live run, whatever the recorder's delay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rosbags import rosbag2

from streamingtalker_ros import Talker
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.dds.message_types import typestore
from support.bag_harness import BARE, STAMPED, TYPED, audio_message, read_raw, run, to_packets
from support.scheduler_harness import FORMAT, MS, S0, SchedulerHarness
from support.two_party import RATE, read_voice, to_level


def to_int16(pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    return (32767 * pcm).astype(np.int16)


@pytest.fixture(scope="module")
def voices(voice_path: Path) -> tuple[Any, Any]:
    """The face's words, two seconds, and the partner's, which begin as the face speaks and last for eight."""
    voice = to_level(read_voice(voice_path), -22.0)
    return to_int16(voice[: 2 * RATE]), to_int16(voice[: 8 * RATE])


def write_bag(path: Path, own: Any, partner: Any, name: str, delays: Any, info: bool = False) -> Path:
    """A bag with the audio of both; `delays` gives the ns from a packet's end to its recording."""
    entries: list[Any] = []
    for topic, packets in (
        ("/audio", to_packets(own)),
        ("/partner_audio", to_packets(partner, start=S0 + 1000 * MS)),
    ):
        for stamp, samples in packets:
            variant, message = audio_message(name, samples, stamp, RATE)
            entries.append((stamp + 20 * MS + delays(topic), topic, name, variant, message))
    with rosbag2.Writer(path, version=8, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for time, topic, kind, variant, message in sorted(entries, key=lambda entry: entry[0]):
            store = typestore(variant)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(connections[topic], time, store.serialize_cdr(message, kind))
    return path


def poses(frames: Any) -> Any:
    return np.stack([np.concatenate((frame.weights, frame.head)) for frame in frames])


@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("name", [STAMPED, TYPED])
def test_a_replay_gives_the_frames_of_the_live_run(
    tmp_path: Path, talker: Talker, voices: Any, name: str, interrupts: bool
) -> None:
    own, partner = voices
    harness = SchedulerHarness(talker, seed=5, interrupt_on_partner=interrupts)
    begin = harness.now
    harness.send_realtime(own)
    for stamp, samples in to_packets(partner, start=S0 + 1000 * MS):
        at = begin + (stamp - S0) / 1e9 + 0.024
        sent = AudioPacket(samples.tobytes(), FORMAT, stamp, at)
        harness.at(at, lambda sent=sent: harness.session.partner.push(sent))
    harness.run(9.0)
    source = write_bag(tmp_path / "in", own, partner, name, lambda topic: 5 * MS)
    replayed, warnings = run(source, tmp_path / "out", talker, seed=5, interrupt_on_partner=interrupts)
    assert warnings == [] and harness.statistics.interrupts == replayed.statistics.interrupts
    live = {frame.stamp: pose for frame, pose in zip(harness.faces, poses(harness.faces), strict=True)}
    common = [frame for frame in replayed.frames if frame.stamp in live]
    assert len(common) >= 200
    np.testing.assert_array_equal(poses(common), np.stack([live[frame.stamp] for frame in common]))
    assert read_raw(tmp_path / "out", "/partner_audio") == read_raw(source, "/partner_audio")
    again, _ = run(tmp_path / "out", tmp_path / "again", talker, seed=5, interrupt_on_partner=interrupts)
    np.testing.assert_array_equal(poses(again.frames), poses(replayed.frames))


def test_the_delay_of_the_recorder_changes_nothing(tmp_path: Path, talker: Talker, voices: Any) -> None:
    own, partner = voices
    rng = np.random.default_rng(0)
    results = []
    for name, delays in (("a", lambda topic: 5 * MS), ("b", lambda topic: int(rng.integers(5, 19)) * MS)):
        source = write_bag(tmp_path / name, own, partner, STAMPED, delays)
        results.append(poses(run(source, tmp_path / f"{name}_out", talker)[0].frames))
    np.testing.assert_array_equal(results[0], results[1])


def test_damaged_partner_audio_costs_one_warning(tmp_path: Path, talker: Talker, voices: Any) -> None:
    own, _ = voices
    store = typestore("ros-drivers")
    with rosbag2.Writer(tmp_path / "in", version=8, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        audio = writer.add_connection("/audio", STAMPED, typestore=store)
        partner = writer.add_connection("/partner_audio", BARE, typestore=store)
        for stamp, samples in to_packets(own):
            writer.write(
                audio,
                stamp + 25 * MS,
                store.serialize_cdr(audio_message(STAMPED, samples, stamp, RATE)[1], STAMPED),
            )
            text = store.types[BARE](np.frombuffer(b'{"text": "hello"}', np.uint8))
            writer.write(partner, stamp + 25 * MS, store.serialize_cdr(text, BARE))
    replayed, warnings = run(tmp_path / "in", tmp_path / "out", talker)
    assert replayed.statistics.frames == 50 and len(warnings) == 1 and "JSON" in warnings[0]
