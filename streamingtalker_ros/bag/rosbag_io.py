# SPDX-License-Identifier: Apache-2.0
"""Reads and writes rosbag2 bags in sqlite3 and MCAP storage, without ROS.

`BagInput` yields the messages of a bag as raw CDR with their types; `decode`
converts them to objects; `BagOutput` writes raw messages with their definitions, type hashes and QoS.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from streamingtalker_ros.config_files import describe, shorten
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.messaging.audio_common import AUDIO_TYPES, INFO_TYPE, Variant
from streamingtalker_ros.output_files import atomic_folder
from streamingtalker_ros.runtime.expression_input import EXPRESSION_TYPE, GESTURE_TYPE, HRI_EXPRESSION_TYPE
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE

_VARIANTS: Final[dict[str, Variant]] = {
    **AUDIO_TYPES,
    INFO_TYPE: "ros-drivers",
    face_messages.MOTION_TYPE: "ros-drivers",
    face_messages.VERTICES_TYPE: "ros-drivers",
    face_messages.MODEL_TYPE: "ros-drivers",
    GAZE_TYPE: "ros-drivers",
    EXPRESSION_TYPE: "ros-drivers",
    HRI_EXPRESSION_TYPE: "ros-drivers",
    GESTURE_TYPE: "ros-drivers",
}
METADATA: Final = "metadata.yaml"
MAX_METADATA_BYTES: Final = 4_000_000
"""Of metadata.yaml; a bag of a thousand topics and a thousand files has less than one MB."""
MAX_METADATA_DEPTH: Final = 50
MAX_NAME_LENGTH: Final = 1000
"""Of a topic or a type."""
MAX_TIME_NS: Final = 2**31 * 1_000_000_000 - 1
"""Latest time that a builtin_interfaces/Time holds."""

MAX_MESSAGE_BYTES: Final = 64_000_000
"""Of a compressed message when it is decompressed: half an hour of audio."""
MAX_CHUNK_BYTES: Final = 256_000_000
"""Of a chunk of MCAP when it is decompressed; recorders begin a new one after about a MB."""

_CHUNK_HEADER_BYTES: Final = 9 + 40  # of a chunk of MCAP: record header, times, sizes, length of a name
_ZSTD_HEADER_BYTES: Final = 18  # at most
_URI_CHARACTERS: Final = "?#%"  # rosbags opens databases by a URI, in which these end or escape the path
_METADATA_VERSION: Final = 8  # read by Humble and later
_INFINITE_DURATION: Final = (9223372036, 854775807)  # s, ns: ROS's value of an unset duration


@dataclass(frozen=True)
class BagMessage:
    """One message of a bag.

    Attributes:
        time: ns, when it was recorded; in a damaged bag any integer.
        topic: Absolute topic.
        type: "package/msg/Name".
        data: CDR with its header.
    """

    time: int
    topic: str
    type: str
    data: bytes


def get_variant(type_name: str) -> Variant:
    """Return the variant of audio_common_msgs whose typestore has a type; both have this package's types.

    Args:
        type_name: "package/msg/Name", an audio message, AudioInfo or a message of this package.

    Returns:
        Name of the variant.
    """
    return _VARIANTS[type_name]


def decode(message: BagMessage) -> Any:
    """Return an object with the message's fields.

    Raises:
        TalkerError: If its bytes are no message of its type.
    """
    try:
        store = message_types.typestore(get_variant(message.type))
        return store.deserialize_cdr(message.data, message.type)
    except Exception as error:  # rosbags runs generated code: its exceptions have no common base
        raise TalkerError(
            f"a message on {message.topic} is no {message.type} ({_reason(error)}): it is skipped"
        ) from None


def encode(message: Any) -> bytes:
    """Serialize a message of `dds.message_types` as a recorder receives it, padded to 4 bytes."""
    data: bytes = message.serialize(use_version_2=False)
    return data + bytes(-len(data) % 4)


def absolute_topic(topic: str) -> str:
    """Convert "audio" to "/audio".

    Args:
        topic: A topic with or without a leading slash.

    Returns:
        The topic with a leading slash.
    """
    return topic if topic.startswith("/") else f"/{topic}"


def has_known_definition(connection: Any) -> bool:
    """Return whether a connection's type hash, if the bag holds one, is that of the definition known here."""
    name = connection.msgtype
    return not connection.digest or connection.digest == message_types.type_hash(name, get_variant(name))


