# SPDX-License-Identifier: Apache-2.0
"""Watch mode: the topics of a running talker, ROS 2's or the one without ROS, handed to every page that looks on.

One `Watcher` joins the ROS domain when the first page asks and leaves with the last. It hears `face_motion`, and the
audio topic in either lineage of audio_common_msgs; times are the stamps, in seconds after the first one.
"""

import importlib.util
import threading

import numpy as np

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.dds.node import Wire
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.messaging import audio_common, face_messages
from streamingtalker_ros.messaging.audio_decoder import Hearing
from streamingtalker_ros.process import FaultLog, never_raising
from streamingtalker_ros.process import warn as warn_user
from streamingtalker_ros.runtime.packet_aligner import Intake
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.web import protocol

_NAMES = list(ARKIT_NAMES)


class Watched:
    """One page that looks on. deliver: called with a list of bytes; tell: with the fields of a text."""

    def __init__(self, watcher, deliver, tell, epoch) -> None:
        self._watcher, self.deliver, self.tell, self.epoch = watcher, deliver, tell, epoch

    def close(self) -> None:
        self._watcher.leave(self)


class Watcher:
    """domain: ROS domain, None for ROS_DOMAIN_ID; namespace: of the talker; warn: called with a sentence."""

    def __init__(self, domain=None, namespace="", warn=warn_user, audio_topic="audio") -> None:
        self._where, self._warn, self._audio_topic = (namespace, domain), never_raising(warn), audio_topic
        self._watched, self._lock = [], threading.Lock()
        self._changing = threading.Lock()  # held while the domain is joined or left
        self._wire, self._base, self._faults = None, None, FaultLog()
        self.motions = self.packets = 0

    @property
    def possible(self):
        """Whether DDS is installed here."""
        return importlib.util.find_spec("cyclonedds") is not None

    def open(self, deliver, tell, epoch):
        """A Watched; frames come as soon as there is a talker."""
        watched = Watched(self, deliver, tell, epoch)
        with self._lock:
            self._watched.append(watched)
        threading.Thread(target=self._join, args=(watched,), daemon=True).start()
        return watched

    def leave(self, watched) -> None:
        with self._lock:
            if watched in self._watched:
                self._watched.remove(watched)
        threading.Thread(target=self._part, daemon=True).start()

    def stop(self) -> None:
        with self._lock:
            self._watched.clear()
        self._part()

    def _join(self, watched) -> None:
        with self._changing:
            try:
                if self._wire is None and self._watched:
                    self._begin()
                if self._wire is not None:
                    watched.tell(
                        type="watching", topic=self._wire.resolve("face_motion"), domain=self._wire.domain
                    )
            except TalkerError as error:
                watched.tell(type="error", text=str(error))
            except Exception as fault:
                self._faults.log("watching the topics failed", fault)
                watched.tell(type="error", text="watching the topics failed on the server: see its log")

    def _part(self) -> None:
        with self._changing:
            if self._wire is not None and not self._watched:
                wire, self._wire = self._wire, None
                wire.close()

    def _begin(self) -> None:
        wire = Wire("web", *self._where, self._warn)
        self._heard, self._told = {}, set()
        self._hearing = Hearing(self._refuse)
        self._intake = Intake(AudioFormat(), Statistics())
        self._clock, self._given = None, 0
        wire.subscribe("face_motion", face_messages.MOTION, self._on_motion)
        wire.subscribe(f"{self._audio_topic}_info", audio_common.INFO_TYPE, self._hearing.tell)
        self._wire = wire
        wire.watch_publishers(self._on_publisher)
        wire.start()

    # -- in the wire's thread --

    def _on_motion(self, message):
        self.motions += 1
        if list(message.names) == _NAMES:
            weights = np.array(message.weights, np.float32)
        else:
            weights = np.zeros(len(_NAMES), np.float32)
            for name, weight in zip(message.names, message.weights):
                if name in INDEX:
                    weights[INDEX[name]] = weight
        if len(weights) != len(_NAMES):
            return self._refuse("motion", "face_motion has more names than weights: it is left out")
        head = message.head
        head = np.nan_to_num([head.x, head.y, head.z, head.w])
        weights = np.clip(np.nan_to_num(weights), 0.0, 1.0)
        time = self._time(audio_common.stamp_ns(message.header.stamp) or 0)
        self._give(
            lambda epoch: protocol.face(epoch, message.frame % 2**32, time, weights, head, message.speaking)
        )

    def _on_publisher(self, topic, type_name, reliable) -> None:
        if self._wire is None or topic != "rt" + self._wire.resolve(self._audio_topic):
            return
        for name, lineage in audio_common.AUDIO_TYPES.items():
            if message_types.dds_typename(name) == type_name and name not in self._heard:
                qos = self._wire.qos(depth=1000, reliable=reliable)
                self._heard[name] = self._wire.subscribe(
                    self._audio_topic,
                    name,
                    lambda message, name=name: self._on_audio(message, name),
                    qos,
                    lineage,
                )

    def _on_audio(self, message, name) -> None:
        self.packets += 1
        packet = self._hearing.hear(message, name)
        if packet is None:
            return
        for piece in self._intake.take(packet):
            if piece.first or piece.clock is not self._clock:
                self._clock, self._given = piece.clock, 0
            time = self._time(piece.clock.stamp_of(self._given, SAMPLE_RATE))
            self._given += len(piece.pcm)
            samples = np.round(np.clip(piece.pcm, -1.0, 1.0) * 32767).astype(np.int16)
            for first in range(
                0, len(samples), SAMPLE_RATE
            ):  # a sentence sent at once, in pieces of a second
                self._give(
                    lambda epoch: protocol.audio(
                        epoch, time + first / SAMPLE_RATE, samples[first : first + SAMPLE_RATE]
                    )
                )

    def _time(self, stamp):
        if self._base is None:
            self._base = stamp
        return (stamp - self._base) / NS_PER_S

    def _give(self, make) -> None:
        with self._lock:
            watched = list(self._watched)
        for one in watched:
            try:
                one.deliver([make(one.epoch)])
            except Exception as fault:  # one page's; the others still get it
                self._faults.log("a frame could not be given to a page that watches", fault)

    def _refuse(self, kind, sentence) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._warn(sentence)
