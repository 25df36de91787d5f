# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 node without ROS: publishers, subscriptions, timers and services over Cyclone DDS.

Topics, types, QoS, type hashes and the graph information are those of rmw_cyclonedds, so ROS 2 peers see an
ordinary node. Callbacks run in one thread, in turns of bounded duration: timers first, then the messages that
have arrived, as far as the turn lasts. What cannot be handled in time waits in queues of bounded size, whose
oldest messages are dropped; a flood of one topic neither delays timers, nor silences other topics, nor takes
the interpreter from other threads. The environment variables ROS_DOMAIN_ID, CYCLONEDDS_URI,
ROS_LOCALHOST_ONLY and ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST are honoured.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.config_files import describe
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging import (
    audio_common,
    cyclonedds_config,
    face_messages,
    ros_names,
    speech_messages,
)
from streamingtalker_ros.messaging.audio_common import Variant
from streamingtalker_ros.process import never_raising, print_warning, release_free_memory

MAX_DOMAIN_ID: Final = 232
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""Serialized size of the largest message that a subscription accepts, and of all that wait there."""

MAX_CONTROL_BYTES: Final = 256 * 1024
"""Serialized size of the largest message of a type without audio and meshes."""

_MAX_MESH_BYTES: Final = 16 * 1024 * 1024
_MAX_BYTES: Final = {
    face_messages.MOTION_TYPE: MAX_CONTROL_BYTES,
    audio_common.INFO_TYPE: MAX_CONTROL_BYTES,
    "sensor_msgs/msg/JointState": MAX_CONTROL_BYTES,
    "std_msgs/msg/String": MAX_CONTROL_BYTES,
    "geometry_msgs/msg/PointStamped": MAX_CONTROL_BYTES,
    "streamingtalker_ros/msg/Expression": MAX_CONTROL_BYTES,
    "streamingtalker_ros/msg/Gesture": MAX_CONTROL_BYTES,
    "hri_msgs/msg/Expression": MAX_CONTROL_BYTES,
    f"{speech_messages.SAY_ACTION}_SendGoal_Request": MAX_MESSAGE_BYTES,
    face_messages.MODEL_TYPE: _MAX_MESH_BYTES,
    face_messages.VERTICES_TYPE: _MAX_MESH_BYTES,
}
_READ_BATCH: Final = 64  # samples of one read
_READ_BATCH_BYTES: Final = 1024 * 1024
_MAX_READ_S: Final = 0.1  # of one reader and turn
_RELEASED_BYTES: Final = 16 * 1024 * 1024
_RELEASE_PERIOD_S: Final = 1.0
_READ_INTERVAL_S: Final = 0.01  # during a pause
_DEFAULT_DEPTH: Final = 10
_LOSSLESS_DEPTH: Final = 1000  # of a subscription that is to lose nothing of a burst
_MAX_QUEUED: Final = 20_000  # messages of such a subscription
_TURN_S: Final = 0.005  # of the callbacks of one turn
_PAUSE_RATIO: Final = 3.0  # of pause to work while more arrives than can be handled
_MAX_PAUSE_S: Final = 0.1
_RETRY_S: Final = 0.005  # for a response whose client is not discovered yet
_MAX_DISCOVERED: Final = 10_000  # endpoints of the domain that wait to be looked at
_MAX_REQUESTS: Final = 100
_MAX_DEFERRED: Final = 100  # of these responses
_WAIT_ERROR_PAUSE_S: Final = 0.1
_MAX_WAIT_ERRORS: Final = 5  # in a row
_MAX_WAIT_S: Final = 0.25  # without data and timers
_CLIENT_DISCOVERY_S: Final = 0.1  # the reader of a client may be discovered after its request
_MAX_ERROR_CHARS: Final = 300
_MAX_REMEMBERED_ENDPOINTS: Final = 10_000  # publishers of the domain whose names are remembered
_MAX_NAME_CHARS: Final = 255
_UNSIGNED: Final = (1 << 64) - 1

_domains: dict[
    int, Any
] = {}  # configured by this process; Cyclone DDS accepts a configuration once per process

Qos: TypeAlias = Sequence[Any]
"""Cyclone DDS policies, as `DdsNode.qos` returns them."""

Respond: TypeAlias = Callable[..., None]
"""Sends the response to a request; its keyword arguments are the fields of the response."""


@dataclass
class _RawMessage:
    """A message as it arrived; `sample_info` is set by the DDS binding."""

    data: bytes
    sample_info: Any = None


@dataclass(frozen=True)
class DiscoveredPublisher:
    """A publisher of the domain.

    Attributes:
        topic: The DDS topic.
        type_name: The DDS type name.
        is_reliable: Whether it is reliable, or best effort.
        is_latched: Whether it is transient local, or volatile.
    """

    topic: str
    type_name: str
    is_reliable: bool
    is_latched: bool


class _RawType:
    """Takes the place of a message class in a reader, so that reading costs nothing but a copy."""

    deserialize = deserialize_key = _RawMessage


@dataclass(eq=False)
class Subscription:
    """Handle of a subscription.

    Attributes:
        condition: The read condition in the node's wait set.
        reader: The DDS DataReader.
        topic: Name for warnings.
        message_class: Class of the messages, None for a reader of discovery data.
        callback: Called with each message.
        max_bytes: Serialized size up to which a message is accepted.
        depth: Messages that wait at most.
        batch: Messages to read at once; few if they are large.
        dropped: Messages that were too many or too large.
    """

    condition: Any
    reader: Any
    topic: str
    message_class: Any
    callback: Callable[[Any], object]
    max_bytes: int
    depth: int
    batch: int = 1
    dropped: int = 0
    queue: deque[Any] = field(default_factory=deque)
    queued_bytes: int = 0

    def append(self, sample: Any, size: int) -> bool:
        """Queue a message.

        Args:
            sample: As the reader returned it.
            size: Its serialized size in bytes.

        Returns:
            Whether older messages had to be dropped for it.
        """
        dropped = self.dropped
        while self.queue and (len(self.queue) >= self.depth or self.queued_bytes + size > MAX_MESSAGE_BYTES):
            self.dropped += 1
            self.pop()
        self.queue.append((sample.sample_info.source_timestamp, size, sample))
        self.queued_bytes += size
        return self.dropped > dropped

    def pop(self) -> Any:
        """Remove and return the oldest message."""
        _, size, sample = self.queue.popleft()
        self.queued_bytes -= size
        return sample


@dataclass
class _Timer:
    period: float  # s
    next_time: float  # s
    callback: Callable[[], object]


def domain_id(domain: int | None = None) -> int:
    """Return `domain`, else that of ROS_DOMAIN_ID, else 0.

    Raises:
        TalkerError: If it is no number of 0 to 232.
    """
    value = os.environ.get("ROS_DOMAIN_ID") or "0" if domain is None else str(domain)
    if not value.isdigit() or int(value) > MAX_DOMAIN_ID:
        raise TalkerError(
            f"{value!r} is no ROS domain: set ROS_DOMAIN_ID, or --domain, to a number of 0 to {MAX_DOMAIN_ID}"
        )
    return int(value)


def matched_readers(writer: Any) -> int:
    """Return the number of readers that a DDS DataWriter is matched with.

    Args:
        writer: A DataWriter of cyclonedds.
    """
    return _count(writer.get_matched_subscriptions)


def matched_writers(reader: Any) -> int:
    """Return the number of writers that a DDS DataReader is matched with.

    Args:
        reader: A DataReader of cyclonedds.
    """
    return _count(reader.get_matched_publications)


def _count(get_matched: Callable[[], Sequence[Any]]) -> int:
    # the binding counts the peers and then reads them, and raises if one joins or leaves in between
    while True:
        try:
            return len(get_matched())
        except IndexError:
            continue


class DdsNode:
    """A node in a ROS domain.

    Register callbacks with `create_subscription`, `create_trigger_service` and `create_timer`; they run in
    the thread that `start` begins, one at a time.

    Args:
        name: Name of the node.
        namespace: Its namespace, with or without a leading slash.
        domain: ROS domain, None for that of ROS_DOMAIN_ID.
        warn: Receives warnings.

    Raises:
        TalkerError: If the domain cannot be joined, or the namespace is none that ROS accepts.
    """

    def __init__(
        self,
        name: str,
        namespace: str = "",
        domain: int | None = None,
        warn: Callable[[str], Any] = print_warning,
    ) -> None:
        if not ros_names.is_namespace(namespace):
            raise TalkerError(f"{describe(namespace)} is no ROS namespace: write {ros_names.NAME_RULE}")
        self.name = name
        self.namespace = "/" + namespace.strip("/")
        self.warn = never_raising(warn)
        self._reported_faults: set[Any] = set()
        self._dds = {
            module: require(f"cyclonedds.{module}", "DDS")
            for module in ("builtin", "core", "domain", "pub", "qos", "sub", "topic")
        }
        self._policy = self._dds["qos"].Policy
        self.domain = domain_id(domain)
        self.participant: Any = self._create_participant(self.domain)
        self._waitset: Any = self._dds["core"].WaitSet(self.participant)
        self._wakeup: Any = self._dds["core"].GuardCondition(self.participant)
        self._waitset.attach(self._wakeup)
        self._subscriptions: list[Subscription] = []
        self._timers: list[_Timer] = []
        self._readers: list[Any] = []  # all endpoints, for the graph
        self._writers: list[Any] = []
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._wait_errors = 0  # in a row
        self._node_names: dict[str, str] = {}  # by the GUID of a publisher
        self._publishers: dict[int, tuple[str, bool]] = {}  # GUID and reliability by handle
        self._read_bytes, self._last_release = 0, 0.0  # about, since free memory was released; s
        self._resume_time = 0.0  # s, of the next turn; in the future while more arrives than can be handled
        self._deferred: deque[tuple[float, Any, Any]] = deque()  # deadline, writer, response
        self._lock = threading.RLock()
        self._graph_writer: Any = None
        self._graph_writer = self._create_writer(
            "ros_discovery_info",
            "rmw_dds_common/msg/ParticipantEntitiesInfo",
            self.qos(depth=1, latched=True),
        )

    def _check_security(self) -> None:
        """Raise TalkerError, or warn, if the user asked for a secured graph, which this node cannot join."""
        if os.environ.get("ROS_SECURITY_ENABLE", "").lower() != "true":
            return
        problem = "nodes without ROS have no DDS security, what they send is neither encrypted nor signed"
        if os.environ.get("ROS_SECURITY_STRATEGY") == "Enforce":
            raise TalkerError(f"{problem}: use the ROS nodes (ros2 run), or unset ROS_SECURITY_ENABLE")
        self.warn(f"{problem}: ROS_SECURITY_ENABLE has no effect here")

    def _create_participant(self, domain: int) -> Any:
        self._check_security()
        range_ = cyclonedds_config.discovery_range(self.warn)
        config = cyclonedds_config.to_cyclonedds_uri(
            cyclonedds_config.discovery_xml(range_) + cyclonedds_config.RECEIVE_BUFFER_XML
        )
        try:
            with cyclonedds_config.loopback_sockets(range_, self.warn):
                if domain not in _domains:
                    _domains[domain] = self._dds["domain"].Domain(domain, config)
                participant = self._dds["domain"].DomainParticipant(
                    domain, self._dds["qos"].Qos(self._policy.Userdata(b"enclave=/;"))
                )
        except self._dds["core"].DDSException as error:
            raise TalkerError(
                f"DDS domain {domain} cannot be joined ({error.msg}): check CYCLONEDDS_URI and "
                "that a network interface, if only the loopback, is up"
            ) from None
        cyclonedds_config.mute_packet_warnings()
        return participant

    # ------------------------------------------------------------------------------------------ names and QoS

    def resolve_name(self, name: str) -> str:
        """Return the full ROS name: "audio" becomes "/ns/audio", "~/reset" "/ns/talker/reset", "/x" stays.

        Raises:
            TalkerError: If it is no name that ROS accepts.
        """
        base, full_name = self.namespace.rstrip("/"), name
        if not name.startswith("/"):
            full_name = f"{base}/{self.name}{name[1:]}" if name.startswith("~") else f"{base}/{name}"
        return ros_names.check_full_name(full_name, name)

    def qos(self, depth: int = 10, reliable: bool = True, latched: bool = False) -> list[Any]:
        """Return the usual QoS of ROS.

        Args:
            depth: Number of samples in the history.
            reliable: Reliable, or best effort.
            latched: Transient local, or volatile.
        """
        policy = self._policy
        return [
            policy.History.KeepLast(depth),
            policy.Reliability.Reliable(NS_PER_S) if reliable else policy.Reliability.BestEffort,
            policy.Durability.TransientLocal if latched else policy.Durability.Volatile,
        ]

    # ------------------------------------------------------------------------------------------------- topics

    def create_publisher(
        self, topic: str, type_name: str, qos: Qos | None = None, variant: Variant = "ros-drivers"
    ) -> Any:
        """Create a publisher.

        Args:
            topic: ROS topic, relative or absolute.
            type_name: "package/msg/Name".
            qos: Policies, default reliable with depth 10.
            variant: Variant of audio_common_msgs.

        Returns:
            A DDS DataWriter; `write` accepts instances of `message_types.message_class(type_name)`.
        """
        writer = self._create_writer("rt" + self.resolve_name(topic), type_name, qos, variant)
        self.publish_graph_info()
        return writer

    def create_subscription(
        self,
        topic: str,
        type_name: str,
        callback: Callable[[Any], object],
        qos: Qos | None = None,
        variant: Variant = "ros-drivers",
    ) -> Subscription:
        """Create a subscription.

        Args:
            topic: ROS topic, relative or absolute.
            type_name: "package/msg/Name".
            callback: Called with each message.
            qos: Policies, default reliable with depth 10.
            variant: Variant of audio_common_msgs.

        Returns:
            A handle for `destroy_subscription`.
        """
        name, message_class = self.resolve_name(topic), message_types.message_class(type_name, variant)
        reader = self._create_reader("rt" + name, type_name, qos, variant)
        depth = next((policy.depth for policy in qos or () if hasattr(policy, "depth")), _DEFAULT_DEPTH)
        if depth >= _LOSSLESS_DEPTH:
            depth = _MAX_QUEUED
        max_bytes = _MAX_BYTES.get(type_name, MAX_MESSAGE_BYTES)
        subscription = self._subscribe(reader, name, message_class, callback, max_bytes, depth)
        self.publish_graph_info()
        return subscription

    def destroy_subscription(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        with self._lock:
            self._subscriptions.remove(subscription)
            self._waitset.detach(subscription.condition)
            self._readers.remove(subscription.reader)
        self.publish_graph_info()

    def _create_writer(
        self,
        topic: str,
        type_name: str,
        qos: Qos | None = None,
        variant: Variant = "ros-drivers",
        user_data: str = "",
        message_class: Any = None,
    ) -> Any:
        message_class = message_class or message_types.message_class(type_name, variant)
        writer = self._dds["pub"].DataWriter(
            self.participant,
            self._dds["topic"].Topic(self.participant, topic, message_class),
            qos=self._to_dds_qos(qos, type_name, variant, user_data),
        )
        self._writers.append(writer)
        return writer

    def _create_reader(
        self,
        topic: str,
        type_name: str,
        qos: Qos | None = None,
        variant: Variant = "ros-drivers",
        user_data: str = "",
        message_class: Any = None,
    ) -> Any:
        message_class = message_class or message_types.message_class(type_name, variant)
        dds_topic = self._dds["topic"].Topic(self.participant, topic, message_class)
        dds_topic.data_type = _RawType
        reader = self._dds["sub"].DataReader(
            self.participant,
            dds_topic,
            qos=self._to_dds_qos(qos, type_name, variant, user_data),
        )
        self._readers.append(reader)
        return reader

    def _to_dds_qos(self, qos: Qos | None, type_name: str, variant: Variant, user_data: str) -> Any:
        data = f"{user_data}typehash={message_types.type_hash(type_name, variant)};".encode()
        return self._dds["qos"].Qos(
            *(qos or self.qos()),
            self._policy.Userdata(data),
            self._policy.WriterDataLifecycle(autodispose=False),
        )

    def _read_condition(self, reader: Any) -> Any:
        core = self._dds["core"]
        return core.ReadCondition(reader, core.ViewState.Any | core.InstanceState.Any | core.SampleState.Any)

    def _subscribe(
        self,
        reader: Any,
        topic: str,
        message_class: Any,
        callback: Callable[[Any], object],
        max_bytes: int = MAX_CONTROL_BYTES,
        depth: int = _MAX_DISCOVERED,
    ) -> Subscription:
        condition = self._read_condition(reader)
        subscription = Subscription(condition, reader, topic, message_class, callback, max_bytes, depth)
        self._attach(subscription)
        return subscription

    def _attach(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.append(subscription)
            self._waitset.attach(subscription.condition)

    # -------------------------------------------------------------------------- services, discovery, timers

    def create_trigger_service(self, name: str, callback: Callable[[], str]) -> None:
        """Create a std_srvs/srv/Trigger service.

        Args:
            name: Name of the service, relative or absolute.
            callback: Returns the message of the response; if it raises, the response reports the failure.
        """
        self.create_service(name, "std_srvs/srv/Trigger", lambda _: callback())

    def create_service(self, name: str, type_name: str, callback: Callable[[Any], str]) -> None:
        """Create a service whose response has the fields of std_srvs/srv/Trigger.

        Args:
            name: Name of the service, relative or absolute.
            type_name: Type of the service, "package/srv/Name".
            callback: Receives the request and returns the message of the response; if it raises, the response
                reports the failure.
        """

        def on_request(request: Any, respond: Respond) -> None:
            try:
                success, message = True, callback(request)
            except Exception as error:
                success, message = False, str(error)
            respond(success=success, message=message)

        self.create_deferred_service(name, type_name, on_request)

    def create_deferred_service(
        self, name: str, type_name: str, callback: Callable[[Any, Respond], object]
    ) -> None:
        """Create a service whose responses may be sent later.

        Args:
            name: Name of the service, relative or absolute.
            type_name: Type of the service, "package/srv/Name".
            callback: Receives the request and what sends the response: a function of the response's fields,
                to be called once, in any thread.
        """
        full_name = self.resolve_name(name)
        user_data = f"serviceid={'.'.join(f'{byte:x}' for byte in uuid.uuid4().bytes)};"
        request, response = (f"{type_name}_{half}" for half in ("Request", "Response"))
        request_class, response_class = (message_types.service_class(half) for half in (request, response))
        writer = self._create_writer(
            f"rr{full_name}Reply", response, user_data=user_data, message_class=response_class
        )
        reader = self._create_reader(
            f"rq{full_name}Request", request, user_data=user_data, message_class=request_class
        )

        def on_request(sample: Any) -> None:
            def respond(**fields: Any) -> None:
                message = response_class(guid=sample.guid, seq=sample.seq, **fields)
                if matched_readers(writer) or len(self._deferred) >= _MAX_DEFERRED:
                    writer.write(message)
                else:
                    self._deferred.append((time.monotonic() + _CLIENT_DISCOVERY_S, writer, message))

            callback(sample, respond)

        max_bytes = _MAX_BYTES.get(request, MAX_CONTROL_BYTES)
        self._subscribe(reader, full_name, request_class, on_request, max_bytes, _MAX_REQUESTS)
        self.publish_graph_info()

    def on_publisher_discovered(self, callback: Callable[[DiscoveredPublisher], object]) -> None:
        """Register a callback for publishers.

        Args:
            callback: Called with each publisher of the domain that is discovered.
        """
        builtin = self._dds["builtin"]
        reader = builtin.BuiltinDataReader(self.participant, builtin.BuiltinTopicDcpsPublication)
        policy = self._policy

        def discovered(endpoint: Any) -> None:
            callback(
                DiscoveredPublisher(
                    endpoint.topic_name,
                    endpoint.type_name,
                    policy.Reliability.BestEffort not in endpoint.qos,
                    policy.Durability.Volatile not in endpoint.qos,
                )
            )

        self._subscribe(reader, "the discovery", None, discovered)

    def watch_node_names(self) -> None:
        """Begin to receive the graph, which `node_name` needs."""
        info_class = message_types.message_class("rmw_dds_common/msg/ParticipantEntitiesInfo")
        reader = self._create_reader(
            "ros_discovery_info", "rmw_dds_common/msg/ParticipantEntitiesInfo", self.qos(100, latched=True)
        )
        self._readers.remove(reader)  # part of the middleware, not of the node
        self._subscribe(reader, "ros_discovery_info", info_class, self._on_graph_info)

    def node_name(self, publisher: str) -> str:
        """Return the full name of the node of a publisher, "" if it is not known.

        Args:
            publisher: GUID, as `publisher_id` returns it.
        """
        return self._node_names.get(publisher, "")

    def publisher_id(self, subscription: Subscription, message: Any) -> str:
        """Return the GUID of the publisher of a message, as 32 hexadecimal digits; "" if it is not known.

        Args:
            subscription: The subscription that received it.
            message: The message.
        """
        return self._publisher(subscription, message)[0]

    def is_publisher_reliable(self, subscription: Subscription, message: Any) -> bool:
        """Return whether the publisher of a message is reliable; False if it is not known.

        Args:
            subscription: The subscription that received it.
            message: The message.
        """
        return self._publisher(subscription, message)[1]

    def is_publisher_present(self, subscription: Subscription, publisher: str) -> bool:
        """Return whether a publisher is connected to a subscription.

        Args:
            subscription: The subscription.
            publisher: GUID, as `publisher_id` returns it.
        """
        try:
            handles = subscription.reader.get_matched_publications()
        except IndexError:  # one joins or leaves at this moment
            return True
        known = (self._publishers.get(handle & _UNSIGNED) for handle in handles)  # the binding's are signed
        return any(each is not None and each[0] == publisher for each in known)

    def _publisher(self, subscription: Subscription, message: Any) -> tuple[str, bool]:
        """Return the GUID of a message's publisher, and whether it is reliable."""
        handle = message.sample_info.publication_handle & _UNSIGNED
        if handle not in self._publishers:
            if len(self._publishers) >= _MAX_REMEMBERED_ENDPOINTS:
                self._publishers.clear()
            endpoint = subscription.reader.get_matched_publication_data(handle)
            if endpoint is None:  # it has left
                return "", False
            reliable = self._policy.Reliability.BestEffort not in endpoint.qos
            self._publishers[handle] = endpoint.key.hex, reliable
        return self._publishers[handle]

    def _on_graph_info(self, info: Any) -> None:
        for node in info.node_entities_info_seq[:_MAX_REMEMBERED_ENDPOINTS]:
            name = f"{node.node_namespace.rstrip('/')}/{node.node_name}"[:_MAX_NAME_CHARS]
            for gid in node.writer_gid_seq[:_MAX_REMEMBERED_ENDPOINTS]:
                if len(self._node_names) >= _MAX_REMEMBERED_ENDPOINTS:
                    self._node_names.clear()
                self._node_names[bytes(gid.data)[:16].hex()] = name

    def create_timer(self, period: float, callback: Callable[[], object]) -> None:
        """Call a callback every `period` seconds."""
        with self._lock:
            self._timers.append(_Timer(period, time.monotonic() + period, callback))
        self._wakeup.set(True)

    def publish_graph_info(self) -> None:
        """Publish the endpoints of this node, so that `ros2 node list` and `ros2 node info` show it."""
        info = message_types.message_class("rmw_dds_common/msg/ParticipantEntitiesInfo")
        node = message_types.message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        gid = message_types.message_class("rmw_dds_common/msg/Gid")

        def gids(entities: Sequence[Any]) -> list[Any]:
            return [
                gid(data=list(entity.guid.bytes)) for entity in entities if entity is not self._graph_writer
            ]

        with self._lock:
            entry = node(
                node_namespace=self.namespace,
                node_name=self.name,
                reader_gid_seq=gids(self._readers),
                writer_gid_seq=gids(self._writers),
            )
            self._graph_writer.write(
                info(gid=gid(data=list(self.participant.guid.bytes)), node_entities_info_seq=[entry])
            )

    # --------------------------------------------------------------------------------------------- the thread

    def start(self) -> None:
        """Start the thread that calls the callbacks."""
        self._thread = threading.Thread(target=self._spin, name="dds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and leave the domain."""
        self._stopping = True
        self._wakeup.set(True)
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for subscription in self._subscriptions:
                self._waitset.detach(subscription.condition)
            self._subscriptions, self._timers = [], []
            self._readers, self._writers = [], []
        # deletes its readers and writers with it: left to the garbage collector, those that somebody still
        # refers to would stay in the graph
        participant = self.participant
        self.participant = self._waitset = self._wakeup = self._graph_writer = None
        if participant is not None:
            participant.__del__()

    def _spin(self) -> None:
        # what is raised by neither a message nor a callback ends the thread, for the supervisor to notice
        while not self._stopping:
            self._spin_once()

    def _spin_once(self) -> None:
        """Wait for data or the next timer; call the timers that are due, then handle messages for a turn."""
        self._wait()
        self._wakeup.set(False)
        self._call_timers()
        self._respond_deferred()
        start = time.thread_time()
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            self._call(self._read, subscription)
        self._release_memory()
        now = time.monotonic()
        if now < self._resume_time:
            return  # messages are read on, so that those that are dropped cost no memory
        self._handle_queued(subscriptions, now + _TURN_S)
        if any(subscription.queue for subscription in subscriptions):
            # more than can be handled: other threads need the interpreter, too
            pause = min(_PAUSE_RATIO * (time.thread_time() - start), _MAX_PAUSE_S)
            self._resume_time = time.monotonic() + pause

    def _wait(self) -> None:
        now = time.monotonic()
        with self._lock:
            next_time = min((timer.next_time for timer in self._timers), default=now + _MAX_WAIT_S)
        timeout = min(next_time - now, _MAX_WAIT_S, _RETRY_S if self._deferred else _MAX_WAIT_S)
        if now < self._resume_time:
            time.sleep(max(0.0, min(self._resume_time - now, timeout, _READ_INTERVAL_S)))
            return
        try:
            self._waitset.wait(max(int(timeout * NS_PER_S), 1))
            self._wait_errors = 0
        except self._dds["core"].DDSException as error:
            self._wait_errors += 1
            if self._wait_errors > _MAX_WAIT_ERRORS:
                raise
            self._warn_once("waiting for DDS data failed: retrying", error)
            time.sleep(_WAIT_ERROR_PAUSE_S)

    def _call_timers(self) -> None:
        with self._lock:
            timers = list(self._timers)
        for timer in timers:
            now = time.monotonic()
            if now >= timer.next_time:
                timer.next_time = max(timer.next_time + timer.period, now)
                self._call(timer.callback)

    def _respond_deferred(self) -> None:
        for _ in range(len(self._deferred)):
            deadline, writer, response = self._deferred.popleft()
            if matched_readers(writer) or time.monotonic() >= deadline:
                self._call(writer.write, response)
            else:
                self._deferred.append((deadline, writer, response))

    def _release_memory(self) -> None:
        """Release the memory of large messages, at most once a second."""
        now = time.monotonic()
        if self._read_bytes > _RELEASED_BYTES and now - self._last_release > _RELEASE_PERIOD_S:
            self._read_bytes, self._last_release = 0, now
            release_free_memory()

    def _read(self, subscription: Subscription) -> None:
        """Move the messages that have arrived into the queue of their subscription."""
        if not subscription.condition.triggered:  # a fifth of the cost of an empty read
            return
        overflowed, deadline, batch = False, time.monotonic() + _MAX_READ_S, subscription.batch
        while time.monotonic() < deadline:
            samples = subscription.reader.take(batch)
            largest = 1
            for sample in samples:
                if not sample.sample_info.valid_data:  # a peer has left
                    continue
                size = len(sample.data) if isinstance(sample, _RawMessage) else 0
                largest = max(largest, size)
                if size > subscription.max_bytes:
                    subscription.dropped += 1
                    self._warn_dropped(
                        subscription,
                        "size",
                        f"a message of {size} bytes on {subscription.topic} is dropped: send at most "
                        f"{subscription.max_bytes}",
                    )
                else:
                    overflowed |= subscription.append(sample, size)
            self._read_bytes += largest * len(samples)
            is_empty = len(samples) < batch
            batch = subscription.batch = max(1, min(_READ_BATCH, _READ_BATCH_BYTES // largest))
            if is_empty:
                break
        if overflowed:
            self._warn_dropped(
                subscription,
                "number",
                f"more messages arrive on {subscription.topic} than can be handled: the oldest are dropped; "
                "send fewer and larger ones, and check who publishes there",
            )

    def _handle_queued(self, subscriptions: Sequence[Subscription], deadline: float) -> None:
        """Handle messages until the deadline, and at least one of each subscription.

        They are handled in the order of publication across topics: the audio's format precedes the audio.
        """
        handled: set[Subscription] = set()
        while waiting := [each for each in subscriptions if each.queue]:
            if time.monotonic() >= deadline:
                for subscription in waiting:
                    if subscription not in handled:
                        self._handle(subscription)
                return
            subscription = min(waiting, key=lambda each: each.queue[0][0])
            self._handle(subscription)
            handled.add(subscription)

    def _handle(self, subscription: Subscription) -> None:
        sample = subscription.pop()
        if subscription.message_class is None:
            self._call(subscription.callback, sample)
        else:
            self._call(self._deserialize_and_call, subscription, sample)

    def _deserialize_and_call(self, subscription: Subscription, sample: _RawMessage) -> None:
        message = subscription.message_class.deserialize(sample.data)
        message.sample_info = sample.sample_info
        subscription.callback(message)

    def _warn_dropped(self, subscription: Subscription, kind: str, message: str) -> None:
        if (kind, subscription.topic) not in self._reported_faults:
            self._reported_faults.add((kind, subscription.topic))
            self.warn(message)

    def _call(self, callback: Callable[..., Any], *values: Any) -> Any:
        try:
            return callback(*values)
        except Exception as error:  # an unreadable message or a peer's unknown type must not end the node
            self._warn_once("a DDS message could not be handled and was dropped", error)
            return None

    def _warn_once(self, message: str, fault: Exception) -> None:
        """Warn once for each place in the code that raised."""
        trace = fault.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        location = (type(fault), trace and (trace.tb_frame.f_code, trace.tb_lineno))
        if location not in self._reported_faults:
            self._reported_faults.add(location)
            self.warn(f"{message} ({type(fault).__name__}: {str(fault)[:_MAX_ERROR_CHARS]})")
