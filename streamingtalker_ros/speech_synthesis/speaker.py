# SPDX-License-Identifier: Apache-2.0
"""Lets a face say texts, one after another: `Speaker` runs the text-to-speech command and feeds its audio.

    speaker = Speaker(command, push=receiver.on_speech, interrupt=worker.interrupt, frame_rate=25.0)
    speaker.start()
    utterance = speaker.say("Hello")
    utterance.wait()

The audio goes on as it is written, at most 0.7 s ahead of its time, so that the lips move before the command
has ended and barge-in leaves nothing behind. Its stamps say when it is to be heard: the first audio at once,
the rest without a gap. If the command is slower than its voice, what follows the pause is a new stream.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

from streamingtalker_ros.audio.constants import NS_PER_S
from streamingtalker_ros.audio.packet import AudioFormat, AudioPacket
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.messaging.audio_decoder import AudioMessageDecoder
from streamingtalker_ros.process import FaultLog, never_raising
from streamingtalker_ros.speech_synthesis.command import DEFAULT_TTS_RATE, TtsCommand, check_text

MAX_QUEUED: Final = 16
"""Texts that wait at most."""

MAX_AUDIO_BYTES: Final = 64 * 1024 * 1024
"""Longest sound file of one utterance."""

_LEAD_S: Final = 0.7  # by which audio is fed ahead of its time, so that lips part before a voice in it
_PIECE_S: Final = 0.1
_LATE_S: Final = 0.02  # behind its time, from which on audio begins a new stream
_MAX_UTTERANCE_S: Final = 600.0
_POLL_S: Final = 0.02
_PROGRESS_S: Final = 0.2  # interval of the progress
_GRACE_S: Final = 1.0  # for the last frame of an utterance
_AUDIO_TYPE: Final = "audio_common_msgs/msg/AudioData"
_FAULTS: Final = FaultLog()


def _do_nothing() -> None: ...


class SpeechState(str, enum.Enum):
    """State of an utterance."""

    QUEUED = "queued"
    STARTING = "starting"  # the command runs and has written no audio
    SPEAKING = "speaking"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self in (SpeechState.FINISHED, SpeechState.INTERRUPTED, SpeechState.FAILED)


@dataclass(frozen=True)
class SpeechStatus:
    """An utterance at one moment.

    Attributes:
        identifier: Number of the utterance, as text.
        text: What is said; empty for a sound file.
        state: Its state.
        seconds: Seconds of it that have been heard.
        duration: Seconds of it that are known so far; all of it in the end.
        message: Why it failed, else empty.
    """

    identifier: str
    text: str
    state: SpeechState
    seconds: float = 0.0
    duration: float = 0.0
    message: str = ""


StatusCallback: TypeAlias = Callable[[SpeechStatus], object]
"""Receives the status of an utterance."""


class Utterance:
    """Something to say; made by `Speaker`.

    Args:
        identifier: Number of the utterance, as text.
        text: What is said; empty for a sound file.
        pieces: Returns the bytes of its audio for a predicate that tells when to stop.
        audio_format: Format of PCM without a header.
        on_status: Receives each change and the progress, in the speaker's thread.
    """

    def __init__(
        self,
        identifier: str,
        text: str,
        pieces: Callable[[Callable[[], bool]], Iterator[bytes]],
        audio_format: AudioFormat,
        on_status: StatusCallback | None = None,
    ) -> None:
        self.status = SpeechStatus(identifier, text, SpeechState.QUEUED)
        """Its state at present."""
        self.pieces = pieces
        self.audio_format = audio_format
        self.is_cancelled = False
        self._on_status = on_status
        self._done = threading.Event()

    def update(self, **changes: Any) -> SpeechStatus:
        """Change the status and report it.

        Args:
            changes: Fields of `SpeechStatus`.
        """
        self.status = dataclasses.replace(self.status, **changes)
        _notify(self._on_status, self.status)
        if self.status.state.is_final:
            self._done.set()
        return self.status

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end.

        Args:
            timeout: s to wait at most; None for no limit.

        Returns:
            Whether it has ended.
        """
        return self._done.wait(timeout)


@dataclass
class _Placement:
    """Where the audio of an utterance lies in time.

    Attributes:
        start: s on the clock, when the audio since the last pause is heard from on.
        start_ns: The same as a stamp.
        fed: s of audio since then.
        before: s of audio before the last pause.
        run: Number of pauses.
        next_report: s of the monotonic clock, when the progress is reported next.
    """

    start: float = 0.0
    start_ns: int = 0
    fed: float = 0.0
    before: float = 0.0
    run: int = -1
    next_report: float = 0.0

    @property
    def duration(self) -> float:
        """Seconds of audio so far."""
        return self.before + self.fed

    def heard(self, now: float) -> float:
        """Return the seconds of audio that have been heard at a time."""
        return self.before + min(max(0.0, now - self.start), self.fed)


