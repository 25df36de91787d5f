# SPDX-License-Identifier: Apache-2.0
"""Rest pose of one subject, from `FILE.npy`, `FILE.ply` or `templates.pkl:SUBJECT`; no pickle is executed.

The result is (V, 3) float32 vertices in the file's own unit, and triangles (T, 3) int64 where the file has
faces.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.config_files import shorten
from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.array_files import read_npy, to_floats
from streamingtalker_ros.face.formats.ply import read_ply

_MAX_PICKLE_BYTES: Final = 100_000_000  # the release's templates.pkl has under 2 MB


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler of numpy arrays alone; a pickle may name any function.

    Stand-ins take the place of numpy's own types, whose state a damaged file would set unchecked.
    """

    def find_class(self, module: str, name: str) -> Any:
        arrays = module in ("numpy.core.multiarray", "numpy._core.multiarray")
        if arrays and name in _ARRAY_FUNCTIONS:
            return _ARRAY_FUNCTIONS[name]
        if module == "numpy" and name in _TYPES:
            return _TYPES[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 stores bytes for old protocols
            return _encode
        raise pickle.UnpicklingError(f"it names {module}.{name}")


class _PickledDtype:
    """A numeric dtype: its code, such as f4, then its byte order as state."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not _NUMERIC.fullmatch(code):
            raise ValueError("it holds an array of something else than numbers")
        self._code, self._order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "=", "|"):
            raise ValueError("it states no byte order")
        self._order = state[1]

    def resolve(self) -> np.dtype[Any]:
        return np.dtype(self._order + self._code)


class _PickledArray:
    """An array, empty until its state is set."""

    array: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        content = data.encode("latin1") if isinstance(data, str) else bytes(data)
        flat = np.frombuffer(content, dtype.resolve())
        self.array = flat.reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(*_: Any) -> _PickledArray:
    return _PickledArray()


def _scalar(dtype: _PickledDtype, data: str | bytes) -> Any:
    content = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(content, dtype.resolve(), 1)[0]


_NUMERIC: Final = re.compile(r"[fiub][1248]|f16|c8|c16|c32")
_ARRAY_FUNCTIONS: Final = {"_reconstruct": _reconstruct, "scalar": _scalar}
_TYPES: Final = {"ndarray": _PickledArray, "dtype": _PickledDtype}


def _check_memo(data: bytes) -> None:
    """Reject a pickle whose memo is sparse: the unpickler allocates it up to the greatest number in it.

    Raises:
        UnpicklingError: if a number is greater than that of the opcodes before.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name.endswith("PUT") and argument is not None and int(argument) > count:
            raise pickle.UnpicklingError("it is damaged")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode(encoding)


def read_template(source: str | Path, vertices: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read a template.

    Args:
        source: "FILE.npy", "FILE.ply" or "FILE.pkl:SUBJECT".
        vertices: Number V of vertices of the checkpoint.

    Returns:
        Vertices (V, 3) float32, and triangles (T, 3) int64, T = 0 without faces.

    Raises:
        TalkerError: If the file is missing, malformed, of another number of vertices, or would run code.
    """
    source = str(source)
    triangles = np.zeros((0, 3), np.int64)
    try:
        if ".pkl:" in source:
            path, subject = source.rsplit(":", 1)
            points = _from_pickle(path, subject)
        elif source.endswith(".npy"):
            points = read_npy(source, "give a template as numpy.save writes it")
        elif source.endswith(".ply"):
            points, triangles = read_ply(source)
        elif source.endswith(".pkl"):
            raise TalkerError(f"{source} holds many faces: name one as {source}:SUBJECT")
        else:
            raise TalkerError(
                f"template {source} is of an unknown kind: give FILE.npy, FILE.ply or FILE.pkl:SUBJECT"
            )
    except OSError as error:
        raise TalkerError(
            f"template {source} cannot be read ({error.strerror or error}): check the path"
        ) from None
    except ValueError as error:
        raise TalkerError(
            f"template {source} is malformed ({shorten(str(error))}): export it again"
        ) from None
    points = np.asarray(points)
    if not np.issubdtype(points.dtype, np.number) or points.size != 3 * vertices:
        raise TalkerError(
            f"template {source} holds {points.size // 3} vertices, the checkpoint has {vertices}"
        )
    try:
        points = to_floats(points, np.float32).reshape(vertices, 3)
    except ValueError:
        raise TalkerError(f"template {source} does not hold real numbers: export it again") from None
    out_of_range = triangles.size and not 0 <= triangles.min() <= triangles.max() < vertices
    if out_of_range or not np.isfinite(points).all():
        raise TalkerError(
            f"template {source} holds values that are not finite or faces of no vertex: export it again"
        )
    return points, triangles


def _from_pickle(path: str, subject: str) -> Any:
    faces = read_faces(path)
    if subject not in faces:
        names = shorten(", ".join(sorted(map(str, faces))), 300)
        raise TalkerError(f"{path} has no subject {shorten(subject)!r}: choose one of {names}")
    return faces[subject]


def _to_array(face: Any) -> Any:
    if not isinstance(face, _PickledArray):
        return face
    if face.array is None:
        raise ValueError("it names an array without values")
    return face.array


def read_faces(path: str | Path) -> dict[Any, Any]:
    """Read the release's `templates.pkl` without executing code.

    Args:
        path: The pickle file.

    Returns:
        {subject: array}.

    Raises:
        TalkerError: If the file is something else.
        OSError: If it is missing.
    """
    with open(path, "rb") as file:
        data = file.read(_MAX_PICKLE_BYTES)
    try:
        _check_memo(data)
        faces = _ArrayUnpickler(io.BytesIO(data), encoding="latin1").load()
        if isinstance(faces, dict):
            faces = {name: _to_array(face) for name, face in faces.items()}
    except pickle.UnpicklingError as error:
        raise TalkerError(
            f"{path} holds more than numpy arrays ({shorten(str(error))}) and is not opened: "
            "save the template as .npy instead"
        ) from None
    except Exception:  # of the unpickler or of numpy, on what the file holds
        raise TalkerError(
            f"{path} is not a pickle of numpy arrays: give the release's templates.pkl"
        ) from None
    if not isinstance(faces, dict):
        raise TalkerError(f"{path} does not map subjects to faces: give the release's templates.pkl")
    return faces
