# SPDX-License-Identifier: Apache-2.0
"""Reader of meshes in Wavefront OBJ files: the first word of a line says what it is."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError

_MAX_FILE_BYTES = 1 << 29


@dataclass(frozen=True)
class GroupedMesh:
    """A mesh with texture coordinates, whose faces lie in named groups.

    Attributes:
        vertices: (V, 3) in the axes and units of the file.
        texture_coordinates: (C, 2).
        groups: The faces of each group, (Q, 4, 2): four corners, each a vertex and its texture coordinate; a
            triangle repeats its last corner.
    """

    vertices: npt.NDArray[np.float64]
    texture_coordinates: npt.NDArray[np.float64]
    groups: dict[str, npt.NDArray[np.int64]]


def read_obj(
    path: str | Path, with_triangles: bool = True
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read a mesh; polygons are split into fans of triangles.

    Args:
        path: File to read.
        with_triangles: False reads the vertices only, for a shape of a mesh whose triangles are known.

    Returns:
        vertices: (V, 3), in the axes and units of the file.
        triangles: (T, 3); (0, 3) if they are not read.

    Raises:
        TalkerError: If the file is damaged, has no mesh, or its faces name vertices that it lacks.
    """
    path = Path(path)
    points: list[list[float]] = []
    fans: list[tuple[int, int, int]] = []
    data = _read(path)
    try:
        for words in _lines(data):
            if words[0] == "v":
                points.append([float(word) for word in words[1:4]])
                if len(points[-1]) < 3:
                    raise ValueError("a vertex needs three coordinates")
            elif with_triangles and words[0] == "f":
                corners = [int(word.partition("/")[0]) for word in words[1:]]
                if 0 in corners:
                    raise ValueError("vertices count from 1")
                # indices count from 1, or from the last vertex backwards
                corners = [index - 1 if index > 0 else len(points) + index for index in corners]
                fans += [(corners[0], b, c) for b, c in pairwise(corners[1:])]
        vertices = np.array(points, np.float32).reshape(-1, 3)
        triangles = np.array(fans, np.int64).reshape(-1, 3)
    except Exception as error:  # of a number that is none, or beyond the types of numpy
        raise _unreadable(path, error) from None
    if not np.isfinite(vertices).all():
        raise TalkerError(f"{path} has a vertex that is not finite: export it again")
    has_faces = len(triangles) > 0 and 0 <= triangles.min() <= triangles.max() < len(vertices)
    if len(vertices) == 0 or (with_triangles and not has_faces):
        raise TalkerError(f"{path} holds no mesh, or its faces name vertices that it lacks: export it again")
    return vertices, triangles


def read_grouped_obj(path: str | Path) -> GroupedMesh:
    """Read a mesh of triangles and quads with its groups and texture coordinates.

    Args:
        path: File to read, whose indices count from 1.

    Returns:
        The mesh.

    Raises:
        TalkerError: If the file is damaged, or a face has other than three or four corners or names a vertex
            or texture coordinate that the file lacks.
    """
    path = Path(path)
    points: list[list[float]] = []
    coordinates: list[list[float]] = []
    groups: dict[str, list[list[tuple[int, int]]]] = {}
    group = ""
    data = _read(path)
    try:
        for words in _lines(data):
            if words[0] == "v":
                points.append([float(word) for word in words[1:4]])
            elif words[0] == "vt":
                coordinates.append([float(word) for word in words[1:3]])
            elif words[0] == "g":
                group = words[1] if len(words) > 1 else ""
            elif words[0] == "f":
                corners = [(int(v) - 1, int(vt) - 1) for v, vt, *_ in (word.split("/") for word in words[1:])]
                if len(corners) not in (3, 4):
                    raise ValueError(f"a face has {len(corners)} corners")
                groups.setdefault(group, []).append([*corners, corners[-1]][:4])
        mesh = GroupedMesh(
            np.array(points, np.float64).reshape(-1, 3),
            np.array(coordinates, np.float64).reshape(-1, 2),
            {name: np.array(faces, np.int64) for name, faces in groups.items()},
        )
        limits = np.array([len(mesh.vertices), len(mesh.texture_coordinates)])
        if not all(((faces >= 0) & (faces < limits)).all() for faces in mesh.groups.values()):
            raise ValueError("a face names a vertex that the file lacks")
        if not (np.isfinite(mesh.vertices).all() and np.isfinite(mesh.texture_coordinates).all()):
            raise ValueError("a vertex is not finite")
    except Exception as error:
        raise _unreadable(path, error) from None
    return mesh


def _read(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
        raise TalkerError(f"{path} is not a file of at most {_MAX_FILE_BYTES >> 20} MiB: give an OBJ file")
    return path.read_bytes()


def _unreadable(path: Path, error: Exception) -> TalkerError:
    reason = " ".join(str(error)[:80].split())
    return TalkerError(f"{path} is not a readable OBJ file ({reason}): export it again")


def _lines(data: bytes) -> Iterator[list[str]]:
    """The words of each line, without comments; a line that ends in a backslash goes on in the next."""
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if is_utf16 else "utf-8-sig", "replace")
    begun: list[str] = []
    for line in io.StringIO(text, newline=None):
        content = line.partition("#")[0].rstrip()
        words = content.removesuffix("\\").split()
        begun += words
        if not content.endswith("\\"):
            if begun:
                yield begun
            begun = []
    if begun:
        yield begun
