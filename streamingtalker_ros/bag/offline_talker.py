# SPDX-License-Identifier: Apache-2.0
"""A session of the node whose inputs are the messages of a bag, on a clock that these messages drive."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.bag.arrival_times import ArrivalTimes
from streamingtalker_ros.bag.rosbag_io import BagInput, BagMessage, decode
from streamingtalker_ros.messaging.audio_common import AUDIO_TYPES, INFO_TYPE
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.messaging.header import stamp_to_ns
from streamingtalker_ros.model.protocol import TalkerProtocol
from streamingtalker_ros.robot_head.neck import load_neck_limits
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.expression_input import (
    EXPRESSION_TOPIC,
    EXPRESSION_TYPE,
    GESTURE_TOPIC,
    GESTURE_TYPE,
    HRI_EXPRESSION_TYPE,
    ExpressionInput,
)
from streamingtalker_ros.runtime.frames import PublishedFrame
from streamingtalker_ros.runtime.gaze_input import GAZE_TYPE, GazeInput
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.partner_input import PartnerInput
from streamingtalker_ros.runtime.session import VoiceSession
from streamingtalker_ros.runtime.statistics import Statistics

ENVELOPE_BLOCK_S: Final = 0.01
"""Duration of one point of the audio's envelope."""

MAX_PAUSE_S: Final = 3600.0
"""Pause of the inputs in which idle frames are generated."""

MAX_DAMAGED_PAUSE_S: Final = 86_400.0
"""Pause beyond which a time is taken for damaged, so that idle frames last `CLOSING_S` only."""

CLOSING_S: Final = 1.0
"""Time in which the mouth closes."""

_MIN_CLOCK_STEP_S: Final = 1e-6  # so that rounding never stops the clock

TimedFrame = tuple[int, PublishedFrame]
"""Time of publication in ns, and the frame."""


@dataclass(frozen=True)
class InputTopics:
    """Topics of a bag that a talker receives; None where the bag has none.

    Attributes:
        audio: The face's audio.
        audio_info: Its format.
        partner_audio: The conversation partner's audio.
        partner_audio_info: Its format.
        gaze_target: Points to look at.
        expression: Emotions.
        gesture: Head gestures.
    """

    audio: str
    audio_info: str | None
    partner_audio: str | None
    partner_audio_info: str | None
    gaze_target: str | None
    expression: str | None
    gesture: str | None

    @classmethod
    def find(cls, bag: BagInput, audio: str, parameters: TalkerParameters) -> InputTopics:
        """Find the topics in a bag.

        Args:
            bag: An open bag.
            audio: Absolute topic of the face's audio.
            parameters: Names of the other topics, which lie in the namespace of the audio or in none.
        """

        def find(name: str, *types: str) -> str | None:
            topic = bag.find_topic(name, types, audio.rpartition("/")[0])
            return None if topic == audio else topic

        return cls(
            audio,
            bag.info_topic(audio),
            find(parameters.partner_audio_topic, *AUDIO_TYPES),
            find(parameters.partner_audio_info_topic, INFO_TYPE),
            find(parameters.gaze_topic, GAZE_TYPE),
            find(EXPRESSION_TOPIC, EXPRESSION_TYPE, HRI_EXPRESSION_TYPE),
            find(GESTURE_TOPIC, GESTURE_TYPE),
        )

    @property
    def names(self) -> list[str]:
        """Absolute names of the topics that the bag has."""
        return [name for name in dataclasses.astuple(self) if name is not None]


@dataclass
class _AudioSource:
    """One audio topic of the session.

    Attributes:
        decoder: Decodes its messages.
        arrival_times: Of its packets.
        push: Queues a packet.
    """

    decoder: AudioMessageDecoder
    arrival_times: ArrivalTimes
    push: Callable[[AudioPacket], object]


