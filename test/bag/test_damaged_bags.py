# SPDX-License-Identifier: Apache-2.0
"""A damaged bag is replayed as far as it is right, with one warning, or rejected with one sentence."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backports import zstd

from streamingtalker_ros.bag import rosbag_io
from streamingtalker_ros.cli.main import main
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.model.blendshape import checkpoint
from streamingtalker_ros.streaming import Talker
from support import bag_fuzzing
from support.bag_harness import (
    BARE,
    SECOND,
    STAMPED,
    audio_message,
    network,
    read_messages,
    rosbag2,
    run,
    to_packets,
    typestore,
    write_bag,
)
from support.scheduler_harness import MS, S0, voice


@pytest.fixture(scope="module")
def talker() -> Any:
    return Talker(network(), "cpu")


def rejection(path: Path) -> str:
    """Open a bag and read its audio; return the sentence with which it is rejected."""
    with pytest.raises(TalkerError) as caught, rosbag_io.BagInput(path) as bag:
        list(bag.messages(bag.audio_topic()))
    text = str(caught.value)
    assert text.isprintable() and len(text) < 900 and "report issue" not in text
    return text


def replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(text: bytes) -> bytes:
        changed, count = re.subn(old, lambda _: new, text, count=1)
        assert count, "the metadata look otherwise"
        return changed

    return change


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"",
        lambda text: b"\0" * 100,
        lambda text: text + b"# gr\xfcn\n",
        lambda text: text[: len(text) // 2],
        lambda text: b"- a list\n",
        lambda text: b"[" * 3000,
        lambda text: b"{a: " * 100_000,
        lambda text: b"- " * 100_000,
        lambda text: b"a: &a [1, 2]\nb: *c\n",
        lambda text: b"x" * (rosbag_io.MAX_METADATA_BYTES + 1),
        replace(rb"version: 8", b"version: 2001-99-99"),
        replace(rb"version: 8", b"version: 8" + b"0" * 5000),
        replace(rb"version: 8", b"version: [8]"),
        replace(rb"version: 8", b"version: 99"),
        replace(rb"storage_identifier: \w+", b"storage_identifier: ''"),
        replace(rb"storage_identifier: \w+", b"storage_identifier: [mcap]"),
        replace(rb"storage_identifier: \w+", b"storage_identifier: other"),
        replace(rb"relative_file_paths:", b"relative_file_paths: 5\nother:"),
        replace(rb"- message_count: \d+", b"- message_count: -5"),
        replace(rb"- message_count: \d+", b"- message_count: many"),
        replace(rb"type: [\w/]+", b"type: [a]"),
        replace(rb"name: /audio", b"name: 5"),
        replace(rb"name: /audio", b'name: "/audio\\nnext"'),
        replace(rb"serialization_format: cdr", b"serialization_format: json"),
    ],
)
def test_damaged_metadata_are_one_sentence_that_names_the_file_to_give(
    tmp_path: Path, storage: str, change: Callable[[bytes], bytes]
) -> None:
    bag = write_bag(tmp_path / "bag", to_packets(voice(0.2)), storage=storage)
    metadata = bag / "metadata.yaml"
    metadata.write_bytes(change(metadata.read_bytes()))
    text = rejection(bag)
    assert str(bag) in text and ("bag.db3" if storage == "sqlite3" else "bag.mcap") in text
    (single,) = (each for each in bag.iterdir() if each != metadata)
    with rosbag_io.BagInput(single) as alone:  # as the sentence says
        assert len(list(alone.messages("/audio"))) == 10


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "device", "missing", "empty"])
@pytest.mark.parametrize("which", ["metadata.yaml", "bag.db3", "alone.db3", "alone.mcap"])
def test_what_is_no_file_is_one_sentence_and_never_waited_for(tmp_path: Path, which: str, kind: str) -> None:
    bag = write_bag(tmp_path / "bag", to_packets(voice(0.2)))
    path = tmp_path / which if "alone" in which else bag / which
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "empty":
        path.touch()
    rejection(path if "alone" in which else bag)


def test_folders_that_hold_bags_are_answered_by_their_names(tmp_path: Path) -> None:
    for name in ("monday", "tuesday"):
        write_bag(tmp_path / name, to_packets(voice(0.2)))
    text = rejection(tmp_path)
    assert "monday" in text and "tuesday" in text
    (tmp_path / "monday" / "metadata.yaml").unlink()
    assert "monday.db3" in rejection(tmp_path / "monday")


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("name", ["take#2", "50%25", "a?b", "it's", "a&b=c", "x y", "-x", "ü"])
def test_the_name_of_a_folder_is_no_part_of_a_query(tmp_path: Path, storage: str, name: str) -> None:
    plain = write_bag(tmp_path / "bag", to_packets(voice(0.2)), storage=storage)
    (tmp_path / name).mkdir()
    bag = Path(shutil.copytree(plain, tmp_path / name / "bag"))
    (single,) = (each for each in bag.iterdir() if each.name != "metadata.yaml")
    alone = Path(shutil.copy(single, tmp_path / f"{name}{single.suffix}"))
    for path in (bag, single, alone):
        with rosbag_io.BagInput(path) as opened:
            assert len(list(opened.messages("/audio"))) == 10
    before = sorted(tmp_path.rglob("*"))
    try:
        with (
            rosbag_io.BagOutput(tmp_path / name / "out", storage) as output,
            rosbag_io.BagInput(bag) as opened,
        ):
            output.copy_topics(opened.connections("/audio"))
    except TalkerError as error:
        assert storage == "sqlite3" and "--storage mcap" in str(error)
        assert sorted(tmp_path.rglob("*")) == before  # no database of a part of the name
    else:
        with rosbag_io.BagInput(tmp_path / name / "out") as opened:
            assert "/audio" in opened.topics()


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
@pytest.mark.parametrize("compression", [None, "FILE", "MESSAGE"])
def test_a_storage_that_ends_anywhere_is_one_sentence_or_right(
    tmp_path: Path, storage: str, compression: str | None
) -> None:
    if storage == "mcap" and compression == "MESSAGE":
        compression = "STORAGE"
    whole = write_bag(tmp_path / "bag", to_packets(voice(0.2)), storage=storage, compression=compression)
    with rosbag_io.BagInput(whole) as bag:
        expected = [message.data for message in bag.messages("/audio")]
    (source,) = (each for each in whole.iterdir() if each.name != "metadata.yaml")
    content = source.read_bytes()
    rejected = 0
    for end in [*range(0, 64, 7), *range(64, len(content), max(1, len(content) // 40))]:
        source.write_bytes(content[:end])
        try:
            with rosbag_io.BagInput(whole) as bag:
                assert [message.data for message in bag.messages("/audio")] == expected
        except TalkerError as error:
            rejected += 1
            assert str(error).isprintable()
    assert rejected > 30


@pytest.mark.parametrize("value", [10**10, 5, "text", 1.5, None, -1])
def test_a_database_with_other_values_than_messages_is_one_sentence(tmp_path: Path, value: Any) -> None:
    """A whole number in place of the bytes must not become as many bytes."""
    for column in ("data", "timestamp"):
        bag = write_bag(tmp_path / column, to_packets(voice(0.2)))
        path = bag / f"{column}.db3"
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE copy AS SELECT * FROM messages")
            database.execute("DROP TABLE messages")
            database.execute("ALTER TABLE copy RENAME TO messages")
            database.execute(f"UPDATE messages SET {column} = ? WHERE id = 4", (value,))
        database.close()
        if column == "timestamp" and isinstance(value, int):
            continue  # a time, if of another year
        rejection(bag)


def grow(count: int) -> int:
    """Peak of resident bytes beyond those of `count` bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - count


