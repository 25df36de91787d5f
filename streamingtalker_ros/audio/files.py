# SPDX-License-Identifier: Apache-2.0
"""Reads sound files and pipes as mono float32: `read_audio` as a whole, `open_audio` block by block."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.constants import SAMPLE_RATE
from streamingtalker_ros.audio.downmix import Downmixer, downmix
from streamingtalker_ros.audio.file_decoder import (
    AudioTooLongError,
    decode_blocks,
    decode_file,
    stated_seconds,
)
from streamingtalker_ros.audio.pcm import silence_invalid
from streamingtalker_ros.audio.resample import Resampler
from streamingtalker_ros.errors import TalkerError

MAX_PIPE_BYTES: Final = 1_000_000_000

MAX_IN_MEMORY_S: Final = 120.0
"""Longest file that `open_audio` decodes at once."""


def read_audio(path: str | os.PathLike[str]) -> tuple[npt.NDArray[np.float32], int]:
    """Read a sound file; NaN, infinite and absurdly large samples become silence.

    Args:
        path: the file, or a pipe such as /dev/stdin.

    Returns:
        (n,) float32, the channels mixed by `downmix`, and the sample rate in Hz.

    Raises:
        TalkerError: if the file does not exist, is not audio that can be decoded, or holds no samples.
    """
    path = os.fspath(path)
    samples, rate = decode_file(_read_pipe(path) if _is_pipe(path) else path, path)
    return downmix(silence_invalid(samples), rate), rate


class AudioSource:
    """Mono audio of any length, read block by block as often as needed.

    Args:
        blocks: called for each reading; returns an iterator of (n,) float32.
        rate: Sample rate in Hz.
        seconds: Duration; None if it is known at the end only.

    Attributes:
        rate: Sample rate in Hz.
        seconds: Duration; None if it is known at the end only.
    """

    def __init__(
        self, blocks: Callable[[], Iterator[npt.NDArray[np.float32]]], rate: int, seconds: float | None
    ) -> None:
        self.rate, self.seconds = rate, seconds
        self._blocks = blocks

    @classmethod
    def from_samples(cls, pcm: npt.NDArray[np.float32], rate: int) -> AudioSource:
        """Return a source of audio in memory.

        Args:
            pcm: (n,) float32.
            rate: Sample rate in Hz.

        Returns:
            The source; its only block is `pcm`.
        """
        return cls(lambda: iter([pcm]), rate, len(pcm) / rate)

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Read the audio from its beginning.

        Yields:
            (n,) float32, n above 0.

        Raises:
            TalkerError: if a file cannot be decoded any further.
        """
        yield from self._blocks()

    def blocks_16k(self) -> Iterator[npt.NDArray[np.float32]]:
        """Read the audio from its beginning, resampled to 16 kHz as `to_16k` does.

        Yields:
            (n,) float32.

        Raises:
            TalkerError: if a file cannot be decoded any further.
        """
        resampler = Resampler(self.rate, SAMPLE_RATE)
        for block in self._blocks():
            yield resampler.accept(block)
        yield resampler.finish()


def open_audio(path: str | os.PathLike[str]) -> AudioSource:
    """Open a sound file whose samples need not fit into memory; they are those of `read_audio`.

    Args:
        path: the file, or a pipe such as /dev/stdin, whose bytes are held in memory.

    Returns:
        The audio; files of up to `MAX_IN_MEMORY_S` are held in memory.

    Raises:
        TalkerError: as `read_audio`; for a longer file that is damaged behind its beginning, when the damage
            is reached.
    """
    path = os.fspath(path)
    source = _read_pipe(path) if _is_pipe(path) else path
    try:
        samples, rate = decode_file(source, path, MAX_IN_MEMORY_S)
    except AudioTooLongError:
        pass
    else:
        return AudioSource.from_samples(downmix(silence_invalid(samples), rate), rate)

    def blocks() -> Iterator[npt.NDArray[np.float32]]:
        downmixer: Downmixer | None = None
        for samples, rate in decode_blocks(source, path):
            downmixer = downmixer or Downmixer(samples.shape[1], rate)
            yield downmixer.mix(silence_invalid(samples))

    _, rate = next(decode_blocks(source, path))
    return AudioSource(blocks, rate, stated_seconds(source))


def _is_pipe(path: str) -> bool:
    """Return whether a path is a pipe rather than a file.

    Raises:
        TalkerError: if it is neither.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        raise TalkerError(f"there is no file {path}: give the path of a WAV, FLAC, OGG or MP3 file") from None
    if stat.S_ISREG(mode):
        return False
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        return True
    kind = "a folder" if stat.S_ISDIR(mode) else "a device"
    raise TalkerError(f"{path} is {kind}, there is no file to read: give the path of a sound file")


def _read_pipe(path: str) -> bytes:
    try:
        with open(path, "rb") as pipe:
            data = pipe.read(MAX_PIPE_BYTES + 1)
    except OSError as error:
        raise TalkerError(
            f"{path} cannot be read ({error.strerror}): give the path of a sound file"
        ) from None
    if len(data) > MAX_PIPE_BYTES:
        raise TalkerError(f"{path} sends more than {MAX_PIPE_BYTES} bytes: write them to a file first")
    return data
