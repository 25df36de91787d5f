# SPDX-License-Identifier: Apache-2.0
"""Audio files: WAV, FLAC, OGG and MP3 in, mono float32 out (through libsndfile)."""

import os

import numpy as np
import soundfile

from streamingtalker_ros.errors import TalkerError


def read_audio(path):
    """path: an audio file -> ((n,) float32 mono, the mean of its channels; its rate in Hz).

    NaN and infinities become silence. Raises TalkerError when there is no such file, it is not audio that
    libsndfile reads, or it holds no samples.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise TalkerError(f"there is no file {path}: give the path of a WAV, FLAC, OGG or MP3 file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as broken:
        reason = str(broken).rpartition(": ")[2].rstrip(".")
        raise TalkerError(f"{path} cannot be read as audio ({reason}): convert it to WAV first") from None
    if not len(samples):
        raise TalkerError(f"{path} holds no audio: give a file with at least one sample")
    samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
    return samples.mean(axis=1, dtype=np.float64).astype(np.float32), int(rate)
