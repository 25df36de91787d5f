# SPDX-License-Identifier: Apache-2.0
"""The rest face of one subject, from `FILE.npy`, `FILE.ply` or `templates.pkl:SUBJECT`; no pickle is run.

Gives (V, 3) float32 vertices in the file's own unit, and the triangles (T, 3) int64 where the file has faces.
"""

import importlib
import pickle

import numpy as np

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats.ply import read_ply


class _ArraysOnly(pickle.Unpickler):
    """A pickle may name any function to call; this one knows those that build numpy arrays, and no other."""

    def find_class(self, module, name):
        arrays = module in ("numpy.core.multiarray", "numpy._core.multiarray")
        if arrays and name in ("_reconstruct", "scalar"):
            try:  # the module's name in numpy 2, and from 1.26 on
                return getattr(importlib.import_module("numpy._core.multiarray"), name)
            except ModuleNotFoundError:
                return getattr(importlib.import_module("numpy.core.multiarray"), name)
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):  # how Python 3 stores bytes for old protocols
            return lambda text, encoding="latin1": text.encode(encoding)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_template(source, vertices):
    """source: "FILE.npy", "FILE.ply" or "FILE.pkl:SUBJECT"; vertices: V that the checkpoint asks for.

    Returns (V, 3) float32 and (T, 3) int64 triangles (T = 0 without faces).
    Raises TalkerError when the file is missing, malformed, of another number of vertices, or would run code.
    """
    source = str(source)
    triangles = np.zeros((0, 3), np.int64)
    try:
        if ".pkl:" in source:
            path, subject = source.rsplit(":", 1)
            points = _from_pickle(path, subject)
        elif source.endswith(".npy"):
            points = np.load(source, allow_pickle=False)
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
    except (ValueError, EOFError) as error:
        raise TalkerError(
            f"template {source} is malformed ({str(error).splitlines()[0]}): export it again"
        ) from None
    points = np.asarray(points)
    if not np.issubdtype(points.dtype, np.number) or points.size != 3 * vertices:
        raise TalkerError(
            f"template {source} holds {points.size // 3} vertices, the checkpoint has {vertices}"
        )
    points = points.astype(np.float32).reshape(vertices, 3)
    astray = triangles.size and not 0 <= triangles.min() <= triangles.max() < vertices
    if astray or not np.isfinite(points).all():
        raise TalkerError(
            f"template {source} holds values that are not finite or faces of no vertex: export it again"
        )
    return points, triangles


def _from_pickle(path, subject):
    faces = read_faces(path)
    if subject not in faces:
        raise TalkerError(f"{path} has no subject {subject!r}: it knows {', '.join(sorted(map(str, faces)))}")
    return faces[subject]


def read_faces(path):
    """The release's `templates.pkl` as {subject: array}, no code run. Raises TalkerError when it is something else, and
    OSError, ValueError or EOFError, as `pickle` does, when it is missing or cut off."""
    with open(path, "rb") as file:
        try:
            faces = _ArraysOnly(file, encoding="latin1").load()
        except pickle.UnpicklingError as error:
            raise TalkerError(
                f"{path} holds more than numpy arrays ({error}) and is not opened: "
                "save the template as .npy instead"
            ) from None
        except (AttributeError, IndexError, KeyError, TypeError, UnicodeDecodeError):
            raise TalkerError(
                f"{path} is not a pickle of numpy arrays: give the release's templates.pkl"
            ) from None
    if not isinstance(faces, dict):
        raise TalkerError(f"{path} does not map subjects to faces: give the release's templates.pkl")
    return faces