@pytest.mark.parametrize("kind", ["message", "chunk"])
def test_a_compressed_bag_that_would_fill_the_memory_is_rejected(tmp_path: Path, kind: str) -> None:
    size = 2 * rosbag_io.MAX_CHUNK_BYTES
    packed = zstd.compress(bytes(size))
    mode = "MESSAGE" if kind == "message" else "STORAGE"
    storage = "sqlite3" if kind == "message" else "mcap"
    bag = write_bag(tmp_path / "bag", to_packets(voice(0.2)), storage=storage, compression=mode)
    (path,) = (each for each in bag.iterdir() if each.name != "metadata.yaml")
    if kind == "message":
        with sqlite3.connect(path) as database:
            database.execute("UPDATE messages SET data = ? WHERE id = 4", (packed,))
        database.close()
    else:
        content = bytearray(path.read_bytes())
        begin = content.index(packed[:4])  # the frame of the only chunk
        with rosbag2.Reader(path) as reader:
            opened: Any = reader.storage
            (chunk,) = opened.chunks
        content[begin : begin + min(len(packed), chunk.compressed_size)] = packed[: chunk.compressed_size]
        path.write_bytes(content)
    before = grow(0)
    rejection(bag)
    assert grow(before) < 3 * rosbag_io.MAX_MESSAGE_BYTES


