# SPDX-License-Identifier: Apache-2.0
"""Replays the audio of a bag through the node's session on a clock that the bag drives.

It is faster than real time. The frames are those that the node would have published, the same in every run.
Talkers of both families are replayed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from streamingtalker_ros.audio.clock import MAX_GAP_S
from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.bag.motion import MotionRecording
from streamingtalker_ros.bag.rosbag_io import (
    MAX_TIME_NS,
    BagInput,
    BagMessage,
    BagOutput,
    absolute_topic,
    create_qos,
    decode,
    encode,
    is_time,
)
from streamingtalker_ros.dds import message_types
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rig import Rig
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.face_message_builder import (
    MODEL_TOPIC,
    MOTION_TOPIC,
    TOPIC_TYPES,
    FaceMessageBuilder,
)
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.robot_head.neck import load_neck_limits
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.frames import FaceFrame, PublishedFrame
from streamingtalker_ros.runtime.gaze_input import GazeInput
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.session import VoiceSession
from streamingtalker_ros.runtime.statistics import Statistics

ENVELOPE_BLOCK_S: Final = 0.01
"""Duration of one point of the audio's envelope."""

MAX_NETWORK_DELAY_S: Final = 60.0
"""Delay beyond that of other messages, from which on the time of a recording is taken for damaged."""

MAX_PAUSE_S: Final = 3600.0
"""Pause of the audio in which idle frames are generated."""

MAX_DAMAGED_PAUSE_S: Final = 86_400.0
"""Pause beyond which a time is taken for damaged, so that idle frames last `CLOSING_S` only."""

CLOSING_S: Final = 1.0
"""Time in which the mouth closes."""

TIME_MARGIN_NS: Final = 60 * NS_PER_S
"""Time before the stated beginning and after the stated end of a bag in which messages are still believed."""

MAX_LEAD_NS: Final = 30 * 86_400 * NS_PER_S
"""Time from the stated beginning of a bag to its first audio."""

_CHECKED_MESSAGES: Final = 10

_MIN_CLOCK_STEP_S: Final = 1e-6  # so that rounding never stops the clock

TimedFrame = tuple[int, PublishedFrame]
"""Time of publication in ns, and the frame."""


@dataclass
class ReplayResult:
    """Result of a replay.

    Attributes:
        frames: All frames in the order of their publication.
        motion: The frames of a blendshape talker as arrays; None for a vertex talker.
        statistics: The node's counters.
        seconds: Duration of the audio in the packets, usable or not.
        envelope: (time in ns, least, greatest sample) of each block of `ENVELOPE_BLOCK_S` of the audio.
    """

    frames: list[PublishedFrame] = field(repr=False)
    motion: MotionRecording | None
    statistics: Statistics
    seconds: float
    envelope: list[tuple[int, float, float]] = field(repr=False)


class _ArrivalTimes:
    """Times at which the packets of one topic arrived, without the delay of the recorder.

    A recorder that stalls makes packets look late that were not; the node would have filled the stall with
    silence and dropped the audio. So a packet arrives as long after its last sample as the fastest one did,
    unless half a second lies between the two: that is another clock, or a real pause.

    Args:
        warn: Receives the kind of a problem and a message.
    """

    def __init__(self, warn: Callable[[str, str], object]) -> None:
        self._warn = warn
        self._delay: float | None = None  # s from the end of a packet to its recording, the least so far

    def arrival(self, end: float | None, recorded: float, now: float) -> float:
        """Return when a packet arrived, in s of the clock.

        Args:
            end: When its last sample ended, by its stamp; None without one.
            recorded: When it was recorded.
            now: The present time of the clock.
        """
        if end is None:
            return recorded
        delay = recorded - end
        if self._delay is None or abs(delay - self._delay) >= MAX_GAP_S:
            is_damaged = self._delay is not None and delay - self._delay > MAX_NETWORK_DELAY_S
            if is_damaged and abs(end + (self._delay or 0.0) - now) < MAX_NETWORK_DELAY_S:
                self._warn("time", "a message has the time of another day: its stamp is used instead")
                return end + (self._delay or 0.0)
            self._delay = delay
        self._delay = min(delay, self._delay)
        return end + self._delay


