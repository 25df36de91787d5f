# SPDX-License-Identifier: Apache-2.0
"""Bags for tests of the replay, written and read by rosbags alone, and a talker that moves its mouth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rosbags import rosbag2

from streamingtalker_ros.bag import replay, rosbag_io
from streamingtalker_ros.dds.message_types import typestore
from streamingtalker_ros.face.default_head.stored import default_rig
from streamingtalker_ros.model.blendshape.network import TalkerNetwork
from streamingtalker_ros.runtime.parameters import TalkerParameters
from support.scheduler_harness import MS, S0, SMALL

SECOND = 1_000_000_000
STAMPED, BARE, TYPED = (
    f"audio_common_msgs/msg/{name}" for name in ("AudioDataStamped", "AudioData", "AudioStamped")
)
MOTION = "streamingtalker_ros/msg/FaceMotion"


def network() -> TalkerNetwork:
    """Return a small network of fixed random weights that always detects speech and moves its mouth."""
    torch.manual_seed(0)
    network = TalkerNetwork(SMALL)
    with torch.no_grad():
        network.encoder.vad_head.bias.add_(20.0)
        network.codec.motion_mean[:52] = 0.4
    return network


def header(store: Any, ns: int, frame_id: Any = "microphone") -> Any:
    time = store.types["builtin_interfaces/msg/Time"](ns // SECOND, ns % SECOND)
    return store.types["std_msgs/msg/Header"](time, frame_id)


def audio_message(name: str, samples: npt.NDArray[np.int16], ns: int, rate: int) -> Any:
    """A message of one of the three types from int16 samples, as (variant, message)."""
    if name == TYPED:
        store = typestore("mgonzs13")
        classes = {
            name: store.types[f"audio_common_msgs/msg/{name}"]
            for name in ("AudioStamped", "Audio", "AudioData", "AudioInfo")
        }
        data = classes["AudioData"](
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            samples,
            np.zeros(0, np.int8),
            np.zeros(0, np.uint8),
        )
        audio = classes["Audio"](data, classes["AudioInfo"](8, 1, rate, len(samples)))
        return "mgonzs13", classes["AudioStamped"](header(store, ns), audio)
    store = typestore("ros-drivers")
    data = store.types[BARE](np.frombuffer(samples.astype("<i2").tobytes(), np.uint8))
    return "ros-drivers", data if name == BARE else store.types[STAMPED](header(store, ns), data)


def to_packets(pcm: npt.NDArray[np.int16], rate: int = 16000, start: int = S0, packet: Any = 0.02) -> Any:
    """Split a voice into packets: [(stamp, samples), …]."""
    size = round(packet * rate)
    return [
        (start + round(first * SECOND / rate), pcm[first : first + size])
        for first in range(0, len(pcm), size)
    ]


def write_entries(path: Path, entries: Any, storage: str = "mcap", compression: str | None = None) -> Path:
    """Write a bag of [(time of recording in ns, topic, type, variant, message), …] in any order."""
    bag = rosbag2.Writer(path, version=8, storage_plugin=rosbag2.StoragePlugin[storage.upper()])
    if compression:
        bag.set_compression(rosbag2.CompressionMode[compression], rosbag2.CompressionFormat.ZSTD)
    with bag as writer:
        connections: dict[str, Any] = {}
        for recorded_at, topic, name, variant, message in sorted(entries, key=lambda entry: entry[0]):
            store = typestore(variant)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, name, typestore=store)
            writer.write(connections[topic], recorded_at, store.serialize_cdr(message, name))
    return path


def audio_entries(
    topic: str, packets: Any, name: str = STAMPED, rate: int = 16_000, delay: Any = lambda: 5 * MS
) -> Any:
    """Entries of packets [(stamp, samples), …], each recorded `delay()` ns after its last sample."""
    entries = []
    for stamp, samples in packets:
        variant, message = audio_message(name, samples, stamp, rate)
        entries.append((stamp + len(samples) * SECOND // rate + delay(), topic, name, variant, message))
    return entries


def write_bag(
    path: Path,
    packets: Any,
    name: str = STAMPED,
    storage: str = "sqlite3",
    rate: int = 16000,
    topic: str = "/audio",
    times: Any = None,
    info: int | None = None,
    motion: Any = (),
    compression: str | None = None,
) -> Any:
    """packets: [(stamp, samples), …], recorded at `times` (default 5 ms after their last sample); info: the
    time at which audio_info was recorded; motion: [(stamp, names, weights), …] for /face_motion."""
    entries = audio_entries(topic, packets, name, rate)
    if times is not None:
        entries = [(time, *entry[1:]) for time, entry in zip(times, entries, strict=True)]
    store = typestore("ros-drivers")
    if info is not None:
        message = store.types["audio_common_msgs/msg/AudioInfo"](1, rate, "S16LE", 16 * rate, "wave")
        entries.append((info, f"{topic}_info", "audio_common_msgs/msg/AudioInfo", "ros-drivers", message))
    for frame, (stamp, names, weights) in enumerate(motion):
        head = store.types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0)
        message = store.types[MOTION](
            header(store, stamp, "head"), frame, names, np.asarray(weights, np.float32), head, True
        )
        entries.append((stamp, "/face_motion", MOTION, "ros-drivers", message))
    return write_entries(path, entries, storage, compression)


def run(path: Path, out: Path, talker: Any, topic: str | None = None, **settings: Any) -> Any:
    """Replay a bag: (Replayed, warnings)."""
    warnings = []
    with rosbag_io.BagInput(path) as bag, rosbag_io.BagOutput(out, bag.storage) as output:
        return replay.replay(
            bag,
            output,
            bag.audio_topic(topic),
            talker,
            TalkerParameters(**settings),
            default_rig(),
            warnings.append,
        ), warnings


def run_to_path(path: Path, out: Path, talker: Any) -> Any:
    run(path, out, talker)
    return out


def topic_typestore(name: str) -> Any:
    return typestore("mgonzs13" if name == TYPED else "ros-drivers")


def read_messages(path: Path, topic: str) -> Any:
    """[(time, object), …] of a topic, read by rosbags alone."""
    with rosbag2.Reader(path) as reader:
        chosen = [connection for connection in reader.connections if connection.topic == topic]
        return [
            (time, topic_typestore(connection.msgtype).deserialize_cdr(data, connection.msgtype))
            for connection, time, data in reader.messages(chosen)
        ]


def read_raw(path: Path, topic: str) -> Any:
    with rosbag2.Reader(path) as reader:
        return [
            (time, bytes(data)) for connection, time, data in reader.messages() if connection.topic == topic
        ]


def audio_frames(played: Any) -> Any:
    return played.motion.weights[~played.motion.idle], played.motion.stamps[~played.motion.idle]


def stack_weights(frames: Any) -> Any:
    return np.stack([frame.weights for frame in frames])
