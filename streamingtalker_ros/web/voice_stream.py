# SPDX-License-Identifier: Apache-2.0
"""Voice of one WebSocket session: audio into a `VoiceSession`, its frames into WebSocket messages.

The methods named after messages of the page may be called from any thread and only queue. `take_audio`,
`encode_frames` and `has_work` are called by the batch worker, which drives the session.

Messages are joined to one packet for each turn of the worker, and the worker is woken when a hop may be
complete: what a message costs there does not depend on how small its sender cuts the audio.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.conversation.commands import ConversationCommand, Express, Gesture, LookAt
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.runtime.frames import PublishedFrame, VertexFaceFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.session import WEB_POLICY, DialogueCallback, VoiceSession, ignore_dialogue
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.controls import Controls
from streamingtalker_ros.web.limits import Limits

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol

MAX_TURN_SAMPLES: Final = 65536  # of one session that the worker resamples in one turn
_COMMAND_WARNINGS: Final = frozenset(
    {LookAt.__name__, Express.__name__, Gesture.__name__, "gaze_reach", "commands"}
)  # of the session, that concern what the user has asked for
_PARTNER_FORMAT: Final = AudioFormat(SAMPLE_RATE)
_MAX_PARTNER_SKEW_S: Final = 0.1  # by which its audio may be late or early before it is placed anew
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
        on_frame: called with each frame, in the worker's thread.
        on_dialogue: receives who speaks when that changes, in the worker's thread.
    """

    def __init__(
        self,
        talker: TalkerProtocol,
        deliver: Callable[[list[bytes]], None],
        on_error: Callable[[str], None],
        wake: Callable[[], None],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        on_frame: Callable[[PublishedFrame], None] | None = None,
        on_dialogue: DialogueCallback = ignore_dialogue,
    ) -> None:
        self.deliver = deliver
        self.on_error = on_error
        self._on_frame = on_frame
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
            warn=lambda kind, message: _report(on_error, kind, message),
            policy=dataclasses.replace(WEB_POLICY, overload_after=limits.backlog_seconds),
            on_dialogue=on_dialogue,
        )
        self._controls = Controls(self.session)
        self._lock = threading.Lock()  # guards what follows
        self._epoch: int | None = None  # of the audio that is accepted
        self._format = AudioFormat()
        self._sample_count = 0  # of the epoch that the session has
        self._pending: deque[npt.NDArray[np.int16]] = deque()  # not passed to the session yet
        self._pending_samples = 0
        self._pending_arrival = 0.0  # of the newest
        self._end_epochs: list[int | None] = []  # of the timelines that begin behind the pending audio
        self._needed_samples = 0.0  # pending ones without which the worker has nothing to do
        self._frame_epoch: int | None = None  # of the frames to come
        self._frame_offset: float | None = None  # s, stamp of the newest of them minus the time then
        self._partner_end = 0.0  # s on the clock of the stamps, of the partner's audio so far

    # --------------------------------------------------------------------------------------------- any thread

    def start(self, epoch: int, rate: int, seed: int | None) -> None:
        """Begin a new stream with the audio that follows.

        Args:
            epoch: number of its timeline, 0..255.
            rate: Hz of its audio.
            seed: of its noise; None for that of the controls.
        """
        with self._lock:
            self._drop_pending(epoch)
            self._leave_partner(epoch)
            self._format, self._sample_count = AudioFormat(rate), 0
            self.session.suspend(epoch, seed)
        self._wake()

    def push_audio(self, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        """Queue audio, (n,) int16; audio of another epoch than the one that was started is ignored.

        Args:
            epoch: Number of the audio's timeline, 0..255.
            samples: (n,) mono, at the rate given to `start`.
        """
        with self._lock:
            if epoch != self._epoch or not len(samples):
                return
            self._pending.append(samples)
            self._pending_samples += len(samples)
            self._pending_arrival = self._clock()
            is_needed = self._pending_samples >= self._needed_samples
        if is_needed:
            self._wake()

    def hear_partner(self, samples: npt.NDArray[np.int16]) -> None:
        """Queue audio of the conversation partner: frames hear it as it arrives, without frames nobody does.

        Args:
            samples: (n,) mono, at 16 kHz, which continue those before.
        """
        now, seconds = self._clock(), len(samples) / SAMPLE_RATE
        with self._lock:
            if self._frame_offset is None or not len(samples):
                return
            self._partner_end += seconds
            if abs(now + self._frame_offset - self._partner_end) > _MAX_PARTNER_SKEW_S:
                self._partner_end = now + self._frame_offset
            stamp = max(0, round((self._partner_end - seconds) * NS_PER_S))
            self.session.partner.push(AudioPacket(samples.tobytes(), _PARTNER_FORMAT, stamp, now))

    def end_audio(self, epoch: int | None) -> None:
        """End the audio: the mouth closes, and idle frames follow.

        Args:
            epoch: Number of their timeline, 0..255; None for that of the audio.
        """
        with self._lock:
            self._epoch = None
            self._end_epochs.append(epoch)
            self._frame_epoch = self._frame_epoch if epoch is None else epoch
        self._wake()

    def interrupt(self, epoch: int) -> None:
        """Drop the queued audio and close the mouth; idle frames follow on the timeline `epoch`."""
        with self._lock:
            self._drop_pending(None)
            self._frame_epoch = epoch
            self.session.interrupt(epoch)
            self.session.end_audio(epoch)  # without a stream, idle frames begin all the same
        self._wake()

    def pause(self) -> None:
        """Send nothing until the next start, rest or interrupt."""
        with self._lock:
            self._drop_pending(None)
            self._leave_partner(None)
            self.session.suspend()
        self._wake()

    def set_controls(self, changes: dict[str, Any]) -> None:
        """Change controls; an invalid value is reported by `on_error`.

        Args:
            changes: {name: value}, names and ranges as in `describe_controls`.
        """
        self.session.post(lambda: self._apply_controls(changes))
        self._wake()

    def command(self, command: ConversationCommand) -> None:
        """Apply a command of the conversation from the next frame on; a failure is reported by `on_error`.

        Args:
            command: Any.
        """
        self.session.command(command)

    def _drop_pending(self, epoch: int | None) -> None:
        self._epoch = epoch
        self._pending.clear()
        self._pending_samples = 0
        self._end_epochs.clear()
        self._needed_samples = 0.0

    def _leave_partner(self, epoch: int | None) -> None:
        """Hear nobody until there are frames of a timeline, whose stamps begin anew."""
        self._frame_epoch, self._frame_offset = epoch, None
        self.session.post(self.session.partner.reset)

    # ---------------------------------------------------------------------------------------- worker's thread

    def take_audio(self) -> None:
        """Pass the audio that has arrived to the session, at most `MAX_TURN_SAMPLES`."""
        with self._lock:
            taken: list[npt.NDArray[np.int16]] = []
            room = MAX_TURN_SAMPLES
            while self._pending and room:
                samples = self._pending.popleft()
                if len(samples) > room:
                    self._pending.appendleft(samples[room:])
                    samples = samples[:room]
                taken.append(samples)
                room -= len(samples)
            if taken:
                stamp = self._sample_count * NS_PER_S // self._format.sample_rate
                self._sample_count += MAX_TURN_SAMPLES - room
                self._pending_samples -= MAX_TURN_SAMPLES - room
                payload = b"".join(samples.data for samples in taken)
                self.session.push(AudioPacket(payload, self._format, stamp, self._pending_arrival))
            if not self._pending:
                for epoch in self._end_epochs:
                    self.session.end_audio(epoch)
                self._end_epochs.clear()

    def has_work(self, stepped: bool) -> bool:
        """Note how much audio the next hop needs.

        Args:
            stepped: whether the worker's last step had a hop of any session.

        Returns:
            Whether a hop may be due although no further message arrives.
        """
        needed = self.session.wait_for_audio() * self._format.sample_rate / SAMPLE_RATE
        with self._lock:
            self._needed_samples = needed
            if self._end_epochs:
                return True
            if not needed:  # another hop may be due, unless there was none just now
                return stepped or bool(self._pending_samples)
            return self._pending_samples >= needed

    def impose_steps(self, steps: int | None) -> None:
        """Use this number of diffusion steps, whatever the page set; None for the page's again."""
        self._controls.impose_steps(steps)

    def encode_frames(self) -> list[bytes]:
        """Encode the frames that were published since the last call."""
        now = self._clock()
        messages = [self._encode(frame, now) for frame in self._frames]
        with self._lock:
            if self._frames and self._frames[-1].epoch == self._frame_epoch:
                self._frame_offset = self._frames[-1].stamp / NS_PER_S - now
        if self._on_frame is not None:
            for frame in self._frames:
                self._on_frame(frame)
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


def _report(on_error: Callable[[str], None], kind: str, message: str) -> None:
    """Report a warning that concerns the user; skipped frames are counted in each frame instead."""
    if kind == "model":
        on_error("the model failed on this stream: start again")
    elif kind in _COMMAND_WARNINGS:
        on_error(message)
