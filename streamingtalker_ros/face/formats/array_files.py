# SPDX-License-Identifier: Apache-2.0
"""Reads numpy's NPZ and NPY files; whatever is wrong with one is a TalkerError of one sentence."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError

MAX_ARRAY_BYTES: Final = 4_000_000_000
"""Largest array that is read; a compressed file of a few megabytes could state one that fills the memory."""


MIN_MOTION_RATE: Final = 1.0
"""Least frame rate of motion in a file, in frames per second."""

MAX_MOTION_RATE: Final = 1000.0
"""Greatest frame rate of motion in a file, in frames per second."""


def read_npz(
    path: str | os.PathLike[str], names: Iterable[str], needs: str, optional: Iterable[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of an NPZ file; no pickle is executed.

    Args:
        path: the file.
        names: arrays that it must hold.
        needs: what the file should be, as the error message ends ("it needs weights and frame_rate").
        optional: further arrays, which are read if they are there.

    Returns:
        The arrays by name.

    Raises:
        TalkerError: if the file cannot be read or lacks an array.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            missing = [name for name in names if name not in held]
            if missing:
                raise TalkerError(f"{path} lacks {', '.join(missing)}: {needs}")
            arrays: dict[str, npt.NDArray[Any]] = {}
            for name in (*names, *(name for name in optional if name in held)):
                with archive.open(held[name]) as file:
                    arrays[name] = _read_array(file, held[name].file_size)
            return arrays
    except TalkerError:
        raise
    except OSError as error:
        raise TalkerError(f"{path} cannot be read ({error.strerror or error}): {needs}") from None
    except Exception as error:  # of zipfile, zlib, tokenize or numpy, on what the file holds
        raise TalkerError(f"{path} is not an NPZ file that can be read ({_reason(error)}): {needs}") from None


def read_npy(
    path: str | os.PathLike[str], needs: str, dtype: npt.DTypeLike | None = None
) -> npt.NDArray[Any]:
    """Read the array of an NPY file; no pickle is executed.

    Args:
        path: the file.
        needs: what the file should be, as the error message ends.
        dtype: type of floats to convert it to; None for that of the file.

    Raises:
        TalkerError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            array = _read_array(file, os.fstat(file.fileno()).st_size)
            return array if dtype is None else to_floats(array, dtype)
    except OSError as error:
        raise TalkerError(f"{path} cannot be read ({error.strerror or error}): {needs}") from None
    except Exception as error:  # of tokenize, ast or numpy, on what the file holds
        raise TalkerError(f"{path} is not an NPY file that can be read ({_reason(error)}): {needs}") from None


def to_floats(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Convert an array of a file to floats; numbers that are too large become infinite.

    Args:
        values: the array.
        dtype: np.float32 or np.float64.

    Raises:
        ValueError: if it does not hold real numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"it holds values of type {array.dtype}, not numbers")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _read_array(file: IO[bytes], size: int) -> npt.NDArray[Any]:
    """Read one array whose header is not believed: it may state no more than the file holds."""
    if size > MAX_ARRAY_BYTES:
        raise ValueError(f"an array of {size} bytes is too large")
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    count = 1
    for length in shape:
        count *= int(length)
    if not 0 <= count * dtype.itemsize <= size:
        raise ValueError(f"an array of shape {shape} does not fit into its {size} bytes")
    data = file.read(count * dtype.itemsize)
    flat = np.frombuffer(data, dtype, count) if dtype.itemsize and count else np.zeros(count, dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C").copy()


def _reason(error: Exception) -> str:
    return shorten(str(error) or type(error).__name__)
