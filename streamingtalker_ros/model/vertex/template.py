# SPDX-License-Identifier: Apache-2.0
"""The rest face of one subject, from `FILE.npy`, `FILE.ply` or `templates.pkl:SUBJECT`; no pickle is run.

Gives (V, 3) float32 vertices in the file's own unit, and the triangles (T, 3) int64 where the file has faces.
"""

import importlib
import pickle
from pathlib import Path

import numpy as np

from streamingtalker_ros.errors import TalkerError

_PLY_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}


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
            points, triangles = _from_ply(Path(source).read_bytes(), source)
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


def _from_ply(data, source):
    """PLY, ascii or binary: vertices from x, y, z; polygons are cut into fans of triangles."""
    head, mark, body = data.partition(b"end_header")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    if not mark or not lines or lines[0] != ["ply"]:
        raise ValueError("no PLY header")
    body = body[body.index(b"\n") + 1 :]
    kind = next((line[1] for line in lines if line[:1] == ["format"]), "")
    elements = []  # [name, count, [(property, type) or (property, count type, item type)]]
    for line in lines:
        if line[:1] == ["element"]:
            elements.append([line[1], int(line[2]), []])
        elif line[:1] == ["property"] and elements:
            types = [_PLY_TYPES.get(word) for word in (line[2:4] if line[1] == "list" else line[1:2])]
            if None in types:
                raise ValueError("unknown property type")
            elements[-1][2].append((line[-1], *types))
    points, polygons = None, []
    order = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}.get(kind)
    if order is None:
        raise ValueError("unknown PLY format")
    words, place = (iter(body.split()), 0) if kind == "ascii" else (None, 0)

    def take(dtype, count):
        nonlocal place
        if words is not None:
            return np.array([float(next(words, "nan")) for _ in range(count)])
        values = np.frombuffer(body, order + dtype, count, place)
        place += values.nbytes
        return values

    for name, count, properties in elements:
        columns = [p[0] for p in properties]
        if all(len(p) == 2 for p in properties):  # a plain table, read at once
            if words is not None:
                table = take("f8", count * len(columns)).reshape(count, len(columns))
            else:
                rows = _rows(body, order, properties, count, place)
                place += rows.nbytes
                table = np.stack([rows[column].astype(np.float64) for column in columns], 1)
            if name == "vertex":
                points = table[:, [columns.index(axis) for axis in "xyz"]]
        else:
            for _ in range(count):
                for p in properties:
                    values = take(p[-1], int(take(p[1], 1)[0]) if len(p) == 3 else 1)
                    if name == "face" and p[0] in ("vertex_indices", "vertex_index"):
                        polygons.append(values.astype(np.int64))
    if points is None:
        raise ValueError("no vertices")
    fans = [(f[0], f[i], f[i + 1]) for f in polygons for i in range(1, len(f) - 1)]
    return points, np.array(fans, np.int64).reshape(-1, 3)


def _rows(body, order, properties, count, place):
    """`count` rows of a binary PLY table as a structured array."""
    return np.frombuffer(body, np.dtype([(name, order + kind) for name, kind in properties]), count, place)
