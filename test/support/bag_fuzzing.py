# SPDX-License-Identifier: Apache-2.0
"""Damaged bags from a seed: each is replayed, or rejected with one sentence, in bounded time and memory.

`run(folder, seed, count)` damages bags of both storages, compressed and not; a long run calls it with another
seed and a greater count.
"""

from __future__ import annotations

import re
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamingtalker_ros.bag import motion as bag_motion
from streamingtalker_ros.bag import replay, rosbag_io
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.streaming import Talker
from support.bag_harness import BARE, STAMPED, TYPED, network, to_packets, write_bag
from support.scheduler_harness import MS, S0, voice

MAX_EXTRA_S = 2.0  # of processor time, beside that of the whole bag
MAX_GROWTH_BYTES = 50e6
MAX_SENTENCE = 700  # characters, beside the paths

TOKENS = [
    b"",
    b"''",
    b"-1",
    b"0",
    b"1e999",
    b".nan",
    b"9223372036854775807",
    b"99999999999999999999",
    b"9" * 5000,
    b"2001-99-99",
    b"[]",
    b"{}",
    b"[[[[[[",
    b"*a",
    b"&a [*a]",
    b"!!python/object:os.system",
    b"null",
    b"true",
    b"\xff",
    b"\0",
    b"\t",
    b"mcap",
    b"sqlite3",
    b"zstd",
    b"FILE",
    b"MESSAGE",
    b"../../etc/passwd",
    b"audio\nname",
]
"""Words that replace a value of the metadata."""


def write_bags(folder: Path) -> list[Path]:
    """Write small bags of every kind.

    Args:
        folder: Where to write.

    Returns:
        Their paths: folders, then single files.
    """
    packets = to_packets(voice(0.8))
    names = list(ARKIT_NAMES)
    motion = [(S0 + k * 40 * MS, names, np.full(52, 0.1, np.float32)) for k in range(24)]
    bags = [
        write_bag(folder / "stamped", packets, STAMPED, info=S0, motion=motion),
        write_bag(folder / "typed", packets, TYPED, "mcap"),
        write_bag(folder / "bare", packets, BARE, "mcap", motion=motion),
        write_bag(folder / "messages", packets, STAMPED, compression="MESSAGE"),
        write_bag(folder / "file", packets, STAMPED, "mcap", compression="FILE"),
        write_bag(folder / "chunks", packets, STAMPED, "mcap", compression="STORAGE"),
        write_bag(folder / "audio_only", packets, BARE),
    ]
    singles = []
    for bag in (bags[0], bags[1], bags[5]):
        (source,) = (each for each in bag.iterdir() if each.suffix in (".db3", ".mcap"))
        singles.append(Path(shutil.copy(source, folder / f"single_{source.name}")))
    return bags + singles


def check_bag(path: Path, out: Path, talker: Any) -> tuple[bool, list[str]]:
    """Replay a bag and read its motion.

    Args:
        path: The bag.
        out: Where to write; removed afterwards.
        talker: The talker.

    Returns:
        Whether it was replayed, else it was rejected with one sentence; and the warnings.

    Raises:
        AssertionError: If a sentence is none.
    """
    warnings: list[str] = []
    try:
        with rosbag_io.BagInput(path) as bag:
            topic, reference_topic = bag.audio_topic(), bag.motion_topic()
            bag.count(topic)
            with rosbag_io.BagOutput(out, bag.storage) as output:
                replayed = replay.replay(
                    bag, output, topic, talker, TalkerParameters(), default_rig(), warnings.append
                )
            assert replayed.motion is not None and np.isfinite(replayed.motion.weights).all()
            if reference_topic is not None:
                try:
                    reference = bag_motion.read_motion(bag, reference_topic)
                    bag_motion.compare(replayed.motion, reference, default_rig())
                except TalkerError as error:
                    warnings.append(str(error))
        read = True
    except TalkerError as error:
        warnings.append(str(error))
        read = False
    finally:
        shutil.rmtree(out, ignore_errors=True)
    for text in warnings:
        assert text.isprintable() and len(text) < MAX_SENTENCE + 4 * len(str(path)), text[:3000]
        assert "report issue" not in text, text
    assert len(warnings) == len(set(warnings)), warnings
    return read, warnings


