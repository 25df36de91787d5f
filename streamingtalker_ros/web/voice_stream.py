# SPDX-License-Identifier: Apache-2.0
"""Voice of one WebSocket session: audio into a `VoiceSession`, its frames into WebSocket messages.

The methods named after messages of the page may be called from any thread and only queue. `encode_frames` is
called by the batch worker, which drives the session.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.runtime.frames import PublishedFrame, VertexFaceFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.session import WEB_POLICY, VoiceSession
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.controls import Controls
from streamingtalker_ros.web.limits import Limits

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol

_QUEUE_MARGIN: Final = 2.0  # the token bucket bounds the audio; the session's queue never rejects before it


class VoiceStream:
    """Audio and frames of one session.

    Packets are stamped with the time since the start of their epoch, by the count of samples: a WebSocket
    neither loses nor reorders audio.

    Args:
        talker: the model.
        deliver: called with a list of encoded frames, in the worker's thread.
        on_error: called with a message for the user, in the worker's thread.
        wake: called after every queued packet and command.
        limits: of the server.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        deliver: Callable[[list[bytes]], None],
        on_error: Callable[[str], None],
        wake: Callable[[], None],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deliver = deliver
        self.on_error = on_error
        self._wake = wake
        self._clock = clock
        self._frame_rate = talker.frame_rate
        self._template = None if talker.template is None else y_up_to_ros(talker.template)
        self._frames: list[PublishedFrame] = []  # published, and not encoded yet
        parameters = TalkerParameters(
            pacing="none",
            queue_seconds=max(1.0, _QUEUE_MARGIN * limits.burst_seconds),
        )
        self.session = VoiceSession(
            talker,
            parameters,
            self._frames.append,
            clock=clock,
            warn=lambda kind, message: _report(on_error, kind),
            policy=dataclasses.replace(WEB_POLICY, overload_after=limits.backlog_seconds),
        )
        self._controls = Controls(self.session)
        self._epoch: int | None = None  # of the audio that is accepted
        self._format = AudioFormat()
        self._sample_count = 0  # received in the epoch

    # --------------------------------------------------------------------------------------------- any thread

    def start(self, epoch: int, rate: int, seed: int | None) -> None:
        """Begin a new stream with the audio that follows.

        Args:
            epoch: number of its timeline, 0..255.
            rate: Hz of its audio.
            seed: of its noise; None for that of the controls.
        """
        self._epoch, self._format, self._sample_count = epoch, AudioFormat(rate), 0
        self.session.suspend(epoch, seed)
        self._wake()

    def push_audio(self, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        """Queue audio, (n,) int16; audio of another epoch than the one that was started is ignored.

        Args:
            epoch: Number of the audio's timeline, 0..255.
            samples: (n,) mono, at the rate given to `start`.
        """
        if epoch != self._epoch or not len(samples):
            return
        stamp = self._sample_count * NS_PER_S // self._format.sample_rate
        self._sample_count += len(samples)
        self.session.push(AudioPacket(samples.tobytes(), self._format, stamp, self._clock()))
        self._wake()

    def end_audio(self, epoch: int) -> None:
        """End the audio: the mouth closes, and idle frames follow on the timeline `epoch`."""
        self._epoch = None
        self.session.end_audio(epoch)
        self._wake()

    def interrupt(self, epoch: int) -> None:
        """Drop the queued audio and close the mouth; idle frames follow on the timeline `epoch`."""
        self._epoch = None
        self.session.interrupt(epoch)
        self.session.end_audio(epoch)  # without a stream, idle frames begin all the same
        self._wake()

    def pause(self) -> None:
        """Send nothing until the next start, rest or interrupt."""
        self._epoch = None
        self.session.suspend()
        self._wake()

    def set_controls(self, changes: dict[str, Any]) -> None:
        """Change controls; an invalid value is reported by `on_error`.

        Args:
            changes: {name: value}, names and ranges as in `describe_controls`.
        """
        self.session.post(lambda: self._apply_controls(changes))
        self._wake()

    # ---------------------------------------------------------------------------------------- worker's thread

    def encode_frames(self) -> list[bytes]:
        """Encode the frames that were published since the last call."""
        now = self._clock()
        messages = [self._encode(frame, now) for frame in self._frames]
        self._frames.clear()
        return messages

    def _encode(self, frame: PublishedFrame, now: float) -> bytes:
        frame_time = (frame.stamp - frame.epoch_stamp) / NS_PER_S
        model_ms = 1000 * frame.model_seconds
        wait_ms = 0.0 if frame.arrival is None else max(0.0, 1000 * (now - frame.arrival) - model_ms)
        common: dict[str, Any] = {
            "epoch": frame.epoch,
            "index": max(0, round(frame_time * self._frame_rate)),
            "time": frame_time,
            "idle": frame.idle,
            "model_ms": model_ms,
            "wait_ms": wait_ms,
            "dropped": self.session.statistics.dropped,
        }
        if isinstance(frame, VertexFaceFrame):
            return protocol.encode_vertices(offsets=y_up_to_ros(frame.vertices) - self._template, **common)
        return protocol.encode_blendshapes(
            weights=frame.weights, head=frame.head, speaking=frame.speaking, **common
        )

    def _apply_controls(self, changes: dict[str, Any]) -> None:
        try:
            self._controls.apply(changes)
        except TalkerError as error:
            self.on_error(str(error))


def _report(on_error: Callable[[str], None], kind: str) -> None:
    """Report a warning that concerns the user; skipped frames are counted in each frame instead."""
    if kind == "model":
        on_error("the model failed on this stream: start again")
