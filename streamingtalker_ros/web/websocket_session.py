# SPDX-License-Identifier: Apache-2.0
"""WebSocket session of one browser: receives control messages and audio, sends frames.

The frames are those of the session's stream or of a watched talker; both are released when the session ends.

Frames wait in a bounded queue and the browser acknowledges the frames that it has received. Frames that a
slow browser cannot receive in time are dropped; a browser that lags for long is disconnected, so that other
sessions are not affected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt
from starlette.status import WS_1008_POLICY_VIOLATION, WS_1011_INTERNAL_ERROR, WS_1013_TRY_AGAIN_LATER
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.web import protocol
from streamingtalker_ros.web.limits import TokenBucket
from streamingtalker_ros.web.session_speech import SessionSpeech

if TYPE_CHECKING:
    from streamingtalker_ros.conversation.turn_taking import DialogueState
    from streamingtalker_ros.runtime.frames import PublishedFrame
    from streamingtalker_ros.web.app import WebContext
    from streamingtalker_ros.web.shared_sessions import SharedChannel, Subscription
    from streamingtalker_ros.web.voice_stream import VoiceStream

MAX_QUEUED_TEXTS = 64
CLOSE_TIMEOUT_S = 2.0
TIMER_INTERVAL_S = 1.0
MESSAGES_PER_TURN = 16  # handled before other connections have their turn
_SAY_BURST_S = 5.0
_MAX_AUDIO_RATE = 1.05  # seconds of audio per second: the clocks of sound cards differ


class CloseSession(Exception):  # noqa: N818, not an error: it ends a session
    """Ends the session.

    Args:
        code: close code of RFC 6455.
        message: for the user.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class WebSocketSession:
    """Session of one browser.

    Args:
        context: shared state of the server.
        socket: an accepted WebSocket.
        frame_format: of the frames that are sent, one of `protocol.FRAME_FORMATS`.

    Attributes:
        dropped: frames that were not sent because the browser had not acknowledged enough earlier ones.
    """

    def __init__(
        self, context: WebContext, socket: WebSocket, frame_format: str = protocol.FRAME_FORMATS[0]
    ) -> None:
        self.dropped = 0
        self._is_json = frame_format == "json"
        self._context = context
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()
        self._texts: deque[str] = deque()
        self._wakeup = asyncio.Event()
        self._stream: VoiceStream | None = None
        self._subscription: Subscription | None = None
        self._shared: SharedChannel | None = None
        self._sent = self._acknowledged = 0  # frames
        self._skipped = 0  # under overload, by streams that were closed
        self._behind_since: float | None = None
        limits = context.limits
        self._text_bucket = TokenBucket(limits.max_texts_per_second, 3 * limits.max_texts_per_second)
        self._message_bucket = TokenBucket(
            limits.max_messages_per_second, limits.burst_seconds * limits.max_messages_per_second
        )
        self._audio_bucket = TokenBucket(
            _MAX_AUDIO_RATE, limits.burst_seconds
        )  # kept over restarts: a new start does not refill it
        self._speech: SessionSpeech | None = None
        self._spoken_samples = 0  # of its text
        self._say_bucket = TokenBucket(limits.max_says_per_second, _SAY_BURST_S * limits.max_says_per_second)
        self._partner_bucket = TokenBucket(_MAX_AUDIO_RATE, limits.burst_seconds)
        self._rate: int | None = None  # of the audio, Hz
        self._started: tuple[int, int] | None = None  # epoch and rate of the last start
        self._last_message: float | None = None  # when it arrived
        self._budget = context.guard.connection(socket.client).use.budget
        self._handoff_lock = threading.Lock()
        self._handoff: list[bytes] = []  # frames of other threads, not taken over yet

    @property
    def state(self) -> str:
        """One of `metrics.SESSION_STATES`."""
        if self._subscription is not None:
            return "watching"
        return "connected" if self._stream is None else self._stream.session.state.name.lower()

    def dropped_frames(self) -> dict[str, int]:
        """Frames that were not sent, by reason, as `WebMetrics.frames_dropped` counts them."""
        overload = 0 if self._stream is None else self._stream.session.statistics.dropped
        return {"overload": self._skipped + overload, "slow_client": self.dropped}

    async def run(self) -> None:
        """Serve until the browser disconnects or is disconnected; the stream is released in any case."""
        self._send_json(type="hello", **self._context.server_info())
        tasks = [asyncio.create_task(task()) for task in (self._receive, self._send, self._run_timer)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            errors = [error for task in done if (error := task.exception()) is not None]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._release()
        close = next((error for error in errors if isinstance(error, CloseSession)), None)
        if close is not None:
            await self._close_politely(close.code, close.message)
        for error in errors:
            if not isinstance(error, (CloseSession, WebSocketDisconnect, OSError)):
                self._context.faults.log("a session failed and was ended", error)

    # ---------------------------------------------------------------------------------------------- receiving

    async def _receive(self) -> None:
        handled = 0  # messages in this turn
        seconds = 0.0  # that they took
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            begin = time.perf_counter()
            self._last_message = self._loop.time()
            self._on_message(message.get("bytes"), message.get("text") or "")
            seconds += time.perf_counter() - begin
            handled += 1
            if handled >= MESSAGES_PER_TURN:
                self._budget.charge(seconds)
                await asyncio.sleep(self._budget.wait_seconds)
                handled, seconds = 0, 0.0

    def _on_message(self, data: bytes | None, text: str) -> None:
        limits = self._context.limits
        if not self._message_bucket.take():
            self._close_for_rate(limits.max_messages_per_second)
        try:
            if data is not None:
                self._on_bytes(data)
            else:
                self._on_text(text)
        except TalkerError as error:
            self._send_json(type="error", text=str(error))
        except CloseSession:
            raise
        except Exception as fault:
            self._context.faults.log("a client's message could not be handled", fault)
            raise CloseSession(
                WS_1011_INTERNAL_ERROR, "a message failed on the server: connect again"
            ) from None

    def _on_bytes(self, data: bytes) -> None:
        try:
            kind, epoch, samples = protocol.parse_audio(data)
            if kind == protocol.PARTNER:
                self._hear_partner(samples)
            else:
                self._push_audio(epoch, samples)
        except TalkerError:  # its answer is a text
            self._check_text_rate()
            raise

    def _hear_partner(self, samples: npt.NDArray[np.int16]) -> None:
        if not self._partner_bucket.take(len(samples) / SAMPLE_RATE):
            raise CloseSession(
                WS_1008_POLICY_VIOLATION,
                "the partner's audio arrived faster than real time: send it in real time, at 16000 Hz",
            )
        if self._stream is not None:
            self._stream.hear_partner(samples)

    def _push_audio(self, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        if self._rate is None or self._stream is None:
            raise TalkerError('audio arrived before a start: send {"type": "start", …} first')
        if not self._audio_bucket.take(len(samples) / self._rate):
            raise CloseSession(
                WS_1008_POLICY_VIOLATION, "the audio arrived faster than real time: send it in real time"
            )
        self._context.metrics.audio_seconds += len(samples) / self._rate
        self._stream.push_audio(epoch, samples)
        if self._shared is not None:
            self._shared.push_audio(epoch, samples)

    def _check_text_rate(self) -> None:
        if not self._text_bucket.take():
            self._close_for_rate(self._context.limits.max_texts_per_second)

    def _close_for_rate(self, max_rate: float) -> NoReturn:
        raise CloseSession(
            WS_1008_POLICY_VIOLATION, f"too many messages: send fewer than {max_rate:g} in a second"
        )

    def _on_text(self, text: str) -> None:
        self._check_text_rate()
        max_bytes = self._context.limits.max_text_bytes
        if len(text) > max_bytes:
            raise TalkerError(f"a text has {len(text)} characters: send at most {max_bytes}")
        message = protocol.parse_text(text)
        kind = message.pop("type")
        if kind == "seen":
            self._acknowledged = min(message["count"], self._sent)
        elif kind == "say":
            self._say(message["epoch"], message["text"])
        elif kind == "watch":
            self._drop_speech()
            self._watch(message["epoch"], message.get("session"))
        elif kind == "share":
            self._share(message.get("session"))
        elif kind == "pause":
            self._drop_speech()
            self._unsubscribe()
            if self._stream is not None:
                self._stream.pause()
        elif kind == "set":
            self._open_stream().set_controls(message)
        elif kind in ("look_at", "express", "gesture"):
            self._open_stream().command(protocol.parse_command(kind, message))
        else:
            self._drop_speech()
            self._unsubscribe()
            self._begin_timeline(kind, message)

    def _open_stream(self) -> VoiceStream:
        """Return the stream of this session, opened by the first message that needs it."""
        if self._stream is None:
            on_frame = None if self._context.output is None else self._send_to_output
            self._stream = self._context.worker.open(
                self._deliver_own, self._send_error_threadsafe, on_frame, self._send_dialogue_state
            )
        return self._stream

    def _begin_timeline(self, kind: str, message: dict[str, Any]) -> None:
        stream = self._open_stream()
        if kind == "start":
            self._rate = message["rate"]
            self._start(message["epoch"], message["rate"], message.get("seed"))
        elif kind == "rest":
            stream.end_audio(message["epoch"])
        else:
            stream.interrupt(message["epoch"])

    def _start(self, epoch: int, rate: int, seed: int | None) -> None:
        self._open_stream().start(epoch, rate, seed)
        self._started = (epoch, rate)
        if self._shared is not None:
            self._shared.start(epoch, rate)

    # ----------------------------------------------------------------------------------------- text to speech

    def _say(self, epoch: int, text: str) -> None:
        command, max_rate = self._context.tts, self._context.limits.max_says_per_second
        if command is None:
            raise TalkerError("this server says no texts: start it with --tts COMMAND")
        if not self._say_bucket.take():
            raise TalkerError(f"too many texts to say: send at most {max_rate:g} in a second")
        if self._speech is None:
            self._speech = SessionSpeech(
                command,
                self,
                self._send_json,
                self._call_soon,
                self._context.talker.frame_rate,
                self._context.warn_of_speech,
            )
        self._speech.say(epoch, text)

    def begin_speech(self, epoch: int) -> None:
        """See `SpeechSink`.

        Args:
            epoch: Number of the text's timeline.
        """
        self._unsubscribe()
        self._rate, self._spoken_samples = None, 0  # audio of the client is not mixed with it
        self._start(epoch, SAMPLE_RATE, None)

    def push_speech(self, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        """See `SpeechSink`.

        Args:
            epoch: Number of the text's timeline.
            samples: (n,) mono, at 16 kHz.
        """
        self._open_stream().push_audio(epoch, samples)
        if self._shared is not None:
            self._shared.push_audio(epoch, samples)
        self._deliver([protocol.encode_audio(epoch, self._spoken_samples / SAMPLE_RATE, samples)])
        self._spoken_samples += len(samples)

    def end_speech(self) -> None:
        """See `SpeechSink`."""
        self._open_stream().end_audio(None)

    def _drop_speech(self) -> None:
        if self._speech is not None:
            self._speech.drop()

    # -------------------------------------------------------------------------------------- watching, sharing

    def _watch(self, epoch: int, session: str | None) -> None:
        if session is not None and self._shared is not None and self._shared.name == session:
            raise TalkerError(f"this session is shared as {session!r} itself: watch another one")
        self._release_stream()
        watcher, shared_sessions = self._context.watcher, self._context.shared_sessions
        if session is None:
            self._subscription = watcher.open(self.deliver_threadsafe, self.send_json_threadsafe, epoch)
        else:
            self._subscription = shared_sessions.watch(
                session, self.deliver_threadsafe, self.send_json_threadsafe, epoch
            )

    def _share(self, session: str | None) -> None:
        """Share this session under a name, or no more."""
        if self._shared is not None and self._shared.name == session:
            return
        self._unshare()
        if session is not None:
            self._shared = self._context.shared_sessions.share(session)
            if self._started is not None:
                self._shared.start(*self._started)

    def _unshare(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def _release(self) -> None:
        if self._speech is not None:
            self._speech.close()
        self._release_stream()
        self._unshare()
        if self._context.output is not None:
            self._context.output.release(self)

    def _release_stream(self) -> None:
        self._unsubscribe()
        if self._stream is not None:
            self._context.worker.close(self._stream)
            self._skipped += self._stream.session.statistics.dropped
            self._stream = None
            self._rate = self._started = None

    # ------------------------------------------------------------------------------------------------ sending

    def deliver_threadsafe(self, messages: list[bytes]) -> None:
        """Queue encoded frames; may be called from any thread.

        Args:
            messages: One binary message per frame, oldest first; those beyond the limit of unacknowledged
                frames are dropped.
        """
        with self._handoff_lock:
            is_scheduled = bool(self._handoff)
            self._handoff += messages[: self._context.max_unacknowledged_frames + 1 - len(self._handoff)]
        if not is_scheduled:
            self._call_soon(self._take_handoff)

    def _deliver_own(self, messages: list[bytes]) -> None:
        """Queue frames of this session's stream, and pass them to its watchers; in the worker's thread."""
        self.deliver_threadsafe(messages)
        shared = self._shared
        if shared is not None:
            shared.push_frames(messages)

    def _send_to_output(self, frame: PublishedFrame) -> None:
        """Pass a frame to the live outputs; in the worker's thread."""
        shared, output = self._shared, self._context.output
        if output is not None:
            output.send(self, None if shared is None else shared.name, frame)

    def send_json_threadsafe(self, **fields: Any) -> None:
        """Queue a text message; may be called from any thread."""
        self._call_soon(lambda: self._send_json(**fields))

    def _send_error_threadsafe(self, message: str) -> None:
        self.send_json_threadsafe(type="error", text=message)

    def _send_dialogue_state(self, state: DialogueState, stamp: int, interrupted: bool) -> None:
        self.send_json_threadsafe(type="dialogue_state", state=state.name.lower())

    def _call_soon(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed: the server has stopped
            self._loop.call_soon_threadsafe(function, *arguments)

    @property
    def _unacknowledged(self) -> int:
        """Frames that are queued or in flight."""
        return len(self._frames) + self._sent - self._acknowledged

    def _take_handoff(self) -> None:
        with self._handoff_lock:
            messages, self._handoff = self._handoff, []
        self._deliver(messages)

    def _deliver(self, messages: list[bytes]) -> None:
        limit = self._context.max_unacknowledged_frames
        for message in messages:
            if self._unacknowledged >= limit:
                self.dropped += 1
                self._behind_since = self._behind_since or self._loop.time()
            else:
                self._frames.append(message)
        if self._unacknowledged < limit:
            self._behind_since = None
        self._wakeup.set()

    def _send_json(self, **fields: Any) -> None:
        if len(self._texts) < MAX_QUEUED_TEXTS:
            self._texts.append(json.dumps(fields))
        self._wakeup.set()

    async def _send(self) -> None:
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            while self._texts or self._frames:
                if self._texts:
                    await self._socket.send_text(self._texts.popleft())
                else:
                    message = self._frames.popleft()
                    self._sent += 1
                    if self._is_json:
                        await self._socket.send_text(protocol.to_json(message))
                    else:
                        await self._socket.send_bytes(message)
                    self._context.metrics.count_frame(message, self._subscription is not None)

    async def _run_timer(self) -> None:
        limits = self._context.limits
        begin = self._loop.time()
        while True:
            await asyncio.sleep(TIMER_INTERVAL_S)
            now = self._loop.time()
            self._check_silence(now, begin)
            if now - begin > limits.session_seconds:
                raise CloseSession(
                    WS_1013_TRY_AGAIN_LATER,
                    f"a session lasts {limits.session_seconds / 60:g} min: connect again",
                )
            if (
                self._behind_since is not None
                and now - self._behind_since > limits.slow_client_timeout_seconds
            ):
                raise CloseSession(
                    WS_1013_TRY_AGAIN_LATER,
                    "this browser takes the frames too slowly: close other tabs and connect again",
                )
            self._send_json(type="state", visitors=self._context.session_count, left_out=self.dropped)

    def _check_silence(self, now: float, begin: float) -> None:
        limits = self._context.limits
        last, timeout = self._last_message, limits.idle_timeout_seconds
        if last is None:
            last, timeout = begin, limits.handshake_timeout_seconds
        if now - last > timeout:
            raise CloseSession(
                WS_1008_POLICY_VIOLATION,
                f"no message arrived for {timeout:g} s: the connection is closed",
            )

    async def _close_politely(self, code: int, message: str) -> None:
        """Send the reason and close, without waiting for a browser that does not read."""
        try:
            if self._socket.application_state == WebSocketState.CONNECTED:
                await asyncio.wait_for(self._send_goodbye(code, message), CLOSE_TIMEOUT_S)
        except (asyncio.TimeoutError, RuntimeError, OSError, WebSocketDisconnect):
            pass

    async def _send_goodbye(self, code: int, message: str) -> None:
        await self._socket.send_text(json.dumps({"type": "bye", "text": message}))
        await self._socket.close(code, message[:100])
