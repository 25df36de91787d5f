# SPDX-License-Identifier: Apache-2.0
"""Decoder of EXT_meshopt_compression: the bitstreams of the extension's specification, appendices A and B.

Attributes are deltas of bytes in groups of 16, triangles are references to recent edges and vertices. Damaged
streams raise IndexError or ValueError, as damaged files do elsewhere in this package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

EXTENSIONS = ("EXT_meshopt_compression", "KHR_meshopt_compression")
_ATTRIBUTES, _TRIANGLES, _INDICES = 0xA0, 0xE1, 0xD1  # first byte of each stream, with its version
_GROUP = 16
_MAX_BLOCK_BYTES, _MAX_BLOCK_VERTICES = 8192, 256
_MIN_TAIL_BYTES = 32
_MAX_VARINT_BYTES = 5
_CODE_AUX_BYTES = 16
_MAX_STRIDE = 256
_TWO_BITS = tuple(bytes((b >> shift) & 3 for shift in (6, 4, 2, 0)) for b in range(256))
_FOUR_BITS = tuple(bytes((b >> 4, b & 15)) for b in range(256))


def decode_view(extension: dict[str, Any], data: bytes) -> tuple[bytes, int]:
    """Decode a buffer view.

    Args:
        extension: The extension's object in the buffer view.
        data: Its bytes in the buffer that it names.

    Returns:
        The decoded bytes and their stride.

    Raises:
        ValueError: If the stream is damaged, or of a version or filter that is unknown.
        IndexError: If it is cut short.
    """
    count, stride = int(extension["count"]), int(extension["byteStride"])
    mode, kind = extension["mode"], extension.get("filter", "NONE")
    if mode == "ATTRIBUTES":
        if not 0 < stride <= _MAX_STRIDE or stride % 4:
            raise ValueError(f"a stride of {stride} bytes")
        decoded = _decode_attributes(data, count, stride)
        if kind == "EXPONENTIAL":
            decoded = _decode_exponents(decoded)
        elif kind == "OCTAHEDRAL":
            decoded = _decode_octahedron(decoded, stride)
        elif kind != "NONE":
            raise ValueError(f"filter {str(kind)[:20]}")
        return decoded.tobytes(), stride
    decode = {"TRIANGLES": _decode_triangles, "INDICES": _decode_indices}[mode]
    dtype = np.dtype({2: "<u2", 4: "<u4"}[stride])
    return np.array(decode(data, count), np.int64).astype(dtype).tobytes(), stride


def _decode_attributes(data: bytes, count: int, stride: int) -> npt.NDArray[np.uint8]:
    """(count, stride) bytes."""
    if data[0] != _ATTRIBUTES:
        raise ValueError(f"an attribute stream of type {data[0]:#x}")
    last = np.frombuffer(data[-stride:], np.uint8)
    end = len(data) - max(stride, _MIN_TAIL_BYTES)
    block = min(_MAX_BLOCK_BYTES // stride & -_GROUP, _MAX_BLOCK_VERTICES)
    decoded = np.empty((count, stride), np.uint8)
    at = 1
    for first in range(0, count, block):
        size = min(block, count - first)
        groups = -(-size // _GROUP)
        planes = bytearray()
        for _ in range(stride):
            at = _decode_plane(data, at, groups, planes)
        if at > end:
            raise ValueError("an attribute stream that is cut short")
        zigzag = np.frombuffer(planes, np.uint8).reshape(stride, groups * _GROUP)[:, :size]
        deltas = (zigzag >> 1) ^ (np.uint8(0) - (zigzag & 1))
        deltas[:, 0] += last
        rows = np.cumsum(deltas, axis=1, dtype=np.uint8).T
        decoded[first : first + size] = rows
        last = rows[-1]
    return decoded


def _decode_plane(data: bytes, at: int, groups: int, plane: bytearray) -> int:
    """Append one byte of each of a block's vertices, not yet summed; returns the position behind it."""
    header = at
    at += -(-groups // 4)
    for group in range(groups):
        mode = data[header + group // 4] >> 2 * (group % 4) & 3
        if mode == 0:
            plane += bytes(_GROUP)
            continue
        if mode == 3:
            values = data[at : at + _GROUP]
            at += _GROUP
        else:
            width, table = (4, _TWO_BITS) if mode == 1 else (8, _FOUR_BITS)
            values = b"".join([table[b] for b in data[at : at + width]])
            at += width
            escape = 3 if mode == 1 else 15  # the value follows
            escapes = values.count(escape)
            if escapes:
                literal = iter(data[at : at + escapes])
                values = bytes([next(literal) if value == escape else value for value in values])
                at += escapes
        if len(values) != _GROUP:
            raise IndexError("an attribute stream that is cut short")
        plane += values
    return at


def _decode_exponents(encoded: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Floats of a mantissa of 24 bits and an exponent of 8."""
    words = encoded.view("<i4")
    return np.ldexp((words << 8 >> 8).astype(np.float32), words >> 24)


def _decode_octahedron(encoded: npt.NDArray[np.uint8], stride: int) -> npt.NDArray[np.signedinteger[Any]]:
    """Unit vectors as normalized integers, from x and y on an octahedron and its size; a fourth is kept."""
    values = encoded.view({4: "i1", 8: "<i2"}[stride])
    x, y, size = values[:, :3].T.astype(np.float64)
    z = size - np.abs(x) - np.abs(y)
    fold = np.maximum(-z, 0.0)
    vectors = np.stack([x - np.copysign(fold, x), y - np.copysign(fold, y), z], axis=1)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    decoded = values.copy()
    decoded[:, :3] = np.rint(vectors * (np.iinfo(values.dtype).max / lengths))
    return decoded


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for k in range(_MAX_VARINT_BYTES):
        byte = data[at]
        at += 1
        value |= (byte & 127) << 7 * k
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 32 bits")


def _unzigzag(value: int) -> int:
    return (value >> 1) ^ -(value & 1)


def _decode_indices(data: bytes, count: int) -> list[int]:
    if data[0] != _INDICES:
        raise ValueError(f"an index stream of type {data[0]:#x}")
    last = [0, 0]
    indices: list[int] = []
    at = 1
    for _ in range(count):
        value, at = _read_varint(data, at)
        base = value & 1
        last[base] += _unzigzag(value >> 1)
        indices.append(last[base])
    return indices


def _decode_triangles(data: bytes, count: int) -> list[int]:
    if data[0] != _TRIANGLES:
        raise ValueError(f"a triangle stream of type {data[0]:#x}")
    if count % 3:
        raise ValueError(f"{count} indices of triangles")
    aux_table = data[-_CODE_AUX_BYTES:]
    decoder = _TriangleDecoder(data, 1 + count // 3)
    for code in data[1 : 1 + count // 3]:
        if code < 0xF0:
            decoder.share_edge(code >> 4, code & 15)
        elif code < 0xFE:
            decoder.new_triangle(aux_table[code & 15])
        else:
            decoder.free_triangle(code == 0xFE)
    if len(decoder.indices) != count:
        raise IndexError("a triangle stream that is cut short")
    return decoder.indices


class _TriangleDecoder:
    """State of the triangle codec: the last 16 edges and vertices, the next new vertex, the last free one."""

    def __init__(self, data: bytes, at: int) -> None:
        self.indices: list[int] = []
        self._data, self._at = data, at
        self._edges = [(0, 0)] * 16
        self._vertices = [0] * 16
        self._edge_end = self._vertex_end = 0
        self._next = self._last = 0

    def share_edge(self, edge: int, vertex: int) -> None:
        """A triangle at a recent edge with a new, recent or free vertex."""
        a, b = self._edges[(self._edge_end - 1 - edge) & 15]
        if vertex == 0:
            c = self._take_next()
            self._push_vertex(c)
        elif vertex < 13:
            c = self._vertices[(self._vertex_end - 1 - vertex) & 15]
        else:
            c = self._read_free() if vertex == 15 else self._last + (-1 if vertex == 13 else 1)
            self._last = c
            self._push_vertex(c)
        self.indices += (a, b, c)
        self._push_edges((c, b), (a, c))

    def new_triangle(self, codes: int) -> None:
        """A triangle whose first vertex is new; `codes` has 4 bits for each of the others."""
        a = self._take_next()
        b_code, c_code = codes >> 4, codes & 15
        b = self._take_next() if b_code == 0 else self._vertices[(self._vertex_end - b_code) & 15]
        c = self._take_next() if c_code == 0 else self._vertices[(self._vertex_end - c_code) & 15]
        self._push_triangle(a, b, c, b_code == 0, c_code == 0)

    def free_triangle(self, is_first_new: bool) -> None:
        """A triangle with free vertices, whose codes lie in the data."""
        codes = self._data[self._at]
        self._at += 1
        if codes == 0:
            self._next = 0
        b_code, c_code = codes >> 4, codes & 15
        a = self._take_next() if is_first_new else 0
        b = self._take_next() if b_code == 0 else self._vertices[(self._vertex_end - b_code) & 15]
        c = self._take_next() if c_code == 0 else self._vertices[(self._vertex_end - c_code) & 15]
        if not is_first_new:
            a = self._last = self._read_free()
        if b_code == 15:
            b = self._last = self._read_free()
        if c_code == 15:
            c = self._last = self._read_free()
        self._push_triangle(a, b, c, b_code in (0, 15), c_code in (0, 15))

    def _push_triangle(self, a: int, b: int, c: int, push_b: bool, push_c: bool) -> None:
        self.indices += (a, b, c)
        self._push_vertex(a)
        if push_b:
            self._push_vertex(b)
        if push_c:
            self._push_vertex(c)
        self._push_edges((b, a), (c, b), (a, c))

    def _take_next(self) -> int:
        self._next += 1
        return self._next - 1

    def _read_free(self) -> int:
        value, self._at = _read_varint(self._data, self._at)
        return self._last + _unzigzag(value)

    def _push_vertex(self, vertex: int) -> None:
        self._vertices[self._vertex_end] = vertex
        self._vertex_end = (self._vertex_end + 1) & 15

    def _push_edges(self, *edges: tuple[int, int]) -> None:
        for edge in edges:
            self._edges[self._edge_end] = edge
            self._edge_end = (self._edge_end + 1) & 15