class OfflineTalker:
    """A session of the node on a clock that the packets drive.

    Args:
        talker: The model.
        parameters: Values of the parameters.
        start: ns, the time at which the clock is 0.
        warn: Receives a message, once for each kind of problem.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        parameters: TalkerParameters,
        start: int,
        warn: Callable[[str], object],
    ) -> None:
        self.parameters = parameters
        self.statistics = Statistics()
        self.seconds = 0.0
        self.envelope: list[tuple[int, float, float]] = []
        self._start = start
        self._warn = warn
        self._warned: set[str] = set()
        self._now = 0.0  # s since `start`
        self._has_audio = False
        self._frames: list[TimedFrame] = []
        self._audio_decoder = AudioMessageDecoder(self.reject, parameters.audio_format)
        self._arrival_times = _ArrivalTimes(self._warn_once)
        self._partner_decoder = AudioMessageDecoder(self._reject_partner, parameters.audio_format)
        self._partner_arrival_times = _ArrivalTimes(self._warn_once)
        self._talker = talker
        self._session = VoiceSession(
            talker,
            parameters,
            self._publish,
            statistics=self.statistics,
            clock=lambda: self._now,
            warn=self._warn_once,
        )
        self._session.set_neck_limits(load_neck_limits(parameters.gaze_head))
        self._gaze_input = GazeInput(self._session, self._warn_once)

    def on_audio_info(self, info: Any) -> None:
        """Process an AudioInfo message.

        Args:
            info: An AudioInfo message of ros-drivers; it gives the format of the audio that follows.
        """
        self._audio_decoder.on_audio_info(info)

    def on_audio(self, time: int, type_name: str, message: Any) -> list[TimedFrame]:
        """Process an audio message.

        Args:
            time: ns, when it was recorded.
            type_name: Its type.
            message: The message.

        Returns:
            The frames published until its arrival.
        """
        for packet in self._audio_decoder.decode(message, type_name, time):
            audio_format = packet.format or self.parameters.audio_format
            samples = len(packet.payload) // audio_format.frame_bytes
            seconds = samples / audio_format.sample_rate
            self.seconds += seconds
            self._add_to_envelope(packet, audio_format, samples)
            self._wait(self._arrival_times.arrival(*self._times(packet, seconds, time), self._now))
            self._session.push(dataclasses.replace(packet, arrival=self._now))
            self._has_audio = True
        return self._take_frames()

    def on_partner_audio_info(self, info: Any) -> None:
        """Process an AudioInfo message of the partner's audio.

        Args:
            info: An AudioInfo message of ros-drivers; it gives the format of the audio that follows.
        """
        self._partner_decoder.on_audio_info(info)

    def on_partner_audio(self, time: int, type_name: str, message: Any) -> list[TimedFrame]:
        """Process an audio message of the conversation partner.

        Args:
            time: ns, when it was recorded.
            type_name: Its type.
            message: The message.

        Returns:
            The frames published until its arrival.
        """
        for packet in self._partner_decoder.decode(message, type_name, time):
            audio_format = packet.format or self.parameters.audio_format
            samples = len(packet.payload) // audio_format.frame_bytes
            times = self._times(packet, samples / audio_format.sample_rate, time)
            self._wait(self._partner_arrival_times.arrival(*times, self._now))
            self._session.partner.push(dataclasses.replace(packet, arrival=self._now))
        return self._take_frames()

    def on_gaze_target(self, time: int, message: Any) -> None:
        """Process a gaze target; it takes effect by its stamp.

        Args:
            time: ns, when it was recorded.
            message: A PointStamped message.
        """
        self._gaze_input.on_target(message, time)

    def reject(self, kind: str, message: str) -> None:
        """Count a message that could not be read.

        Args:
            kind: Kind of the problem.
            message: Description of the problem for the user.
        """
        self._session.reject(kind, message)

    def finish(self) -> list[TimedFrame]:
        """End the audio; return the last frames, until the mouth is closed."""
        # without idle frames the session has nothing to do any more when the mouth is closed
        self._session.set_parameters(self._session.parameters.replace(idle=False))
        self._run_until(float("inf"))
        return self._take_frames()

    def _reject_partner(self, kind: str, message: str) -> None:
        self._session.partner.reject(kind, message)

    def _times(self, packet: AudioPacket, seconds: float, time: int) -> tuple[float | None, float]:
        """Return when a packet ended by its stamp, if it has one, and was recorded, in s of the clock."""
        end = None if packet.stamp is None else (packet.stamp - self._start) / NS_PER_S + seconds
        return end, (time - self._start) / NS_PER_S

    def _wait(self, time: float) -> None:
        """Run until a packet arrives; of a pause longer than any dialogue, replay the beginning alone."""
        pause = time - self._now
        if pause > MAX_PAUSE_S and self._has_audio:
            self._warn_once(
                "pause",
                f"nothing was recorded for {pause / 3600:.0f} hours: the replay continues behind them",
            )
            self._run_until(self._now + (MAX_PAUSE_S if pause < MAX_DAMAGED_PAUSE_S else CLOSING_S))
            self._session.reset()
        self._run_until(time)

    def _add_to_envelope(self, packet: AudioPacket, audio_format: AudioFormat, samples: int) -> None:
        pcm = PcmDecoder(audio_format).decode(packet.payload)
        rate, start = audio_format.sample_rate, packet.stamp
        if start is None:
            start = packet.received - samples * NS_PER_S // rate
        block_samples = max(1, round(ENVELOPE_BLOCK_S * rate))
        for first in range(0, len(pcm), block_samples):
            block = pcm[first : first + block_samples]
            self.envelope.append((start + first * NS_PER_S // rate, float(block.min()), float(block.max())))

    def _run_until(self, time: float) -> None:
        """Advance the clock and run every hop that is due, as a worker of unlimited speed."""
        while self._now < time:
            if run_batch(self._talker, [self._session], lambda: self._now).hops:
                continue
            deadline = self._session.next_deadline()
            if deadline is None or deadline > time:
                break
            self._now = max(deadline, self._now + _MIN_CLOCK_STEP_S)
        if time < float("inf"):
            self._now = max(self._now, time)

    def _publish(self, frame: PublishedFrame) -> None:
        self._frames.append((self._start + round(self._now * NS_PER_S), frame))

    def _take_frames(self) -> list[TimedFrame]:
        frames, self._frames = self._frames, []
        return frames

    def _warn_once(self, kind: str, message: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(message)


class _FrameWriter:
    """Writes the messages of frames to a bag."""

    def __init__(self, output: BagOutput, builder: FaceMessageBuilder, warn: Callable[[str], object]) -> None:
        self._output = output
        self._builder = builder
        self._warn: Callable[[str], object] | None = warn
        self.frames: list[PublishedFrame] = []
        output.add_topic(absolute_topic(MODEL_TOPIC), TOPIC_TYPES[MODEL_TOPIC], create_qos(1, latched=True))
        for topic in builder.topics:
            is_motion = topic == MOTION_TOPIC
            qos = create_qos(10) if is_motion else create_qos(5, reliable=False)
            output.add_topic(absolute_topic(topic), TOPIC_TYPES[topic], qos)

    def write_model(self, time: int) -> None:
        self._write(time, MODEL_TOPIC, self._builder.build_model(time))

    def write(self, frames: list[TimedFrame]) -> None:
        for time, frame in frames:
            if not (0 <= frame.stamp <= MAX_TIME_NS and 0 <= time <= MAX_TIME_NS):
                if self._warn:
                    self._warn("frames at times that no message can hold are left out: stamps are damaged")
                self._warn = None
                continue
            for topic, message in self._builder.build(frame):
                self._write(time, topic, message)
            self.frames.append(frame)

    def _write(self, time: int, topic: str, message: Any) -> None:
        self._output.write(BagMessage(time, absolute_topic(topic), TOPIC_TYPES[topic], encode(message)))


def _ignore_progress(messages: int) -> None: ...


def replay(
    bag: BagInput,
    output: BagOutput,
    topic: str,
    talker: TalkerProtocol,
    parameters: TalkerParameters,
    rig: Rig,
    warn: Callable[[str], object],
    progress: Callable[[int], object] = _ignore_progress,
) -> ReplayResult:
    """Replay the audio of a bag into another bag.

    The messages of the audio, of the partner's, of their formats and of gaze targets are copied. A blendshape
    talker writes /face_motion and, with the parameter publish_vertices, /face_vertices; a vertex talker
    writes /face_vertices. Both write /face_model.

    Args:
        bag: An open bag.
        output: An open new bag.
        topic: Topic of the audio.
        talker: The model.
        parameters: Values of the node's parameters.
        rig: Face of a blendshape talker.
        warn: Receives a message, once for each kind of problem.
        progress: Called with the number of messages processed.

    Raises:
        TalkerError: If the audio completes no frame.
    """
    info_topic = bag.info_topic(topic)
    gaze_topic = bag.gaze_topic(parameters.gaze_topic)
    audio_topics = [name for name in (topic, info_topic) if name]
    partner_topic = bag.partner_topic(parameters.partner_audio_topic)
    partner_info_topic = bag.partner_info_topic(partner_topic) if partner_topic else None
    topics = [*audio_topics, *filter(None, (gaze_topic, partner_topic, partner_info_topic))]
    output.copy_topics(bag.connections(*topics))
    builder = FaceMessageBuilder(
        talker, message_types.message_class, parameters.frame_id, rig, parameters.publish_vertices
    )
    writer = _FrameWriter(output, builder, warn)
    start, stated_range = _find_times(bag, audio_topics)
    writer.write_model(start)
    offline = OfflineTalker(talker, parameters, start, warn)
    if info_topic:  # the first audio_info describes the packets before it, too
        for info in bag.messages(info_topic):
            with contextlib.suppress(TalkerError):
                offline.on_audio_info(decode(info))
                break
    faults = FaultLog()
    for bag_message in bag.messages(*topics):
        if not is_time(bag_message.time) or not _is_within(bag_message.time, stated_range):
            offline.reject("time", "messages at times outside of the bag are left out: they are damaged")
            continue
        output.write(bag_message)
        frames: list[TimedFrame] = []
        try:
            message = decode(bag_message)
            if bag_message.topic == topic:
                frames = offline.on_audio(bag_message.time, bag_message.type, message)
            elif bag_message.topic == gaze_topic:
                offline.on_gaze_target(bag_message.time, message)
            elif bag_message.topic == partner_topic:
                frames = offline.on_partner_audio(bag_message.time, bag_message.type, message)
            elif bag_message.topic == partner_info_topic:
                offline.on_partner_audio_info(message)
            else:
                offline.on_audio_info(message)
        except TalkerError as error:
            offline.reject("message", str(error))
        except Exception as fault:
            faults.log(f"a message on {bag_message.topic} cannot be processed", fault)
            offline.reject("message", f"a message on {bag_message.topic} cannot be processed")
        writer.write(frames)
        progress(1)
    writer.write(offline.finish())
    statistics = offline.statistics
    if not statistics.frames or not writer.frames:
        raise TalkerError(
            f"the {statistics.packets} packets on {topic} completed no frame: check "
            "that they hold audio, and that its format is known (audio_info, or sample_rate "
            "and sample_format)"
        )
    motion = None
    if MOTION_TOPIC in builder.topics:
        motion = MotionRecording.from_frames(cast("list[FaceFrame]", writer.frames), talker.frame_rate)
    return ReplayResult(writer.frames, motion, statistics, offline.seconds, offline.envelope)


def _find_times(bag: BagInput, topics: list[str]) -> tuple[int, tuple[int, int] | None]:
    """Find out when a bag begins, and between which times its messages lie.

    Metadata may lie: what they say is used if the first messages agree.

    Args:
        bag: An open bag.
        topics: Topics of the audio and its audio_info.

    Returns:
        Ns of its beginning, at or before its first message on these topics; and the range of times, with a
        margin, or None if it is not known.
    """
    first_messages = itertools.islice(bag.messages(*topics), _CHECKED_MESSAGES)
    times = [message.time for message in first_messages if is_time(message.time)]
    start, end = bag.start, bag.end
    stated_range = None
    if start is not None and end is not None and start <= end:
        stated_range = start - TIME_MARGIN_NS, end + TIME_MARGIN_NS
        if 2 * sum(_is_within(time, stated_range) for time in times) < len(times):
            stated_range = None
    first = next((time for time in times if _is_within(time, stated_range)), 0)
    if start is None or not first - MAX_LEAD_NS <= start <= first:
        start = first
    return start, stated_range


def _is_within(time: int, stated_range: tuple[int, int] | None) -> bool:
    """Return whether a time lies in a range; None is the range of all times."""
    return stated_range is None or stated_range[0] <= time <= stated_range[1]
