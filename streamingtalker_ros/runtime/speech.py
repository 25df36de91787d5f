# SPDX-License-Identifier: Apache-2.0
"""Speech of a node: texts that it says, and the sound in step with its lips, whatever the audio's source.

Both nodes have one `NodeSpeech`. With the parameter `tts_command` it says texts; with `play_audio` it plays
the audio of each frame when the frame is published. It measures how much later than its stamp that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from streamingtalker_ros.audio.constants import NS_PER_S, SAMPLE_RATE
from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.audio.playback import AudioPlayback
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.process import each_once, never_raising
from streamingtalker_ros.runtime.frames import PublishedFrame
from streamingtalker_ros.runtime.parameters import TalkerParameters
from streamingtalker_ros.runtime.worker import TalkerWorker
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.speech_synthesis.speaker import Speaker, SpeechStatus, Utterance

_SMOOTHING: Final = 0.1  # of the delay, by a frame


class NodeSpeech:
    """Speech of one node.

    Args:
        parameters: `tts_command`, `tts_rate` and `play_audio` are read.
        worker: Drives the face.
        push: Receives the packets of what is said, as `AudioReceiver.on_speech`.
        on_status: Receives each change of an utterance and its progress, in a thread of its own.
        warn: Receives warnings.
        now_ns: Time of the node's clock in ns.

    Raises:
        TalkerError: If the text-to-speech command is not installed, or there is no loudspeaker to play on.
    """

    def __init__(
        self,
        parameters: TalkerParameters,
        worker: TalkerWorker,
        push: Callable[[Sequence[AudioPacket]], object],
        on_status: Callable[[SpeechStatus], object],
        warn: Callable[[str], Any],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._warn = each_once(never_raising(warn))
        self._now_ns = now_ns
        self._delay: float | None = None  # s
        self._speaker: Speaker | None = None
        if parameters.tts_command:
            command = TtsCommand.parse(parameters.tts_command, parameters.tts_rate)
            command.check_installed()
            self._speaker = Speaker(
                command,
                push,
                worker.interrupt,
                worker.talker.frame_rate,
                on_status,
                self._warn,
                worker.clock,
                now_ns,
            )
        self._plays = parameters.play_audio
        self._playback = AudioPlayback(SAMPLE_RATE) if self._plays else None

    @property
    def has_tts(self) -> bool:
        """Whether the node says texts."""
        return self._speaker is not None

    def start(self) -> None:
        """Start saying what is asked for; after `close`, again."""
        if self._plays and self._playback is None:
            self._playback = AudioPlayback(SAMPLE_RATE)
        if self._speaker is not None:
            self._speaker.start()

    def accept_text(self, text: object) -> None:
        """Say a text that arrived on a topic; one that cannot be said is reported once.

        Args:
            text: What to say.
        """
        try:
            self.say(text)
        except TalkerError as error:
            self._warn(str(error))

    def say(
        self, text: object, audio: bytes = b"", on_status: Callable[[SpeechStatus], object] | None = None
    ) -> Utterance:
        """Say a text or a sound file, after what is said now.

        Args:
            text: What to say.
            audio: The bytes of a sound file, instead.
            on_status: Receives each change of this utterance and its progress, in a thread of its own.

        Raises:
            TalkerError: If it cannot be said, or too much waits.
        """
        if self._speaker is None:
            raise TalkerError("this node has no text-to-speech command: set the parameter tts_command")
        if audio and text:
            raise TalkerError("a text and a sound cannot be said at once: give one of them")
        return self._speaker.play(audio, on_status) if audio else self._speaker.say(text, on_status)

    def cancel(self, utterance: Utterance) -> None:
        """Drop one utterance, whether it is said or waits.

        Args:
            utterance: As `say` returned it.
        """
        if self._speaker is not None:
            self._speaker.cancel(utterance)

    def interrupt(self) -> None:
        """Barge-in: drop all that is said and waits, and end the command."""
        if self._speaker is not None:
            self._speaker.interrupt()
        if self._playback is not None:
            self._playback.clear()

    def on_frame(self, frame: PublishedFrame) -> None:
        """Note a published frame, and play its audio if the node plays; never blocks.

        Args:
            frame: The frame.
        """
        if self._speaker is not None:
            self._speaker.on_frame(frame.stamp)
        if frame.audio is None:
            if self._playback is not None:
                self._playback.end()
            return
        delay = (self._now_ns() - frame.stamp) / NS_PER_S
        self._delay = delay if self._delay is None else self._delay + _SMOOTHING * (delay - self._delay)
        if self._playback is not None:
            self._playback.play(to_int16(frame.audio))

    def diagnostics(self) -> dict[str, object]:
        """Return values for the diagnostics: how much later than its stamp the audio is heard, in ms."""
        values: dict[str, object] = {}
        if self._delay is not None:
            playback = 0.0 if self._playback is None else self._playback.latency
            values["audio_synced_delay_ms"] = round(1000 * self._delay, 1)
            if self._playback is not None:
                values["playback_latency_ms"] = round(1000 * playback, 1)
        return values

    def close(self) -> None:
        """Drop all that is said, end the command and release the loudspeaker."""
        if self._speaker is not None:
            self._speaker.close()
        playback, self._playback = self._playback, None
        if playback is not None:
            playback.close()
