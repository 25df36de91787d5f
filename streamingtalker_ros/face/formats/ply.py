# SPDX-License-Identifier: Apache-2.0
"""Reader of meshes in the Polygon File Format (PLY), ASCII or binary."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError

# the format's names of scalar types, old and new, and numpy's
_TYPES = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "float32": "f4",
    "float64": "f8",
}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_INDEX_PROPERTIES = ("vertex_indices", "vertex_index")
_MAX_FILE_BYTES = 1 << 29


@dataclass
class _Property:
    name: str
    type: str  # of the value, or of the items of a list
    count_type: str | None  # of the length of a list; None for a scalar


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        return any(each.count_type for each in self.properties)


def read_ply(path: str | Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Read a mesh; polygons are split into fans of triangles.

    Args:
        path: File to read.

    Returns:
        vertices: (V, 3), in the axes and units of the file.
        triangles: (T, 3); (0, 3) for a file without faces.

    Raises:
        TalkerError: If the file is no PLY, is damaged, has no vertices, or its faces name vertices that it
            lacks.
        OSError: If the file cannot be read.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
        raise TalkerError(f"{path} is not a file of at most {_MAX_FILE_BYTES >> 20} MiB: give a PLY file")
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    start = re.match(rb"ply[ \t]*(\r\n|\r|\n)", data)
    end = re.search(rb"[\r\n]end_header[ \t]*", data)
    if start is None or end is None:
        raise TalkerError(f"{path} is not a PLY file: its first line must be `ply`")
    try:
        header = data[: end.start()].decode("ascii", "replace").splitlines()
        # a CR of the header may stand before a binary body whose first byte is that of LF
        body = data[end.end() :].removeprefix(b"\r")
        if start[1] != b"\r":
            body = body.removeprefix(b"\n")
        byte_order, elements = _parse_header(header)
        _check_counts(elements, len(body))
        rows = _read_ascii(body, elements) if not byte_order else _read_binary(body, elements, byte_order)
        vertices = np.column_stack([rows["vertex"][axis] for axis in "xyz"]).astype(np.float32)
        polygons = _polygons(rows.get("face", {}), elements)
        fans = [(face[0], b, c) for face in polygons for b, c in pairwise(face[1:])]
        triangles = np.array(fans, np.int64).reshape(-1, 3)
    except Exception as error:  # whatever a damaged file raises in the header, the numbers and numpy
        raise TalkerError(f"{path} is a damaged PLY file ({type(error).__name__}): export it again") from None
    if not np.isfinite(vertices).all():
        raise TalkerError(f"{path} has a vertex that is not finite: export it again")
    if "tristrips" in rows and not len(triangles):
        raise TalkerError(f"{path} holds strips of triangles: export single triangles")
    inside = not len(triangles) or 0 <= triangles.min() <= triangles.max() < len(vertices)
    if len(vertices) == 0 or not inside:
        raise TalkerError(f"{path} holds no mesh, or its faces name vertices that it lacks: export it again")
    return vertices, triangles


def _parse_header(lines: list[str]) -> tuple[str, list[_Element]]:
    """The byte order, empty for ASCII, and the elements. Raises KeyError for unknown formats and types."""
    byte_order, elements = "", []
    for line in lines:
        words = line.split()
        if words[:1] == ["format"]:
            byte_order = _BYTE_ORDERS[words[1]]
        elif words[:1] == ["element"]:
            elements.append(_Element(words[1], int(words[2])))
        elif words[:2] == ["property", "list"]:
            elements[-1].properties.append(_Property(words[4], _TYPES[words[3]], _TYPES[words[2]]))
        elif words[:1] == ["property"]:
            elements[-1].properties.append(_Property(words[2], _TYPES[words[1]], None))
    return byte_order, elements


def _check_counts(elements: list[_Element], size: int) -> None:
    """Raise ValueError for an element that states more rows than `size` bytes can hold."""
    for element in elements:
        if not 0 <= element.count <= size or not (element.properties or element.count == 0):
            raise ValueError(f"{element.count} rows of {element.name}")


def _read_ascii(body: bytes, elements: list[_Element]) -> dict[str, dict[str, Any]]:
    words = iter(body.split())

    def read(dtype: str, count: int) -> list[float]:
        convert = float if dtype.startswith("f") else int
        return [convert(next(words)) for _ in range(count)]

    return {element.name: _read_rows(element, read) for element in elements}


def _read_binary(body: bytes, elements: list[_Element], byte_order: str) -> dict[str, dict[str, Any]]:
    offset = 0

    def read(dtype: str, count: int) -> list[float]:
        nonlocal offset
        values = np.frombuffer(body, byte_order + dtype, count, offset)
        offset += values.nbytes
        return values.tolist()

    columns: dict[str, dict[str, Any]] = {}
    for element in elements:
        if element.has_lists:
            columns[element.name] = _read_rows(element, read)
        else:  # rows of equal size, read at once
            row = np.dtype([(each.name, byte_order + each.type) for each in element.properties])
            table = np.frombuffer(body, row, element.count, offset)
            offset += table.nbytes
            columns[element.name] = {each.name: table[each.name] for each in element.properties}
    return columns


def _read_rows(element: _Element, read: Callable[[str, int], list[float]]) -> dict[str, Any]:
    """Values by property, row by row; each value of a list property is a list."""
    columns: dict[str, list[Any]] = {each.name: [] for each in element.properties}
    for _ in range(element.count):
        for each in element.properties:
            if each.count_type is None:
                columns[each.name].append(read(each.type, 1)[0])
            else:
                count = int(read(each.count_type, 1)[0])
                if count < 0:
                    raise ValueError(f"a list of {count} values")
                columns[each.name].append(read(each.type, count))
    return columns


def _polygons(columns: dict[str, Any], elements: list[_Element]) -> Iterator[list[int]]:
    """Vertex indices of the faces: the list with the usual name, else the first list of whole numbers."""
    face = next((element for element in elements if element.name == "face"), None)
    lists = [each for each in face.properties if each.count_type] if face else []
    named = [each.name for each in lists if each.name in _INDEX_PROPERTIES]
    whole = [each.name for each in lists if not each.type.startswith("f")]
    for polygon in columns[(named or whole)[0]] if named or whole else ():
        indices = [int(value) for value in polygon]
        if indices != polygon:
            raise ValueError("an index that is not whole")
        yield indices