class OfflineTalker:
    """A session of the node on a clock that the messages of a bag drive.

    Args:
        talker: The model.
        parameters: Values of the parameters.
        topics: Topics of the messages.
        start: ns, the time at which the clock is 0.
        warn: Receives a message, once for each kind of problem.

    Attributes:
        statistics: The node's counters.
        seconds: Duration of the audio in the packets of the face, usable or not.
        envelope: (time in ns, least, greatest sample) of each block of `ENVELOPE_BLOCK_S` of that audio.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        parameters: TalkerParameters,
        topics: InputTopics,
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
        self._talker = talker
        self._session = session = VoiceSession(
            talker,
            parameters,
            self._publish,
            statistics=self.statistics,
            clock=lambda: self._now,
            warn=self._warn_once,
        )
        session.set_neck_limits(load_neck_limits(parameters.gaze_head))
        self._voice = self._open_source(session)
        partner = self._open_source(session.partner)
        gaze, expression = GazeInput(session, self._warn_once), ExpressionInput(session, self._warn_once)
        self._handlers: dict[str | None, Callable[[Any, BagMessage], object]] = {
            topics.partner_audio: partial(self._on_audio, partner),
            topics.partner_audio_info: lambda message, _: partner.decoder.on_audio_info(message),
            topics.gaze_target: self._command_handler(
                lambda message, recorded: gaze.on_target(message, recorded.time)
            ),
            topics.expression: self._command_handler(
                lambda message, recorded: expression.on_expression(message, recorded.type, recorded.time)
            ),
            topics.gesture: self._command_handler(
                lambda message, recorded: expression.on_gesture(message, recorded.time)
            ),
            topics.audio_info: lambda message, _: self.on_audio_info(message),
            topics.audio: partial(self._on_audio, self._voice),
        }

    def on_audio_info(self, info: Any) -> None:
        """Process an AudioInfo message.

        Args:
            info: An AudioInfo message of ros-drivers; it gives the format of the audio that follows.
        """
        self._voice.decoder.on_audio_info(info)

    def accept(self, recorded: BagMessage) -> list[TimedFrame]:
        """Process a message of one of the topics.

        Args:
            recorded: The message.

        Returns:
            The frames published until its arrival.

        Raises:
            TalkerError: If its bytes are no message of its type.
        """
        self._handlers[recorded.topic](decode(recorded), recorded)
        return self._take_frames()

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

    def _open_source(self, sink: VoiceSession | PartnerInput) -> _AudioSource:
        decoder = AudioMessageDecoder(sink.reject, self.parameters.audio_format)
        return _AudioSource(decoder, ArrivalTimes(self._warn_once), sink.push)

    def _on_audio(self, source: _AudioSource, message: Any, recorded: BagMessage) -> None:
        for packet in source.decoder.decode(message, recorded.type, recorded.time):
            audio_format = packet.format or self.parameters.audio_format
            samples = len(packet.payload) // audio_format.frame_bytes
            seconds = samples / audio_format.sample_rate
            if source is self._voice:
                self.seconds += seconds
                self._add_to_envelope(packet, audio_format, samples)
            end = None if packet.stamp is None else packet.stamp + round(seconds * NS_PER_S)
            self._wait(source.arrival_times, end, recorded.time)
            source.push(dataclasses.replace(packet, arrival=self._now))
            self._has_audio = True

    def _command_handler(
        self, receive: Callable[[Any, BagMessage], object]
    ) -> Callable[[Any, BagMessage], None]:
        """Return what processes the stamped messages of a topic.

        Args:
            receive: Called at the message's arrival.
        """
        arrival_times = ArrivalTimes(self._warn_once)

        def on_message(message: Any, recorded: BagMessage) -> None:
            self._wait(arrival_times, stamp_to_ns(message.header.stamp) or None, recorded.time)
            receive(message, recorded)

        return on_message

    def _wait(self, arrival_times: ArrivalTimes, stamp: int | None, recorded: int) -> None:
        """Run until a message arrives; of a pause longer than any dialogue, replay the beginning alone.

        Args:
            arrival_times: Of its topic.
            stamp: ns, when it was complete on the clock of the sender; None if that is not known.
            recorded: ns, when it was recorded.
        """
        end = None if stamp is None else (stamp - self._start) / NS_PER_S
        time = arrival_times.arrival(end, (recorded - self._start) / NS_PER_S, self._now)
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
