# SPDX-License-Identifier: Apache-2.0
"""A glTF 2.0 file as data: its JSON tree, its buffers, and the arrays of its accessors.

Sizes that a file states are checked against what it holds before anything is allocated: all arrays together
take at most `_ARRAY_BYTES_PER_BYTE` times the file, or `_MIN_ARRAY_BYTES`.
"""

from __future__ import annotations

import base64
import json
import struct
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from streamingtalker_ros.errors import TalkerError
from streamingtalker_ros.face.formats import meshopt

_COMPONENT_TYPES = {
    5120: np.int8,
    5121: np.uint8,
    5122: np.int16,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_HEADER_BYTES = 12
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_COMPRESSED = {"KHR_draco_mesh_compression"}
_MAX_FILE_BYTES = 1 << 30
_MAX_JSON_BYTES = 32 << 20
_ARRAY_BYTES_PER_BYTE = 16
_MIN_ARRAY_BYTES = 64 << 20


class GltfDocument:
    """A .glb or .gltf file.

    Args:
        path: File to read.

    Attributes:
        path: The file.
        tree: Its JSON document.

    Raises:
        TalkerError: If the file is cut short, compressed or no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_bytes = 0
        data = self._read_file(path)
        self._binary = b""
        text = self._split_chunks(data) if data[:4] == b"glTF" else data
        if len(text) > _MAX_JSON_BYTES:
            raise TalkerError(f"{path} describes its scene in {len(text) >> 20} MiB: export the face alone")
        self.tree: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
        if not isinstance(self.tree, dict):
            raise TalkerError(f"{path} is not a readable glTF 2.0 file: export it again as .glb")
        required = self.tree.get("extensionsRequired")
        compressed = _COMPRESSED & {str(name) for name in (required if isinstance(required, list) else ())}
        if compressed:
            raise TalkerError(
                f"{path} is compressed ({min(compressed)}): export it without mesh compression, or run "
                f"`npx @gltf-transform/cli copy {path.name} plain.glb` and give plain.glb"
            )
        self._buffers: dict[int, bytes] = {}
        self._decoded: dict[int, tuple[bytes, int]] = {}  # bytes and stride of compressed buffer views
        self._array_bytes = 0

    @property
    def binary(self) -> bytes:
        """The binary chunk of a .glb file; empty if it has none."""
        return self._binary

    def accessor(self, number: int) -> npt.NDArray[Any]:
        """(count, width) array of an accessor, with stride, sparse values and normalisation applied.

        Args:
            number: Index of the accessor in the document, from 0.

        Returns:
            Values of shape (count, width), where width is the number of components of an element (1 for
            SCALAR, 3 for VEC3). Values of width 3 and normalised integers are float32; others keep the
            file's type.

        Raises:
            TalkerError: If its buffer is too short, or it states more values than the file can hold.
        """
        spec = self.tree["accessors"][_as_index(number)]
        count, width = _as_size(spec["count"]), _WIDTHS[spec["type"]]
        dtype = np.dtype(_COMPONENT_TYPES[spec["componentType"]]).newbyteorder("<")
        self._take(count * width * 4)
        if "bufferView" in spec:
            values = self._view(spec["bufferView"], spec.get("byteOffset", 0), dtype, count, width)
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in spec:
            values = values.copy()
            self._set_sparse(values, spec["sparse"], dtype)
        if spec.get("normalized") and dtype.kind != "f":
            return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1.0)
        return values.astype(np.float32) if width == 3 else values

    def accessor_size(self, number: int) -> int:
        """The number of elements that an accessor states."""
        return _as_size(self.tree["accessors"][_as_index(number)]["count"])

    def has_data(self, number: int) -> bool:
        """Whether an accessor has values of its own; without them it stands for zeros.

        Args:
            number: Index of the accessor in the document, from 0.
        """
        spec = self.tree["accessors"][_as_index(number)]
        return "bufferView" in spec or "sparse" in spec

    def view_bytes(self, number: int) -> bytes:
        """The bytes of a buffer view that is not compressed, such as an image.

        Args:
            number: Index of the buffer view in the document, from 0.

        Raises:
            TalkerError: If its buffer is too short.
        """
        size = _as_size(self.tree["bufferViews"][_as_index(number)]["byteLength"])
        return self._view(number, 0, np.dtype(np.uint8), size, 1).tobytes()

    def _take(self, size: int) -> None:
        self._array_bytes += size
        if self._array_bytes > max(_MIN_ARRAY_BYTES, _ARRAY_BYTES_PER_BYTE * self._read_bytes):
            raise TalkerError(f"{self.path} states more vertices than it can hold: export it again")

    def _read_file(self, path: Path) -> bytes:
        if not path.is_file():
            raise TalkerError(f"{path} is not a file: give a .glb or .gltf file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise TalkerError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MiB: export the face alone")
        data = path.read_bytes()
        self._read_bytes += len(data)
        return data

    def _split_chunks(self, data: bytes) -> bytes:
        """Keep the binary chunk of a .glb file and return its JSON chunk."""
        version, total = struct.unpack_from("<II", data, 4)
        if version != 2 or total > len(data):
            raise TalkerError(f"{self.path} is cut short or not glTF 2.0: export it again as .glb")
        text, offset = b"", _HEADER_BYTES
        while offset + 8 <= total:
            size, kind = struct.unpack_from("<II", data, offset)
            chunk = data[offset + 8 : offset + 8 + size]
            offset += 8 + size
            if kind == _JSON_CHUNK:
                text = chunk
            elif kind == _BINARY_CHUNK and not self._binary:
                self._binary = chunk
        return text

    def _set_sparse(self, values: npt.NDArray[Any], sparse: dict[str, Any], dtype: np.dtype[Any]) -> None:
        count, indices, new = _as_size(sparse["count"]), sparse["indices"], sparse["values"]
        index_type = np.dtype(_COMPONENT_TYPES[indices["componentType"]]).newbyteorder("<")
        rows = self._view(indices["bufferView"], indices.get("byteOffset", 0), index_type, count, 1).ravel()
        values[rows] = self._view(new["bufferView"], new.get("byteOffset", 0), dtype, count, values.shape[1])

    def _view(
        self, number: int, offset: int, dtype: np.dtype[Any], count: int, width: int
    ) -> npt.NDArray[Any]:
        view = self.tree["bufferViews"][_as_index(number)]
        compressed = _compression(view)
        if compressed is not None:
            data, stride = self._decode(number, compressed)
            view_start, view_length = 0, len(data)
        else:
            data = self._buffer(view["buffer"])
            view_start, view_length = _as_size(view.get("byteOffset", 0)), _as_size(view["byteLength"])
            stride = _as_size(view.get("byteStride") or dtype.itemsize * width)
        start = view_start + _as_size(offset)
        end = start + stride * (count - 1) + dtype.itemsize * width
        if count and (end > len(data) or end > view_start + view_length):
            raise TalkerError(
                f"{self.path} is cut short: a buffer ends before its data does; export it again"
            )
        if count == 0:
            return np.zeros((0, width), dtype)
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

    def _decode(self, number: int, extension: dict[str, Any]) -> tuple[bytes, int]:
        """Bytes and stride of a compressed buffer view."""
        if number not in self._decoded:
            self._take(_as_size(extension["count"]) * _as_size(extension["byteStride"]))
            start = _as_size(extension.get("byteOffset", 0))
            data = self._buffer(extension["buffer"])[start : start + _as_size(extension["byteLength"])]
            try:
                self._decoded[number] = meshopt.decode_view(extension, data)
            except Exception as error:  # whatever a damaged stream raises
                reason = " ".join(f"{error}"[:80].split())
                raise TalkerError(
                    f"{self.path} cannot be decompressed ({reason}): export it again without mesh "
                    f"compression, or run `npx @gltf-transform/cli copy {self.path.name} plain.glb`"
                ) from None
        return self._decoded[number]

    def _buffer(self, number: int) -> bytes:
        number = _as_index(number)
        if number not in self._buffers:
            uri = self.tree["buffers"][number].get("uri")
            if uri is None:
                self._buffers[number] = self._binary
            elif uri.startswith("data:"):
                self._buffers[number] = base64.b64decode(uri.partition(",")[2])
            else:
                file = self.path.parent / urllib.parse.unquote(uri)
                if not file.is_file():
                    raise TalkerError(
                        f"{self.path} needs {file.name[:80]} beside it: copy that file too, or export as .glb"
                    )
                self._buffers[number] = self._read_file(file)
        return self._buffers[number]


def _compression(view: dict[str, Any]) -> dict[str, Any] | None:
    """The meshopt extension of a buffer view; None where it is not compressed."""
    extensions = view.get("extensions")
    if isinstance(extensions, dict):
        for name in meshopt.EXTENSIONS:
            if isinstance(extensions.get(name), dict):
                return extensions[name]
    return None


def _as_size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise ValueError(f"a size of {str(value)[:40]}")
    return value


def _as_index(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise IndexError(f"an index of {str(value)[:40]}")
    return value