def run(folder: Path, seed: int, count: int) -> int:
    """Replay damaged bags.

    Args:
        folder: A folder for the files.
        seed: Of the damage.
        count: Number of bags.

    Returns:
        How many of them were replayed.
    """
    rng = np.random.default_rng(seed)
    talker = Talker(network(), "cpu")
    bags = write_bags(folder)
    usual = 0.0
    for bag in bags * 2:
        start = time.process_time()
        read, warnings = check_bag(bag, folder / "out", talker)
        assert read and not warnings, (bag, warnings)
        usual = max(usual, time.process_time() - start)
    before, replayed = _peak_bytes(), 0
    for number in range(count):
        bag = bags[int(rng.integers(len(bags)))]
        damaged = folder / f"damaged{bag.suffix}"
        description = ""
        if bag.is_dir():
            shutil.copytree(bag, damaged)
            description = _damage_folder(damaged, rng)
        else:
            damaged.write_bytes(_damage_bytes(bag.read_bytes(), rng))
        start = time.process_time()
        try:
            read, _ = check_bag(damaged, folder / "out", talker)
        except Exception as fault:
            raise AssertionError(f"bag {number} of seed {seed}: {bag.name} {description}") from fault
        replayed += read
        taken = time.process_time() - start
        assert taken < usual + MAX_EXTRA_S, (
            f"bag {number} of seed {seed}: {bag.name} {description}, {taken} s"
        )
        if damaged.is_dir():
            shutil.rmtree(damaged)
        else:
            damaged.unlink()
    assert _peak_bytes() - before < MAX_GROWTH_BYTES
    return replayed


def _damage_folder(bag: Path, rng: np.random.Generator) -> str:
    metadata = bag / "metadata.yaml"
    storage = next(each for each in bag.iterdir() if each.name != "metadata.yaml")
    changes: list[Callable[[], object]] = [
        lambda: metadata.write_bytes(_damage_bytes(metadata.read_bytes(), rng)),
        lambda: metadata.write_bytes(_replace_value(metadata.read_bytes(), rng)),
        lambda: metadata.write_bytes(_replace_value(metadata.read_bytes(), rng)),
        lambda: storage.write_bytes(_damage_bytes(storage.read_bytes(), rng)),
        lambda: storage.write_bytes(_damage_bytes(storage.read_bytes(), rng)),
        lambda: storage.write_bytes(b""),
        lambda: storage.rename(storage.with_name("other" + storage.suffix)),
    ]
    kind = int(rng.integers(len(changes)))
    changes[kind]()
    return f"change {kind}"


def _replace_value(text: bytes, rng: np.random.Generator) -> bytes:
    """Replace the value of a line of YAML."""
    values = list(re.finditer(rb":[ ]+([^\n]+)", text))
    value = values[int(rng.integers(len(values)))]
    return text[: value.start(1)] + TOKENS[int(rng.integers(len(TOKENS)))] + text[value.end(1) :]


def _damage_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    kind = int(rng.integers(0, 6))
    if kind == 0:
        return data[: int(rng.integers(0, len(data)))]
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(0, len(changed)))
        if kind in (1, 2):
            changed[at] = int(rng.integers(0, 256))
        elif kind == 3:
            changed[at : at + 8] = b"\xff" * 8
        elif kind == 4:
            size = int(rng.integers(1, 64))
            changed[at : at + size] = rng.integers(0, 256, size, np.uint8).tobytes()
        else:
            del changed[at : at + int(rng.integers(1, 64))]
    return bytes(changed)


def _peak_bytes() -> float:
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
