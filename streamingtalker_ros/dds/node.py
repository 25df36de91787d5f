# SPDX-License-Identifier: Apache-2.0
"""One ROS 2 node on the wire without ROS: publishers, subscriptions and Trigger services over Cyclone DDS.

Takes relative or absolute ROS names and type names ("package/msg/Name"); topics, types, QoS, type hashes and
the graph announcement are those of rmw_cyclonedds, so that ROS 2 peers see an ordinary node. Callbacks run in
one thread. Honours ROS_DOMAIN_ID, CYCLONEDDS_URI, ROS_LOCALHOST_ONLY and
ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST.
"""

import os
import threading
import time
import uuid

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError, require
from streamingtalker_ros.messaging import cyclonedds_config
from streamingtalker_ros.process import never_raising, print_warning

_DISCOVERY = (
    "<Discovery><ParticipantIndex>auto</ParticipantIndex><MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
    '<Peers><Peer address="localhost"/></Peers></Discovery>'
)
# on the local host alone rmw_cyclonedds announces itself to 127.0.0.1, and Cyclone DDS 11 hears chosen
# interfaces only
_LOCALHOST = (
    "<General><AllowMulticast>false</AllowMulticast>"
    '<Interfaces><NetworkInterface address="127.0.0.1"/></Interfaces></General>'
)
_domains = {}  # domains whose configuration this process has set; Cyclone DDS takes it once per process


def domain_id(domain=None):
    """The given domain, or that of ROS_DOMAIN_ID, or 0. Raises TalkerError when it is no number of 0 to
    232."""
    value = os.environ.get("ROS_DOMAIN_ID") or "0" if domain is None else str(domain)
    if not value.isdigit() or int(value) > 232:
        raise TalkerError(
            f"{value!r} is no ROS domain: set ROS_DOMAIN_ID, or --domain, to a number of 0 to 232"
        )
    return int(value)


def readers(writer):
    """How many readers a DDS writer has."""
    return _count(writer.get_matched_subscriptions)


def writers(reader):
    """How many writers a DDS reader has."""
    return _count(reader.get_matched_publications)


def _count(matched):
    """len(matched()). The binding counts and then reads them, and raises where one comes or goes between."""
    while True:
        try:
            return len(matched())
        except IndexError:
            continue


