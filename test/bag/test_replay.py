# SPDX-License-Identifier: Apache-2.0
"""Laws of a replay's frames, on bags of both storages and variants: a stream's, and the node's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamingtalker_ros.audio.resample import to_16k
from streamingtalker_ros.bag import rosbag_io
from streamingtalker_ros.dds.message_types import type_hash, typestore
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.model.vertex.streaming import VertexTalker
from streamingtalker_ros.streaming import Talker
from streamingtalker_ros.streaming.talker import load_talker
from support.bag_harness import (
    BARE,
    MOTION,
    SECOND,
    STAMPED,
    TYPED,
    audio_frames,
    audio_message,
    network,
    read_messages,
    read_raw,
    rosbag2,
    run,
    run_to_path,
    stack_weights,
    to_packets,
    write_bag,
)
from support.published_model import convert_miniature
from support.scheduler_harness import MS, S0, SchedulerHarness, floats, offline, voice

BAG_TYPES = [(STAMPED, "sqlite3"), (STAMPED, "mcap"), (TYPED, "sqlite3"), (TYPED, "mcap")]


@pytest.fixture(scope="module")
def talker() -> Any:
    return Talker(network(), "cpu")


# -- the frames ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, storage", BAG_TYPES)
def test_the_bag_holds_a_streams_frames_and_every_run_gives_the_same_bytes(
    tmp_path: Path, talker: Any, name: str, storage: str
) -> None:
    pcm = voice(1.01)
    source = write_bag(tmp_path / "in", to_packets(pcm), name, storage, info=S0 if name == STAMPED else None)
    played, warnings = run(source, tmp_path / "out", talker, seed=7)
    reference = offline(talker, floats(pcm), seed=7)
    weights, stamps = audio_frames(played)
    assert not warnings and len(weights) == 26 == len(reference)
    np.testing.assert_allclose(weights, stack_weights(reference), atol=1e-5)
    assert stamps.tolist() == [S0 + k * 40 * MS for k in range(26)]
    messages = [message for _, message in read_messages(tmp_path / "out", "/face_motion")]
    assert [message.frame for message in messages] == list(range(len(played.motion.stamps)))
    assert np.array_equal(np.stack([message.weights for message in messages]), played.motion.weights)
    assert messages[3].header.stamp.nanosec == (S0 + 120 * MS) % SECOND
    assert messages[3].header.frame_id == "head"
    # the mouth is closed when the bag ends
    assert len(messages) > 26 and messages[-1].names[17] == "jawOpen"
    run(source, tmp_path / "again", talker, seed=7)
    assert read_raw(tmp_path / "again", "/face_motion") == read_raw(tmp_path / "out", "/face_motion")
    run(source, tmp_path / "other", talker, seed=8)
    assert read_raw(tmp_path / "other", "/face_motion") != read_raw(tmp_path / "out", "/face_motion")


@pytest.mark.parametrize("name, storage", BAG_TYPES)
def test_the_audio_is_copied_and_every_topic_has_its_definition(
    tmp_path: Path, talker: Any, name: str, storage: str
) -> None:
    source = write_bag(
        tmp_path / "in", to_packets(voice(0.4)), name, storage, info=S0 if name == STAMPED else None
    )
    run(source, tmp_path / "out", talker)
    for topic in ("/audio", "/audio_info"):
        assert read_raw(tmp_path / "out", topic) == read_raw(source, topic)
    with rosbag2.Reader(tmp_path / "out") as reader:
        hashes = {c.topic: (c.msgtype, c.digest) for c in reader.connections}
        text = next(c.msgdef.data for c in reader.connections if c.topic == "/face_motion")
    assert hashes["/face_motion"] == (MOTION, type_hash(MOTION)) and hashes["/audio"][0] == name
    assert hashes["/audio"][1] == type_hash(name, "mgonzs13" if name == TYPED else "ros-drivers")
    if storage == "mcap":  # sqlite3 keeps definitions in a table that is younger than Humble
        assert "float32[] weights" in text
    assert list((tmp_path / "out").glob("*.mcap" if storage == "mcap" else "*.db3"))
    ((_, model),) = read_messages(tmp_path / "out", "/face_model")
    assert model.name == default_rig().name and model.frame_rate == 25.0
    np.testing.assert_array_equal(np.reshape(model.vertices, (-1, 3)), default_rig().vertices)


@pytest.mark.parametrize("storage, compression", [("sqlite3", "MESSAGE"), ("mcap", "FILE")])
def test_compressed_bags_and_single_files_give_the_same_frames(
    tmp_path: Path, talker: Any, storage: str, compression: str | None
) -> None:
    packets = to_packets(voice(0.4))
    plain = write_bag(tmp_path / "plain", packets, storage=storage)
    packed = write_bag(tmp_path / "packed", packets, storage=storage, compression=compression)
    (single,) = plain.glob("plain.*")
    expected = read_raw(run_to_path(plain, tmp_path / "a", talker), "/face_motion")
    assert expected and read_raw(run_to_path(packed, tmp_path / "b", talker), "/face_motion") == expected
    assert read_raw(run_to_path(single, tmp_path / "c", talker), "/face_motion") == expected
    for out in "abc":  # the output has the storage of the input
        assert len(list((tmp_path / out).glob("*.mcap"))) == (storage == "mcap")


def test_a_frame_is_published_when_the_audio_it_needs_is_received(tmp_path: Path, talker: Any) -> None:
    source = write_bag(tmp_path / "in", to_packets(voice(0.6)))
    run(source, tmp_path / "out", talker)
    times = [time for time, _ in read_messages(tmp_path / "out", "/face_motion")]
    late = [time - (S0 + (k + 3) * 40 * MS + 5 * MS) for k, time in enumerate(times[:13])]
    assert max(np.abs(late)) < MS  # frame k needs the audio up to that of frame k + 2, received 5 ms later


def test_audio_at_another_rate_is_resampled_as_one_clip(tmp_path: Path, talker: Any) -> None:
    pcm = voice(1.0, rate=44100)
    source = write_bag(tmp_path / "in", to_packets(pcm, 44100), TYPED, "mcap", rate=44100)
    weights, _ = audio_frames(run(source, tmp_path / "out", talker)[0])
    np.testing.assert_allclose(weights, stack_weights(offline(talker, to_16k(floats(pcm), 44100))), atol=1e-5)


def test_audio_info_holds_for_the_packets_before_it(tmp_path: Path, talker: Any) -> None:
    pcm = voice(1.0, rate=32000)
    source = write_bag(tmp_path / "in", to_packets(pcm, 32000), rate=32000, info=S0 + 700 * MS)
    played, _ = run(source, tmp_path / "out", talker)
    assert played.statistics.streams == 1 and played.statistics.format_changes == 0
    expected = stack_weights(offline(talker, to_16k(floats(pcm), 32000)))
    np.testing.assert_allclose(audio_frames(played)[0], expected, atol=1e-5)


def test_messages_without_a_stamp_are_timed_by_the_bag(tmp_path: Path, talker: Any) -> None:
    pcm = voice(1.0)
    source = write_bag(tmp_path / "in", to_packets(pcm), BARE)
    played, _ = run(source, tmp_path / "out", talker)
    weights, stamps = audio_frames(played)
    np.testing.assert_allclose(weights, stack_weights(offline(talker, floats(pcm))), atol=1e-5)
    assert abs(int(stamps[0]) - (S0 + 5 * MS)) < MS


# -- the node's rules ----------------------------------------------------------------------------------------


def test_a_short_hole_is_silence_and_a_long_one_begins_a_new_stream(tmp_path: Path, talker: Any) -> None:
    pcm = voice(2.0)
    packets = to_packets(pcm)
    short = packets[:40] + packets[44:]  # 80 ms are missing
    played, _ = run(write_bag(tmp_path / "short", short), tmp_path / "short_out", talker)
    silenced = pcm.copy()
    silenced[40 * 320 : 44 * 320] = 0
    assert played.statistics.streams == played.statistics.gaps == 1
    np.testing.assert_allclose(
        audio_frames(played)[0], stack_weights(offline(talker, floats(silenced))), atol=1e-5
    )
    long = packets[:40] + [(stamp + SECOND, samples) for stamp, samples in packets[40:]]
    played, _ = run(write_bag(tmp_path / "long", long), tmp_path / "long_out", talker)
    frames = [message.frame for _, message in read_messages(tmp_path / "long_out", "/face_motion")]
    second = frames.index(0, 1)
    assert played.statistics.streams == 2 and played.motion.stamps[second] == S0 + 1800 * MS
    expected = stack_weights(offline(talker, floats(pcm[40 * 320 :])))
    # five frames of cross-fade from the previous motion
    np.testing.assert_allclose(played.motion.weights[second + 5 : second + 30], expected[5:30], atol=1e-5)


def test_duplicates_and_stragglers_change_no_frame(tmp_path: Path, talker: Any) -> None:
    packets = to_packets(voice(1.0))
    clean, _ = run(write_bag(tmp_path / "clean", packets), tmp_path / "clean_out", talker)
    times = [stamp + 25 * MS for stamp, _ in packets]
    dirty = [*packets, packets[10], packets[3]]  # duplicates: immediately, and 400 ms later
    source = write_bag(tmp_path / "dirty", dirty, times=[*times, times[10] + MS, times[23] + MS])
    played, _ = run(source, tmp_path / "dirty_out", talker)
    assert played.statistics.duplicates + played.statistics.late == 2
    np.testing.assert_array_equal(audio_frames(played)[0], audio_frames(clean)[0])


def test_a_stalled_recorder_loses_no_audio(tmp_path: Path, talker: Any) -> None:
    packets = to_packets(voice(2.0))
    times = [stamp + 25 * MS for stamp, _ in packets]
    clean, _ = run(write_bag(tmp_path / "clean", packets), tmp_path / "clean_out", talker)
    # no message was recorded for 0.4 s
    stalled = [max(time, times[55]) if 35 <= k < 55 else time for k, time in enumerate(times)]
    played, _ = run(write_bag(tmp_path / "stalled", packets, times=stalled), tmp_path / "stalled_out", talker)
    assert played.statistics.late == played.statistics.overlaps == 0
    np.testing.assert_array_equal(played.motion.weights, clean.motion.weights)


def test_unpaced_audio_is_paced_in_real_time(tmp_path: Path, talker: Any) -> None:
    pcm = voice(2.0)
    packets = to_packets(pcm)
    source = write_bag(tmp_path / "in", packets, times=[S0 + k * 1000 for k in range(len(packets))])
    played, warnings = run(source, tmp_path / "out", talker)
    np.testing.assert_allclose(
        audio_frames(played)[0], stack_weights(offline(talker, floats(pcm))), atol=1e-5
    )
    times = [time for time, _ in read_messages(tmp_path / "out", "/face_motion")]
    assert not warnings and np.abs(np.diff(times[:50]) - 40 * MS).max() < MS


def test_faulty_audio_gives_the_frames_of_the_live_node(tmp_path: Path, talker: Any) -> None:
    pcm = voice(3.0)
    packets = to_packets(pcm)
    # holes of 0.2 and of 0.9 s
    packets = packets[:30] + packets[40:70] + [(stamp + 900 * MS, samples) for stamp, samples in packets[70:]]
    packets.insert(25, packets[24])  # twice
    ends = [stamp + 25 * MS for stamp, _ in packets]
    ends[25] += MS
    packets[50], packets[51] = packets[51], packets[50]  # swapped
    ends[50], ends[51] = ends[51], ends[51] + MS
    harness = SchedulerHarness(talker)
    for (stamp, samples), end in zip(packets, ends, strict=True):
        harness.send(samples, stamp, at=100.0 + (end - S0) / SECOND)
    harness.run(5.0)
    played, _ = run(write_bag(tmp_path / "in", packets, times=ends), tmp_path / "out", talker)
    count = len(played.motion.stamps)
    expected = harness.faces[:count]  # its idle frames continue
    assert played.statistics.streams == 2 and count > 75 and played.motion.idle[:-10].any()
    assert played.motion.stamps.tolist() == [frame.stamp for frame in expected]
    assert played.motion.idle.tolist() == [frame.idle for frame in expected]
    np.testing.assert_allclose(played.motion.weights, stack_weights(expected), atol=1e-5)


def test_a_damaged_message_is_skipped_with_a_warning(tmp_path: Path, talker: Any) -> None:
    packets = to_packets(voice(1.0))
    source = tmp_path / "in"
    store = typestore("ros-drivers")
    with rosbag2.Writer(source, version=8) as writer:
        connection = writer.add_connection("/audio", STAMPED, typestore=store)
        for k, (stamp, samples) in enumerate(packets):
            data = bytes(store.serialize_cdr(audio_message(STAMPED, samples, stamp, 16000)[1], STAMPED))
            writer.write(connection, stamp + 25 * MS, data[:30] if k == 20 else data)
    played, warnings = run(source, tmp_path / "out", talker)
    assert played.statistics.rejected == 1 and len(warnings) == 1 and "/audio" in warnings[0]
    assert played.statistics.frames == 25 and played.statistics.gaps == 1


def test_another_definition_of_a_type_is_rejected(tmp_path: Path) -> None:
    from rosbags import typesys

    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    store.register(typesys.get_types_from_msg("std_msgs/Header header\nuint8[] data\n", STAMPED))
    with rosbag2.Writer(tmp_path / "in", version=8) as writer:
        writer.add_connection("/audio", STAMPED, typestore=store)
    with rosbag_io.BagInput(tmp_path / "in") as bag, pytest.raises(TalkerError, match="another definition"):
        bag.count(bag.audio_topic())


def test_a_vertex_talker_writes_its_vertices_and_no_face_motion(tmp_path: Path) -> None:
    vertex_talker = load_talker(convert_miniature(tmp_path), "cpu")
    assert isinstance(vertex_talker, VertexTalker)
    assert vertex_talker.template is not None
    pcm = voice(2.0)
    source = write_bag(tmp_path / "in", to_packets(pcm))
    result, _ = run(source, tmp_path / "out", vertex_talker)
    expected = vertex_talker.open_stream().accept(floats(pcm))
    template = y_up_to_ros(vertex_talker.template)
    messages = [message for _, message in read_messages(tmp_path / "out", "/face_vertices")]
    assert result.motion is None and len(messages) == len(result.frames) >= len(expected) > 30
    for message, frame in zip(
        messages, expected[:-12], strict=False
    ):  # silence completes or fades the last ones
        vertices = template + np.reshape(message.offsets, (-1, 3))
        np.testing.assert_allclose(vertices, y_up_to_ros(frame.vertices), atol=1e-5)
    with rosbag2.Reader(tmp_path / "out") as reader:
        assert "/face_motion" not in reader.topics
    ((_, model),) = read_messages(tmp_path / "out", "/face_model")
    np.testing.assert_array_equal(np.reshape(model.vertices, (-1, 3)), template)
