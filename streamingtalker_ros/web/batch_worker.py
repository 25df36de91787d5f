# SPDX-License-Identifier: Apache-2.0
"""Worker thread that steps the streams of all sessions as one batch.

All streams that have a hop ready go through the model together, one hop each; audio that arrives meanwhile
goes into the next batch. A stream with a backlog therefore does not delay the others. An exception in one
stream ends that stream only. Streams of different diffusion steps cost a pass of the model each: while the
model has little time left for several streams, all of them get its default number of steps.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from streamingtalker_ros.process import FaultLog, never_raising, print_warning
from streamingtalker_ros.runtime.batch import run_batch
from streamingtalker_ros.runtime.session import DialogueCallback, ignore_dialogue
from streamingtalker_ros.web.limits import Limits
from streamingtalker_ros.web.voice_stream import VoiceStream

if TYPE_CHECKING:
    from streamingtalker_ros.model.protocol import TalkerProtocol
    from streamingtalker_ros.runtime.frames import PublishedFrame
    from streamingtalker_ros.runtime.session import VoiceSession


MAX_MODEL_LOAD: Final = 0.5  # of the thread's time, above which the steps are those of the model
_LOAD_WINDOW_S: Final = 1.0
_MIN_IMPOSED_S: Final = 10.0  # until the pages' own steps are tried again; doubled each time that fails
_MAX_IMPOSED_S: Final = 160.0


class BatchWorker:
    """Steps all open streams until it is stopped.

    Args:
        talker: the model.
        limits: of the server.
        warn: called with a message if the model fails.

    Attributes:
        failed: whether the thread ended by an exception.
        on_failure: called without arguments in that case.
        steps: number of batched model steps.
        model_seconds: their total duration.
        busy_since: monotonic time at which the present step began; None between steps.
    """

    def __init__(
        self, talker: TalkerProtocol, limits: Limits, warn: Callable[[str], Any] = print_warning
    ) -> None:
        self.talker = talker
        self.limits = limits
        self.failed = False
        self.on_failure: Callable[[], None] | None = None
        self.steps = 0
        self.model_seconds = 0.0
        self.busy_since: float | None = None
        self._imposed_steps: int | None = None
        self._imposed_until = 0.0
        self._imposed_s = _MIN_IMPOSED_S
        self._window_start = time.monotonic()
        self._window_seconds = 0.0  # of the model, since then
        self._warn = never_raising(warn)
        self._faults = FaultLog()
        self._streams: list[VoiceStream] = []
        self._condition = threading.Condition()
        self._wakeup = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run_guarded, name="batch worker", daemon=True)

    @property
    def streams(self) -> list[VoiceStream]:
        """The open streams."""
        with self._condition:
            return list(self._streams)

    @property
    def stream_count(self) -> int:
        """Number of open streams."""
        with self._condition:
            return len(self._streams)

    def start(self) -> None:
        """Warm up the model and start the thread."""
        self.talker.warm_up()
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def open(
        self,
        deliver: Callable[[list[bytes]], None],
        on_error: Callable[[str], None],
        on_frame: Callable[[PublishedFrame], None] | None = None,
        on_dialogue: DialogueCallback = ignore_dialogue,
    ) -> VoiceStream:
        """Add a stream to the batch.

        Args:
            deliver: called with a list of encoded frames, in the worker's thread.
            on_error: called with a message for the user, in the worker's thread.
            on_frame: called with each frame, in the worker's thread.
            on_dialogue: receives who speaks when that changes, in the worker's thread.
        """
        stream = VoiceStream(
            self.talker,
            deliver,
            on_error,
            self._wake,
            self.limits,
            on_frame=on_frame,
            on_dialogue=on_dialogue,
        )
        with self._condition:
            stream.impose_steps(self._imposed_steps)
            self._streams.append(stream)
        return stream

    def close(self, stream: VoiceStream) -> None:
        """Remove a stream from the batch, which frees its state; one that was removed already is ignored."""
        with self._condition, contextlib.suppress(ValueError):
            self._streams.remove(stream)

    def _wake(self) -> None:
        with self._condition:
            self._wakeup = True
            self._condition.notify()

    def _run_guarded(self) -> None:
        try:
            self._run()
        except BaseException:
            self.failed = True
            if self.on_failure is not None:
                self.on_failure()
            raise  # for the supervisor, which logs it

    def _run(self) -> None:
        while True:
            with self._condition:
                deadlines = [stream.session.next_deadline() for stream in self._streams]
                deadline = min((value for value in deadlines if value is not None), default=None)
                timeout = None if deadline is None else deadline - time.monotonic()
                if not self._wakeup and not self._stopping and (timeout is None or timeout > 0):
                    self._condition.wait(timeout)
                if self._stopping:
                    return
                self._wakeup = False
                streams = list(self._streams)
            while self._step(streams):
                with self._condition:
                    streams = list(self._streams)
            del streams  # a closed stream must not stay alive until the next wake-up

    def _step(self, streams: Iterable[VoiceStream]) -> bool:
        """Run one hop of each stream that has one.

        Returns:
            Whether any stream has more to do now.
        """
        by_session: dict[VoiceSession, VoiceStream] = {}
        for stream in streams:
            try:
                stream.take_audio()
            except Exception as fault:
                self._end_stream(stream, fault)
            else:
                by_session[stream.session] = stream
        self.busy_since = time.monotonic()
        result = run_batch(
            self.talker,
            list(by_session),
            on_fault=lambda session, fault: self._end_stream(by_session[session], fault),
        )
        self.busy_since = None
        if result.error is not None:
            error = result.error
            self._warn(f"the model failed ({type(error).__name__}: {error}): its streams start over")
        elif result.hops:
            self.steps += 1
            self.model_seconds += result.model_seconds
            self._watch_load(result.model_seconds)
        has_work = False
        for stream in by_session.values():
            try:
                messages = stream.encode_frames()
                if messages:
                    stream.deliver(messages)
                has_work |= stream.has_work(result.hops > 0)
            except Exception as fault:
                self._end_stream(stream, fault)
        return has_work

    def _watch_load(self, model_seconds: float) -> None:
        self._window_seconds += model_seconds
        now = time.monotonic()
        if now - self._window_start < _LOAD_WINDOW_S:
            return
        load = self._window_seconds / (now - self._window_start)
        self._window_start, self._window_seconds = now, 0.0
        if self.talker.family != "blendshape":
            return
        with self._condition:
            if load > MAX_MODEL_LOAD and len(self._streams) > 1 and self._imposed_steps is None:
                self._imposed_steps = self.talker.steps
                self._imposed_until = now + self._imposed_s
                self._imposed_s = min(2 * self._imposed_s, _MAX_IMPOSED_S)
            elif self._imposed_steps is not None and now > self._imposed_until:
                self._imposed_steps = None
            elif self._imposed_steps is None and now > self._imposed_until + self._imposed_s:
                self._imposed_s = _MIN_IMPOSED_S
                return
            else:
                return
            for stream in self._streams:
                stream.impose_steps(self._imposed_steps)

    def _end_stream(self, stream: VoiceStream, fault: Exception) -> None:
        """Remove a stream after an internal error, and report the error to its session."""
        self._faults.log("the stream of a session failed and was ended", fault)
        self.close(stream)
        with contextlib.suppress(Exception):
            stream.on_error("this stream failed on the server and has ended: connect again")
