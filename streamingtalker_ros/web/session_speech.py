# SPDX-License-Identifier: Apache-2.0
"""Says the texts of one session by the server's text-to-speech command, each in place of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.packet import AudioPacket
from streamingtalker_ros.audio.pcm import to_int16
from streamingtalker_ros.audio.pcm_decoder import PcmDecoder
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.speech_synthesis.command import TtsCommand
from streamingtalker_ros.speech_synthesis.speaker import Speaker, SpeechState, SpeechStatus
from streamingtalker_ros.web.topic_watcher import SendText


class SpeechSink(Protocol):
    """Receives the audio of a text, in the thread of the event loop."""

    def begin_speech(self, epoch: int) -> None:
        """Begin a stream: the first audio of a text follows.

        Args:
            epoch: Number of its timeline.
        """
        ...

    def push_speech(self, epoch: int, samples: npt.NDArray[np.int16]) -> None:
        """Process audio.

        Args:
            epoch: Number of its timeline.
            samples: (n,) mono, at 16 kHz.
        """
        ...

    def end_speech(self) -> None:
        """End the audio that has been pushed."""
        ...


class SessionSpeech:
    """Text to speech of one session; its methods are for the thread of the event loop.

    Args:
        command: Of the server.
        sink: Receives the audio.
        send_text: Called with the fields of a text message.
        call_soon: Calls a function with its arguments in the thread of the event loop; for any thread.
        frame_rate: Frames per second of the face.
        warn: Receives why the command failed, for the operator.
    """

    def __init__(
        self,
        command: TtsCommand,
        sink: SpeechSink,
        send_text: SendText,
        call_soon: Callable[..., None],
        frame_rate: float,
        warn: Callable[[str], Any],
    ) -> None:
        self._sink = sink
        self._send_text = send_text
        self._call_soon = call_soon
        self._number = 0  # of the newest text
        self._epoch = 0  # of its timeline
        self._has_begun = False
        # for the speaker's thread:
        self._pushed_number = 0  # of the text whose audio is pushed
        self._decoder: PcmDecoder | None = None
        self._speaker = Speaker(
            command, self._push, lambda: None, frame_rate, warn=warn, on_end=lambda: self._post_end(False)
        )
        self._speaker.start()

    def say(self, epoch: int, text: str) -> None:
        """Say a text, in place of the one before.

        Args:
            epoch: Number of its timeline, 0..255.
            text: What to say.

        Raises:
            TalkerError: If there is nothing to say, or too much.
        """
        self.drop()
        number, self._epoch, self._has_begun = self._number, epoch, False
        self._speaker.say(text, lambda status: self._on_status(number, status))

    def drop(self) -> None:
        """Drop the text that is said: nothing of it reaches the sink any more."""
        self._number += 1
        self._speaker.interrupt()

    def close(self) -> None:
        """Drop the text, and let the thread and the command end."""
        self._number += 1
        self._speaker.close(wait=False)

    # ----------------------------------------------------------------------------------- the speaker's thread

    def _on_status(self, number: int, status: SpeechStatus) -> None:
        if status.state is SpeechState.STARTING:
            self._pushed_number, self._decoder = number, None
        elif status.state is SpeechState.FAILED:
            self._post_end(True)

    def _push(self, packets: Sequence[AudioPacket]) -> None:
        for packet in packets:
            assert packet.format is not None
            if self._decoder is None or self._decoder.format != packet.format:
                self._decoder = PcmDecoder(packet.format)
                self._resampler = Resampler(packet.format.sample_rate)
            pcm = self._resampler.accept(self._decoder.decode(packet.payload))
            self._call_soon(self._take_audio, self._pushed_number, to_int16(pcm))

    def _post_end(self, has_failed: bool) -> None:
        if self._decoder is not None:
            self._call_soon(self._take_audio, self._pushed_number, to_int16(self._resampler.finish()))
            self._decoder = None
        self._call_soon(self._take_end, self._pushed_number, has_failed)

    # -------------------------------------------------------------------------------------- the event loop

    def _take_audio(self, number: int, samples: npt.NDArray[np.int16]) -> None:
        if number != self._number or not len(samples):
            return
        if not self._has_begun:
            self._has_begun = True
            self._sink.begin_speech(self._epoch)
            self._send_state("speaking")
        self._sink.push_speech(self._epoch, samples)

    def _take_end(self, number: int, has_failed: bool) -> None:
        if number != self._number:
            return
        if self._has_begun:
            self._sink.end_speech()
        self._send_state("failed" if has_failed else "complete")
        if has_failed:
            self._send_text(type="error", text="the text could not be said: the server's log says why")

    def _send_state(self, state: str) -> None:
        self._send_text(type="speech", epoch=self._epoch, state=state)
