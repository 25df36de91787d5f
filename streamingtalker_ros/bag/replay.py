# SPDX-License-Identifier: Apache-2.0
"""Replays a bag's audio through the talker node's own rules, on a clock that the bag turns, without waiting.

Takes a `BagInput`, a talker and the node's TalkerParameters; writes the FaceMotion that the node would have
published, and gives it as a `Motion` with the node's counters. `compare` measures it against a FaceMotion
that the bag held before.
"""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from streamingtalker_ros.audio.clock import MAX_GAP_S
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.bag.rosbag_io import Raw, decode, encode, face_qos
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.evaluation import metrics, vertex_metrics
from streamingtalker_ros.evaluation.inference import MOUTH, lip_vertices, opening_of
from streamingtalker_ros.face.arkit import ARKIT_NAMES, INDEX
from streamingtalker_ros.messaging import face_messages
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.session import VoiceSession
from streamingtalker_ros.runtime.statistics import Statistics

MOTION_TOPIC, MODEL_TOPIC = "/face_motion", "/face_model"
ENOUGH = 12  # frames in common, under which a comparison says nothing
BLOCK = 0.01  # s of voice to one point of its drawn outline
_TICK = 1e-6  # s; the least step of the clock, so that rounding never makes it stand still


@dataclass
class Motion:
    """Frames in the order of their publication. stamps: (T,) int64 ns; weights: (T, 52) float32; head: (T, 4)
    float32 xyzw; speaking, idle: (T,) bool; frame_rate: frames per second.
    """

    stamps: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    speaking: np.ndarray
    idle: np.ndarray
    frame_rate: float


@dataclass
class Replayed:
    """motion: what was made; statistics: the node's counters; seconds: of audio in the packets, good or bad;
    outline: (time in ns, lowest, highest sample) for each `BLOCK` of the voice.
    """

    motion: Motion
    statistics: Statistics
    seconds: float
    outline: list = field(repr=False)


