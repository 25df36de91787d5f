# SPDX-License-Identifier: Apache-2.0
"""Output of a session: transitions, order of stamps, pacing of chunks, and errors of the publisher.

The only module of the runtime that closes the mouth, and the only one that depends on the family of frames.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.model.protocol import AnyFrame, StreamProtocol, TalkerProtocol, VertexFrame
from streamingtalker_ros.runtime.frames import (
    Clock,
    FaceFrame,
    FramePublisher,
    PublishedFrame,
    VertexFaceFrame,
    WarningCallback,
)
from streamingtalker_ros.runtime.statistics import Statistics
from streamingtalker_ros.runtime.transition import GateRate, MotionTransition, VertexTransition

if TYPE_CHECKING:
    from streamingtalker_ros.streaming.stream import Stream

# stamps go back by more than this only, if the sender's clock was set
MAX_STAMP_STEP_BACK_NS: Final = 500_000_000


@dataclass(frozen=True)
class TimedFrame:
    """A frame of the talker with its place in the published stream; see `FaceFrame` for the attributes.

    Attributes:
        frame: The talker's frame.
        due: s, earliest time of its publication.
    """

    frame: AnyFrame
    due: float
    index: int
    stamp: int
    idle: bool
    arrival: float | None
    epoch: int
    epoch_stamp: int
    model_seconds: float
    audio: npt.NDArray[np.float32] | None = None


class FrameOutput:
    """Publishes the frames of one session.

    Args:
        talker: The model.
        stream: Its stream, whose rest pose is the closed mouth.
        publish: Receives each frame.
        statistics: Counts frames and errors.
        clock: Time in seconds, monotonic.
        warn: Receives what is wrong with the publisher.

    Attributes:
        is_interrupted: Whether the mouth closes after barge-in, in all frames.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        stream: StreamProtocol,
        publish: FramePublisher,
        statistics: Statistics,
        clock: Clock,
        warn: WarningCallback,
    ) -> None:
        self.is_interrupted = False
        self._stream = stream
        self._publish = publish
        self._statistics = statistics
        self._clock = clock
        self._warn = warn
        self._template = talker.template
        self._steps_in_chunks = talker.frames_per_step > 1
        self._pending: deque[tuple[TimedFrame, bool]] = (
            deque()
        )  # not due yet; whether a frame starts its stream
        self._starts_stream = False  # the next frame that is added
        self._crossfades = False  # the next frame that is published
        self.reset()

    @property
    def is_at_rest(self) -> bool:
        """Whether the mouth is closed in the frame published last, and no pending frame opens it."""
        if self._starts_stream or self._crossfades or not self._transition.mouth_closed:
            return False
        return all(
            not starts_stream and (timed.idle or self.is_interrupted)
            for timed, starts_stream in tuple(self._pending)
        )

    @property
    def next_due(self) -> float | None:
        """Time at which a pending frame is due; None if no frame is pending."""
        return self._pending[0][0].due if self._pending else None

    def start_stream(self) -> None:
        """Cross-fade the next frame that is added from the last pose."""
        self._starts_stream = True
        self.is_interrupted = False

    def allow_any_stamp(self) -> None:
        """Publish the next frame regardless of its stamp: a new timeline begins."""
        self._last_stamp: int | None = None  # ns, of the frame published last

    def discard(self) -> None:
        """Discard the pending frames."""
        self._pending.clear()
        self.is_interrupted = False

    def reset(self) -> None:
        """Discard the pending frames and the last pose."""
        self.discard()
        self.allow_any_stamp()
        self._motion_transition = MotionTransition()
        self._vertex_transition = None if self._template is None else VertexTransition(self._template)
        self._transition = self._vertex_transition or self._motion_transition

    def add(self, timed: TimedFrame) -> None:
        """Publish a frame; one of a chunk waits until it is due.

        Args:
            timed: Frame with its due time; frames are added in the order of the stream.
        """
        starts_stream, self._starts_stream = self._starts_stream, False
        if self._steps_in_chunks and (self._pending or timed.due > self._clock()):
            self._pending.append((timed, starts_stream))
        else:
            self._publish_frame(timed, starts_stream)

    def publish_due(self, now: float) -> None:
        """Publish the pending frames that are due.

        Args:
            now: s, the present time on the session's clock.
        """
        while self._pending and self._pending[0][0].due <= now:
            self._publish_frame(*self._pending.popleft())

    def _publish_frame(self, timed: TimedFrame, starts_stream: bool) -> None:
        self._crossfades |= starts_stream
        if self._last_stamp is not None and 0 <= self._last_stamp - timed.stamp < MAX_STAMP_STEP_BACK_NS:
            self._statistics.suppressed += 1  # the stream before has published this time
            return
        if self._crossfades:
            self._transition.begin_crossfade()
            self._crossfades = False
        try:
            self._publish(self._apply_transition(timed))
        except Exception as error:
            self._statistics.errors += 1
            self._warn(
                "publish",
                f"a frame could not be published ({type(error).__name__}: {error}): the node goes on",
            )
            return
        self._last_stamp = timed.stamp
        if timed.idle:
            self._statistics.idle_frames += 1
        else:
            self._statistics.frames += 1
            if timed.arrival is not None:
                self._statistics.latency.add(self._clock() - timed.arrival)

    def _gate_rate(self, idle: bool) -> GateRate:
        """Rate of the mouth gate: it closes faster after barge-in than after the end of the audio."""
        if self.is_interrupted:
            return GateRate.BARGE_IN
        return GateRate.AUDIO_END if idle else GateRate.OPEN

    def _apply_transition(self, timed: TimedFrame) -> PublishedFrame:
        frame = timed.frame
        gate_rate = self._gate_rate(timed.idle)
        is_open = gate_rate is GateRate.OPEN
        if isinstance(frame, VertexFrame):
            assert self._vertex_transition is not None
            return VertexFaceFrame(
                index=timed.index,
                stamp=timed.stamp,
                idle=timed.idle,
                speaking=is_open,
                arrival=timed.arrival,
                epoch=timed.epoch,
                epoch_stamp=timed.epoch_stamp,
                model_seconds=timed.model_seconds,
                vertices=self._vertex_transition.apply(frame.vertices, gate_rate),
                audio=None if self.is_interrupted else timed.audio,
            )
        rest_pose = cast("Stream", self._stream).mouth_at_rest
        weights, head = self._motion_transition.apply(frame.weights, frame.head, gate_rate, rest_pose)
        return FaceFrame(
            index=timed.index,
            stamp=timed.stamp,
            idle=timed.idle,
            speaking=bool(frame.speaking) and is_open,
            arrival=timed.arrival,
            epoch=timed.epoch,
            epoch_stamp=timed.epoch_stamp,
            model_seconds=timed.model_seconds,
            weights=weights,
            head=head,
            audio=None if self.is_interrupted else timed.audio,
        )