class BagInput:
    """A bag to read; a context manager.

    A bag may be of any content. Whatever its libraries raise becomes one `TalkerError`.

    Args:
        path: Its folder, or a single .db3 or .mcap file.

    Raises:
        TalkerError: When entered, if there is none or it cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._rosbag2 = require("rosbags.rosbag2", "reading bags")
        self._reader: Any = None
        self._stack = contextlib.ExitStack()
        self._connections: list[Any] = []
        self._has_compressed_messages = False

    def __enter__(self) -> BagInput:
        try:
            self._check_files()
            self._reader = self._rosbag2.Reader(self._path_without_reserved_characters())
            self._reader.open()
            self._check_compression()
            self._connections = list(self._reader.connections)
            for connection in self._connections:
                _check_connection(connection)
        except TalkerError:
            self._close()
            raise
        except (
            Exception
        ) as error:  # of the YAML, database and compression libraries, which have no common base
            self._close()
            raise TalkerError(
                f"the bag {self.path} cannot be read ({_reason(error)}): {self._advice()}"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(Exception):  # rosbags raises if it was not opened
                reader.close()
        self._stack.close()

    def _path_without_reserved_characters(self) -> Path:
        """Return the path, or a link to it where rosbags would take a part of the path for a query."""
        if not set(_URI_CHARACTERS) & set(str(self.path)) or self.storage != "sqlite3":
            return self.path
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="streamingtalker-"))
        link = Path(folder) / f"bag{self.path.suffix if self.path.is_file() else ''}"
        link.symlink_to(self.path.absolute())
        return link

    def _check_files(self) -> None:
        """Check that the bag's files are there, are regular files, and hold metadata of a bounded size."""
        if not self.path.exists():
            raise TalkerError(f"there is no bag {self.path}: check the path")
        if not self.path.is_dir():
            if not self.path.is_file():
                raise TalkerError(f"{self.path} is no regular file: give a bag's folder, .db3 or .mcap file")
            return
        metadata = self.path / METADATA
        if not metadata.exists():
            nested = sorted(each.parent.name for each in self.path.glob(f"*/{METADATA}"))
            if nested:
                raise TalkerError(
                    f"{self.path} has no {METADATA} but holds the bags {shorten(', '.join(nested))}: give one"
                )
            raise TalkerError(
                f"{self.path} has no {METADATA}: give a folder that `ros2 bag record` wrote "
                "(if it was killed, `ros2 bag reindex` repairs it), or one .db3 or .mcap file"
                + (f", such as {self._files()[0]}" if self._files() else "")
            )
        irregular = [each for each in (metadata, *self._storage_files()) if not each.is_file()]
        if irregular:
            raise TalkerError(f"{irregular[0]} is no regular file: copy the bag again")
        for each in self._storage_files():
            if each.suffix == ".db3" and set(_URI_CHARACTERS) & set(each.name):
                raise TalkerError(
                    f"{each} has one of {' '.join(_URI_CHARACTERS)} in its name and cannot be read in its "
                    "folder: give the file alone"
                )
        if metadata.stat().st_size > MAX_METADATA_BYTES:
            raise TalkerError(f"{metadata} is longer than {MAX_METADATA_BYTES} bytes: {self._advice()}")
        if _flow_depth(metadata.read_bytes()) > MAX_METADATA_DEPTH:  # its parser takes seconds to give up
            raise TalkerError(f"{metadata} is nested too deeply: {self._advice()}")

    def _check_compression(self) -> None:
        """Check the sizes of compressed chunks, and take over the decompression of single messages.

        rosbags decompresses without a limit; a few bytes could fill the memory.
        """
        storage = self._reader.storage
        if storage.metadata.compression_mode == "message":
            storage.metadata = storage.metadata._replace(compression_mode=None)
            self._has_compressed_messages = True
        for each in getattr(storage, "storages", [storage]):
            for chunk in getattr(each, "chunks", []):
                with open(each.path, "rb") as file:
                    file.seek(chunk.chunk_start_offset + _CHUNK_HEADER_BYTES + len(chunk.compression))
                    _check_chunk(chunk, file.read(_ZSTD_HEADER_BYTES))

    def _storage_files(self) -> list[Path]:
        """Return the paths in the folder that a bag's messages may lie in."""
        return sorted(each for each in self.path.iterdir() if each.suffix in (".db3", ".mcap", ".zstd"))

    def _files(self) -> list[str]:
        """Return the names of the files in the folder that can be given alone."""
        with contextlib.suppress(OSError):
            return [each.name for each in self._storage_files() if each.suffix != ".zstd"]
        return []

    def _advice(self) -> str:
        """Return what to do about a damaged bag, the end of an error message."""
        if not self.path.is_dir():
            return "it is damaged, or no bag; for one that was not closed, `ros2 bag reindex` helps"
        files = self._files()
        alone = f"give the file {shorten(files[0])} in it instead, or " if files else ""
        return f"{alone}repair it with `ros2 bag reindex`"

    @property
    def storage(self) -> str:
        """Storage plugin: "sqlite3" or "mcap"."""
        is_mcap = self.path.suffix == ".mcap" or (self.path.is_dir() and any(self.path.glob("*.mcap*")))
        return "mcap" if is_mcap else "sqlite3"

    @property
    def start(self) -> int | None:
        """Ns of the first message of any topic; None if the bag states none that is possible."""
        start: Any = self._reader.start_time
        return start if is_time(start) else None

    @property
    def end(self) -> int | None:
        """Ns of the last message of any topic; None if the bag states none that is possible."""
        end: Any = self._reader.end_time
        return end if is_time(end) else None

    def topics(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """Return the types and the number of messages of each topic."""
        topics: dict[str, tuple[tuple[str, ...], int]] = {}
        for connection in self._connections:
            types, count = topics.get(connection.topic, ((), 0))
            topics[connection.topic] = ((*types, connection.msgtype), count + connection.msgcount)
        return topics

    def audio_topic(self, requested: str | None = None) -> str:
        """Return the topic of the audio.

        Args:
            requested: The topic; None for /audio, or the only one of an audio type.

        Raises:
            TalkerError: If it is not in the bag or has no audio type; the message lists the topics.
        """
        audio = sorted({each.topic for each in self._connections if each.msgtype in AUDIO_TYPES})
        topics = self.topics()
        if requested is None and "/audio" not in topics and len(audio) == 1:
            return audio[0]
        name = absolute_topic(requested or "audio")
        listed = ", ".join(f"{topic} ({', '.join(types)})" for topic, (types, _) in sorted(topics.items()))
        if name not in topics:
            raise TalkerError(
                f"the bag {self.path} has no topic {name}: choose one of those that it has "
                f"with --topic: {listed or 'none'}"
            )
        if name not in audio:
            raise TalkerError(
                f"{name} carries {', '.join(topics[name][0])}, which is no audio "
                f"({', '.join(AUDIO_TYPES)} are): choose another topic with --topic: {listed}"
            )
        return name

    def info_topic(self, audio_topic: str) -> str | None:
        """Return the audio_info of an audio topic, NAME_info or audio_info in the same namespace, or None.

        Args:
            audio_topic: Absolute topic of the audio.

        Returns:
            Absolute topic; NAME_info is preferred. Connections of an unknown definition are ignored.
        """
        infos = {
            each.topic
            for each in self._connections
            if each.msgtype == INFO_TYPE and has_known_definition(each)
        }
        relative_name = f"{audio_topic.rpartition('/')[0]}/audio_info"
        return next((topic for topic in (f"{audio_topic}_info", relative_name) if topic in infos), None)

    def find_topic(self, name: str, types: Iterable[str], namespace: str = "") -> str | None:
        """Return a topic of a name that carries one of some types, or None if the bag has none.

        Args:
            name: A relative name is searched in the namespace, then in none.
            types: Its types.
            namespace: Absolute.
        """
        found = {each.topic for each in self._connections if each.msgtype in types}
        candidates = (absolute_topic(f"{namespace}/{name}"), absolute_topic(name))
        return next((topic for topic in candidates if topic in found), None)

    def motion_topic(self) -> str | None:
        """Return the topic of recorded FaceMotion, /face_motion or the only one of that type, or None."""
        found = sorted(
            {
                each.topic
                for each in self._connections
                if each.msgtype == face_messages.MOTION_TYPE and each.msgcount and has_known_definition(each)
            }
        )
        if "/face_motion" in found:
            return "/face_motion"
        return found[0] if len(found) == 1 else None

    def connections(self, *topics: str) -> list[Any]:
        """Return rosbags' connections of topics whose types are known here.

        Raises:
            TalkerError: If a type was recorded with another definition.
        """
        found = [each for each in self._connections if each.topic in topics and each.msgtype in _VARIANTS]
        for connection in found:
            if not has_known_definition(connection):
                raise TalkerError(
                    f"{connection.topic} was recorded with another definition of {connection.msgtype} than "
                    f"that of {get_variant(connection.msgtype)}: convert the bag to the released one"
                )
        return found

    def count(self, *topics: str) -> int:
        """Return the number of messages of topics."""
        return sum(connection.msgcount for connection in self.connections(*topics))

    def messages(self, *topics: str) -> Iterator[BagMessage]:
        """Yield the messages of topics in the order of their recording.

        Raises:
            TalkerError: If the bag is damaged.
        """
        connections = self.connections(*topics)
        if not connections:  # rosbags reads all topics if the choice is empty
            return
        try:
            for connection, time, data in self._reader.messages(connections):
                if not isinstance(time, int) or not isinstance(data, (bytes, bytearray, memoryview)):
                    raise TalkerError(
                        f"the bag {self.path} cannot be read to its end (a message on {connection.topic} has "
                        f"no time, or no bytes): {self._advice()}"
                    )
                content = _decompress(data) if self._has_compressed_messages else bytes(data)
                yield BagMessage(time, connection.topic, connection.msgtype, content)
        except TalkerError:
            raise
        except Exception as error:
            raise TalkerError(
                f"the bag {self.path} cannot be read to its end ({_reason(error)}): {self._advice()}"
            ) from None


def _zstd() -> Any:
    """Return the module of zstd that rosbags uses."""
    return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def _decompress(data: Any) -> bytes:
    """Decompress a message; raises ValueError if it is larger than `MAX_MESSAGE_BYTES`."""
    parts: list[bytes] = []
    length, rest = 0, bytes(data)
    while rest:
        decompressor = _zstd().ZstdDecompressor()
        parts.append(decompressor.decompress(rest, max_length=MAX_MESSAGE_BYTES + 1 - length))
        length += len(parts[-1])
        if length > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message is compressed from more than {MAX_MESSAGE_BYTES} bytes")
        if not decompressor.eof:
            raise EOFError("a compressed message ends too early")
        rest = decompressor.unused_data
    return b"".join(parts)


def _check_chunk(chunk: Any, header: bytes) -> None:
    """Raise ValueError if a chunk of MCAP is too large, or its data say another size than the index.

    Args:
        chunk: Entry of the index.
        header: First bytes of the compressed data.
    """
    size = chunk.uncompressed_size
    if size > MAX_CHUNK_BYTES:
        raise ValueError(f"a chunk is compressed from {size} bytes")
    if chunk.compression == "zstd":
        stated = _zstd().get_frame_info(header).decompressed_size
        if stated is not None and stated > max(size, 0):
            raise ValueError(f"a chunk of {size} bytes is compressed from {stated}")


def _check_connection(connection: Any) -> None:
    """Raise ValueError unless what a bag says about a topic has the types that it should have."""
    for name in ("topic", "msgtype"):
        value = getattr(connection, name)
        if not isinstance(value, str) or not value.isprintable() or len(value) > MAX_NAME_LENGTH:
            raise ValueError(f"the name of a topic or type is {describe(value)}")
    count, digest = connection.msgcount, connection.digest
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{connection.topic} has {describe(count)} messages")
    if not isinstance(digest, str):
        raise ValueError(f"the type hash of {connection.topic} is {describe(digest)}")


def is_time(value: Any) -> bool:
    """Return whether a value is a time in ns since the epoch that messages can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TIME_NS


def _flow_depth(text: bytes) -> int:
    """Return how many brackets of a YAML text are open at once, at most."""
    depth = deepest = 0
    for byte in text:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _reason(error: Exception) -> str:
    """Return an exception of a library as a part of a sentence."""
    text = "".join(char if char.isprintable() or char.isspace() else "?" for char in str(error))
    text = text.replace("; please report issue", "").rstrip(".")
    name = type(error).__name__
    return shorten(text, 300) if name == "ReaderError" and text else shorten(f"{name}: {text}", 300)


class BagOutput:
    """A new bag; a context manager. The folder appears when its block has ended without an exception.

    Args:
        path: Folder to create.
        storage: "sqlite3" or "mcap".

    Raises:
        TalkerError: If the folder exists or cannot be created.
    """

    def __init__(self, path: str | os.PathLike[str], storage: str) -> None:
        self.path = Path(path)
        self._storage = storage
        self._rosbag2 = require("rosbags.rosbag2", "writing bags")
        self._writer: Any = None
        self._stack = contextlib.ExitStack()
        self._connections: dict[tuple[str, str], Any] = {}
        if self.path.exists():
            raise TalkerError(f"{self.path} exists already: remove it, or choose another --out")
        if storage == "sqlite3" and set(_URI_CHARACTERS) & set(str(self.path.absolute())):
            raise TalkerError(
                f"a bag in sqlite3 storage cannot be written to {self.path}, which has one of "
                f"{' '.join(_URI_CHARACTERS)} in its path: choose another --out, or --storage mcap"
            )

    def __enter__(self) -> BagOutput:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(atomic_folder(self.path, must_be_new=True))
            folder.rmdir()  # the writer creates it
            self._writer = self._rosbag2.Writer(
                folder,
                version=_METADATA_VERSION,
                storage_plugin=self._rosbag2.StoragePlugin[self._storage.upper()],
            )
            stack.enter_context(self._writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def add_topic(self, topic: str, type_name: str, qos: list[Any]) -> None:
        """Add a topic of a type known here.

        Args:
            topic: Absolute topic.
            type_name: "package/msg/Name".
            qos: rosbags' Qos, as `create_qos` returns them or a connection holds them.
        """
        if (topic, type_name) not in self._connections:
            self._connections[topic, type_name] = self._writer.add_connection(
                topic,
                type_name,
                typestore=message_types.typestore(get_variant(type_name)),
                offered_qos_profiles=qos,
            )

    def copy_topics(self, connections: Iterable[Any]) -> None:
        """Add the topics of another bag's connections with the QoS that they were recorded with."""
        for connection in connections:
            profiles = list(connection.ext.offered_qos_profiles)
            self.add_topic(connection.topic, connection.msgtype, profiles if _are_qos(profiles) else [])

    def write(self, message: BagMessage) -> None:
        """Write a message to a topic that was added."""
        self._writer.write(self._connections[message.topic, message.type], message.time, message.data)


def _are_qos(profiles: list[Any]) -> bool:
    """Return whether all values of QoS profiles, which rosbags does not check, have their types."""
    return all(
        isinstance(profile.depth, int)
        and isinstance(profile.avoid_ros_namespace_conventions, bool)
        and all(
            isinstance(part, int)
            for time in (profile.deadline, profile.lifespan, profile.liveliness_lease_duration)
            for part in (time.sec, time.nsec)
        )
        for profile in profiles
    )


def create_qos(depth: int, reliable: bool = True, latched: bool = False) -> list[Any]:
    """Return rosbags' Qos of a topic.

    Args:
        depth: Number of samples in the history.
        reliable: Reliable, or best effort.
        latched: Transient local, or volatile.
    """
    kinds = require("rosbags.interfaces", "writing bags")
    infinite = kinds.QosTime(*_INFINITE_DURATION)
    return [
        kinds.Qos(
            kinds.QosHistory.KEEP_LAST,
            depth,
            kinds.QosReliability.RELIABLE if reliable else kinds.QosReliability.BEST_EFFORT,
            kinds.QosDurability.TRANSIENT_LOCAL if latched else kinds.QosDurability.VOLATILE,
            infinite,
            infinite,
            kinds.QosLiveliness.AUTOMATIC,
            infinite,
            False,
        )
    ]
