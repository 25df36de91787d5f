# SPDX-License-Identifier: Apache-2.0
"""Replays the inputs of a bag through the node's session on a clock that the bag drives.

It is faster than real time. The frames are those that the node would have published, the same in every run.
Talkers of both families are replayed.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.bag.motion import MotionRecording
from streamingtalker_ros.bag.offline_talker import InputTopics, OfflineTalker, TimedFrame
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
from streamingtalker_ros.messaging.face_message_builder import (
    MODEL_TOPIC,
    MOTION_TOPIC,
    TOPIC_TYPES,
    FaceMessageBuilder,
)
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.process import FaultLog
from streamingtalker_ros.runtime.frames import FaceFrame, PublishedFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.statistics import Statistics

TIME_MARGIN_NS: Final = 60 * NS_PER_S
"""Time before the stated beginning and after the stated end of a bag in which messages are still believed."""

MAX_LEAD_NS: Final = 30 * 86_400 * NS_PER_S
"""Time from the stated beginning of a bag to its first input."""

_CHECKED_MESSAGES: Final = 10


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

    All inputs are copied. A blendshape talker writes /face_motion and, with the parameter publish_vertices,
    /face_vertices; a vertex talker writes /face_vertices. Both write /face_model.

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
    topics = InputTopics.find(bag, topic, parameters)
    output.copy_topics(bag.connections(*topics.names))
    builder = FaceMessageBuilder(
        talker, message_types.message_class, parameters.frame_id, rig, parameters.publish_vertices
    )
    writer = _FrameWriter(output, builder, warn)
    start, stated_range = _find_times(bag, topics.names)
    writer.write_model(start)
    offline = OfflineTalker(talker, parameters, topics, start, warn)
    if topics.audio_info:  # the first audio_info describes the packets before it, too
        for info in bag.messages(topics.audio_info):
            with contextlib.suppress(TalkerError):
                offline.on_audio_info(decode(info))
                break
    faults = FaultLog()
    for bag_message in bag.messages(*topics.names):
        if not is_time(bag_message.time) or not _is_within(bag_message.time, stated_range):
            offline.reject("time", "messages at times outside of the bag are left out: they are damaged")
            continue
        output.write(bag_message)
        frames: list[TimedFrame] = []
        try:
            frames = offline.accept(bag_message)
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
        topics: Its topics.

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
