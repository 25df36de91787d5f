# SPDX-License-Identifier: Apache-2.0
"""Reads and writes rosbag2 bags, in sqlite3 and MCAP storage, without ROS.

`BagInput` gives the audio, audio_info and FaceMotion messages of a bag as raw CDR with their types; `decode`
makes objects of them; `BagOutput` writes raw messages with their definitions, type hashes and QoS.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.messaging.audio_common import AUDIO_TYPES, INFO_TYPE

_TYPES = {
    **AUDIO_TYPES,
    INFO_TYPE: "ros-drivers",
    face_messages.MOTION_TYPE: "ros-drivers",
    face_messages.MODEL_TYPE: "ros-drivers",
}
_VERSION = 8  # of rosbag2's metadata: read by Humble and all after it


@dataclass(frozen=True)
class Raw:
    """One message of a bag. time: ns, of its recording; type: "package/msg/Name"; data: CDR, with header."""

    time: int
    topic: str
    type: str
    data: bytes


def get_variant(name):
    """The audio variant whose typestore knows a type; our own types are in both."""
    return _TYPES[name]


def decode(raw):
    """A Raw -> an object with the message's fields. Raises TalkerError when its bytes are no such message."""
    try:
        return message_types.typestore(get_variant(raw.type)).deserialize_cdr(raw.data, raw.type)
    except Exception as error:  # rosbags runs generated code over the bytes: its errors have no common base
        raise TalkerError(
            f"a message on {raw.topic} is no {raw.type} ({type(error).__name__}: {error}): it was left out"
        ) from None


def full_name(topic):
    """ "audio" -> "/audio"."""
    return topic if topic.startswith("/") else f"/{topic}"


class BagInput:
    """A bag to read: its folder, or a single .db3 or .mcap file. A context manager.

    Raises TalkerError when there is none, or when it cannot be read.
    """

    def __init__(self, path) -> None:
        self.path = Path(path)
        self._rosbag2 = require("rosbags.rosbag2", "reading bags")

    def __enter__(self):
        if not self.path.exists():
            raise TalkerError(f"there is no bag {self.path}: check the path")
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            raise TalkerError(
                f"{self.path} has no metadata.yaml: give a folder that `ros2 bag record` wrote "
                "(if it was killed, `ros2 bag reindex` repairs it), or one .db3 or .mcap file"
            )
        try:
            self._reader = self._rosbag2.Reader(self.path)
            self._reader.open()
        except (self._rosbag2.ReaderError, OSError) as error:
            reason = " ".join(str(error).split())  # YAML's complaints have several lines
            raise TalkerError(
                f"the bag {self.path} cannot be read ({reason}): check that it is a whole rosbag2 bag"
            ) from None
        self._connections = list(self._reader.connections)
        return self

    def __exit__(self, *_):
        self._reader.close()

    @property
    def storage(self) -> str:
        """ "sqlite3" or "mcap"."""
        mcap = self.path.suffix == ".mcap" or (self.path.is_dir() and any(self.path.glob("*.mcap*")))
        return "mcap" if mcap else "sqlite3"

    @property
    def start(self):
        """Ns of the first message of any topic."""
        return self._reader.start_time

    def topics(self):
        """{topic: (types, messages)} of the whole bag."""
        found = {}
        for connection in self._connections:
            types, count = found.get(connection.topic, ((), 0))
            found[connection.topic] = (types + (connection.msgtype,), count + connection.msgcount)
        return found

    def audio_topic(self, wanted=None):
        """The topic of audio: `wanted`; without it /audio, or the only one of an audio type.

        Raises TalkerError, with the topics that there are, when it is not in the bag or has no audio type.
        """
        audio = sorted({c.topic for c in self._connections if c.msgtype in AUDIO_TYPES})
        topics = self.topics()
        if wanted is None and "/audio" not in topics and len(audio) == 1:
            return audio[0]
        name = full_name(wanted or "audio")
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

    def info_topic(self, audio):
        """The audio_info that belongs to an audio topic (its own name with _info, or audio_info beside it),
        or None.
        """
        infos = {c.topic for c in self._connections if c.msgtype == INFO_TYPE and has_known_definition(c)}
        beside = f"{audio.rpartition('/')[0]}/audio_info"
        return next((topic for topic in (f"{audio}_info", beside) if topic in infos), None)

    def motion_topic(self):
        """The topic of reference FaceMotion: /face_motion, or the only one of that type; None without one."""
        found = sorted(
            {
                c.topic
                for c in self._connections
                if c.msgtype == face_messages.MOTION_TYPE and c.msgcount and has_known_definition(c)
            }
        )
        return "/face_motion" if "/face_motion" in found else found[0] if len(found) == 1 else None

    def connections(self, *topics):
        """Rosbags' connections of topics, of types known here. Raises TalkerError for foreign definitions."""
        found = [c for c in self._connections if c.topic in topics and c.msgtype in _TYPES]
        for connection in found:
            if not has_known_definition(connection):
                known = get_variant(connection.msgtype)
                raise TalkerError(
                    f"{connection.topic} was recorded with another definition of "
                    f"{connection.msgtype} than that of {known}: convert the bag to the released one"
                )
        return found

    def count(self, *topics):
        """How many messages these topics have."""
        return sum(connection.msgcount for connection in self.connections(*topics))

    def messages(self, *topics):
        """Yield the Raw messages of some topics in the order in which they were recorded."""
        chosen = self.connections(*topics)
        if not chosen:  # rosbags takes an empty choice for all
            return
        try:
            for connection, time, data in self._reader.messages(chosen):
                yield Raw(time, connection.topic, connection.msgtype, bytes(data))
        except (self._rosbag2.ReaderError, OSError) as error:
            raise TalkerError(
                f"the bag {self.path} cannot be read to its end ({error}): it seems damaged, "
                "`ros2 bag reindex` may mend it"
            ) from None


