# SPDX-License-Identifier: Apache-2.0
"""Decodes containers that arrive in pieces, Ogg and WebM, with FFmpeg's demuxers: `PushDecoder`.

A demuxer pulls its input, while messages push theirs. So it runs in a thread of its own, which only works
while `push` waits for it: until it has consumed all bytes and needs more.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.container import Container
from streamingtalker_ros.audio.file_decoder import frame_to_samples
from streamingtalker_ros.errors import TalkerError, require

_MAX_DECODE_S: Final = 5.0  # of one push; a slower demuxer is aborted
_MAX_IDLE_S: Final = 600.0  # without a push, after which the thread ends


class PushDecoder:
    """Decodes the first audio track of one container.

    Args:
        container: its format; has a demuxer.
        max_seconds: audio that one push may return at most.

    Raises:
        TalkerError: if `av` is not installed.
    """

    def __init__(self, container: Container, max_seconds: float) -> None:
        self._av = require("av", f"decoding {container.name}")
        self._container = container
        self._max_seconds = max_seconds
        self._condition = threading.Condition()
        self._buffer = bytearray()
        self._needs_input = False  # the thread waits for bytes
        self._is_ended = False  # no more bytes follow
        self._is_done = False  # the thread has ended
        self._error: str | None = None
        self._blocks: list[npt.NDArray[np.float32]] = []
        self._frames = 0  # samples per channel in the blocks
        self._rate = 0
        self._thread = threading.Thread(target=self._run, name="audio-demuxer", daemon=True)
        self._thread.start()

    def push(self, data: bytes) -> tuple[npt.NDArray[np.float32], int] | None:
        """Decode the next bytes.

        Args:
            data: Bytes of the container that follow those of the last call, any number.

        Returns:
            (n, channels) float32 and the sample rate in Hz, or None if the bytes complete no audio.

        Raises:
            TalkerError: if the container cannot be decoded.
        """
        with self._condition:
            if self._is_done and self._error is None:
                return None
            self._buffer += data
            self._needs_input = False
            self._condition.notify_all()
            return self._take()

    def close(self) -> tuple[npt.NDArray[np.float32], int] | None:
        """End the input and return the audio that was held back; see `push`."""
        with self._condition:
            self._is_ended, self._needs_input = True, False
            self._condition.notify_all()
            return self._take()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes to the demuxer, waiting for some; none after the end."""
        with self._condition:
            while not self._buffer and not self._is_ended:
                self._needs_input = True
                self._condition.notify_all()
                if not self._condition.wait(_MAX_IDLE_S):
                    self._is_ended = True  # nobody pushes any more
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            return data

    def _take(self) -> tuple[npt.NDArray[np.float32], int] | None:
        """Wait for the thread and return what it decoded; the condition is held."""
        if self._error is None and not self._condition.wait_for(
            lambda: self._needs_input or self._is_done, _MAX_DECODE_S
        ):
            self._error = "it takes too long"
        if self._error is not None:
            self._is_ended = True
            self._buffer.clear()
            self._condition.notify_all()
            reason = self._error
            raise TalkerError(
                f"audio in {self._container.name} cannot be decoded ({reason}): send it as WAV or bare PCM"
            )
        blocks, self._blocks, self._frames = self._blocks, [], 0
        return (np.concatenate(blocks), self._rate) if blocks else None

    def _run(self) -> None:
        error: str | None = None
        try:
            self._decode()
        except Exception as fault:  # of FFmpeg, on what the container holds
            error = " ".join(str(fault).split())[:200] or type(fault).__name__
        finally:  # an exception that ends the thread must not leave `push` waiting
            with self._condition:
                # at the end of the input a last frame that was cut short is no fault
                self._error = self._error or (None if self._is_ended else error)
                self._is_done = True
                self._condition.notify_all()

    def _decode(self) -> None:
        with self._av.open(_ReadOnly(self), format=self._container.demuxer) as opened:
            if not opened.streams.audio:
                raise ValueError("it has no audio track")
            resampler: Any = None
            for frame in opened.decode(audio=0):
                if resampler is None:
                    resampler = self._av.AudioResampler(
                        format="flt", layout=frame.layout, rate=frame.sample_rate
                    )
                    self._rate = int(frame.sample_rate)
                for converted in resampler.resample(frame):
                    self._append(frame_to_samples(converted))

    def _append(self, block: npt.NDArray[np.float32]) -> None:
        with self._condition:
            self._blocks.append(block)
            self._frames += len(block)
            if self._frames > self._max_seconds * self._rate:
                raise ValueError(f"one message holds more than {self._max_seconds:g} s")


class _ReadOnly:
    """File object of a `PushDecoder` for `av`, which cannot seek."""

    def __init__(self, decoder: PushDecoder) -> None:
        self._decoder = decoder

    def read(self, size: int) -> bytes:
        return self._decoder.read(size)