def test_the_metadata_of_a_bag_may_lie_about_its_times(tmp_path: Path, talker: Any) -> None:
    packets = to_packets(voice(0.6))
    expected, _ = run(write_bag(tmp_path / "bag", packets), tmp_path / "out", talker)
    for number, (old, new) in enumerate(
        [
            (rb"nanoseconds_since_epoch: \d+", b"nanoseconds_since_epoch: 0"),
            (rb"nanoseconds_since_epoch: \d+", b"nanoseconds_since_epoch: -5"),
            (rb"nanoseconds_since_epoch: \d+", b"nanoseconds_since_epoch: 9223372036854775807"),
            (rb"nanoseconds_since_epoch: \d+", b"nanoseconds_since_epoch: 5000000000000000000000"),
            (rb"nanoseconds: \d+", b"nanoseconds: 0"),
            (rb"nanoseconds: \d+", b"nanoseconds: 9223372036854775807"),
            (rb"message_count: \d+\n  s", b"message_count: 0\n  s"),
        ]
    ):
        bag = Path(shutil.copytree(tmp_path / "bag", tmp_path / f"{number}"))
        metadata = bag / "metadata.yaml"
        metadata.write_bytes(re.sub(old, new, metadata.read_bytes()))
        result, warnings = run(bag, tmp_path / f"{number}_out", talker)
        assert len(warnings) <= 1
        np.testing.assert_array_equal(result.motion.weights, expected.motion.weights)
        np.testing.assert_array_equal(result.motion.stamps, expected.motion.stamps)


@pytest.mark.parametrize(
    ("name", "storage", "hours"),
    [
        (STAMPED, "folder", -400_000.0),
        (BARE, "file", -400_000.0),
        (STAMPED, "file", 30.0),
        (BARE, "folder", 30.0),
        (STAMPED, "folder", 500_000.0),
        (BARE, "file", 500_000.0),
    ],
)
def test_a_message_at_a_time_of_another_year_is_left_out_with_one_warning(
    tmp_path: Path, talker: Any, storage: str, name: str, hours: float
) -> None:
    packets = to_packets(voice(1.0))
    times = [stamp + 25 * MS for stamp, _ in packets]
    bag = write_bag(tmp_path / "bag", packets, name, times=times)
    expected, _ = run(bag, tmp_path / "expected", talker)
    damaged = times[-1] + round(hours * 3600) * SECOND
    with sqlite3.connect(bag / "bag.db3") as database:
        database.execute("UPDATE messages SET timestamp = ? WHERE timestamp = ?", (damaged, times[-1]))
    database.close()
    result, warnings = run(bag / "bag.db3" if storage == "file" else bag, tmp_path / "out", talker)
    assert len(result.frames) < len(expected.frames) + 60
    assert len(warnings) <= 1 and (warnings or name == STAMPED or hours < 0)
    if hours > 0:
        np.testing.assert_array_equal(result.motion.weights[:20], expected.motion.weights[:20])


