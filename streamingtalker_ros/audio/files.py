# SPDX-License-Identifier: Apache-2.0
"""Reads audio files, WAV, FLAC, OGG and MP3, as mono float32 (through libsndfile)."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import soundfile

from streamingtalker_ros.errors import TalkerError


def read_audio(path: str | os.PathLike[str]) -> tuple[npt.NDArray[np.float32], int]:
    """Read an audio file; NaN and infinite samples become silence.

    Args:
        path: the file.

    Returns:
        (n,) float32, the mean of the channels, and the sample rate in Hz.

    Raises:
        TalkerError: if the file does not exist, is not audio that libsndfile reads, or holds no samples.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise TalkerError(f"there is no file {path}: give the path of a WAV, FLAC, OGG or MP3 file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        raise TalkerError(f"{path} cannot be read as audio ({reason}): convert it to WAV first") from None
    if not len(samples):
        raise TalkerError(f"{path} holds no audio: give a file with at least one sample")
    samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32), int(rate)