class OfflineTalker:
    """The talker's rules under a clock that packets turn. talker: streaming.Talker; settings: TalkerParameters;
    start: ns, the time at which the clock stands at 0; warn: called with a sentence, once for each kind of
    trouble.

    `hear`, `tell` and `end` return [(time of publication in ns, FaceFrame), …].
    """

    def __init__(self, talker, settings, start, warn) -> None:
        self.settings, self.statistics = settings, Statistics()
        self.seconds, self.outline = 0.0, []
        self._start, self._warn, self._told = start, warn, set()
        self._now = 0.0  # seconds since `start`
        self._made = []
        self._audio_decoder = AudioMessageDecoder(self.refuse)
        self._delay = None  # s from a packet's end, by its stamp, to its record; the least of late
        self._talker = talker
        self._session = VoiceSession(
            talker,
            settings,
            self._publish,
            statistics=self.statistics,
            clock=lambda: self._now,
            warn=self._complain,
        )

    def tell(self, info) -> None:
        """Hear an AudioInfo message."""
        self._audio_decoder.on_audio_info(info)

    def hear(self, time, name, message):
        """Hear an audio message of type `name`, recorded at `time` (ns)."""
        packet = self._audio_decoder.decode(message, name, time)
        if packet is None:
            return []
        format = packet.format or self.settings.audio_format
        samples = len(packet.payload) // format.frame_bytes
        self.seconds += samples / format.sample_rate
        self._draw(packet, format, samples)
        recorded = (time - self._start) / NS_PER_S
        self._run_to(self._arrival(packet.stamp, samples / format.sample_rate, recorded))
        self._session.push(dataclasses.replace(packet, arrival=self._now))
        return self._taken()

    def refuse(self, kind, sentence) -> None:
        """Count a message that could not be read."""
        self._session.reject(kind, sentence)

    def end(self):
        """No more audio: bring out the last frames and close the mouth."""
        # without idle frames the rules come to an end by themselves, when the mouth is closed
        self._session.set_parameters(self._session.parameters.replace(idle=False))
        self._run_to(float("inf"))
        return self._taken()

    def _arrival(self, stamp, seconds, recorded):
        """When a packet of `seconds` came, on our clock, without the delay that the recorder added.

        A recorder that stalls makes packets look late that were not; the node would have bridged the stall
        with silence and lost the voice. So a packet comes as long after its last sample as the promptest one
        did, unless half a second lies between the two: that is another clock, or a real pause.
        """
        if stamp is None:
            return recorded
        ended = (stamp - self._start) / NS_PER_S + seconds
        delay = recorded - ended
        if self._delay is None or abs(delay - self._delay) >= MAX_GAP_S:
            self._delay = delay
        self._delay = min(delay, self._delay)
        return ended + self._delay

    def _draw(self, packet, format, samples) -> None:
        pcm = PcmDecoder(format).decode(packet.payload)
        rate, begin = format.sample_rate, packet.stamp
        if begin is None:
            begin = packet.received - samples * NS_PER_S // rate
        size = max(1, round(BLOCK * rate))
        for first in range(0, len(pcm), size):
            part = pcm[first : first + size]
            self.outline.append((begin + first * NS_PER_S // rate, float(part.min()), float(part.max())))

    def _run_to(self, time) -> None:
        """Let the clock run, working at each moment that the rules ask for, as a worker of boundless speed
        does.
        """
        while self._now < time:
            if run_batch(self._talker, [self._session], lambda: self._now).hops:
                continue
            deadline = self._session.next_deadline()
            if deadline is None or deadline > time:
                break
            self._now = max(deadline, self._now + _TICK)
        if time < float("inf"):
            self._now = max(self._now, time)

    def _publish(self, frame) -> None:
        self._made.append((self._start + round(self._now * NS_PER_S), frame))

    def _taken(self):
        made, self._made = self._made, []
        return made

    def _complain(self, kind, sentence) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._warn(sentence)


def replay(bag, out, topic, talker, settings, rig, warn, progress=lambda messages: None):
    """Replay the audio `topic` of an open BagInput into an open BagOutput. Returns Replayed.

    The audio and audio_info messages are copied; FaceMotion goes to /face_motion, the rig to /face_model.
    progress: called with the number of messages done. Raises TalkerError when the audio makes no frame at
    all.
    """
    topics = [name for name in (topic, bag.info_topic(topic)) if name]
    out.copy_topics(bag.connections(*topics))
    out.add(MODEL_TOPIC, face_messages.MODEL_TYPE, face_qos(1, latched=True))
    out.add(MOTION_TOPIC, face_messages.MOTION_TYPE, face_qos(10))
    model = face_messages.to_face_model(
        message_types.message_class(face_messages.MODEL_TYPE)(),
        rig,
        talker.frame_rate,
        settings.frame_id,
        bag.start,
    )
    out.write(Raw(bag.start, MODEL_TOPIC, face_messages.MODEL_TYPE, encode(model)))
    rehearsal = OfflineTalker(talker, settings, bag.start, warn)
    motion, made = message_types.message_class(face_messages.MOTION_TYPE), []

    def keep(published) -> None:
        for time, frame in published:
            data = encode(face_messages.to_face_motion(motion(), frame, settings.frame_id))
            out.write(Raw(time, MOTION_TOPIC, face_messages.MOTION_TYPE, data))
            made.append(frame)

    if len(topics) > 1:  # what audio_info says first holds for the packets before it too
        first = next(bag.messages(topics[1]), None)
        if first is not None:
            rehearsal.tell(decode(first))
    for raw in bag.messages(*topics):
        out.write(raw)
        try:
            message = decode(raw)
        except TalkerError as error:
            rehearsal.refuse("message", str(error))
            continue
        if raw.topic == topic:
            keep(rehearsal.hear(raw.time, raw.type, message))
        else:
            rehearsal.tell(message)
        progress(1)
    keep(rehearsal.end())
    if not rehearsal.statistics.frames:
        raise TalkerError(
            f"no face came out of the {rehearsal.statistics.packets} packets on {topic}: check "
            "that they hold audio, and that its format is known (audio_info, or sample_rate "
            "and sample_format)"
        )
    return Replayed(
        _stacked(made, talker.frame_rate), rehearsal.statistics, rehearsal.seconds, rehearsal.outline
    )


def _stacked(made, frame_rate):
    return Motion(
        np.array([f.stamp for f in made], np.int64),
        np.stack([f.weights for f in made]),
        np.stack([f.head for f in made]),
        np.array([f.speaking for f in made]),
        np.array([f.idle for f in made]),
        float(frame_rate),
    )


# -- against a reference -------------------------------------------------------------------------------------


def read_motion(bag, topic):
    """The FaceMotion of a topic of an open BagInput as a Motion in the order of its stamps, shapes sorted by
    their names.

    Shapes that it does not name rest at 0. Its frame rate is the median of its stamps' distances. Raises
    TalkerError for a frame whose names and weights do not match.
    """
    stamps, weights, head, speaking = [], [], [], []
    for raw in bag.messages(topic):
        try:
            message = decode(raw)
        except TalkerError:  # a damaged frame is a missing one
            continue
        if len(message.names) != len(message.weights):
            raise TalkerError(
                f"frame {message.frame} of {topic} has {len(message.names)} names for "
                f"{len(message.weights)} weights: it cannot be compared with"
            )
        row = np.zeros(len(ARKIT_NAMES), np.float32)
        known = [(INDEX[name], k) for k, name in enumerate(message.names) if name in INDEX]
        if known:
            to, of = zip(*known)
            row[list(to)] = np.asarray(message.weights, np.float32)[list(of)]
        stamps.append(stamp_to_ns(message.header.stamp))
        weights.append(row)
        head.append([message.head.x, message.head.y, message.head.z, message.head.w])
        speaking.append(message.speaking)
    stamps, order = np.unique(np.array(stamps, np.int64), return_index=True)
    rate = NS_PER_S / float(np.median(np.diff(stamps))) if len(stamps) > 1 else 0.0
    return Motion(
        stamps,
        np.array(weights, np.float32)[order],
        np.array(head, np.float32)[order],
        np.array(speaking, bool)[order],
        np.zeros(len(order), bool),
        rate,
    )


def aligned(made, reference):
    """Two Motions -> (weights (T, 52) of `made`, weights (T, 52) of `reference`) at the same moments.

    The moments are the middles of made's frames of audio (not idle ones) with a frame of the reference at
    most one of its periods away; between its frames the reference is interpolated linearly.
    """
    if len(reference.stamps) < 2:
        return np.zeros((0, len(ARKIT_NAMES)), np.float32), np.zeros((0, len(ARKIT_NAMES)), np.float32)
    origin, rows = reference.stamps[0], np.flatnonzero(~made.idle)
    moments = (made.stamps[rows] - origin) / NS_PER_S + 0.5 / made.frame_rate
    known = (reference.stamps - origin) / NS_PER_S + 0.5 / reference.frame_rate
    after = np.clip(np.searchsorted(known, moments), 1, len(known) - 1)
    nearest = np.minimum(np.abs(moments - known[after - 1]), np.abs(moments - known[after]))
    covered = nearest <= 1.0 / reference.frame_rate
    covered &= (moments >= known[0] - _TICK) & (moments <= known[-1] + _TICK)
    between = [np.interp(moments[covered], known, column) for column in reference.weights.T]
    return made.weights[rows[covered]], np.stack(between, 1).astype(np.float32)


def compare(made, reference, rig):
    """Figures of a Motion against a reference on a rig: a flat dict, units in the names.

    Frames of audio alone count. Correlation and lag are NaN where one of the two mouths does not move. Raises
    TalkerError when fewer than ENOUGH frames lie at the reference's times.
    """
    ours, theirs = aligned(made, reference)
    if len(ours) < ENOUGH:
        raise TalkerError(
            f"the reference covers {len(ours)} of the frames, too few to compare: its stamps "
            "are of another time than the audio's"
        )
    a, b = opening_of(rig, ours), opening_of(rig, theirs)
    lips = rig.deltas[:, lip_vertices(rig)]  # of all vertices these alone are looked at: (52, L, 3)
    moving = np.ptp(a) > 0 and np.ptp(b) > 0
    late = metrics.lag(a, b) if moving else float("nan")
    return {
        "frames": len(ours),
        "lip_opening_r": metrics.correlation(a, b) if moving else float("nan"),
        "lag_frames": late,
        "lag_ms": 1e3 * late / made.frame_rate,
        "lip_opening_error_mm": 1e3 * float(np.abs(a - b).mean()),
        "lve_mm2": 1e6
        * vertex_metrics.lip_vertex_error(np.tensordot(ours, lips, 1), np.tensordot(theirs, lips, 1)),
        "mouth_weights_error": float(np.abs(ours - theirs)[:, MOUTH].mean()),
    }
