# SPDX-License-Identifier: Apache-2.0
"""Reads sound files, from disk or from a pipe, as mono float32."""

from __future__ import annotations

import os
import stat
from typing import Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.audio.downmix import downmix
from streamingtalker_ros.audio.file_decoder import decode_file
from streamingtalker_ros.audio.pcm import silence_invalid
from streamingtalker_ros.errors import TalkerError

MAX_PIPE_BYTES: Final = 1_000_000_000


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