def test_a_pause_of_a_dialogue_keeps_its_idle_frames(tmp_path: Path, talker: Any) -> None:
    packets = to_packets(voice(0.6))
    late = [(stamp + 70 * SECOND, samples) for stamp, samples in packets]
    result, warnings = run(write_bag(tmp_path / "bag", packets + late), tmp_path / "out", talker)
    assert not warnings and int(np.sum(result.motion.idle)) > 68 * 25


@pytest.mark.parametrize("seconds", [2**31 - 1, -(2**31), -5])
def test_a_stamp_that_no_message_can_hold_loses_its_frames_only(
    tmp_path: Path, talker: Any, seconds: int
) -> None:
    store = typestore("ros-drivers")
    packets = to_packets(voice(1.0))
    with rosbag2.Writer(tmp_path / "in", version=8) as writer:
        connection = writer.add_connection("/audio", STAMPED, typestore=store)
        for k, (stamp, samples) in enumerate(packets):
            message = audio_message(STAMPED, samples, stamp, 16000)[1]
            if k == 30:
                message.header.stamp.sec = seconds
            writer.write(connection, stamp + 25 * MS, store.serialize_cdr(message, STAMPED))
    result, warnings = run(tmp_path / "in", tmp_path / "out", talker)
    assert len(result.frames) >= 25 and len(warnings) <= 2
    assert len(read_messages(tmp_path / "out", "/face_motion")) == len(result.frames)


def test_an_audio_info_that_is_damaged_is_passed_over(tmp_path: Path, talker: Any) -> None:
    store = typestore("ros-drivers")
    info_type = "audio_common_msgs/msg/AudioInfo"
    packets = to_packets(voice(0.6, rate=32000), 32000)
    with rosbag2.Writer(tmp_path / "in", version=8) as writer:
        audio = writer.add_connection("/audio", STAMPED, typestore=store)
        info = writer.add_connection("/audio_info", info_type, typestore=store)
        whole = bytes(
            store.serialize_cdr(store.types[info_type](1, 32000, "S16LE", 512000, "wave"), info_type)
        )
        writer.write(info, S0, whole[:7])
        writer.write(info, S0 + 1, whole)
        for stamp, samples in packets:
            data = store.serialize_cdr(audio_message(STAMPED, samples, stamp, 32000)[1], STAMPED)
            writer.write(audio, stamp + 25 * MS, data)
    result, warnings = run(tmp_path / "in", tmp_path / "out", talker)
    assert result.statistics.streams == 1 and result.statistics.frames == 15
    assert len(warnings) == 1 and "/audio_info" in warnings[0]


@pytest.mark.parametrize(
    "weights, names",
    [
        ([float("nan")] * 3, ["jawOpen"] * 3),
        ([1e38] * 2, ["jawOpen", "jawLeft"]),
        ([0.5], []),
        ([], []),
    ],
)
def test_a_reference_that_is_no_motion_is_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: list[float], names: list[str]
) -> None:
    checkpoint.save(tmp_path / "model", network())
    motion = [(S0 + k * 40 * MS, names, weights) for k in range(30)]
    bag = write_bag(tmp_path / "bag", to_packets(voice(1.0)), motion=motion)
    arguments = ["replay", str(bag), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    assert main([*arguments, "--device", "cpu"]) == 0
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    assert output.out.count("warning") == (0 if not names and not weights else 1)


def test_a_damaged_bag_given_to_the_command_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(tmp_path / "model", network())
    bag = write_bag(tmp_path / "bag", to_packets(voice(1.0)), storage="mcap")
    path = bag / "bag.mcap"
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = b"\xff" * (len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    arguments = ["replay", str(bag), "--out", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    assert main([*arguments, "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(bag) in error
    assert not (tmp_path / "out").exists()


def test_bags_damaged_at_random_are_replayed_or_rejected(tmp_path: Path) -> None:
    assert bag_fuzzing.run(tmp_path, seed=20, count=25) > 0
