# SPDX-License-Identifier: Apache-2.0
"""Stream of one session: the browser's audio in, 16 kHz hops for the batch and encoded frames out.

`post` may be called from any thread and only queues a command. All other methods are called by the batch
worker: `apply_commands` executes the queue, `next_hop` gives the next hop that is due, `encode_frames` turns
the resulting frames into WebSocket messages. Without audio the stream consumes silence in real time, so that
the face stays alive.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.rotation import y_up_to_ros
from streamingtalker_ros.runtime.transition import GateRate, MotionTransition
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.controls import Controls
from streamingtalker_ros.web.limits import Limits

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol

_MAX_IDLE_LAG_S = 0.2  # idle time that is caught up after the process was suspended


class VoiceStream:
    """Audio and frames of one session.

    Args:
        talker: the model.
        deliver: called with a list of encoded frames, in the worker's thread.
        on_error: called with a message for the user, in the worker's thread.
        wake: called after every `post`.
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
        self.talker = talker
        self.deliver = deliver
        self.on_error = on_error
        self.stream: Any = talker.open_stream()
        self.controls = Controls(talker, self.stream)
        self.epoch = 0
        self.dropped = 0  # frames
        self._wake = wake
        self._clock = clock
        self._max_backlog = limits.backlog_seconds
        self._hop = talker.hop
        self._template = y_up_to_ros(talker.template) if talker.template is not None else None
        self._transition = MotionTransition()
        self._commands: deque[tuple[str, tuple[Any, ...], float]] = deque()
        self._reset()

    def _reset(self) -> None:
        self._audio: deque[tuple[npt.NDArray[np.float32], float]] = deque()  # (samples, arrival time)
        self._queued_samples = 0
        self._consumed_samples = 0
        self._time_shift = 0  # samples to add to the stream's time
        self._resampler: Resampler | None = None
        self._next_idle_hop: float | None = None
        self._gate_rate = GateRate.AUDIO_END
        self._arrival = self._clock()  # of the audio consumed last

    # --------------------------------------------------------------------------------------------- any thread

    def post(self, command: str, *arguments: Any) -> None:
        """Queue a command.

        Args:
            command: `start(epoch, rate, seed)`, `audio(epoch, samples)`, `rest(epoch)`, `interrupt(epoch)`,
                `pause()` or `set(changes)`; samples: (n,) int16.
            arguments: of the command.
        """
        self._commands.append((command, arguments, self._clock()))
        self._wake()

    # ---------------------------------------------------------------------------------------- worker's thread

    def apply_commands(self) -> None:
        """Execute the queued commands in order; one that fails is reported by `on_error`."""
        while self._commands:
            command, arguments, arrival = self._commands.popleft()
            try:
                getattr(self, f"_on_{command}")(arrival, *arguments)
            except TalkerError as error:
                self.on_error(str(error))

    def next_deadline(self) -> float | None:
        """Time of the next idle hop; None if the stream waits for audio or is paused."""
        return self._next_idle_hop

    def next_hop(self, now: float) -> npt.NDArray[np.float32] | None:
        """The next hop for the model, shape (hop,), or None. Skips audio that has become too old."""
        if self._next_idle_hop is not None and now >= self._next_idle_hop:
            self._next_idle_hop = max(self._next_idle_hop + self._hop / SAMPLE_RATE, now - _MAX_IDLE_LAG_S)
            self._enqueue(np.zeros(self._hop, np.float32), now)
        if self._queued_samples < self._hop:
            return None
        if now - self._audio[0][1] > self._max_backlog and self._queued_samples >= 2 * self._hop:
            skipped = (self._queued_samples // self._hop - 1) * self._hop
            self._dequeue(skipped)
            self._time_shift += skipped
            self.dropped += round(skipped / SAMPLE_RATE * self.talker.frame_rate)
        self._consumed_samples += self._hop
        return self._dequeue(self._hop)

    def encode_frames(self, frames: Sequence[Any], model_ms: float, now: float) -> list[bytes]:
        """Frames of the talker as WebSocket messages.

        Args:
            frames: as `accept` returned them for the last hop.
            model_ms: duration of the batched step, ms.
            now: time, seconds.
        """
        wait_ms = max(0.0, 1000 * max(0.0, now - self._arrival) - model_ms)
        messages = []
        for frame in frames:
            frame_time = frame.time + self._time_shift / SAMPLE_RATE
            index = max(0, round(frame_time * self.talker.frame_rate))
            common: dict[str, Any] = {
                "epoch": self.epoch,
                "index": index,
                "time": frame_time,
                "idle": self._next_idle_hop is not None,
                "model_ms": model_ms,
                "wait_ms": wait_ms,
                "dropped": self.dropped,
            }
            if self._template is not None:
                offsets = y_up_to_ros(frame.vertices) - self._template
                messages.append(protocol.encode_vertices(offsets=offsets, **common))
            else:
                weights, head = self._transition.apply(
                    frame.weights, frame.head, self._gate_rate, self.stream.mouth_at_rest
                )
                speaking = frame.speaking and self._gate_rate is GateRate.OPEN
                messages.append(
                    protocol.encode_blendshapes(weights=weights, head=head, speaking=speaking, **common)
                )
        return messages

    def on_model_error(self) -> None:
        """Reset after the model raised: the stream stays silent until the next start or rest."""
        self.stream.reset()
        self._reset()

    def _on_start(self, arrival: float, epoch: int, rate: int, seed: int | None) -> None:
        resampler = Resampler(rate, SAMPLE_RATE)
        self._reset()
        self.epoch = epoch
        self._resampler = resampler
        self._gate_rate = GateRate.OPEN
        self.stream.reset(self.controls.seed if seed is None else seed)
        self._transition.begin_crossfade()

    def _on_audio(self, arrival: float, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        if self._resampler is None or epoch != self.epoch:
            return
        self._enqueue(self._resampler.accept(samples.astype(np.float32) / 32768), arrival)

    def _on_rest(self, arrival: float, epoch: int, gate_rate: GateRate = GateRate.AUDIO_END) -> None:
        if gate_rate is not GateRate.AUDIO_END:
            self._dequeue(self._queued_samples)
        elif self._resampler is not None:
            self._enqueue(self._resampler.finish(), arrival)
        self._enqueue(np.zeros(-self._queued_samples % self._hop, np.float32), arrival)
        self._resampler = None
        self.epoch = epoch
        self._gate_rate = gate_rate
        self._time_shift = -(self._consumed_samples + self._queued_samples)
        self._next_idle_hop = arrival

    def _on_interrupt(self, arrival: float, epoch: int) -> None:
        self._on_rest(arrival, epoch, GateRate.BARGE_IN)

    def _on_pause(self, arrival: float) -> None:
        self._reset()

    def _on_set(self, arrival: float, changes: dict[str, Any]) -> None:
        self.controls.apply(changes)

    def _enqueue(self, samples: npt.NDArray[np.float32], arrival: float) -> None:
        if len(samples):
            self._audio.append((samples, arrival))
            self._queued_samples += len(samples)

    def _dequeue(self, count: int) -> npt.NDArray[np.float32]:
        """Remove the first `count` queued samples, shape (count,)."""
        out, filled = np.empty(count, np.float32), 0
        while filled < count:
            samples, self._arrival = self._audio.popleft()
            taken = min(len(samples), count - filled)
            out[filled : filled + taken] = samples[:taken]
            filled += taken
            if taken < len(samples):
                self._audio.appendleft((samples[taken:], self._arrival))
        self._queued_samples -= count
        return out
