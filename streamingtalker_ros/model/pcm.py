# SPDX-License-Identifier: Apache-2.0
"""What every stream asks of a chunk of audio, whichever family of checkpoints hears it."""

import numpy as np

from streamingtalker_ros.errors import TalkerError


def checked(pcm):
    """(n,) float mono 16 kHz, any float type -> float32, what is not finite made silent. Raises TalkerError on
    another shape or on integers."""
    pcm = np.asarray(pcm)
    if pcm.ndim != 1:
        raise TalkerError(f"audio of shape {pcm.shape} given: pass one channel, shape (samples,)")
    if not np.issubdtype(pcm.dtype, np.floating):
        raise TalkerError(f"audio of type {pcm.dtype} given: pass floats in -1..1 (int16 / 32768)")
    return np.nan_to_num(pcm.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