class Speaker:
    """Says one text after another, in a thread of its own.

    Args:
        command: The text-to-speech command; None if sound files only can be said.
        push: Receives the packets of audio, with their stamps.
        interrupt: Drops the audio that was pushed and is not heard yet.
        frame_rate: Frames per second of the face.
        on_status: Receives each change of an utterance and its progress, in the speaker's thread.
        warn: Receives why an utterance failed.
        clock: Time in s, that of the packets' `arrival`.
        now_ns: Time in ns, that of the packets' stamps.
        on_end: Called when all audio of an utterance has been pushed.
    """

    def __init__(
        self,
        command: TtsCommand | None,
        push: Callable[[Sequence[AudioPacket]], object],
        interrupt: Callable[[], object],
        frame_rate: float,
        on_status: StatusCallback | None = None,
        warn: Callable[[str], Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
        on_end: Callable[[], object] = _do_nothing,
    ) -> None:
        self._command = command
        self._push = push
        self._interrupt = interrupt
        self._period_ns = round(NS_PER_S / frame_rate)
        self._on_status = on_status
        self._warn = never_raising(warn) if warn is not None else None
        self._clock, self._now_ns = clock, now_ns
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._queue: deque[Utterance] = deque()
        self._condition = threading.Condition(threading.RLock())
        self._current: Utterance | None = None
        self._is_closing = False
        self._last_frame_ns = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        if self._thread is None:
            self._is_closing = False
            self._thread = threading.Thread(target=self._run, name="speech", daemon=True)
            self._thread.start()

    def say(self, text: object, on_status: StatusCallback | None = None) -> Utterance:
        """Queue a text.

        Args:
            text: What to say.
            on_status: Receives each change of this utterance and its progress, in the speaker's thread.

        Raises:
            TalkerError: If the text cannot be said, or too many wait.
        """
        command = self._command
        if command is None:
            raise TalkerError("this node has no text-to-speech command: set the parameter tts_command")
        spoken = check_text(text)

        def pieces(is_cancelled: Callable[[], bool]) -> Iterator[bytes]:
            with command.start(spoken) as run:
                yield from run.read(is_cancelled)

        return self._append(spoken, pieces, command.audio_format, on_status)

    def play(self, audio: bytes, on_status: StatusCallback | None = None) -> Utterance:
        """Queue a sound file.

        Args:
            audio: The bytes of a WAV, Ogg, FLAC or MP3 file.
            on_status: Receives each change of this utterance and its progress, in the speaker's thread.

        Raises:
            TalkerError: If it is too long, or too many wait.
        """
        if len(audio) > MAX_AUDIO_BYTES:
            raise TalkerError(
                f"a sound of {len(audio)} bytes is too long to say: send at most {MAX_AUDIO_BYTES} bytes"
            )
        audio_format = AudioFormat(DEFAULT_TTS_RATE, 1, "s16")
        return self._append("", lambda is_cancelled: iter([audio]), audio_format, on_status)

    def interrupt(self) -> bool:
        """Drop what is said and what waits; return whether there was any."""
        with self._condition:
            dropped = [*self._queue, *([self._current] if self._current is not None else [])]
            waiting = list(self._queue)
            self._queue.clear()
            for utterance in dropped:
                utterance.is_cancelled = True
            if self._current is not None:
                self._interrupt()
            self._condition.notify_all()
        for utterance in waiting:
            self._report(utterance, state=SpeechState.INTERRUPTED)
        return bool(dropped)

    def cancel(self, utterance: Utterance) -> None:
        """Drop one utterance, whether it is said or waits.

        Args:
            utterance: As `say` or `play` returned it.
        """
        with self._condition:
            utterance.is_cancelled = True
            is_waiting = utterance in self._queue
            if is_waiting:
                self._queue.remove(utterance)
            elif utterance is self._current:
                self._interrupt()
            self._condition.notify_all()
        if is_waiting:
            self._report(utterance, state=SpeechState.INTERRUPTED)

    def on_frame(self, stamp_ns: int) -> None:
        """Note that a frame was published: audio up to its end is heard.

        Args:
            stamp_ns: Its stamp.
        """
        self._last_frame_ns = stamp_ns

    def close(self, wait: bool = True) -> None:
        """Drop all utterances, end the command and the thread.

        Args:
            wait: Whether to return when they have ended.
        """
        with self._condition:
            self._is_closing = True
        self.interrupt()
        thread, self._thread = self._thread, None
        if thread is not None and wait:
            thread.join()

    def _append(
        self,
        text: str,
        pieces: Callable[[Callable[[], bool]], Iterator[bytes]],
        audio_format: AudioFormat,
        on_status: StatusCallback | None,
    ) -> Utterance:
        with self._condition:
            if self._is_closing:
                raise TalkerError("the node is about to end and says nothing any more: start it again")
            if len(self._queue) >= MAX_QUEUED:
                raise TalkerError(
                    f"{MAX_QUEUED} texts wait already: send the next one when one has been said, or interrupt"
                )
            utterance = Utterance(str(next(self._numbers)), text, pieces, audio_format, on_status)
            self._queue.append(utterance)
            self._report(utterance)
            self._condition.notify_all()
        return utterance

    def _report(self, utterance: Utterance, **changes: Any) -> None:
        status = utterance.update(**changes)
        _notify(self._on_status, status)

    # ------------------------------------------------------------------------------------------------ thread

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._is_closing:
                    self._condition.wait()
                if self._is_closing:
                    return
                utterance = self._current = self._queue.popleft()
            state, message = SpeechState.FAILED, ""
            try:
                state = self._speak(utterance)
            except TalkerError as error:
                message = str(error)
            except Exception as fault:  # a bug of ours: the next text may do
                _FAULTS.log("saying a text failed", fault)
                message = f"saying it failed ({type(fault).__name__}): please report it"
            with self._condition:
                self._current = None
            if message and self._warn is not None:
                self._warn(message)
            self._report(utterance, state=state, message=message)

    def _speak(self, utterance: Utterance) -> SpeechState:
        self._report(utterance, state=SpeechState.STARTING)
        rejections: list[str] = []
        decoder = AudioMessageDecoder(lambda kind, text: rejections.append(text), utterance.audio_format)
        place, rest = _Placement(), b""
        audio_format: AudioFormat | None = None
        try:
            with contextlib.closing(_closable(utterance.pieces(lambda: utterance.is_cancelled))) as pieces:
                for piece in pieces:
                    now_ns = self._now_ns()
                    for packet in decoder.decode(
                        SimpleNamespace(data=piece), _AUDIO_TYPE, now_ns, self._clock()
                    ):
                        found = packet.format or utterance.audio_format
                        if found != audio_format:
                            audio_format, rest = found, b""
                        payload = rest + packet.payload
                        whole = len(payload) - len(payload) % found.frame_bytes
                        rest = payload[whole:]
                        self._feed(utterance, place, payload[:whole], found)
                    if rejections:
                        raise TalkerError(f"the audio to say cannot be used: {rejections[0]}")
                    if utterance.is_cancelled:
                        break
            if not utterance.is_cancelled and place.run < 0:
                raise TalkerError("there is no audio to say: the sound is empty")
            if not utterance.is_cancelled:
                self._on_end()
            self._wait_until_heard(utterance, place)
        finally:
            decoder.reset()
        self._progress(utterance, place)
        return SpeechState.INTERRUPTED if utterance.is_cancelled else SpeechState.FINISHED

    def _feed(
        self, utterance: Utterance, place: _Placement, payload: bytes, audio_format: AudioFormat
    ) -> None:
        """Push audio, in pieces, each when its time is near."""
        step = max(1, round(_PIECE_S * audio_format.sample_rate)) * audio_format.frame_bytes
        for begin in range(0, len(payload), step):
            piece = payload[begin : begin + step]
            self._wait(
                utterance, place, lambda now: place.start + place.fed - now <= _LEAD_S or place.run < 0
            )
            with self._condition:
                if utterance.is_cancelled:
                    return
                now = self._clock()
                if place.run < 0 or now > place.start + place.fed + _LATE_S:
                    place.before, place.fed = place.duration, 0.0
                    place.start, place.start_ns = now, self._now_ns()
                    place.run += 1
                stamp = place.start_ns + round(place.fed * NS_PER_S)
                place.fed += len(piece) / (audio_format.frame_bytes * audio_format.sample_rate)
                publisher = f"say {utterance.status.identifier}.{place.run}"
                self._push([AudioPacket(piece, audio_format, stamp, now, stamp, publisher)])
            if utterance.status.state is not SpeechState.SPEAKING:
                self._report(utterance, state=SpeechState.SPEAKING, duration=place.duration)
            if place.duration > _MAX_UTTERANCE_S:
                raise TalkerError(
                    f"the text-to-speech command speaks for more than {_MAX_UTTERANCE_S:g} s: give shorter "
                    "texts"
                )

    def _wait_until_heard(self, utterance: Utterance, place: _Placement) -> None:
        end_ns = place.start_ns + round(place.fed * NS_PER_S)

        def is_heard(now: float) -> bool:
            if now < place.start + place.fed:
                return False
            is_shown = self._last_frame_ns + self._period_ns >= end_ns
            return is_shown or now > place.start + place.fed + _GRACE_S

        self._wait(utterance, place, is_heard)

    def _wait(self, utterance: Utterance, place: _Placement, condition: Callable[[float], bool]) -> None:
        """Wait until a condition holds or the utterance is cancelled, and report the progress."""
        while not utterance.is_cancelled and not condition(self._clock()):
            with self._condition:
                self._condition.wait(_POLL_S)
            if time.monotonic() >= place.next_report:
                place.next_report = time.monotonic() + _PROGRESS_S
                self._progress(utterance, place)

    def _progress(self, utterance: Utterance, place: _Placement) -> None:
        self._report(utterance, seconds=place.heard(self._clock()), duration=place.duration)


def _notify(on_status: StatusCallback | None, status: SpeechStatus) -> None:
    """Report a status; an exception of the receiver is logged."""
    if on_status is None:
        return
    try:
        on_status(status)
    except Exception as fault:
        _FAULTS.log("the state of a speech could not be reported", fault)


def _closable(pieces: Iterator[bytes]) -> Any:
    """Return an iterator as a generator, which can be closed."""
    yield from pieces