def has_known_definition(connection):
    """Whether a connection's type hash, where the bag tells one, is that of the definition known here."""
    name = connection.msgtype
    return not connection.digest or connection.digest == message_types.type_hash(name, get_variant(name))


class BagOutput:
    """A new bag. A context manager: what was written is removed when the block is left with an exception.

    path: a folder that is not there yet; storage: "sqlite3" or "mcap". TalkerError if it cannot be made.
    """

    def __init__(self, path, storage) -> None:
        self.path, self._storage = Path(path), storage
        self._rosbag2 = require("rosbags.rosbag2", "writing bags")
        self._connections = {}
        if self.path.exists():
            raise TalkerError(f"{self.path} exists already: remove it, or choose another --out")

    def __enter__(self):
        self._writer = self._rosbag2.Writer(
            self.path, version=_VERSION, storage_plugin=self._rosbag2.StoragePlugin[self._storage.upper()]
        )
        try:
            self._writer.open()
        except OSError as error:
            raise TalkerError(
                f"the bag {self.path} cannot be made ({error.strerror}): choose another --out"
            ) from None
        return self

    def __exit__(self, kind, error, trace):
        try:
            self._writer.__exit__(kind, error, trace)
        finally:
            if kind is not None:
                shutil.rmtree(self.path, ignore_errors=True)

    def add(self, topic, name, qos) -> None:
        """A topic of a type known here. qos: list of rosbags' Qos, as `face_qos` or a connection's own."""
        if (topic, name) not in self._connections:
            self._connections[topic, name] = self._writer.add_connection(
                topic, name, typestore=message_types.typestore(get_variant(name)), offered_qos_profiles=qos
            )

    def copy_topics(self, connections) -> None:
        """Add the topics of another bag's connections, with the QoS that they were recorded with."""
        for connection in connections:
            self.add(connection.topic, connection.msgtype, list(connection.ext.offered_qos_profiles))

    def write(self, raw) -> None:
        """Write a Raw to a topic that was added."""
        self._writer.write(self._connections[raw.topic, raw.type], raw.time, raw.data)


def face_qos(depth, latched=False):
    """Rosbags' Qos of our own topics: reliable, keep-last `depth`, volatile or (latched) transient local."""
    kinds = require("rosbags.interfaces", "writing bags")
    forever = kinds.QosTime(9223372036, 854775807)
    return [
        kinds.Qos(
            kinds.QosHistory.KEEP_LAST,
            depth,
            kinds.QosReliability.RELIABLE,
            kinds.QosDurability.TRANSIENT_LOCAL if latched else kinds.QosDurability.VOLATILE,
            forever,
            forever,
            kinds.QosLiveliness.AUTOMATIC,
            forever,
            False,
        )
    ]


def encode(message):
    """A message of a class of `node.messages` -> its bytes as a recorder finds them on the wire: CDR with its
    header, filled to a multiple of four.
    """
    data = message.serialize(use_version_2=False)
    return data + bytes(-len(data) % 4)
