# SPDX-License-Identifier: Apache-2.0
"""Checks and conversions of PCM arrays."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError

MAX_AMPLITUDE: Final = 1e6
"""Absolute value beyond which a float sample is not audio (full scale is 1); it would overflow in models."""

_MAX_ENERGY: Final = 0.99 * MAX_AMPLITUDE**2  # sum of squares that holds no such sample, rounding included


def as_mono_float32(pcm: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Validate one channel of floating-point audio and convert it to float32.

    Args:
        pcm: (n,) audio of any float type, full scale ±1.

    Returns:
        (n,) float32; see `silence_invalid`.

    Raises:
        TalkerError: if the array has another shape or holds no floats.
    """
    try:
        samples: npt.NDArray[Any] = np.asarray(pcm)
    except Exception:  # of lists of unequal length, and of any object's __array__
        raise TalkerError(
            f"audio of type {type(pcm).__name__} given: pass one channel, an array of floats in -1..1"
        ) from None
    if samples.ndim != 1:
        raise TalkerError(f"audio of shape {samples.shape} given: pass one channel, shape (samples,)")
    if samples.dtype.kind != "f":
        raise TalkerError(f"audio of type {samples.dtype} given: pass floats in -1..1 (int16 / 32768)")
    return silence_invalid(samples)


def silence_invalid(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert floats to float32; NaN, infinities and samples beyond ±`MAX_AMPLITUDE` become silence."""
    if samples.dtype == np.float32 and samples.ndim == 1:
        flat: npt.NDArray[np.float32] = samples
        if float(flat.dot(flat)) < _MAX_ENERGY:  # no sample is louder; NaN: False
            return flat.copy()
    with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinite, then silence
        converted = samples.astype(np.float32)
    return np.where(np.abs(converted) <= np.float32(MAX_AMPLITUDE), converted, np.float32(0))  # NaN: False


def to_int16(pcm: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Convert (n,) float audio, full scale ±1, to (n,) int16; louder samples are clipped.

    Args:
        pcm: (n,) float32 samples without NaN, full scale ±1.

    Returns:
        (n,) samples in -32768..32767.
    """
    return np.round(np.clip(pcm, -1.0, 1.0 - 2.0**-15) * 32768).astype(np.int16)