class Wire:
    """A node named `node` in `namespace`, in a ROS domain (a number, or None for ROS_DOMAIN_ID).

    `subscribe`, `serve` and `every` register callbacks; they run in the thread that `start` begins, one at a
    time. Raises TalkerError when the domain cannot be joined.
    """

    def __init__(self, node, namespace="", domain=None, warn=print_warning) -> None:
        self.node, self.namespace, self.warn = node, "/" + namespace.strip("/"), never_raising(warn)
        self._told = set()
        self._dds = {
            name: require(f"cyclonedds.{name}", "DDS")
            for name in ("builtin", "core", "domain", "pub", "qos", "sub", "topic")
        }
        self._policy = self._dds["qos"].Policy
        self.domain = domain_id(domain)
        self.participant = self._join(self.domain)
        self._waitset = self._dds["core"].WaitSet(self.participant)
        self._wake = self._dds["core"].GuardCondition(self.participant)
        self._waitset.attach(self._wake)
        self._readers = []  # (condition, function that empties the reader -> (sent at, callback, sample))
        self._timers = []  # [period, next time, callback]
        self._endpoints = [[], []]  # readers and writers, for the graph
        self._thread, self._stopping = None, False
        self._lock = threading.RLock()
        self._discovery = self._writer(
            "ros_discovery_info",
            "rmw_dds_common/msg/ParticipantEntitiesInfo",
            self.qos(depth=1, latched=True),
        )

    def _join(self, domain):
        local = (
            os.environ.get("ROS_LOCALHOST_ONLY") == "1"
            or os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST"
        )
        config = cyclonedds_config.to_cyclonedds_uri(
            (_LOCALHOST if local else "") + _DISCOVERY + cyclonedds_config.RECEIVE_BUFFER_XML
        )
        try:
            if domain not in _domains:
                _domains[domain] = self._dds["domain"].Domain(domain, config)
            return self._dds["domain"].DomainParticipant(
                domain, self._dds["qos"].Qos(self._policy.Userdata(b"enclave=/;"))
            )
        except self._dds["core"].DDSException as error:
            raise TalkerError(
                f"DDS domain {domain} cannot be joined ({error.msg}): check CYCLONEDDS_URI and "
                "that a network interface, if only the loopback, is up"
            ) from None

    # -- names and QoS --

    def resolve(self, name):
        """A ROS name -> the full one: "audio" -> "/ns/audio", "~/reset" -> "/ns/talker/reset", "/x" ->
        "/x"."""
        base = self.namespace.rstrip("/")
        if name.startswith("/"):
            return name
        return f"{base}/{self.node}{name[1:]}" if name.startswith("~") else f"{base}/{name}"

    def qos(self, depth=10, reliable=True, latched=False):
        """ROS's usual QoS: keep-last depth, reliable or best effort, volatile or (latched) transient
        local."""
        policy = self._policy
        return [
            policy.History.KeepLast(depth),
            policy.Reliability.Reliable(NS_PER_S) if reliable else policy.Reliability.BestEffort,
            policy.Durability.TransientLocal if latched else policy.Durability.Volatile,
        ]

    def _make_qos(self, policies, name, lineage, extra=""):
        user = f"{extra}typehash={message_types.type_hash(name, lineage)};".encode()
        return self._dds["qos"].Qos(
            *policies, self._policy.Userdata(user), self._policy.WriterDataLifecycle(autodispose=False)
        )

    # -- topics --

    def publisher(self, topic, name, qos=None):
        """A DataWriter of ROS type `name` on a ROS topic; `write` takes instances of
        `messages.message_class(name)`."""
        writer = self._writer("rt" + self.resolve(topic), name, qos or self.qos())
        self.announce()
        return writer

    def audio_publisher(self, topic, name, lineage, qos=None):
        """The same for a type of one lineage of audio_common_msgs."""
        writer = self._writer("rt" + self.resolve(topic), name, qos or self.qos(), lineage=lineage)
        self.announce()
        return writer

    def subscribe(self, topic, name, callback, qos=None, lineage="ros-drivers"):
        """Call `callback(message)` for every message. Returns a handle for `unsubscribe`."""
        reader = self._reader("rt" + self.resolve(topic), name, qos or self.qos(), lineage=lineage)
        handle = self._listen(reader, callback)
        self.announce()
        return handle

    def unsubscribe(self, handle) -> None:
        with self._lock:
            condition, _, reader = handle
            self._readers.remove(handle)
            self._waitset.detach(condition)
            self._endpoints[0].remove(reader)
        self.announce()

    def _writer(self, topic, name, policies, lineage="ros-drivers", extra="", made=None):
        made = made or message_types.message_class(name, lineage)
        qos = self._make_qos(policies, name, lineage, extra)
        writer = self._dds["pub"].DataWriter(
            self.participant, self._dds["topic"].Topic(self.participant, topic, made), qos=qos
        )
        self._endpoints[1].append(writer)
        return writer

    def _reader(self, topic, name, policies, lineage="ros-drivers", extra="", made=None):
        made = made or message_types.message_class(name, lineage)
        qos = self._make_qos(policies, name, lineage, extra)
        reader = self._dds["sub"].DataReader(
            self.participant, self._dds["topic"].Topic(self.participant, topic, made), qos=qos
        )
        self._endpoints[0].append(reader)
        return reader

    def _listen(self, reader, callback, batch=64):
        core = self._dds["core"]
        condition = core.ReadCondition(
            reader, core.ViewState.Any | core.InstanceState.Any | core.SampleState.Any
        )

        found = []

        def taken() -> None:
            while samples := reader.take(batch):
                found.extend(
                    (sample.sample_info.source_timestamp, callback, sample)
                    for sample in samples
                    if sample.sample_info.valid_data
                )  # without data: a peer has left
                if len(samples) < batch:
                    break

        def taken_so_far():
            found.clear()
            self._call(taken)  # what was read before one that cannot be read is not lost
            return list(found)

        handle = (condition, taken_so_far, reader)
        with self._lock:
            self._readers.append(handle)
            self._waitset.attach(condition)
        return handle

    # -- services, discovery, timers --

    def serve(self, service, callback) -> None:
        """A std_srvs/srv/Trigger service; `callback()` returns the answer's message, or raises to answer
        failure."""
        name = self.resolve(service)
        extra = f"serviceid={'.'.join(f'{byte:x}' for byte in uuid.uuid4().bytes)};"
        request, response = (f"std_srvs/srv/Trigger_{half}" for half in ("Request", "Response"))
        answer = message_types.service_class(response)
        writer = self._writer(f"rr{name}Reply", response, self.qos(), extra=extra, made=answer)
        reader = self._reader(
            f"rq{name}Request", request, self.qos(), extra=extra, made=message_types.service_class(request)
        )

        def reply(sample) -> None:
            try:
                success, text = True, callback()
            except Exception as error:
                success, text = False, str(error)
            deadline = time.monotonic() + 0.1  # a client's reader may be discovered after its request
            while not readers(writer) and time.monotonic() < deadline:
                time.sleep(0.005)
            writer.write(answer(guid=sample.guid, seq=sample.seq, success=success, message=text))

        self._listen(reader, reply)
        self.announce()

    def watch_publishers(self, callback) -> None:
        """Call `callback(topic, DDS type name, whether it is reliable)` for every publisher that is
        discovered."""
        builtin, core = self._dds["builtin"], self._dds["core"]
        reader = builtin.BuiltinDataReader(self.participant, builtin.BuiltinTopicDcpsPublication)
        condition = core.ReadCondition(
            reader, core.ViewState.Any | core.InstanceState.Any | core.SampleState.Any
        )
        best_effort = self._policy.Reliability.BestEffort

        def taken():
            while found := reader.take(64):
                for endpoint in found:
                    if endpoint.sample_info.valid_data:
                        self._call(
                            callback, endpoint.topic_name, endpoint.type_name, best_effort not in endpoint.qos
                        )
            return []

        with self._lock:
            self._readers.append((condition, taken, reader))
            self._waitset.attach(condition)

    def every(self, period, callback) -> None:
        """Call `callback()` every `period` seconds."""
        with self._lock:
            self._timers.append([period, time.monotonic() + period, callback])
        self._wake.set(True)

    def announce(self) -> None:
        """Tell the ROS graph which endpoints this node has, so that `ros2 node list` and `info` show it."""
        info = message_types.message_class("rmw_dds_common/msg/ParticipantEntitiesInfo")
        node = message_types.message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        gid = message_types.message_class("rmw_dds_common/msg/Gid")

        def gids(entities):
            return [gid(data=list(entity.guid.bytes)) for entity in entities if entity is not self._discovery]

        with self._lock:
            readers, writers = (gids(entities) for entities in self._endpoints)
            entry = node(
                node_namespace=self.namespace,
                node_name=self.node,
                reader_gid_seq=readers,
                writer_gid_seq=writers,
            )
            self._discovery.write(
                info(gid=gid(data=list(self.participant.guid.bytes)), node_entities_info_seq=[entry])
            )

    # -- the thread --

    def start(self) -> None:
        self._thread = threading.Thread(target=self._spin, name="dds", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and leave the domain."""
        self._stopping = True
        self._wake.set(True)
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for condition, _, _ in self._readers:
                self._waitset.detach(condition)
            self._readers, self._timers = [], []
            self._endpoints = [[], []]
        self.participant = self._waitset = self._wake = self._discovery = None

    def _spin(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except Exception as fault:  # the thread is all that hears and commands: it goes on
                self._tell("the DDS thread met", fault)
                time.sleep(0.01)

    def _turn(self) -> None:
        """Wait for data or the next timer, and call what is due."""
        with self._lock:
            timers = list(self._timers)
        now = time.monotonic()
        soonest = min((timer[1] for timer in timers), default=now + 1.0)
        try:
            self._waitset.wait(max(int((soonest - now) * NS_PER_S), 1))
        except self._dds["core"].DDSException as error:
            self.warn(f"waiting for DDS data failed ({error.msg}): trying on")
            time.sleep(0.1)
        self._wake.set(False)
        with self._lock:
            readers = list(self._readers)
        # in the order in which they were sent: what one topic tells of another comes before it
        found = [sample for _, taken, _ in readers for sample in self._call(taken) or ()]
        for _, callback, sample in sorted(found, key=lambda entry: entry[0]):
            self._call(callback, sample)
        now = time.monotonic()
        for timer in timers:
            if now >= timer[1]:
                timer[1] = max(timer[1] + timer[0], now)
                self._call(timer[2])

    def _call(self, callback, *values):
        try:
            return callback(*values)
        except Exception as error:  # a message that cannot be read, a peer's strange type: the node lives on
            self._tell("a DDS message could not be handled and was left out", error)

    def _tell(self, what, fault) -> None:
        """A warning, once for each place in the code that raised."""
        trace = fault.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = (type(fault), trace and (trace.tb_frame.f_code, trace.tb_lineno))
        if place not in self._told:
            self._told.add(place)
            self.warn(f"{what} ({type(fault).__name__}: {str(fault)[:300]})")
